"""Following one target through a video, with its results on disk: `siamffn track`."""

from __future__ import annotations

import csv
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
from tqdm import tqdm

from siamffn_model.atomic_io import write_text
from siamffn_model.errors import DataError, DependencyError, ImageError
from siamffn_model.imaging.drawing import Colour, draw_track
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.sources import Frames, Image
from siamffn_model.imaging.video_writer import VideoWriter
from siamffn_model.tracking import State, Track, TrackerProtocol

COLUMNS = ('frame', 'x', 'y', 'w', 'h', 'score', 'state')
UNCERTAIN_COLOUR: Colour = (30, 170, 255)  # orange
WINDOW = 'siamffn (q: stop)'


def first_box(frames: Frames, given: Box | None) -> Box:
    """Return the box to start from: `given`, else the ground truth's first.

    Raises `BoxError` for a box outside the image, `DataError` where there is none.
    """
    box = given or (frames.groundtruth[0] if frames.groundtruth else None)
    if box is None:
        raise DataError(
            f'{frames.path}: no ground truth that says where the target is; '
            'give its box in the first frame: --init x,y,w,h'
        )
    box.check(*frames.size)
    return box


def track_video(
    tracker: TrackerProtocol, frames: Frames, box: Box, out: Path, show: bool = False
) -> list[Track]:
    """Follow the target in `box` and write boxes.csv and overlay.mp4 into the folder `out`.

    With `show` a window shows each image; q or Esc there stops. When stopped, by Ctrl-C too, or by
    a damaged image, the files hold what came before; Ctrl-C and the error are then raised.
    Returns one track a frame; the first is `box` itself.
    """
    if show:
        check_window()
    make_folder(out)
    tracks: list[Track] = []
    stopped: BaseException | None = None
    try:
        with VideoWriter(out / 'overlay.mp4', frames.fps, frames.size) as overlay:
            try:
                for image in _followed(tracker, frames, box, tracks):
                    overlay.write(image)
                    if show and _shown_until_quit(image):
                        break
            except (KeyboardInterrupt, ImageError) as reason:
                stopped = reason
    finally:
        if tracks:
            write_text(out / 'boxes.csv', boxes_csv(tracks))
    if stopped:
        raise stopped
    return tracks


def _followed(
    tracker: TrackerProtocol, frames: Frames, box: Box, tracks: list[Track]
) -> Iterator[Image]:
    """Yield each image with its track drawn in; the track is appended to `tracks` before."""
    for image in tqdm(frames, total=frames.expected, desc=frames.path.name, unit='frame'):
        if tracks:
            tracks.append(tracker.update(image))
        else:
            tracker.init(image, box)
            tracks.append(Track(box, 1.0, State.TRACKING))
        _draw(image, tracks[-1], len(tracks) - 1)
        yield image


def boxes_csv(tracks: Sequence[Track]) -> str:
    """Return one row a frame, counted from 0: box in pixels, score, state's name."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(COLUMNS)
    for frame, (box, score, state) in enumerate(tracks):
        numbers = [f'{value:.2f}' for value in box]
        writer.writerow([frame, *numbers, f'{score:.4f}', State(state).name])
    return text.getvalue()


def make_folder(path: Path) -> None:
    """Make a folder for results; raises `DataError` where that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f'{path}: cannot be made a folder ({error.strerror})') from error


def check_window() -> None:
    """Raise `DependencyError` where this OpenCV, or this machine, cannot show a window."""
    if re.search(r'GUI:\s+NONE', cv2.getBuildInformation()):
        raise DependencyError(
            'this OpenCV build has no windows: install opencv-python in the place of '
            'opencv-python-headless, or leave out --show and look at overlay.mp4'
        )
    # Without a screen some builds do not raise but abort the process, so ask beforehand.
    screen = os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')
    if sys.platform == 'linux' and not screen:
        raise DependencyError('no screen to show a window on: leave out --show, see overlay.mp4')


def _draw(image: Image, track: Track, frame: int) -> None:
    box = None if track.state == State.LOST else track.box
    colour = UNCERTAIN_COLOUR if track.state == State.UNCERTAIN else None
    draw_track(image, box, f'{frame} {State(track.state).name.lower()} {track.score:.2f}', colour)


def _shown_until_quit(image: Image) -> bool:
    cv2.imshow(WINDOW, image)
    return cv2.waitKey(1) & 0xFF in (ord('q'), 27)
