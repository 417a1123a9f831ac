"""Crop pairs for calibration and comparison."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from siamffn_model.datasets.sequences import read_sequences
from siamffn_model.errors import DataError
from siamffn_model.export.crop_pairs import Pair, rendered_pairs, sequence_pairs


def positions(pairs: list[Pair]) -> list[tuple[float, float, float]]:
    return [(view.x, view.y, view.side) for pair in pairs for view in pair]


def test_sequence_pairs_are_centred_near_the_target_and_reproducible(clips: Path) -> None:
    truth = clips / 'clip2' / 'groundtruth.txt'
    rows = truth.read_text().splitlines()
    truth.write_text('\n'.join([*rows[:2], 'NaN,NaN,NaN,NaN', *rows[3:]]))
    sequences = read_sequences(clips)
    pairs = list(sequence_pairs(sequences, 100))
    assert len(pairs) == 5 + 4, 'one of each frame after the first that shows the target'
    for _, search in pairs[:5]:
        boxes = sequences[0].truth
        centres = boxes[:, :2] + boxes[:, 2:] / 2
        distance = np.abs(centres - (search.x, search.y)).max(axis=1).min()
        assert distance < 0.1 * search.side
    assert positions(list(sequence_pairs(sequences, 100))) == positions(pairs)
    assert len({search.x for _, search in sequence_pairs(sequences, 3)}) == 3
    truth.write_text('\n'.join([rows[0], *['NaN,NaN,NaN,NaN'] * 5]))
    with pytest.raises(DataError, match='no frame after the first'):
        next(sequence_pairs(read_sequences(clips)[1:], 5))


def test_rendered_pairs_are_reproducible() -> None:
    pairs = list(rendered_pairs(3))
    assert len(pairs) == 3
    assert len({search.x for _, search in pairs}) == 3
    assert positions(list(rendered_pairs(3))) == positions(pairs)
