"""GOT-10k's training part: 9335 videos of one target each."""

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
from siamffn_model.imaging.sources import read_groundtruth

LABELS = {'absence.label': 1, 'cover.label': 0}  # what each says where the target is not seen


def _units(folder: Path) -> list[str]:
    names = GOT10K.folders(folder / 'train')
    if not names:
        raise GOT10K.missing(folder / 'train', 'no sequences')
    return names


def _read(folder: Path, unit: str) -> UnitAnnotations:
    sequence = folder / 'train' / unit
    files = list_files(sequence)
    if 'groundtruth.txt' not in files:
        return UnitAnnotations([], [('missing annotation', unit)])
    try:
        boxes = read_groundtruth(sequence / 'groundtruth.txt')
        absent = {row for name in files & LABELS.keys() for row in _marked(sequence / name, boxes)}
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


def _marked(path: Path, boxes: list[Box | None]) -> list[int]:
    """Return the rows, from 1, in which a label file says that the target is not seen.

    Raises `ValueError` where it does not fit the boxes.
    """
    values = [int(value) for value in path.read_text().split()]
    if len(values) < len(boxes):
        raise ValueError(f'{path}: {len(values)} rows for {len(boxes)} boxes')
    return [number for number, value in enumerate(values, 1) if value == LABELS[path.name]]


GOT10K = TrainingSet(
    name='got10k',
    layout='train/GOT-10k_Train_000001 and so on, each with 00000001.jpg ... and groundtruth.txt',
    source='http://got-10k.aitestunion.com/downloads',
    units=_units,
    read=_read,
)
