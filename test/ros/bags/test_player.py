"""siamffn_ros/bags/player.py and `siamffn bag play`"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from siamffn_model.cli.main import main as siamffn
from siamffn_model.datasets.synthetic import Scene
from siamffn_model.errors import ConfigError, DataError
from siamffn_ros.bags.io import IMAGE_TOPIC, START, TRUTH_TOPIC, create_bag
from siamffn_ros.bags.player import play
from siamffn_ros.messages.conversions import to_nanoseconds
from siamffn_ros.messages.images import to_bgr

if TYPE_CHECKING:
    from conftest import Peer


@pytest.mark.parametrize('damage', ['absent', 'empty', 'short', 'text', 'half', 'no bag'])
def test_damaged_bags_are_refused(tmp_path: Path, bag: Path, damage: str) -> None:
    complete = bag.read_bytes()
    path = tmp_path / ('x.mp4' if damage == 'no bag' else 'x.mcap')
    content = {
        'empty': b'',
        'short': complete[:20],
        'text': b'not a bag at all, but long enough to look at from both ends',
        'half': complete[: len(complete) // 2],
        'no bag': complete,
    }
    if damage != 'absent':
        path.write_bytes(content[damage])
    with pytest.raises(DataError, match=r'does not exist|truncated or not a bag') as caught:
        play(path)
    assert str(path) in str(caught.value)


def test_bag_without_messages_is_refused(tmp_path: Path) -> None:
    with create_bag(tmp_path / 'x.mcap'):
        pass
    with pytest.raises(DataError, match='has no messages'):
        play(tmp_path / 'x.mcap')


def test_play_publishes_everything_in_order(bag: Path, clip: Scene, peer: Peer) -> None:
    images: list[Image] = []
    truth: list[Detection2DArray] = []
    clocks: list[int] = []
    node = peer.node
    node.create_subscription(Image, IMAGE_TOPIC, images.append, 100)
    node.create_subscription(Detection2DArray, '/remapped', truth.append, 100)
    node.create_subscription(Clock, '/clock', lambda m: clocks.append(to_nanoseconds(m.clock)), 200)
    order: list[tuple[str, int]] = []
    rules = [f'{TRUTH_TOPIC}:=/remapped', '__node:=my_player']
    names: list[str] = []

    def on_publish(*event: Any) -> None:
        order.append(event)
        if len(order) == 2 * len(clip.images):
            names.extend(node.get_node_names())

    count = play(bag, rate=2.0, clock=True, wait=20, on_publish=on_publish, remap=rules)
    assert 'my_player' in names
    total = len(clip.images)
    assert count == 2 * total and len(order) == count
    assert [stamp for _, stamp in order] == sorted(stamp for _, stamp in order)
    peer.until(lambda: len(images) == len(truth) == total, 'all images and truth')
    assert [to_nanoseconds(m.header.stamp) for m in images] == sorted({s for _, s in order})
    np.testing.assert_array_equal(to_bgr(images[-1]), clip.images[-1])
    peer.until(lambda: len(clocks) == count, 'the clock')
    assert clocks == [stamp for _, stamp in order]


def test_invalid_rules_are_refused(bag: Path) -> None:
    with pytest.raises(ConfigError, match=r"'-r /image:=bad!' is not a remap rule"):
        play(bag, remap=['/image:=bad!'])


def test_loop_repeats_until_interrupted(bag: Path, peer: Peer) -> None:
    stamps: list[int] = []

    def keep(message: Detection2DArray) -> None:
        stamps.append(to_nanoseconds(message.header.stamp))

    peer.node.create_subscription(Detection2DArray, TRUTH_TOPIC, keep, 100)
    command = ['-m', 'siamffn_model', 'bag', 'play', str(bag)]
    player = subprocess.Popen(
        [sys.executable, *command, '--loop', '--rate', '3'], stderr=subprocess.PIPE, text=True
    )
    try:
        peer.until(lambda: stamps.count(START) > 1, 'the second round')
    finally:
        player.send_signal(signal.SIGINT)
        _, errors = player.communicate(timeout=40)
    assert player.returncode == 130 and 'Traceback' not in errors


def test_unknown_topic_is_not_played(bag: Path) -> None:
    result = CliRunner().invoke(siamffn, ['bag', 'play', str(bag), '--topic', '/up'])
    assert result.exit_code == 2
    assert f'on /up: give one of its topics, {TRUTH_TOPIC}, {IMAGE_TOPIC}' in result.output
