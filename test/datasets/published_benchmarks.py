"""Tiny benchmarks with the layouts of the published ones and images of 320x240 pixels.

UAV20L, UAV123 and OTB-2015 must be complete, with all sequences, rows and images: their images are
links to one file.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2

from siamffn_model.datasets import otb, uav123
from siamffn_model.datasets.synthetic import render_scene
from siamffn_model.imaging.geometry import Box

FRAMES = 5  # in each sequence of VOT and GOT-10k
FLAGS = '1,0,0,0,0,0,1,0,0,0,0,1'  # attributes of UAV20L and UAV123 sequences: SV OV SOB


def box_of(number: int) -> Box:
    """Return the box in a frame, counted from 1, of UAV20L, UAV123 or OTB-2015; all differ."""
    return Box(number, 20 + number % 7, 40, 30)


@cache
def uav_ranges(title: str) -> dict[str, tuple[str, int, int]]:
    """Return the video, first and last frame of each sequence of UAV20L or UAV123."""
    entries = re.findall(r'(\w+) (?:(\d+)-)?(\d+)', getattr(uav123, title))
    return {
        name: (re.sub(r'_\d$', '', name), int(first or 1), int(last))
        for name, first, last in entries
    }


def write_uav(folder: Path, title: str, images: bool = False) -> None:
    """Write UAV20L or UAV123; the target is absent in the second frame of each sequence."""
    ranges = uav_ranges(title)
    (folder / 'anno' / title / 'att').mkdir(parents=True)
    for name, (_, first, last) in ranges.items():
        rows = [row(number) for number in range(first, last + 1)]
        rows[1] = 'NaN,NaN,NaN,NaN'
        write_rows(folder / 'anno' / title / f'{name}.txt', rows)
        write_rows(folder / 'anno' / title / 'att' / f'{name}.txt', [FLAGS])
    if images:
        videos = {video for video, _, _ in ranges.values()}
        _write_images(folder / 'data_seq/UAV123', videos, '', '{:06d}.jpg', 5527)


@cache
def otb_ranges() -> dict[str, tuple[str, int, int]]:
    """Return the folder, first and last frame of each sequence of OTB-2015."""
    with otb.TABLE.open(newline='') as file:
        return {
            r['name']: (r['folder'], int(r['first']), int(r['last'])) for r in csv.DictReader(file)
        }


def write_otb(folder: Path, images: bool = False) -> None:
    """Write OTB-2015; the separator is a comma, a tab or a space in turn.

    As in the published set, the annotation of tiger1 has rows for the entire video, the others only
    for the frames of their sequence.
    """
    ranges = otb_ranges()
    for i, (name, (video, first, last)) in enumerate(ranges.items()):
        numbers = range(1 if name == 'tiger1' else first, last + 1)
        target = name.partition('_')[2]
        path = folder / video / f'groundtruth_rect.{target}.txt'.replace('..', '.')
        path.parent.mkdir(parents=True, exist_ok=True)
        write_rows(path, [row(number, ',\t '[i % 3]) for number in numbers])
    if images:
        videos = {video for video, _, _ in ranges.values()}
        _write_images(folder, videos - {'Board'}, 'img', '{:04d}.jpg', 3872)
        _write_images(folder, {'Board'}, 'img', '{:05d}.jpg', 698)


def write_vot(folder: Path) -> None:
    """Write VOT: ants1 with images in color/ and bag with images beside the ground truth.

    The scenes have seeds 1 and 2. Rows are the corners of the boxes; those of bag are x,y,w,h.
    """
    for seed, name, images in ((1, 'ants1', 'ants1/color'), (2, 'bag', 'bag')):
        boxes = _write_scene(folder / images, seed)
        rows = [corners(box) if name == 'ants1' else box for box in boxes]
        write_rows(folder / name / 'groundtruth.txt', [join(values) for values in rows])
    write_rows(folder / 'list.txt', ['bag', 'ants1'])


def write_got10k_val(folder: Path) -> None:
    """Write val/ of GOT-10k: sequences 1 and 2 with these seeds; frame 4 of 2 has no target."""
    names = [f'GOT-10k_Val_{number:06d}' for number in (1, 2)]
    for seed, name in enumerate(names, 1):
        sequence = folder / 'val' / name
        boxes = _write_scene(sequence, seed)
        write_rows(sequence / 'groundtruth.txt', [join(box) for box in boxes])
        write_rows(sequence / 'absence.label', ['0', '0', '0', str(seed - 1), '0'])
        write_rows(sequence / 'cover.label', ['8'] * FRAMES)
    write_rows(folder / 'val/list.txt', names)


def corners(box: Box) -> tuple[float, ...]:
    """Return the corners x1, y1, ..., x4, y4 of a box, clockwise from the top left."""
    x, y, w, h = box
    return x, y, x + w, y, x + w, y + h, x, y + h


def join(values: Sequence[float], separator: str = ',') -> str:
    """Return a row of an annotation."""
    return separator.join(f'{value:.4f}' for value in values)


@cache
def row(number: int, separator: str = ',') -> str:
    """Return the row of an annotation for `box_of`."""
    return separator.join(str(value) for value in box_of(number))


def write_rows(path: Path, rows: Sequence[str]) -> None:
    """Write rows to a text file."""
    path.write_text(''.join(f'{row}\n' for row in rows))


def _write_scene(folder: Path, seed: int) -> list[Box]:
    images, boxes = render_scene(FRAMES, seed=seed)
    folder.mkdir(parents=True)
    for number, image in enumerate(images, 1):
        assert cv2.imwrite(str(folder / f'{number:08d}.jpg'), image)
    return boxes


def _write_images(folder: Path, videos: set[str], inner: str, pattern: str, count: int) -> None:
    """Link all video folders to one folder with images 1 to `count`, which are one file."""
    images = folder.parent / f'images_{count}'
    images.mkdir(parents=True)
    first = images / pattern.format(1)
    assert cv2.imwrite(str(first), render_scene(1).images[0])
    for number in range(2, count + 1):
        os.link(first, images / pattern.format(number))
    for video in videos:
        path = folder / video / inner
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(images)
