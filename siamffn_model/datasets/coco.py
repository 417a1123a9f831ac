"""COCO's training part of 2017: 118287 single pictures, each of several targets or none."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from siamffn_model.datasets.training_set import (
    Annotation,
    TrainingSet,
    UnitAnnotations,
    has_area,
    list_files,
)
from siamffn_model.errors import DataError, DependencyError
from siamffn_model.imaging.geometry import Box

ANNOTATIONS, IMAGES = 'annotations/instances_train2017.json', 'train2017'


def _units(folder: Path) -> list[str]:
    if not (folder / ANNOTATIONS).is_file():
        raise COCO.missing(folder / ANNOTATIONS, 'no such file')
    if not (folder / IMAGES).is_dir():
        raise COCO.missing(folder / IMAGES, 'no such folder')
    return [ANNOTATIONS]


def _read(folder: Path, unit: str) -> UnitAnnotations:
    """Read the one unit; raises `DataError` where its file is damaged."""
    try:
        from pycocotools.coco import COCO as Annotations  # noqa: N811 (the class's name)
    except ModuleNotFoundError:
        raise DependencyError('COCO is read by pycocotools: pip install pycocotools') from None
    files = list_files(folder / IMAGES)
    try:
        with redirect_stdout(io.StringIO()):
            annotations = Annotations(folder / unit)
        return _targets(annotations, files)
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f'{folder / unit}: damaged ({error!r}); unpack it again from '
            f'annotations_trainval2017.zip, see {COCO.source}'
        ) from error


def _targets(annotations: Any, files: set[str]) -> UnitAnnotations:
    targets, skipped = [], []
    for key, image in sorted(annotations.imgs.items()):
        name = image['file_name']
        found = annotations.imgToAnns[key]
        if name not in files:
            skipped.append(('missing image', name))
            continue
        if not found:
            skipped.append(('empty annotation', name))
        for annotation in found:
            box = Box(*map(float, annotation['bbox']))
            if annotation['iscrowd']:
                skipped.append(('crowd', f'{name} annotation {annotation["id"]}'))
            elif not has_area(box):
                skipped.append(('empty box', f'{name} annotation {annotation["id"]}'))
            else:
                targets.append([Annotation(f'{IMAGES}/{name}', 0, box)])
    return UnitAnnotations(targets, skipped)


COCO = TrainingSet(
    name='coco',
    layout=f'{ANNOTATIONS} and {IMAGES}/000000000009.jpg ...',
    source='https://cocodataset.org/#download',
    units=_units,
    read=_read,
)
