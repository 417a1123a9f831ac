"""Tests of the debug image of siamffn_ros/node/publishers.py.

For the published messages see test_tracker_node.py.
"""

from __future__ import annotations

import numpy as np

from siamffn_model.imaging.drawing import nth_colour
from siamffn_model.imaging.geometry import Box
from siamffn_model.live.frame_buffer import Frame
from siamffn_model.live.targets import TargetStatus
from siamffn_model.tracking import State, Track
from siamffn_ros.node.publishers import debug_image

PLAIN = np.full((240, 320, 3), 100, np.uint8)


def target(colour: int, box: Box, state: State = State.TRACKING) -> TargetStatus:
    return TargetStatus(f't{colour}', 1, None, Track(box, 0.5, state), colour, 1, 0, 0.0, 0.0, 0.0)


def has(image: np.ndarray, colour: int) -> bool:
    return bool((image == nth_colour(colour)).all(axis=2).any())


def test_the_colour_of_a_target_does_not_depend_on_the_others() -> None:
    frame = Frame(1, lambda: PLAIN, 1)
    first, second = target(0, Box(40, 60, 50, 40)), target(3, Box(200, 120, 60, 60))
    both, alone = debug_image(frame, [first, second]), debug_image(frame, [second])
    assert has(both, 0) and has(both, 3)
    assert has(alone, 3) and not has(alone, 0)
    assert (PLAIN == 100).all(), 'the original image is unchanged'


def test_a_lost_target_is_labelled_without_a_box() -> None:
    frame = Frame(1, lambda: PLAIN, 1)
    image = debug_image(frame, [target(2, Box(100, 100, 50, 50), State.LOST)])
    assert not has(image, 2)
    assert (image != PLAIN).any() and (image[90:160, 90:160] == 100).all()
