"""OpenCV's own trackers, to compare with: CSRT, KCF, MIL and NanoTrack."""

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
from siamffn_model.imaging.crop import Image, check_image
from siamffn_model.imaging.geometry import Box
from siamffn_model.tracking.tracker import State, Track

NAMES = ('csrt', 'kcf', 'mil', 'nano')
PREFIX = 'opencv:'

NANO_FILES = ('nanotrack_backbone_sim.onnx', 'nanotrack_head_sim.onnx')
NANO_SOURCE = 'https://github.com/HonglinChu/SiamTrackers/tree/master/NanoTrack/models/nanotrackv2'

MIL_SIDE = 6  # pixels: in boxes of less than 5 MIL looks for its features for ever


def parse_tracker(text: str) -> OpenCVTracker:
    """Return the tracker of a name such as `opencv:csrt`, or `opencv:nano=DIR` with its models.

    Raises `ConfigError` where there is none of this name, or as `OpenCVTracker` does.
    """
    name, separator, folder = text.removeprefix(PREFIX).partition('=')
    if not text.startswith(PREFIX) or name not in NAMES or (separator and name != 'nano'):
        choice = ', '.join(f'{PREFIX}{known}' for known in NAMES)
        raise ConfigError(
            f"'{text}' is no tracker of OpenCV; there are {choice}=DIR (the folder of its models)"
        )
    return OpenCVTracker(name, Path(folder) if folder else None)


class OpenCVTracker:
    """One of OpenCV's trackers (`name`: csrt, kcf, mil or nano) behind `TrackerProtocol`.

    OpenCV takes whole pixels: a box is clipped to the image and rounded. A lost target answers its
    last box with score 0; a found one has score 1, with NanoTrack its own. MIL draws its
    features at random, differently every time within one process.

    Args:
        name: one of `NAMES`.
        models: for nano, the folder of its two ONNX files.

    Raises:
        ConfigError: no such tracker.
        DependencyError: the tracker (CSRT, KCF) is not in this build of OpenCV.
        WeightsError: NanoTrack's models are missing or damaged.
    """

    def __init__(self, name: str, models: Path | None = None) -> None:
        if name not in NAMES:
            raise ConfigError(f"OpenCV's trackers here are {', '.join(NAMES)}, not '{name}'")
        self.name, self._models = name, models
        self._create()  # what is missing is said now, not in the middle of an evaluation
        self._tracker: Any = None

    def init(self, image: Image, box: Box) -> None:
        """Learn the target in `box` of a BGR uint8 image (H, W, 3).

        Raises `ImageError` or `BoxError`; an earlier target is then still followed.
        """
        height, width = check_image(image).shape[:2]
        box = Box(*map(float, box))
        box.check(width, height)
        tracker = self._create()
        pixels = _pixels(box, width, height, MIL_SIDE if self.name == 'mil' else 1)
        try:
            tracker.init(image, pixels)
        except cv2.error as error:
            raise BoxError(
                f"box {tuple(box)} in the {width}x{height} image: OpenCV's {self.name} cannot "
                f'start from it ({error.err}); give a box of some pixels that leaves some of the '
                'image around it'
            ) from error
        self._tracker, self._box, self._size = tracker, Box(*map(float, pixels)), (width, height)

    def update(self, image: Image) -> Track:
        """Find the target in the next image, of the first one's size.

        Raises `ImageError`; before `init` `NotReadyError`; where OpenCV fails `SiamFFNError`.
        """
        if self._tracker is None:
            raise NotReadyError(
                'update() before init(): give the first image and its box to init()'
            )
        height, width = check_image(image).shape[:2]
        if (width, height) != self._size:
            raise ImageError(
                f'image is {width}x{height}, the first one was {"{}x{}".format(*self._size)}: '
                "OpenCV's trackers need images of one size; start anew with init()"
            )
        try:
            found, box = self._tracker.update(image)
        except cv2.error as error:
            raise SiamFFNError(
                f"OpenCV's {self.name} fails after {tuple(self._box)} ({error.err}); "
                'start anew with init()'
            ) from error
        if not found:
            return Track(self._box, 0.0, State.LOST)
        self._box = Box(*map(float, box))
        score = self._tracker.getTrackingScore() if self.name == 'nano' else 1.0
        return Track(self._box, float(score), State.TRACKING)

    def _create(self) -> Any:
        if self.name == 'nano':
            return _nano(self._models)
        opencv: Any = cv2  # not every build has them
        create = getattr(opencv, f'Tracker{self.name.upper()}_create', None)
        if create is None:
            raise DependencyError(
                f"OpenCV's {self.name} is not in this build of OpenCV: `pip install --no-deps "
                f"'opencv-contrib-python-headless=={cv2.__version__}.*'` puts one that has it in "
                'the place of opencv-python-headless'
            )
        if self.name != 'kcf':
            return create()
        parameters = opencv.TrackerKCF_Params()
        parameters.detect_thresh = 0  # so that it always answers
        return create(parameters)


def _nano(models: Path | None) -> Any:
    if models is None:
        raise WeightsError(
            f'nano needs a folder with {" and ".join(NANO_FILES)}, from {NANO_SOURCE}: '
            f'give it as {PREFIX}nano=DIR'
        )
    files = [models / name for name in NANO_FILES]
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise WeightsError(f'missing: {" and ".join(missing)}; get them from {NANO_SOURCE}')
    opencv: Any = cv2  # its type stubs lack this tracker
    parameters = opencv.TrackerNano_Params()
    parameters.backbone, parameters.neckhead = map(str, files)
    logging = opencv.utils.logging
    level = logging.setLogLevel(logging.LOG_LEVEL_ERROR)  # OpenCV 5 warns with every network
    try:
        return opencv.TrackerNano_create(parameters)
    except cv2.error as error:
        raise WeightsError(
            f'{" or ".join(map(str, files))}: damaged, or no ONNX model that OpenCV can read '
            f'({error.err}); get them anew from {NANO_SOURCE}'
        ) from error
    finally:
        logging.setLogLevel(level)


def _pixels(box: Box, width: int, height: int, least: int) -> tuple[int, int, int, int]:
    """Clip and round a box to an image of this size; its sides are at least `least` pixels."""
    x, y, w, h = box.clip(width, height)
    w, h = max(round(w), least), max(round(h), least)
    return max(0, min(round(x), width - w)), max(0, min(round(y), height - h)), w, h
