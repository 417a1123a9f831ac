"""Read video files with FFmpeg, past damaged parts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from siamffn_model.errors import ImageError
from siamffn_model.imaging.frames import FOLDER_FPS, Frame, Frames
from siamffn_model.imaging.image import Image, stretch_to_8_bit

EARLY_END = 1.0  # seconds that a video without a number of frames may lack of its duration


class Video(Frames):
    """The images of a video file, rotated as its header says: as players show them.

    A frame that cannot be decoded is unreadable, and reading continues with the next. A frame that
    the decoder repairs from its neighbours is used; `repaired` has the number of each.

    Raises `ImageError` if the file is not a video or no frame can be decoded.
    """

    repaired: list[int]

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unreadable, self.repaired = [], []
        try:
            with _open(path) as container:
                stream = container.streams.video[0]
                self.fps = float(stream.average_rate or stream.guessed_rate or FOLDER_FPS)
                self.expected = stream.frames or round(_duration(container) * self.fps) or None
            first = next(self.read(), None)
        except av.FFmpegError as error:
            raise self._error(error.strerror or 'unknown format') from error
        except IndexError as error:
            raise self._error('it has no images') from error
        if first is None:
            raise self._error('no frame can be decoded')
        self.size = (first.image.shape[1], first.image.shape[0])

    def read(self) -> Iterator[Frame]:
        """See `Frames`."""
        self.unreadable, self.repaired = [], []
        done = 0
        try:
            for frame in self._read('AUTO', stop=True):
                yield frame
                done += 1
        except av.FFmpegError:
            self.unreadable, self.repaired = [], []
            # With a thread for each frame, other frames are lost and the failed one is not known.
            yield from islice(self._read('SLICE', stop=False), done, None)

    def _read(self, threads: str, stop: bool) -> Iterator[Frame]:
        """Yield the frames; at one that cannot be decoded, stop with the error, or go on."""
        first, time = None, -1 / self.fps
        reformatter = VideoReformatter()  # one for all frames is faster
        with _open(self.path) as container:
            container.streams.video[0].thread_type = threads
            for number, picture in self._decode(container, stop):
                stamp = picture.time
                first = stamp if first is None else first
                if picture.is_corrupt:
                    self.repaired.append(number)
                if stamp is None or first is None or stamp - first <= time:
                    time += 1 / self.fps  # formats such as AVI have no usable time stamps
                else:
                    time = stamp - first
                yield Frame(number, time, to_bgr(picture, reformatter))
            missing = _duration(container) - time - 1 / self.fps
            if not container.streams.video[0].frames and missing > EARLY_END:
                for _ in range(round(missing * self.fps)):
                    self._skip(f'the video ends {missing:.1f} s early')

    def _decode(self, container: InputContainer, stop: bool) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yield the frames that can be decoded, each with its number."""
        decoded = hidden = 0
        failed: list[int] = []  # time stamps
        for packet in self._packets(container):
            hidden += packet.is_discard
            try:
                pictures = packet.decode()
            except av.FFmpegError as error:
                if stop:
                    raise
                self._skip(f'a frame is damaged ({error.strerror})')
                failed.append(packet.pts or 0)
                continue
            for picture in pictures:
                yield decoded + sum(stamp < (picture.pts or 0) for stamp in failed), picture
                decoded += 1
        for _ in range(container.streams.video[0].frames - hidden - decoded - len(failed)):
            self._skip('the file ends early')

    def _packets(self, container: InputContainer) -> Iterator[av.Packet[VideoStream]]:
        try:
            yield from container.demux(container.streams.video[0])
        except av.FFmpegError as error:
            self._skip(f'the rest cannot be read ({error.strerror})')

    def _skip(self, reason: str) -> None:
        self.unreadable.append(f'{self.path}: {reason}')

    def _error(self, reason: str) -> ImageError:
        return ImageError(
            f'{self.path}: not a video that FFmpeg can decode ({reason}); check that the file is '
            'complete, or convert it, for example to H.264 in .mp4'
        )


def _open(path: Path) -> InputContainer:
    # FFmpeg would take the start of a relative name such as 12:30.mp4 for a protocol.
    return av.open(str(path.absolute()))


def _duration(container: InputContainer) -> float:
    """Return the seconds of a video; 0 if they are unknown, or may be those of its sound."""
    if container.duration is None or len(container.streams) > 1:
        return 0.0
    return container.duration / av.time_base


def to_bgr(picture: av.VideoFrame, reformatter: VideoReformatter) -> Image:
    """Return a decoded frame, rotated as its header says, as BGR uint8 (H, W, 3)."""
    if picture.format.name.startswith('gray') and picture.format.components[0].bits > 8:
        grey = stretch_to_8_bit(np.asarray(picture.to_ndarray(format='gray16le'), np.uint16))
        image = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    else:
        image = reformatter.reformat(picture, format='bgr24').to_ndarray()
    turns = round(picture.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns) if turns else image)
