"""Track one target through a video and write the results: `siamffn track`."""

from __future__ import annotations

import csv
import io
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
from tqdm import tqdm

from siamffn_model.atomic_io import write_text
from siamffn_model.errors import DataError, DependencyError, ImageError
from siamffn_model.imaging.drawing import Colour, draw_track
from siamffn_model.imaging.frames import Frames
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image
from siamffn_model.imaging.video_writer import VideoWriter
from siamffn_model.tracking import State, Track, TrackerProtocol

COLUMNS = ('frame', 'x', 'y', 'w', 'h', 'score', 'state')
UNCERTAIN_COLOUR: Colour = (30, 170, 255)  # orange
WINDOW = 'siamffn (q: stop)'


def first_box(frames: Frames, given: Box | None) -> Box:
    """Return the initial box: `given`, or else the first of the ground truth.

    Raises `BoxError` if the box is outside the image, `DataError` if neither exists.
    """
    box = given or (frames.groundtruth[0] if frames.groundtruth else None)
    if box is None:
        raise DataError(
            f'{frames.path}: no ground truth for the first frame; '
            'give the box of the target there: --init x,y,w,h'
        )
    box.check(*frames.size)
    return box


def track_video(
    tracker: TrackerProtocol, frames: Frames, box: Box, out: Path, show: bool = False
) -> dict[int, Track]:
    """Track the target in `box` and write boxes.csv and overlay.mp4 to the folder `out`.

    Images that cannot be read are left out of both (see `Frames.damage`). With `show`, each image
    is shown in a window, in which q or Esc stops the tracking. If it is stopped, by Ctrl-C too, the
    files contain the frames before.

    Returns the track of each frame by its number; the first is `box` itself.

    Raises:
        DataError: a result cannot be written.
        DependencyError: `show` is set, but windows cannot be shown.
        ImageError: an image has another size; raised after the files have been written.
        KeyboardInterrupt: likewise.
    """
    if show:
        check_window()
    make_folder(out)
    overlay_file = out / 'overlay.mp4'
    if overlay_file.exists() and overlay_file.samefile(frames.path):
        raise DataError(f'{frames.path} would be overwritten: choose another --out')
    tracks: dict[int, Track] = {}
    stopped: BaseException | None = None
    try:
        with VideoWriter(overlay_file, frames.fps, frames.size) as overlay:
            try:
                for image in _track_frames(tracker, frames, box, tracks):
                    overlay.write(image)
                    if show and _show(image):
                        break
            except (KeyboardInterrupt, ImageError) as error:
                stopped = error
    finally:
        if tracks:
            write_text(out / 'boxes.csv', boxes_csv(tracks))
    if stopped:
        raise stopped
    return tracks


def _track_frames(
    tracker: TrackerProtocol, frames: Frames, box: Box, tracks: dict[int, Track]
) -> Iterator[Image]:
    """Add the track of each image to `tracks`, then yield the image with the track drawn."""
    for frame in tqdm(frames.read(), total=frames.expected, desc=frames.path.name, unit='frame'):
        if tracks:
            tracks[frame.number] = tracker.update(frame.image)
        else:
            tracker.init(frame.image, box)
            tracks[frame.number] = Track(box, 1.0, State.TRACKING)
        _draw(frame.image, tracks[frame.number], frame.number)
        yield frame.image


def boxes_csv(tracks: Mapping[int, Track]) -> str:
    """Return CSV of tracks by number of frame: number, box in pixels, score, name of state."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(COLUMNS)
    for frame, (box, score, state) in tracks.items():
        numbers = [f'{value:.2f}' for value in box]
        writer.writerow([frame, *numbers, f'{score:.4f}', State(state).name])
    return text.getvalue()


def make_folder(path: Path) -> None:
    """Create a folder and its parents; raise `DataError` if that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f'{path}: cannot be created as a folder ({error.strerror}); choose another folder'
        ) from error


def check_window() -> None:
    """Raise `DependencyError` if this OpenCV build or this machine cannot show windows."""
    if re.search(r'GUI:\s+NONE', cv2.getBuildInformation()):
        raise DependencyError(
            'this OpenCV build cannot show windows: replace opencv-python-headless by '
            'opencv-python, or omit --show and open overlay.mp4'
        )
    # Without a display, some builds abort the process instead of raising an exception.
    display = os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')
    if sys.platform == 'linux' and not display:
        raise DependencyError('no display for a window: omit --show and open overlay.mp4')


def _draw(image: Image, track: Track, frame: int) -> None:
    box = None if track.state == State.LOST else track.box
    colour = UNCERTAIN_COLOUR if track.state == State.UNCERTAIN else None
    draw_track(image, box, f'{frame} {State(track.state).name.lower()} {track.score:.2f}', colour)


def _show(image: Image) -> bool:
    """Show an image; return whether q or Esc was pressed."""
    cv2.imshow(WINDOW, image)
    return cv2.waitKey(1) & 0xFF in (ord('q'), 27)
