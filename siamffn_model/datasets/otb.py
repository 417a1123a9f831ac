"""OTB-2015 (OTB100): 100 sequences.

Wu, Lim and Yang, "Object Tracking Benchmark", PAMI 2015.
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

# Frames and names of images as in OTB2015.json of github.com/foolwood/DaSiamRPN. Attributes as in
# data/tb_100.txt of github.com/jwlim/tracker_benchmark (the authors' Python tool kit), commit
# ef19fdfc; those in vot/dataset/otb.py of the VOT tool kit are the same.
TABLE = Path(__file__).with_name('otb2015.csv')


def read_otb2015(folder: Path, images: bool) -> list[Sequence]:
    """Read OTB-2015: 100 sequences, 59,035 frames, boxes counted from 1.

    The folder holds Basketball/img/ (not looked at without `images`) and
    Basketball/groundtruth_rect.txt and so on, as published; or the annotations alone, in anno/ or
    in itself, as basketball.txt, jogging_1.txt and so on.

    Raises:
        DataError: something is missing, or rows do not fit the frames, naming the sequence.
        ImageError: the first image of a sequence cannot be read.
    """
    check_folder(folder)
    with TABLE.open(newline='') as file:
        return [_read(folder, images, row) for row in csv.DictReader(file)]


def _read(folder: Path, images: bool, row: dict[str, str]) -> Sequence:
    name, video = row['name'], folder / row['folder']
    first, last = int(row['first']), int(row['last'])
    target = name.partition('_')[2]  # '2' of jogging_2
    published = f'groundtruth_rect.{target}.txt' if target else 'groundtruth_rect.txt'
    places = (video / published, folder / 'anno' / f'{name}.txt', folder / f'{name}.txt')
    annotation = find_file(*places)
    truth = read_boxes(annotation)
    if len(truth) == last:  # of the whole video, as that of Tiger1 is published
        truth = truth[first - 1 :]
    check_row_count(annotation, truth, last - first + 1)
    frames = None
    if images:
        frames = open_numbered_images(video / 'img', f'{{:0{row["digits"]}d}}.jpg', first, last)
    return Sequence(name, truth, frames, tuple(row['attributes'].split()), origin=1)
