"""UAV123, 123 sequences, and UAV20L, 20 long sequences: targets filmed from small aircraft.

Mueller, Smith and Ghanem, "A Benchmark and Simulator for UAV Tracking", ECCV 2016. The sequences
of both sets are taken from the same videos.

Layout:

- data_seq/UAV123/ with a folder for each video, such as bird1/000001.jpg ..., numbered from 1;
- anno/UAV123/ and anno/UAV20L/ with a file for each sequence, such as bird1_1.txt, one row x,y,w,h
  in pixels for each frame, read as counted from 0, NaN,NaN,NaN,NaN where the target is absent;
- att/ in anno/UAV123/ and anno/UAV20L/ with a file for each sequence, a row of 12 numbers 0 or 1
  in the order of `ATTRIBUTES` (optional).

Annotations without images may also be in anno/ or in the folder itself, and the attributes in
anno/att/ or att/.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from siamffn_model.atomic_io import read_lines
from siamffn_model.datasets.sequence_files import (
    check_folder,
    check_row_count,
    find_file,
    open_numbered_images,
    read_boxes,
)
from siamffn_model.datasets.sequences import Sequence
from siamffn_model.errors import DataError

ATTRIBUTES = ('SV', 'ARC', 'LR', 'FM', 'FOC', 'POC', 'OV', 'BC', 'IV', 'VC', 'CM', 'SOB')

# The name and the number of frames of each sequence. A sequence that is part of a video has its
# first and last frame instead, counted from 1; its name is that of the video, '_' and a number.
# From demo/configSeqs_UAV123.m of github.com/vision4robotics/DCFTracking4UAV, commit dce19ddd,
# which agrees with the configuration in the benchmark's tool kit.
UAV20L = """
bike1 3085; bird1 2437; car1 2629; car16 1993; car3 1717; car6 4861; car8 2575; car9 1879;
group1 4873; group2 2683; group3 5527; person14 2923; person17 2347; person19 4357;
person2 2623; person20 1783; person4 2743; person5 2101; person7 2065; uav1 3469
"""
UAV123 = """
bike1 3085; bike2 553; bike3 433; bird1_1 1-253; bird1_2 775-1477; bird1_3 1573-2437; boat1 901;
boat2 799; boat3 901; boat4 553; boat5 505; boat6 805; boat7 535; boat8 685; boat9 1399;
building1 469; building2 577; building3 829; building4 787; building5 481; car1_1 1-751;
car1_2 751-1627; car1_3 1627-2629; car2 1321; car3 1717; car4 1345; car5 745; car6_1 1-487;
car6_2 487-1807; car6_3 1807-2953; car6_4 2953-3925; car6_5 3925-4861; car7 1033; car8_1 1-1357;
car8_2 1357-2575; car9 1879; car10 1405; car11 337; car12 499; car13 415; car14 1327; car15 469;
car16_1 1-415; car16_2 415-1993; car17 1057; car18 1207; group1_1 1-1333; group1_2 1333-2515;
group1_3 2515-3925; group1_4 3925-4873; group2_1 1-907; group2_2 907-1771; group2_3 1771-2683;
group3_1 1-1567; group3_2 1567-2827; group3_3 2827-4369; group3_4 4369-5527; person1 799;
person2_1 1-1189; person2_2 1189-2623; person3 643; person4_1 1-1501; person4_2 1501-2743;
person5_1 1-877; person5_2 877-2101; person6 901; person7_1 1-1249; person7_2 1249-2065;
person8_1 1-1075; person8_2 1075-1525; person9 661; person10 1021; person11 721;
person12_1 1-601; person12_2 601-1621; person13 883; person14_1 1-847; person14_2 847-1813;
person14_3 1813-2923; person15 1339; person16 1147; person17_1 1-1501; person17_2 1501-2347;
person18 1393; person19_1 1-1243; person19_2 1243-2791; person19_3 2791-4357; person20 1783;
person21 487; person22 199; person23 397; truck1 463; truck2 385; truck3 535; truck4_1 1-577;
truck4_2 577-1261; uav1_1 1-1555; uav1_2 1555-2377; uav1_3 2473-3469; uav2 133; uav3 265;
uav4 157; uav5 139; uav6 109; uav7 373; uav8 301; wakeboard1 421; wakeboard2 733;
wakeboard3 823; wakeboard4 697; wakeboard5 1675; wakeboard6 1165; wakeboard7 199;
wakeboard8 1543; wakeboard9 355; wakeboard10 469; car1_s 1475; car2_s 320; car3_s 1300;
car4_s 830; person1_s 1600; person2_s 250; person3_s 505
"""


class _FrameRange(NamedTuple):
    """A sequence as frames `first` to `last`, counted from 1, of the video in a folder."""

    name: str
    folder: str
    first: int
    last: int


def read_uav20l(folder: Path, images: bool) -> list[Sequence]:
    """Read UAV20L: 20 sequences, 58,670 frames.

    Without `images` only the annotations are read. Without attribute files the sequences have no
    attributes.

    Raises:
        DataError: a file is missing, or its number of rows is not that of the frames; the message
            names the sequence.
        ImageError: the first image of a sequence cannot be read.
    """
    return _read_set(folder, images, 'UAV20L', UAV20L)


def read_uav123(folder: Path, images: bool) -> list[Sequence]:
    """Read UAV123: 123 sequences, 112,578 frames; see `read_uav20l`."""
    return _read_set(folder, images, 'UAV123', UAV123)


def _read_set(folder: Path, images: bool, title: str, entries: str) -> list[Sequence]:
    check_folder(folder)
    ranges = [_parse_range(entry) for entry in entries.replace('\n', ' ').split(';')]
    attributes = _read_attributes(folder, title, [item.name for item in ranges])
    return [_read(folder, images, title, item, attributes.get(item.name, ())) for item in ranges]


def _parse_range(entry: str) -> _FrameRange:
    name, frames = entry.split()
    first, dash, last = frames.rpartition('-')
    video = name.rpartition('_')[0] if dash else name
    return _FrameRange(name, video, int(first or 1), int(last))


def _read(
    folder: Path, images: bool, title: str, item: _FrameRange, attributes: tuple[str, ...]
) -> Sequence:
    folders = (folder / 'anno' / title, folder / 'anno', folder)
    annotation = find_file(*(path / f'{item.name}.txt' for path in folders))
    truth = read_boxes(annotation)
    check_row_count(annotation, truth, item.last - item.first + 1)
    frames = None
    if images:
        video = folder / 'data_seq/UAV123' / item.folder
        frames = open_numbered_images(video, '{:06d}.jpg', item.first, item.last)
    return Sequence(item.name, truth, frames, attributes)


def _read_attributes(folder: Path, title: str, names: list[str]) -> dict[str, tuple[str, ...]]:
    """Return the attributes of each sequence; nothing if the set has no attribute files."""
    folders = [folder / 'anno' / title / 'att', folder / 'anno/att', folder / 'att']
    files = {name: [path / f'{name}.txt' for path in folders] for name in names}
    if not any(path.is_file() for paths in files.values() for path in paths):
        return {}
    return {name: _read_attribute_file(find_file(*paths)) for name, paths in files.items()}


def _read_attribute_file(path: Path) -> tuple[str, ...]:
    flags = re.findall(r'[^,;\s]+', ' '.join(read_lines(path)))
    if len(flags) != len(ATTRIBUTES) or not set(flags) <= {'0', '1'}:
        raise DataError(
            f'{path}: must contain {len(ATTRIBUTES)} numbers 0 or 1, for {" ".join(ATTRIBUTES)}; '
            'restore the file from the published set'
        )
    return tuple(name for name, flag in zip(ATTRIBUTES, flags) if flag == '1')
