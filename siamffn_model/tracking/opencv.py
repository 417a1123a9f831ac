"""Baselines: OpenCV's trackers CSRT, KCF, MIL and NanoTrack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2

from siamffn_model.errors import (
    BoxError,
    ConfigError,
    DependencyError,
    ImageError,
    NotReadyError,
    SiamFFNError,
    WeightsError,
)
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image, check_image
from siamffn_model.tracking.tracker import State, Track

OPENCV_TRACKERS = ('csrt', 'kcf', 'mil', 'nano')
OPENCV_PREFIX = 'opencv:'

NANO_FILES = ('nanotrack_backbone_sim.onnx', 'nanotrack_head_sim.onnx')
NANO_SOURCE = 'https://github.com/HonglinChu/SiamTrackers/tree/master/NanoTrack/models/nanotrackv2'

MIL_MIN_SIDE = 6  # pixels; in boxes smaller than 5, MIL samples features in an endless loop


def parse_tracker(text: str) -> OpenCVTracker:
    """Return the tracker for a name such as `opencv:csrt`, or `opencv:nano=DIR` with its models.

    Raises `ConfigError` if the name is unknown, and what `OpenCVTracker` raises.
    """
    name, separator, folder = text.removeprefix(OPENCV_PREFIX).partition('=')
    if (
        not text.startswith(OPENCV_PREFIX)
        or name not in OPENCV_TRACKERS
        or (separator and name != 'nano')
    ):
        choice = ', '.join(f'{OPENCV_PREFIX}{known}' for known in OPENCV_TRACKERS)
        raise ConfigError(
            f"'{text}' is no tracker of OpenCV; choose from {choice}=DIR (the folder of its models)"
        )
    return OpenCVTracker(name, Path(folder) if folder else None)


class OpenCVTracker:
    """One of OpenCV's trackers (`name`: csrt, kcf, mil or nano) as a `TrackerProtocol`.

    OpenCV needs integer boxes: the initial box is clipped to the image and rounded. The track of a
    lost target is its last box with score 0. The score of other tracks is 1, except with
    NanoTrack, which computes one. MIL samples its features at random, so that its results differ
    between runs within a process.

    Args:
        name: one of `OPENCV_TRACKERS`.
        models: for nano, the folder of its two ONNX files.

    Attributes:
        name: as given.
        model_files: for nano, its two ONNX files; else empty.

    Raises:
        ConfigError: no such tracker.
        DependencyError: the tracker (CSRT, KCF) is not in this build of OpenCV.
        WeightsError: NanoTrack's models are missing or damaged.
    """

    def __init__(self, name: str, models: Path | None = None) -> None:
        if name not in OPENCV_TRACKERS:
            raise ConfigError(
                f"OpenCV's trackers here are {', '.join(OPENCV_TRACKERS)}, not '{name}'"
            )
        self.name, self._models = name, models
        self.model_files = [models / file for file in NANO_FILES] if models else []
        self._create()  # report missing files and packages before an evaluation starts
        self._tracker: Any = None

    def init(self, image: Image, box: Box) -> None:
        """Initialise the tracker with the target in `box` of a BGR uint8 image (H, W, 3).

        Raises `ImageError` or `BoxError`; the tracker then keeps its previous target.
        """
        height, width = check_image(image).shape[:2]
        box = Box(*map(float, box))
        box.check(width, height)
        tracker = self._create()
        pixels = _integer_box(box, width, height, MIL_MIN_SIDE if self.name == 'mil' else 1)
        try:
            tracker.init(image, pixels)
        except cv2.error as error:
            raise BoxError(
                f"box {tuple(box)} in the {width}x{height} image: OpenCV's {self.name} cannot "
                f'be initialised with it ({error.err}); give a box of several pixels that does not '
                'cover the complete image'
            ) from error
        self._tracker, self._box, self._size = tracker, Box(*map(float, pixels)), (width, height)

    def update(self, image: Image) -> Track:
        """Track the target in the next image, BGR uint8 (H, W, 3), of the first one's size.

        Raises `ImageError`, `NotReadyError` before `init`, or `SiamFFNError` if OpenCV fails.
        """
        if self._tracker is None:
            raise NotReadyError(
                'update() was called before init(): call init() with the first image and box'
            )
        height, width = check_image(image).shape[:2]
        if (width, height) != self._size:
            raise ImageError(
                f'image is {width}x{height}, the first one was {"{}x{}".format(*self._size)}: '
                "OpenCV's trackers need images of one size; call init() again"
            )
        try:
            success, box = self._tracker.update(image)
        except cv2.error as error:
            raise SiamFFNError(
                f"OpenCV's {self.name} failed after box {tuple(self._box)} ({error.err}); "
                'call init() again'
            ) from error
        if not success:
            return Track(self._box, 0.0, State.LOST)
        self._box = Box(*map(float, box))
        score = self._tracker.getTrackingScore() if self.name == 'nano' else 1.0
        return Track(self._box, float(score), State.TRACKING)

    def _create(self) -> Any:
        if self.name == 'nano':
            return _create_nano(self._models)
        opencv: Any = cv2  # not every build has all trackers
        create = getattr(opencv, f'Tracker{self.name.upper()}_create', None)
        if create is None:
            raise DependencyError(
                f"OpenCV's {self.name} is not in this build of OpenCV: `pip install --no-deps "
                f"'opencv-contrib-python-headless=={cv2.__version__}.*'` replaces "
                'opencv-python-headless by a build that has it'
            )
        if self.name != 'kcf':
            return create()
        parameters = opencv.TrackerKCF_Params()
        parameters.detect_thresh = 0  # never report the target as lost
        return create(parameters)


def _create_nano(models: Path | None) -> Any:
    if models is None:
        raise WeightsError(
            f'nano needs a folder with {" and ".join(NANO_FILES)}, from {NANO_SOURCE}: '
            f'give it as {OPENCV_PREFIX}nano=DIR'
        )
    files = [models / name for name in NANO_FILES]
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise WeightsError(f'missing: {" and ".join(missing)}; get the files from {NANO_SOURCE}')
    opencv: Any = cv2  # OpenCV's type stubs do not have this tracker
    parameters = opencv.TrackerNano_Params()
    parameters.backbone, parameters.neckhead = map(str, files)
    logging = opencv.utils.logging
    level = logging.setLogLevel(logging.LOG_LEVEL_ERROR)  # OpenCV 5 warns about every network
    try:
        return opencv.TrackerNano_create(parameters)
    except cv2.error as error:
        raise WeightsError(
            f'{" or ".join(map(str, files))}: damaged, or not ONNX models that OpenCV can read '
            f'({error.err}); get them again from {NANO_SOURCE}'
        ) from error
    finally:
        logging.setLogLevel(level)


def _integer_box(box: Box, width: int, height: int, min_side: int) -> tuple[int, int, int, int]:
    """Clip a box to an image of this size and round it; its sides are at least `min_side`."""
    x, y, w, h = box.clip(width, height)
    w, h = max(round(w), min_side), max(round(h), min_side)
    return max(0, min(round(x), width - w)), max(0, min(round(y), height - h)), w, h
