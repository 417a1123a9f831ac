"""The sequence, which all benchmarks consist of, and the simplest set: a folder of sequences.

Layout: one folder for each sequence, with the images in img/, sorted by number, and
groundtruth.txt, one row x,y,w,h for each image in pixels counted from 0, NaN,NaN,NaN,NaN where the
target is absent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from siamffn_model.datasets.sequence_files import check_folder, open_image_folder, read_boxes
from siamffn_model.errors import DataError
from siamffn_model.imaging.frames import Frames
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.sources import ImageFiles


@dataclass(frozen=True)
class Sequence:
    """The ground truth of one target in one video, and the images if they were requested.

    Attributes:
        name: name of the sequence, and of the benchmark's result files.
        truth: (N, 4) boxes x, y, w, h, or (N, 8) corners x1, y1, ..., x4, y4, in pixels counted as
            in the annotation (see `origin`); NaN where the target is absent.
        frames: the N images; None if only the annotation was read.
        attributes: the challenges of the sequence as the benchmark's abbreviations, such as 'SV'.
        origin: coordinate of the first pixel in `truth` and in result files: 0, or 1 for OTB.
        size: (width, height) of the images in pixels; None if not known.
        start: index of the first frame in the complete sequence; above 0 for a result of `rest`.
    """

    name: str
    truth: NDArray[np.float64]
    frames: Frames | None = None
    attributes: tuple[str, ...] = ()
    origin: int = 0
    size: tuple[int, int] | None = None
    start: int = 0

    @property
    def first(self) -> Box:
        """The box in the first image, in pixels counted from 0."""
        x, y, w, h = self.truth[0].tolist()
        return Box(x - self.origin, y - self.origin, w, h)

    @property
    def complete_name(self) -> str:
        """Name of the complete sequence that this one is a part of."""
        return self.name.removesuffix(f'@{self.start + 1}') if self.start else self.name

    def rest(self, start: int) -> Sequence:
        """Return the part from frame `start` of this complete sequence to its end.

        The name becomes NAME@NUMBER with the number of the frame counted from 1; from frame 0 the
        part is the sequence itself.
        """
        if start == 0:
            return self
        assert self.frames is None or isinstance(self.frames, ImageFiles)
        frames = self.frames and self.frames.rest(start)
        name = f'{self.name}@{start + 1}'
        return replace(self, name=name, truth=self.truth[start:], frames=frames, start=start)


def read_sequences(folder: Path, images: bool = True) -> list[Sequence]:
    """Read all sequences in `folder`, sorted by name, without hidden folders.

    All sequences are checked at once, so that a long evaluation does not fail half-way because of
    a missing file. Without `images` only the ground truth is read.

    Raises:
        DataError: no sequences, no ground truth, a number of rows other than that of the images,
            or no box in the first row; the message names the sequence.
        ImageError: the first image of a sequence cannot be read.
    """
    check_folder(folder)
    if (folder / 'groundtruth.txt').exists():
        raise DataError(f'{folder}: this is one sequence; give the folder that contains it')
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith('.'))
    if not names:
        raise DataError(
            f'{folder}: no sequences; expected folders with images in img/ and a groundtruth.txt'
        )
    return [_read(folder / name, images) for name in names]


def _read(path: Path, images: bool) -> Sequence:
    if images and not (path / 'img').is_dir():
        raise DataError(
            f'{path}: no folder img; each folder in {path.parent} must be a sequence, with images '
            'in img/ and a groundtruth.txt'
        )
    annotation = path / 'groundtruth.txt'
    truth = read_boxes(annotation)
    frames = open_image_folder(annotation, truth, path / 'img') if images else None
    return Sequence(path.name, truth, frames)
