"""Record the detections of a tracker, the boxes it was given and its images, to an MCAP file."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path
from typing import Any

from sensor_msgs.msg import CompressedImage, Image

from siamffn_model.errors import DataError, SiamFFNError
from siamffn_ros.bags.io import BagWriter, create_bag

MAX_WAITING_IMAGES = 60  # for the disk; then images are left out, never detections or boxes


class Recording:
    """A bag that a thread writes, so that nobody waits for the disk.

    Args:
        path: the .mcap file, which appears when the recording has been stopped.
        images: whether images are recorded too.
        on_event: receives a line on what goes wrong, in any thread.

    Attributes:
        started: receives `path` when messages can be written.
        finished: receives `path` when the bag is complete. Both receive what `create_bag` raises.
    """

    def __init__(self, path: Path, images: bool, on_event: Callable[[str], None]) -> None:
        self.path = path
        self.images = images
        self.started: Future[Path] = Future()
        self.finished: Future[Path] = Future()
        for future in (self.started, self.finished):
            future.set_running_or_notify_cancel()
        self._on_event = on_event
        self._messages: queue.SimpleQueue[tuple[str, Any, int] | None] = queue.SimpleQueue()
        self._waiting_images = self._left_out = 0
        self._image_type: Any = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name='recording')
        self._thread.start()

    def write(self, topic: str, message: Any) -> None:
        """Append a message, recorded now; images only if they are wanted and the disk keeps up."""
        if isinstance(message, Image | CompressedImage) and not self._take_image(type(message)):
            return
        if not self.finished.done():
            self._messages.put((topic, message, time.time_ns()))

    def _take_image(self, image_type: Any) -> bool:
        if not self.images:
            return False
        self._image_type = self._image_type or image_type
        with self._lock:
            if image_type is self._image_type and self._waiting_images < MAX_WAITING_IMAGES:
                self._waiting_images += 1
                return True
            self._left_out += 1
        return False

    def stop(self) -> Future[Path]:
        """End the recording; the result is the path of the complete bag."""
        self._messages.put(None)
        return self.finished

    def join(self) -> None:
        """Wait until the bag is complete."""
        self._thread.join()

    # --- in the thread

    def _run(self) -> None:
        try:
            with create_bag(self.path) as bag:
                self.started.set_result(self.path)
                self._write_all(bag)
        except SiamFFNError as error:
            self._fail(error)
        except Exception as error:  # no message may end the console
            self._fail(DataError(f'{self.path} cannot be written ({error!r}): record again'))
        else:
            if self._left_out:
                self._on_event(
                    f'{self.path.name} lacks {self._left_out} images: the disk was too slow, or '
                    'their type has changed'
                )
            self.finished.set_result(self.path)

    def _write_all(self, bag: BagWriter) -> None:
        while entry := self._messages.get():
            topic, message, stamp = entry
            bag.write(topic, message, stamp)
            if isinstance(message, Image | CompressedImage):
                with self._lock:
                    self._waiting_images -= 1

    def _fail(self, error: SiamFFNError) -> None:
        if self.started.done():
            self._on_event(f'the recording has failed: {error}')
        else:
            self.started.set_exception(error)
        self.finished.set_exception(error)


def new_path(folder: Path, tracker: str) -> Path:
    """Return the path of a new recording: the tracker's name and the time."""
    name = tracker.strip('/').replace('/', '_')
    stem = f'{name}-{datetime.now():%Y%m%d-%H%M%S}'
    return next(
        path
        for number in range(1, 1000)
        if not (path := folder / f'{stem}{f"-{number}" if number > 1 else ""}.mcap').exists()
    )
