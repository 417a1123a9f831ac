"""GOT-10k, validation part: 180 sequences.

Huang, Zhao and Huang, "GOT-10k: A Large High-Diversity Benchmark for Generic Object Tracking in
the Wild", PAMI 2019.

Layout: val/, or the given folder itself, with list.txt (optional: the names of the sequences) and
for each sequence a folder such as GOT-10k_Val_000001/ with

- 00000001.jpg ..., the images, numbered from 1;
- groundtruth.txt, one row x,y,w,h in pixels for each image, read as counted from 0;
- absence.label, one row for each image, 1 where the target is absent and 0 elsewhere.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from siamffn_model.atomic_io import read_lines
from siamffn_model.datasets.sequence_files import (
    check_folder,
    find_file,
    open_image_folder,
    read_boxes,
    sequence_names,
)
from siamffn_model.datasets.sequences import Sequence
from siamffn_model.errors import DataError


def read_got10k_val(folder: Path, images: bool) -> list[Sequence]:
    """Read the sequences; rows where the target is absent are NaN.

    Without `images` only the annotations are read.

    Raises:
        DataError: a file is missing, or its number of rows is not that of the images; the message
            names the sequence.
        ImageError: the first image of a sequence cannot be read.
    """
    check_folder(folder)
    root = folder / 'val' if (folder / 'val').is_dir() else folder
    names = sequence_names(root)
    if not names:
        raise DataError(
            f'{root}: no sequences; expected folders GOT-10k_Val_000001 and so on, with images, '
            'groundtruth.txt and absence.label'
        )
    return [_read(root / name, images) for name in names]


def _read(path: Path, images: bool) -> Sequence:
    annotation = path / 'groundtruth.txt'
    truth = read_boxes(annotation)
    truth[_read_absence(path / 'absence.label', len(truth))] = np.nan
    frames = open_image_folder(annotation, truth, path) if images else None
    return Sequence(path.name, truth, frames)


def _read_absence(path: Path, count: int) -> list[bool]:
    """Return for each of `count` rows whether the target is absent."""
    labels = [line.strip() for line in read_lines(find_file(path))]
    if len(labels) != count or labels[0] != '0' or not set(labels) <= {'0', '1'}:
        raise DataError(
            f'{path}: must contain {count} rows, one for each row of groundtruth.txt: 1 where the '
            'target is absent, else 0, and 0 in the first; restore the file from the published set'
        )
    return [label == '1' for label in labels]
