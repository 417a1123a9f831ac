"""Cameras and network streams, whose images come in real time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import cv2

from siamffn_model.errors import DataError, ImageError
from siamffn_model.imaging.image import Image

LIVE_SOURCE = re.compile(r'[a-z]+:/.*|/dev/video\d+|\d+', re.I)  # a stream's address, or a camera
TIMEOUT = 5.0  # seconds for a stream to open, and to deliver the next image
LOW_DELAY = {'rtsp_transport': 'tcp', 'fflags': 'nobuffer', 'flags': 'low_delay'}


def is_live(source: str) -> bool:
    """Return whether a source is a camera or a stream, by its name."""
    return bool(LIVE_SOURCE.fullmatch(source)) and not Path(source).is_file()


def read_live(source: str) -> Iterator[Image]:
    """Yield the images, BGR uint8 (H, W, 3), of a camera or stream until it ends.

    Args:
        source: the number of a camera or its device, such as 0 or /dev/video0, or the address of a
            stream, such as rtsp://192.168.1.10/stream.

    Raises `DataError` if it cannot be opened, and `ImageError` if it fails or no image comes.
    """
    if camera := re.fullmatch(r'(?:/dev/video)?(\d+)', source):
        yield from _read_camera(source, int(camera[1]))
    else:
        yield from _read_stream(source)


def _read_camera(source: str, number: int) -> Iterator[Image]:
    camera = cv2.VideoCapture(number)
    try:
        if not camera.isOpened():
            raise DataError(
                f'camera {source} cannot be opened: check its number with `ls /dev/video*`, and '
                'that no other program uses it'
            )
        while True:
            done, image = camera.read()
            if not done:
                raise ImageError(f'camera {source} delivers no images: check its cable')
            yield image  # type: ignore[misc]
    finally:
        camera.release()


def _read_stream(source: str) -> Iterator[Image]:
    import av  # training needs no FFmpeg
    from av.video.reformatter import VideoReformatter

    from siamffn_model.imaging.video_reader import to_bgr

    try:
        with av.open(source, options=LOW_DELAY, timeout=TIMEOUT) as container:
            if not container.streams.video:
                raise DataError(f'{source} has no images: give the address of a video stream')
            stream = container.streams.video[0]
            stream.thread_type = 'SLICE'  # with a thread for each frame, images come later
            reformatter = VideoReformatter()
            for picture in container.decode(stream):
                yield to_bgr(picture, reformatter)
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or str(error)
        raise DataError(f'{source} cannot be read ({reason}): check its address') from error
