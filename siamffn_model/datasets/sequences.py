"""A plain folder of sequences: one folder each, with images in img/ and a groundtruth.txt."""

from __future__ import annotations

from pathlib import Path

from siamffn_model.errors import DataError
from siamffn_model.frames import Frames, open_frames


def open_sequences(folder: str | Path) -> dict[str, Frames]:
    """Open every sequence in `folder`, in the order of their names; hidden folders are passed over.

    All are checked here, so that a long evaluation does not stop half-way for a missing file.

    Raises:
        DataError: no sequences, no ground truth, rows that do not fit the images, or no box in
            the first frame, each naming the sequence.
        ImageError: the first image of a sequence cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f'{folder}: no such folder; give the folder that holds the sequences')
    if (folder / 'groundtruth.txt').exists():
        raise DataError(f'{folder}: this is one sequence; give the folder that holds it')
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith('.'))
    if not names:
        raise DataError(
            f'{folder}: no sequences; expected folders with images in img/ and a groundtruth.txt'
        )
    return {name: _open(folder / name) for name in names}


def _open(path: Path) -> Frames:
    if not (path / 'img').is_dir():
        raise DataError(
            f'{path}: no folder img; every folder beside it must be a sequence, with images in '
            'img/ and a groundtruth.txt'
        )
    frames = open_frames(path)
    truth = path / 'groundtruth.txt'
    if frames.groundtruth is None:
        raise DataError(f'{truth}: missing; give one row x,y,w,h for each of {frames.count} images')
    if frames.groundtruth[0] is None:
        raise DataError(f'{truth}: row 1 is not a box; the tracker needs one to start from')
    return frames
