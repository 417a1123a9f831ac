"""ImageNet's training parts with boxes: VID, 3862 videos, and DET, single images.

Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015.

Layout of both: Annotations/VID/train/ with .xml files and Data/VID/train/ with .JPEG files of the
same names in the same folders (DET likewise). In VID there is one folder for each video, in
folders ILSVRC2015_VID_train_0000 to 0003, and files are numbered from 000000.

A box is given by xmin, ymin, xmax, ymax in pixels, read as coordinates of its edges counted from
0, so that its width is xmax - xmin. In VID, objects of one trackid are one target; in DET each
object is a target of one image, with frame number 0.
"""

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
    """Return the folders of the videos; raises `DataError` (see `TrainingSet`)."""
    root = folder / 'Annotations/VID/train'
    VID.list_folders(folder / 'Data/VID/train')
    parts = VID.list_folders(root)
    videos = [f'{part}/{video}' for part in parts for video in VID.list_folders(root / part)]
    if not videos:
        raise VID.layout_error(root, 'no videos')
    return videos


def _units_det(folder: Path) -> list[str]:
    """Return the folders with annotations, at any depth; raises `DataError` (see `TrainingSet`)."""
    root = folder / 'Annotations/DET/train'
    DET.list_folders(folder / 'Data/DET/train')
    DET.list_folders(root)
    units = sorted(path.relative_to(root).as_posix() for path in _annotated_folders(root))
    if not units:
        raise DET.layout_error(root, 'no annotations')
    return units


def _annotated_folders(folder: Path) -> Iterator[Path]:
    """Yield the folder itself and all folders below it that contain .xml files."""
    with os.scandir(folder) as scan:
        entries = list(scan)
    if any(entry.name.endswith('.xml') for entry in entries):
        yield folder
    for entry in entries:
        if entry.is_dir():
            yield from _annotated_folders(folder / entry.name)


def _read(folder: Path, unit: str, kind: str) -> UnitAnnotations:
    """Read a folder of annotations of `kind` 'VID' or 'DET'."""
    is_video = kind == 'VID'
    annotations = folder / 'Annotations' / kind / 'train' / unit
    images = f'Data/{kind}/train/{unit}'
    files = list_files(folder / images) if (folder / images).is_dir() else set()
    targets: dict[int, list[Annotation]] = defaultdict(list)
    skipped = []
    for name in sorted(n for n in list_files(annotations) if n.endswith('.xml')):
        place, image = f'{unit}/{name}', f'{name[:-4]}.JPEG'
        if image not in files:
            skipped.append(('missing image', place))
            continue
        try:
            frame = int(name[:-4]) if is_video else 0
            objects = _read_objects(annotations / name, is_video)
        except (ET.ParseError, LookupError, ValueError):
            skipped.append(('damaged annotation', place))
            continue
        if not objects:
            skipped.append(('target absent' if is_video else 'empty annotation', place))
        for track, box in objects:
            if has_area(box):
                annotation = Annotation(f'{images}/{image}', frame, box)
                targets[track if is_video else len(targets)].append(annotation)
            else:
                skipped.append(('empty box', place))
    return UnitAnnotations(list(targets.values()), skipped)


def _read_objects(path: Path, is_video: bool) -> list[tuple[int, Box]]:
    """Return the track number (0 for a single image) and the box of each object in an .xml file.

    Raises `ParseError`, `LookupError` (unknown encoding) or `ValueError` if the file is damaged.
    """
    objects = []
    for item in ET.parse(path).iter('object'):
        track = int(item.findtext('trackid', '')) if is_video else 0
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
        'Annotations/DET/train with folders of .xml files, such as ILSVRC2014_train_0000, and '
        'Data/DET/train with the same folders of .JPEG files'
    ),
    source='https://image-net.org/challenges/LSVRC/2017/',
    units=_units_det,
    read=partial(_read, kind='DET'),
)
