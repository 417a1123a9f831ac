"""ImageNet's training parts with boxes: VID, 3862 videos, and DET, single pictures."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from siamffn_model.datasets.training_set import (
    Annotation,
    TrainingSet,
    UnitAnnotations,
    has_area,
    list_files,
)
from siamffn_model.imaging.geometry import Box


def _units_vid(folder: Path) -> list[str]:
    """List the videos; raises `DataError` (see `TrainingSet`)."""
    root = folder / 'Annotations/VID/train'
    VID.folders(folder / 'Data/VID/train')
    parts = VID.folders(root)
    videos = [f'{part}/{video}' for part in parts for video in VID.folders(root / part)]
    if not videos:
        raise VID.missing(root, 'no videos')
    return videos


def _units_det(folder: Path) -> list[str]:
    """List the folders with annotations, at any depth; raises `DataError` (see `TrainingSet`)."""
    root = folder / 'Annotations/DET/train'
    DET.folders(folder / 'Data/DET/train')
    DET.folders(root)
    units = sorted(path.relative_to(root).as_posix() for path in _annotated(root))
    if not units:
        raise DET.missing(root, 'no annotations')
    return units


def _annotated(folder: Path) -> Iterator[Path]:
    """Yield the folders from here down that hold annotations."""
    with os.scandir(folder) as entries:
        found = list(entries)
    if any(entry.name.endswith('.xml') for entry in found):
        yield folder
    for entry in found:
        if entry.is_dir():
            yield from _annotated(folder / entry.name)


def _read(folder: Path, unit: str, kind: str) -> UnitAnnotations:
    """Read a folder of annotations; in VID the objects of one track make a target."""
    video = kind == 'VID'
    annotations = folder / 'Annotations' / kind / 'train' / unit
    pictures = f'Data/{kind}/train/{unit}'
    files = list_files(folder / pictures) if (folder / pictures).is_dir() else set()
    targets: dict[int, list[Annotation]] = defaultdict(list)
    skipped = []
    for name in sorted(n for n in list_files(annotations) if n.endswith('.xml')):
        place, image = f'{unit}/{name}', f'{name[:-4]}.JPEG'
        if image not in files:
            skipped.append(('missing image', place))
            continue
        try:
            frame = int(name[:-4]) if video else 0
            objects = _objects(annotations / name, video)
        except (ET.ParseError, LookupError, ValueError):
            skipped.append(('damaged annotation', place))
            continue
        if not objects:
            skipped.append(('target absent' if video else 'empty annotation', place))
        for track, box in objects:
            if has_area(box):
                row = Annotation(f'{pictures}/{image}', frame, box)
                targets[track if video else len(targets)].append(row)
            else:
                skipped.append(('empty box', place))
    return UnitAnnotations(list(targets.values()), skipped)


def _objects(path: Path, video: bool) -> list[tuple[int, Box]]:
    """Return the track, 0 where it is no `video`, and the box of each object.

    Raises `ParseError`, `LookupError` (of its encoding) or `ValueError` where it is damaged.
    """
    objects = []
    for item in ET.parse(path).iter('object'):
        track = int(item.findtext('trackid', '')) if video else 0
        sides = (item.findtext(f'bndbox/{side}', '') for side in ('xmin', 'ymin', 'xmax', 'ymax'))
        left, top, right, bottom = map(float, sides)
        objects.append((track, Box(left, top, right - left, bottom - top)))
    return objects


VID = TrainingSet(
    name='vid',
    layout=(
        'Annotations/VID/train/ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000/000000.xml and '
        'Data/VID/train/ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000/000000.JPEG and so on'
    ),
    source='https://image-net.org/challenges/LSVRC/2015/',
    units=_units_vid,
    read=partial(_read, kind='VID'),
)
DET = TrainingSet(
    name='det',
    layout=(
        'Annotations/DET/train with folders of .xml files, as ILSVRC2014_train_0000, and '
        'Data/DET/train with the same folders of .JPEG files'
    ),
    source='https://image-net.org/challenges/LSVRC/2017/',
    units=_units_det,
    read=partial(_read, kind='DET'),
)
