"""OTB-2015 (OTB100): 100 sequences, 59,035 frames, 11 attributes.

Wu, Lim and Yang, "Object Tracking Benchmark", PAMI 2015.

Layout: for each video a folder such as Basketball/ with img/0001.jpg and so on, numbered from 1
(Board with five digits), and groundtruth_rect.txt; Jogging and Skating2 have two targets, in
groundtruth_rect.1.txt and groundtruth_rect.2.txt. Annotations without images may also be in anno/
or in the folder itself, as basketball.txt, jogging_1.txt and so on.

Rows are x,y,w,h in pixels counted from 1, separated by commas, tabs or spaces. Some sequences are
parts of their videos, such as frames 300 to 770 of David; their annotations have rows for these
frames only, except that of Tiger1, which is published with rows for the entire video.
"""

from __future__ import annotations

import csv
from pathlib import Path

from siamffn_model.datasets.sequence_files import (
    check_folder,
    check_row_count,
    find_file,
    open_numbered_images,
    read_boxes,
)
from siamffn_model.datasets.sequences import Sequence

# For each sequence its folder, the numbers of its first and last image, the number of digits in
# the file names, and its attributes. Frames and file names are those of OTB2015.json of
# github.com/foolwood/DaSiamRPN. Attributes are those of data/tb_100.txt of
# github.com/jwlim/tracker_benchmark (the authors' Python tool kit), commit ef19fdfc;
# vot/dataset/otb.py of the VOT tool kit has the same.
TABLE = Path(__file__).with_name('otb2015.csv')


def read_otb2015(folder: Path, images: bool) -> list[Sequence]:
    """Read OTB-2015; boxes have origin 1. Without `images` only the annotations are read.

    Raises:
        DataError: a file is missing, or its number of rows is not that of the frames; the message
            names the sequence.
        ImageError: the first image of a sequence cannot be read.
    """
    check_folder(folder)
    with TABLE.open(newline='') as file:
        return [_read(folder, images, row) for row in csv.DictReader(file)]


def _read(folder: Path, images: bool, row: dict[str, str]) -> Sequence:
    """Read the sequence of one row of the table."""
    name, video = row['name'], folder / row['folder']
    first, last = int(row['first']), int(row['last'])
    target = name.partition('_')[2]  # '2' for jogging_2
    published = f'groundtruth_rect.{target}.txt' if target else 'groundtruth_rect.txt'
    annotation = find_file(
        video / published, folder / 'anno' / f'{name}.txt', folder / f'{name}.txt'
    )
    truth = read_boxes(annotation)
    if len(truth) == last:  # rows for the entire video
        truth = truth[first - 1 :]
    check_row_count(annotation, truth, last - first + 1)
    frames = None
    if images:
        pattern = f'{{:0{row["digits"]}d}}.jpg'
        frames = open_numbered_images(video / 'img', pattern, first, last)
    return Sequence(name, truth, frames, tuple(row['attributes'].split()), origin=1)
