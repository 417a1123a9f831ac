"""Sequences to evaluate on, and the plainest set of them: a folder with a folder for each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from siamffn_model.datasets.sequence_files import check_folder, open_image_folder, read_boxes
from siamffn_model.errors import DataError
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.sources import Frames


@dataclass(frozen=True)
class Sequence:
    """One target in one video: where it is, and the images where they were asked for.

    Attributes:
        name: as the benchmark's result files are called.
        truth: (N, 4) boxes x, y, w, h, or (N, 8) corners x1, y1, ..., x4, y4, in pixels as the
            annotation counts them; NaN where the target is absent.
        frames: its N images; None where only the annotation was read.
        attributes: what makes it hard, by the benchmark's abbreviations such as 'SV'.
        origin: coordinate of the first pixel in `truth` and in result files, 0 or (OTB) 1.
        size: (width, height) of the images in pixels, where known.
    """

    name: str
    truth: NDArray[np.float64]
    frames: Frames | None = None
    attributes: tuple[str, ...] = ()
    origin: int = 0
    size: tuple[int, int] | None = None

    @property
    def first(self) -> Box:
        """The box in the first image, pixels counted from 0."""
        x, y, w, h = self.truth[0].tolist()
        return Box(x - self.origin, y - self.origin, w, h)


def read_sequences(folder: Path, images: bool = True) -> list[Sequence]:
    """Read every sequence in `folder`, in the order of their names; hidden folders are passed over.

    Each is a folder with images in img/ (not looked at without `images`) and a groundtruth.txt. All
    are checked here, so that a long evaluation does not stop half-way for a missing file.

    Raises:
        DataError: no sequences, no ground truth, rows that do not fit the images, or no box in
            the first frame, each naming the sequence.
        ImageError: the first image of a sequence cannot be read.
    """
    check_folder(folder)
    if (folder / 'groundtruth.txt').exists():
        raise DataError(f'{folder}: this is one sequence; give the folder that holds it')
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith('.'))
    if not names:
        raise DataError(
            f'{folder}: no sequences; expected folders with images in img/ and a groundtruth.txt'
        )
    return [_read(folder / name, images) for name in names]


def _read(path: Path, images: bool) -> Sequence:
    if images and not (path / 'img').is_dir():
        raise DataError(
            f'{path}: no folder img; every folder beside it must be a sequence, with images in '
            'img/ and a groundtruth.txt'
        )
    annotation = path / 'groundtruth.txt'
    truth = read_boxes(annotation)
    frames = open_image_folder(annotation, truth, path / 'img') if images else None
    return Sequence(path.name, truth, frames)
