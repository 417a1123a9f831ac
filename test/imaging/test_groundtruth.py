"""Ground truth files."""

from __future__ import annotations

from pathlib import Path

import pytest

from siamffn_model.errors import DataError
from siamffn_model.imaging.geometry import Box, polygon_to_box
from siamffn_model.imaging.groundtruth import read_groundtruth


@pytest.mark.parametrize('separator', [',', ', ', '\t', ' ', '   '])
@pytest.mark.parametrize('line_end', ['\n', '\r\n'])
def test_groundtruth_separators(tmp_path: Path, separator: str, line_end: str) -> None:
    file = tmp_path / 'groundtruth.txt'
    rows = [['1', '2', '3', '4'], ['nan'] * 4, ['-5.5', '6e1', '7', '8']]
    file.write_bytes(line_end.join(separator.join(row) for row in rows).encode())
    assert read_groundtruth(file) == [Box(1, 2, 3, 4), None, Box(-5.5, 60, 7, 8)]


@pytest.mark.parametrize(
    ('row', 'box'),
    [
        ('0,0,0,0', None),
        ('5,6,0,0', None),
        ('nan,nan,nan,nan', None),
        ('0,0,0,0,0,0,0,0', None),
        ('nan' + ',nan' * 7, None),
        ('1,2,3,4,', Box(1, 2, 3, 4)),
        ('1 2 3 4 \t', Box(1, 2, 3, 4)),
        ('1, 2, 3, 4, ', Box(1, 2, 3, 4)),
        ('50,40,60,50,50,60,40,50', polygon_to_box((50, 40, 60, 50, 50, 60, 40, 50))),
    ],
)
def test_groundtruth_rows_without_target_polygons_and_trailing_separators(
    tmp_path: Path, row: str, box: Box | None
) -> None:
    file = tmp_path / 'groundtruth.txt'
    file.write_text(f'{row}\n9,9,9,9\n')
    assert read_groundtruth(file) == [box, Box(9, 9, 9, 9)]


@pytest.mark.parametrize('row', ['1,2,3', '1,2,3,4,5', '1,2,3,4,5,6,7', 'a,b,c,d', '1,,3,4x', ''])
def test_groundtruth_bad_row_is_reported(tmp_path: Path, row: str) -> None:
    file = tmp_path / 'groundtruth.txt'
    file.write_text(f'1,2,3,4\n{row}\n1,2,3,4\n')
    with pytest.raises(DataError, match=r'groundtruth.txt: row 2 .*must be x,y,w,h'):
        read_groundtruth(file)
