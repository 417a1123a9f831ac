"""Track a target through the images of a bag offline, without dropped frames, deterministically."""

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
from siamffn_ros.messages.images import IMAGE_TYPES, check_message, to_bgr

DETECTIONS_TOPIC = '/tracker/detections'
STATUS_TOPIC = '/tracker/status'
TARGET = '1'


class TrackingSummary(NamedTuple):
    """Statistics of tracking through a bag.

    Attributes:
        images: number of images in which the target was searched, including the first.
        lost: number of these in which it is lost.
        bad: number of images that were skipped because they cannot be used.
        first_bad: the first skipped image and the reason.
    """

    images: int
    lost: int
    bad: int
    first_bad: str


def track_bag(
    model: Runtime, source: Path, output: Path, box: Box | None = None, topic: str | None = None
) -> TrackingSummary:
    """Track one target through every image of a bag, in the order of record time.

    For each image, a Detection2DArray on /tracker/detections and a TrackStatus on /tracker/status
    are written as the node publishes them, with the header and the record time of the image. They
    have no processing times: the same input always gives the same messages.

    Args:
        model: the model, from `load_model`.
        source: bag with images.
        output: the bag to write, a .mcap file, which appears when it is complete.
        box: the target in the first usable image, in pixels; None for the only box on
            /ground_truth with the stamp of this image.
        topic: topic of type Image or CompressedImage; None for the only one.

    Raises `DataError` for a bag that is damaged, without usable images or without a box for the
    first one, and for an output that cannot be written; `ConfigError` if the topic has to be given;
    `BoxError` for a box outside the image.
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
                check_message(message)
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
            size = image.shape[1], image.shape[0]
            out.write(DETECTIONS_TOPIC, to_detections([(TARGET, track)], header, size), recorded)
            status = to_status(TARGET, track, header, frames_processed=images)
            out.write(STATUS_TOPIC, status, recorded)
        if not images:
            raise DataError(
                f'{source}: no image on {topic} can be used; {first_bad or "the topic is empty"}: '
                'record it again'
            )
    return TrackingSummary(images, lost, bad, first_bad)


def true_box(path: Path, header: Header) -> Box:
    """Return the only box on /ground_truth of a bag with the stamp of a header.

    Raises `DataError` if there is not exactly one.
    """
    with open_bag(path) as bag:
        if bag.topics.get(TRUTH_TOPIC) == 'vision_msgs/msg/Detection2DArray':
            for _, array in bag.read(TRUTH_TOPIC):
                if array.header.stamp == header.stamp and len(array.detections) == 1:
                    return to_box(array.detections[0].bbox)
    raise DataError(
        f'{path}: {TRUTH_TOPIC} has not exactly one box for the first image (stamp '
        f'{to_nanoseconds(header.stamp) / 1e9:.3f} s): give the target with --init x,y,w,h '
        '(init:=x,y,w,h in replay.launch.py)'
    )
