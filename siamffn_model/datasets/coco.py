"""COCO 2017, training part: 118287 single images with any number of targets each.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014.

Layout: annotations/instances_train2017.json and train2017/000000000009.jpg and so on. Boxes are
x, y, w, h in pixels, counted from 0. Annotations of crowds are skipped, for their boxes contain
several objects. Each other annotation is a target of one image, with frame number 0.
"""

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
from siamffn_model.errors import DataError, missing_package
from siamffn_model.imaging.geometry import Box

ANNOTATIONS, IMAGES = 'annotations/instances_train2017.json', 'train2017'


def _units(folder: Path) -> list[str]:
    """Return the one unit, the annotation file; raises `DataError` (see `TrainingSet`)."""
    if not (folder / ANNOTATIONS).is_file():
        raise COCO.layout_error(folder / ANNOTATIONS, 'no such file')
    if not (folder / IMAGES).is_dir():
        raise COCO.layout_error(folder / IMAGES, 'no such folder')
    return [ANNOTATIONS]


def _read(folder: Path, unit: str) -> UnitAnnotations:
    """Read the annotation file.

    Raises:
        DataError: the file is damaged.
        DependencyError: pycocotools is not installed.
    """
    try:
        from pycocotools.coco import COCO as CocoFile  # noqa: N811 (a class)
    except ModuleNotFoundError:
        raise missing_package('pycocotools', 'reading COCO', 'train') from None
    files = list_files(folder / IMAGES)
    try:
        with redirect_stdout(io.StringIO()):
            annotations = CocoFile(folder / unit)
        return _targets(annotations, files)
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f'{folder / unit}: damaged ({error!r}); unpack it again from '
            f'annotations_trainval2017.zip, see {COCO.source}'
        ) from error


def _targets(coco: Any, files: set[str]) -> UnitAnnotations:
    targets, skipped = [], []
    for key, image in sorted(coco.imgs.items()):
        name = image['file_name']
        annotations = coco.imgToAnns[key]
        if name not in files:
            skipped.append(('missing image', name))
            continue
        if not annotations:
            skipped.append(('empty annotation', name))
        for annotation in annotations:
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
