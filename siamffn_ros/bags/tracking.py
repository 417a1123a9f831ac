"""A target followed through the images of a bag: no graph, no dropped frames, always the same."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from std_msgs.msg import Header
from tqdm import tqdm

from siamffn_model.errors import DataError, ImageError
from siamffn_model.imaging.geometry import Box
from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.tracking import State, Track, Tracker
from siamffn_ros.bags.io import TRUTH_TOPIC, create_bag, open_bag
from siamffn_ros.messages.conversions import to_box, to_detections, to_nanoseconds, to_status
from siamffn_ros.messages.images import IMAGE_TYPES, check_image, to_bgr

DETECTIONS_TOPIC = '/tracker/detections'
STATUS_TOPIC = '/tracker/status'
TARGET = '1'


class Tracked(NamedTuple):
    """What came of it.

    Attributes:
        images: how many the target was looked for in, the first included.
        lost: in how many of them it was not found.
        bad: how many images could not be used and were skipped.
        first_bad: the first of these, and what is wrong with it.
    """

    images: int
    lost: int
    bad: int
    first_bad: str


def track_bag(
    model: Runtime, source: Path, output: Path, box: Box | None = None, topic: str | None = None
) -> Tracked:
    """Follow one target through every image of a bag, in the order of record time.

    For each image the bag `output` gets, at the image's record time and with its header, a
    Detection2DArray on /tracker/detections and a TrackStatus on /tracker/status, as the node
    publishes them, but without processing times, so that the same input gives the same messages.

    Args:
        model: what `load_model` returned.
        source: bag with images.
        output: the bag to write, a .mcap file; there when it is complete.
        box: the target in the first image that can be used, in pixels; None for the only one
            that /ground_truth has at this image's stamp.
        topic: topic of Image or CompressedImage; None for the only one.

    Raises `DataError` for a bag that is damaged or without usable images, a topic or box that has
    to be given, or an output that cannot be written; `BoxError` for a box that does not fit.
    """
    tracker = Tracker(model)
    images = lost = bad = 0
    first_bad = ''
    with open_bag(source) as bag, create_bag(output) as out:
        topic = bag.choose_topic(IMAGE_TYPES, topic, '--topic')
        total = bag.counts[topic]
        messages = tqdm(bag.read(topic), total=total, desc='tracking', unit='frame', disable=None)
        for recorded, message in messages:
            header = message.header
            try:
                check_image(message)
                image = to_bgr(message)
                if images:
                    track = tracker.update(image)
                else:
                    track = Track(box or true_box(source, header), 1.0, State.TRACKING)
                    tracker.init(image, track.box)
            except ImageError as error:
                first_bad = first_bad or f'image {images + 1} on {topic}: {error}'
                bad += 1
                continue
            images += 1
            lost += track.state == State.LOST
            out.write(DETECTIONS_TOPIC, to_detections([(TARGET, track)], header), recorded)
            status = to_status(TARGET, track, header, frames_processed=images)
            out.write(STATUS_TOPIC, status, recorded)
        if not images:
            raise DataError(
                f'{source}: no image on {topic} can be used; {first_bad or "there is none"}: '
                'record it again'
            )
    return Tracked(images, lost, bad, first_bad)


def true_box(path: Path, header: Header) -> Box:
    """Return the only box of the ground truth at this stamp."""
    with open_bag(path) as bag:
        if bag.topics.get(TRUTH_TOPIC) == 'vision_msgs/msg/Detection2DArray':
            for _, array in bag.read(TRUTH_TOPIC):
                if array.header.stamp == header.stamp and len(array.detections) == 1:
                    return to_box(array.detections[0].bbox)
    raise DataError(
        f'{path}: {TRUTH_TOPIC} has no single box for the first image (stamp '
        f'{to_nanoseconds(header.stamp) / 1e9:.3f} s): give the target with --init x,y,w,h'
    )
