"""The process of the node: arguments, executor, signals, memory."""

from __future__ import annotations

import argparse
import ctypes
import sys
from collections.abc import Callable, Sequence

from rclpy.executors import Executor
from rclpy.utilities import remove_ros_args

from siamffn_model.errors import SiamFFNError
from siamffn_ros.context import make_executor, ros_context, ros_errors, spin, watch_signals
from siamffn_ros.launch_utils import camera_topics
from siamffn_ros.node.tracker_node import SUCCESS, TrackerNode

M_MMAP_THRESHOLD = -3  # glibc's mallopt option
LARGE_ALLOCATION = 800_000  # bytes; an image of 640x480 has 921,600, a search crop 780,300


def main(args: list[str] | None = None) -> int:
    """Run the node, or one for each `--camera NAME=TOPIC`, until SIGINT, SIGTERM or SIGHUP.

    Returns the exit status.
    """
    parser = argparse.ArgumentParser(prog='tracker_node')
    parser.add_argument(
        '--camera',
        action='append',
        default=[],
        metavar='NAME=TOPIC',
        help='track in this topic, with a node /NAME/tracker; several share process and model',
    )
    arguments = sys.argv if args is None else args
    try:
        with ros_errors():
            options = parser.parse_args(remove_ros_args(arguments)[1:])
        return_large_allocations()
        stop_requested = watch_signals()
        with ros_context(arguments[1:]):
            with ros_errors():
                nodes = make_nodes(options.camera)
            return 0 if run(nodes, stop_requested) else 1
    except SiamFFNError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1


def run(nodes: Sequence[TrackerNode], stop_requested: Callable[[], bool]) -> bool:
    """Spin the nodes until a stop is requested; return False if one cannot be activated."""
    executor = make_executor()
    started = all(_start(node, executor) for node in nodes)
    if started:
        spin(executor, nodes[0], stop_requested)
    for node in nodes:
        node.close()
    executor.shutdown()
    for node in nodes:
        node.destroy_node()
    return started


def make_nodes(cameras: Sequence[str]) -> list[TrackerNode]:
    """Return a node in the namespace NAME for each NAME=TOPIC, or a single node for none.

    Raises `SiamFFNError` for a string of another form.
    """
    topics = camera_topics(cameras)
    return [TrackerNode(name, topic) for name, topic in topics.items()] or [TrackerNode()]


def return_large_allocations() -> None:
    """Let glibc return the memory of images of 640x480 and more as soon as it is freed.

    glibc starts that way, but raises the threshold with each large block it frees, after which
    images of many sizes fragment the heap.
    """
    if hasattr(libc := ctypes.CDLL(None), 'mallopt'):
        libc.mallopt(M_MMAP_THRESHOLD, LARGE_ALLOCATION)


def _start(node: TrackerNode, executor: Executor) -> bool:
    """Add a node to the executor and, with `autostart`, activate it; return False on failure."""
    executor.add_node(node)
    if not node.get_parameter('autostart').value:
        return True
    return node.trigger_configure() == SUCCESS and node.trigger_activate() == SUCCESS


if __name__ == '__main__':
    sys.exit(main())
