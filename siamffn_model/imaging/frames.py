"""The images of a video or folder, in order, with their numbers and times."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from siamffn_model.errors import ImageError
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image

FOLDER_FPS = 30.0  # assumed where the source has no frame rate


class Frame(NamedTuple):
    """One image of a source.

    Attributes:
        number: index in the source from 0; images that cannot be read are counted.
        time: seconds since the first image: the time stamp of a video, else number / fps.
        image: BGR uint8 (H, W, 3).
    """

    number: int
    time: float
    image: Image


class Frames(ABC):
    """The images of one source; each iteration starts at the first, as BGR uint8 (H, W, 3).

    Attributes:
        path: the file or folder that was opened.
        fps: frames per second, the average if it varies; 30.0 for folders.
        size: (width, height) of the first image in pixels.
        expected: approximate number of images, for progress bars; None if unknown. For a video it
            is the number in the header, while `count` decodes the complete video.
        groundtruth: the target's box in each image, None where the target is absent; None if the
            source has no ground truth.
        unreadable: the reason for each image that the latest `read` has skipped.
        repaired: number of each damaged frame of a video that the latest `read` has yielded all the
            same; frames that are predicted from it are damaged, too.
    """

    path: Path
    fps: float
    size: tuple[int, int]
    expected: int | None
    groundtruth: list[Box | None] | None = None
    unreadable: list[str]
    repaired: Sequence[int] = ()

    @abstractmethod
    def read(self) -> Iterator[Frame]:
        """Yield the images that can be read; add the others to `unreadable`, empty at the start."""

    def __iter__(self) -> Iterator[Image]:
        """Yield all images; raise `ImageError` with the reason where one cannot be read."""
        for frame in self.read():
            self._check_complete()
            yield frame.image
        self._check_complete()

    def _check_complete(self) -> None:
        if self.unreadable:
            raise ImageError(self.unreadable[0])

    @cached_property
    def count(self) -> int:
        """Number of images that can be read, found by reading them."""
        return sum(1 for _ in self.read())

    def damage(self, readable: int) -> str | None:
        """Return a warning if the latest `read` has skipped or repaired images, else None.

        `readable` is the number of images that it has yielded.
        """
        warnings = []
        if missing := len(self.unreadable):
            warnings.append(
                f'{readable} of {readable + missing} frames, {missing} unreadable; '
                f'the first: {self.unreadable[0]}'
            )
        if self.repaired:
            warnings.append(
                f'{self.path}: damaged at frame {self.repaired[0]} (from 0), what follows may show '
                'wrong pixels'
            )
        return '; '.join(warnings) or None
