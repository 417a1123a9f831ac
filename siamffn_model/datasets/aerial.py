"""The aerial pack: images from the air and of traffic in which all targets have boxes.

Layout: boxes.csv with columns image,frame,track,class,x,y,w,h,occluded,source, and aerial.tar with
the images. Rows with the same track and source show the same object. Boxes are x, y, w, h in pixels
of the stored image, counted from 0. Columns not named are ignored.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from siamffn_model.datasets.pack import decode_file, parse_box, read_csv, read_tar
from siamffn_model.errors import DataError
from siamffn_model.imaging.geometry import Box

NO_TARGETS = {'cars_group', 'moving_unverified'}  # several cars in one box, and unknown objects


class AerialTarget(NamedTuple):
    """A target in an image; `track` is empty if it is not known in other images."""

    image: str
    frame: int
    track: str
    kind: str
    box: Box


@dataclass(frozen=True)
class AerialPack:
    """All files of the pack in memory, still encoded; an image is decoded on each request.

    Attributes:
        files: name -> content of each image.
        targets: source -> image -> its targets, in the order of boxes.csv.
    """

    files: dict[str, bytes]
    targets: dict[str, dict[str, list[AerialTarget]]]

    @classmethod
    def read(cls, folder: Path) -> AerialPack:
        """Read the files in a folder; raise `DataError` if one is missing or has no target.

        Occluded boxes and those of classes that are no targets are left out.
        """
        files = read_tar(folder / 'aerial.tar')
        targets: dict[str, dict[str, list[AerialTarget]]] = defaultdict(lambda: defaultdict(list))
        for row in read_csv(folder / 'boxes.csv'):
            if row['class'] in NO_TARGETS or row['occluded'] == '1':
                continue
            target = AerialTarget(
                row['image'], int(row['frame'] or 0), row['track'], row['class'], parse_box(row)
            )
            targets[row['source']][target.image].append(target)
        if not targets:
            raise DataError(f'{folder / "boxes.csv"} lists no target: copy the pack again')
        return cls(files, {source: dict(images) for source, images in targets.items()})

    def image(self, name: str) -> NDArray[np.uint8]:
        """Decode an image: BGR uint8 (H, W, 3); raises the errors of `Pack.image`."""
        return decode_file(self.files, name, cv2.IMREAD_COLOR)
