"""GOT-10k's validation part: 180 sequences.

Huang, Zhao and Huang, "GOT-10k: A Large High-Diversity Benchmark for Generic Object Tracking in
the Wild", PAMI 2019.
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
    """Read the sequences in `folder`, or in val/ in it; NaN where absence.label says 1.

    Each is a folder such as GOT-10k_Val_000001 with images (not looked at without `images`),
    groundtruth.txt and absence.label; list.txt names them, and may be missing.

    Raises:
        DataError: something is missing, or rows do not fit the images, naming the sequence.
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
    absent = _read_absent(path / 'absence.label', len(truth))
    truth[absent] = np.nan
    return Sequence(
        path.name, truth, open_image_folder(annotation, truth, path) if images else None
    )


def _read_absent(path: Path, count: int) -> list[bool]:
    labels = [line.strip() for line in read_lines(find_file(path))]
    if len(labels) != count or labels[0] != '0' or not set(labels) <= {'0', '1'}:
        raise DataError(
            f'{path}: must hold {count} rows, one a row of groundtruth.txt, each 0, or 1 where the '
            'target is absent, which it is not in the first; restore the file from the published '
            'set'
        )
    return [label == '1' for label in labels]
