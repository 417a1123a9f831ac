"""Play a bag: publish its messages over DDS at their recorded rate."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import rclpy
from rclpy.duration import Duration
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from tqdm import tqdm

from siamffn_model.errors import ConfigError, DataError
from siamffn_model.signals import catch_signals
from siamffn_ros.bags.io import BagReader, message_class, open_bag
from siamffn_ros.context import ros_context, ros_errors
from siamffn_ros.messages.conversions import to_stamp

ACKNOWLEDGE_TIMEOUT = 2.0  # seconds for reliable subscribers to acknowledge the last messages
SETTLE_TIME = 0.5  # seconds for discovery to complete, or for best-effort messages to arrive
SIGNAL_PERIOD = 0.1  # seconds after which a signal takes effect
QUEUE_DEPTH = 10


def play(
    path: Path,
    rate: float = 1.0,
    clock: bool = False,
    loop: bool = False,
    wait: float = 0.0,
    on_publish: Callable[[str, int], None] = lambda topic, stamp: None,
    topic: str | None = None,
    remap: Sequence[str] = (),
) -> int:
    """Publish a bag over DDS and return the number of messages.

    Args:
        path: an .mcap or .db3 file, or a rosbag2 folder.
        rate: playback speed relative to the recording.
        clock: also publish each record time on /clock, before its message.
        loop: start again at the end, until interrupted.
        wait: maximum time in seconds to wait for a subscriber of the first topic before playing.
        on_publish: called with topic and record time (nanoseconds) just before each message.
        topic: the only topic to publish; None for all.
        remap: rules FROM:=TO for topics; `__node:=NAME` names the node.

    Raises `DataError` for a missing or damaged bag or one without messages, `ConfigError` for a
    topic without messages and for a rule that is not valid, `DependencyError` for a message type
    that is not installed, and `KeyboardInterrupt` after SIGINT, SIGTERM or SIGHUP.
    """
    rules = [word for rule in remap for word in ('-r', rule)]
    with open_bag(path) as bag, ros_context(['--ros-args', *rules]), catch_signals() as stopped:
        topics = _topics_to_play(bag, path, topic)
        types = {name: message_class(bag.topics[name]) for name in topics}
        with ros_errors():
            node = rclpy.create_node(f'bag_player_{os.getpid()}')
            publishers = {
                name: node.create_publisher(kind, name, QoSProfile(depth=QUEUE_DEPTH))
                for name, kind in types.items()
            }
        try:
            clock_publisher = node.create_publisher(Clock, '/clock', QUEUE_DEPTH) if clock else None

            def publish(name: str, stamp: int, data: bytes) -> None:
                if clock_publisher:
                    clock_publisher.publish(Clock(clock=to_stamp(stamp)))
                on_publish(name, stamp)
                publishers[name].publish(data)

            def sleep_until(due: float) -> None:
                while not stopped() and (rest := due - time.monotonic()) > 0:
                    time.sleep(min(rest, SIGNAL_PERIOD))
                if stopped():
                    raise KeyboardInterrupt

            first_topic = next(name for name, _, _ in bag.messages() if name in publishers)
            _wait_for_subscriber(publishers[first_topic], wait, sleep_until)
            count = _play_once(bag, topics, rate, publish, sleep_until)
            while loop:
                count += _play_once(bag, topics, rate, publish, sleep_until)
            _wait_for_delivery(publishers.values())
            return count
        finally:
            node.destroy_node()


def _topics_to_play(bag: BagReader, path: Path, topic: str | None) -> list[str]:
    if not bag.count:
        raise DataError(f'{path} has no messages: record or create it again')
    if topic and not bag.counts[topic]:
        raise ConfigError(
            f'{path} has no messages on {topic}: give one of its topics, '
            + ', '.join(sorted(bag.topics))
        )
    return [topic] if topic else list(bag.topics)


def _wait_for_subscriber(
    publisher: Publisher[Any], seconds: float, sleep_until: Callable[[float], None]
) -> None:
    deadline = time.monotonic() + seconds
    while not publisher.get_subscription_count() and (now := time.monotonic()) < deadline:
        sleep_until(now + 0.02)
    if seconds:
        sleep_until(time.monotonic() + SETTLE_TIME)


def _wait_for_delivery(publishers: Iterable[Publisher[Any]]) -> None:
    """Wait until the last messages have arrived: destroying a publisher drops its queue."""
    for publisher in publishers:
        publisher.wait_for_all_acked(Duration(seconds=ACKNOWLEDGE_TIMEOUT))
    time.sleep(SETTLE_TIME)  # best-effort subscribers acknowledge nothing


def _play_once(
    bag: BagReader,
    topics: Collection[str],
    rate: float,
    publish: Callable[[str, int, bytes], None],
    sleep_until: Callable[[float], None],
) -> int:
    """Publish each message of these topics when it is due; return their number."""
    start, first_stamp = time.monotonic(), None
    count = 0
    messages = (message for message in bag.messages() if message[0] in topics)
    total = sum(bag.counts[topic] for topic in topics)
    for topic, stamp, data in tqdm(messages, total=total, desc='playing', unit='msg', disable=None):
        first_stamp = stamp if first_stamp is None else first_stamp
        sleep_until(start + (stamp - first_stamp) / 1e9 / rate)
        publish(topic, stamp, data)
        count += 1
    return count
