"""GOT-10k, training part: 9335 videos of one target each.

Huang, Zhao and Huang, "GOT-10k: A Large High-Diversity Benchmark for Generic Object Tracking in
the Wild", PAMI 2019.

Layout: train/GOT-10k_Train_000001/ and so on, each with

- 00000001.jpg ..., images numbered from 1 at 10 frames per second;
- groundtruth.txt, one row x,y,w,h in pixels for each image, read as counted from 0;
- absence.label, optional: one number for each row, 1 where the target is absent;
- cover.label, optional: one number for each row, visible part of the target from 0 (not visible)
  to 8 (fully visible).
"""

from __future__ import annotations

from pathlib import Path

from siamffn_model.datasets.training_set import (
    Annotation,
    TrainingSet,
    UnitAnnotations,
    has_area,
    list_files,
)
from siamffn_model.errors import DataError
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.groundtruth import read_groundtruth

NOT_VISIBLE = {'absence.label': 1, 'cover.label': 0}  # the value of a target that is not visible


def _units(folder: Path) -> list[str]:
    """Return the names of the sequences; raises `DataError` (see `TrainingSet`)."""
    names = GOT10K.list_folders(folder / 'train')
    if not names:
        raise GOT10K.layout_error(folder / 'train', 'no sequences')
    return names


def _read(folder: Path, unit: str) -> UnitAnnotations:
    """Read one sequence; raises `DataError` if the disk cannot be read."""
    sequence = folder / 'train' / unit
    files = list_files(sequence)
    if 'groundtruth.txt' not in files:
        return UnitAnnotations([], [('missing annotation', unit)])
    try:
        boxes = read_groundtruth(sequence / 'groundtruth.txt')
        labels = files & NOT_VISIBLE.keys()
        absent = {row for name in labels for row in _rows_not_visible(sequence / name, boxes)}
    except (DataError, ValueError) as error:
        if isinstance(error.__cause__, OSError):
            raise
        return UnitAnnotations([], [('damaged annotation', unit)])
    if not boxes:
        return UnitAnnotations([], [('empty annotation', unit)])
    rows, skipped = [], []
    for number, box in enumerate(boxes, 1):
        image = f'{number:08d}.jpg'
        if image not in files:
            skipped.append(('missing image', f'{unit} row {number}'))
        elif number in absent:
            skipped.append(('target absent', f'{unit} row {number}'))
        elif box is None or not has_area(box):
            skipped.append(('empty box', f'{unit} row {number}'))
        else:
            rows.append(Annotation(f'train/{unit}/{image}', number, box))
        files.discard(image)
    unused = sorted(name for name in files if name.endswith('.jpg'))
    skipped += [('missing row', f'{unit} {name}') for name in unused]
    return UnitAnnotations([rows] if rows else [], skipped)


def _rows_not_visible(path: Path, boxes: list[Box | None]) -> list[int]:
    """Return the rows, counted from 1, for which a label file says that the target is not visible.

    Raises `ValueError` if the file has fewer rows than there are boxes, or is not of numbers.
    """
    values = [int(value) for value in path.read_text().split()]
    if len(values) < len(boxes):
        raise ValueError(f'{path}: {len(values)} rows for {len(boxes)} boxes')
    return [number for number, value in enumerate(values, 1) if value == NOT_VISIBLE[path.name]]


GOT10K = TrainingSet(
    name='got10k',
    layout='train/GOT-10k_Train_000001 and so on, each with 00000001.jpg ... and groundtruth.txt',
    source='http://got-10k.aitestunion.com/downloads',
    units=_units,
    read=_read,
)
