"""A bag published over DDS at its recorded rate."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import rclpy
from rclpy.duration import Duration
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from tqdm import tqdm

from siamffn_model.errors import ConfigError, DataError
from siamffn_ros.bags.io import BagReader, message_class, open_bag
from siamffn_ros.dds import use_profile
from siamffn_ros.messages.conversions import to_stamp

DELIVERY = 2.0  # seconds that a reliable subscriber has to acknowledge the last messages
SETTLE = 0.5  # seconds until both sides know of a match, or of what needs no acknowledgement
QUEUE = 10


def play(
    path: Path,
    rate: float = 1.0,
    clock: bool = False,
    loop: bool = False,
    wait: float = 0.0,
    published: Callable[[str, int], None] = lambda topic, stamp: None,
    topic: str | None = None,
) -> int:
    """Publish a bag over DDS at `rate` times the recorded rate; returns the number of messages.

    Args:
        path: an .mcap or .db3 file, or a rosbag2 folder.
        rate: speed, 1 as recorded.
        clock: publish each record time on /clock too, before its message.
        loop: start again at the end, until interrupted.
        wait: seconds to wait for a subscriber of the first topic; then it plays without.
        published: called with topic and record time just before each message.
        topic: publish this one only; None for all.

    Raises `DataError` for a missing or damaged bag, one without messages to play, or an unknown
    message type.
    """
    use_profile()
    with open_bag(path) as bag:
        if not bag.count:
            raise DataError(f'{path} holds no message: record or create it again')
        if topic and not bag.counts[topic]:
            topics = ', '.join(sorted(bag.topics))
            raise ConfigError(f'{path} has no message on {topic}: give one of its topics, {topics}')
        played = [topic] if topic else list(bag.topics)
        kinds = {name: message_class(bag.topics[name]) for name in played}
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        node = rclpy.create_node('bag_player')
        try:
            publishers = {
                name: node.create_publisher(kind, name, QoSProfile(depth=QUEUE))
                for name, kind in kinds.items()
            }
            if clock:
                clock_publisher = node.create_publisher(Clock, '/clock', QUEUE)

            def publish(name: str, stamp: int, data: bytes) -> None:
                if clock:
                    clock_publisher.publish(Clock(clock=to_stamp(stamp)))
                published(name, stamp)
                publishers[name].publish(data)

            first = next(name for name, _, _ in bag.messages() if name in publishers)
            _wait_for_subscriber(publishers[first], wait)
            count = _play_once(bag, played, rate, publish)
            while loop:
                count += _play_once(bag, played, rate, publish)
            _wait_for_delivery(publishers.values())
            return count
        finally:
            node.destroy_node()
            rclpy.shutdown()


def _wait_for_subscriber(publisher: Publisher[Any], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not publisher.get_subscription_count() and time.monotonic() < deadline:
        time.sleep(0.02)
    if seconds:
        time.sleep(SETTLE)


def _wait_for_delivery(publishers: Iterable[Publisher[Any]]) -> None:
    """Let the last messages arrive: with their publisher they would go."""
    for publisher in publishers:
        publisher.wait_for_all_acked(Duration(seconds=DELIVERY))
    time.sleep(SETTLE)  # best effort acknowledges nothing


def _play_once(
    bag: BagReader,
    topics: Collection[str],
    rate: float,
    publish: Callable[[str, int, bytes], None],
) -> int:
    """Publish each message of these topics when it is due; returns their number."""
    begin, first = time.monotonic(), None
    count = 0
    chosen = (message for message in bag.messages() if message[0] in topics)
    total = sum(bag.counts[topic] for topic in topics)
    for topic, stamp, data in tqdm(chosen, total=total, desc='playing', unit='msg', disable=None):
        first = stamp if first is None else first
        due = begin + (stamp - first) / 1e9 / rate
        time.sleep(max(due - time.monotonic(), 0.0))
        publish(topic, stamp, data)
        count += 1
    return count
