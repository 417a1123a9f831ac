"""siamffn_ros/qos.py: what a real node does with its names and overrides."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import NodeProcess, Peer


def test_qos_overrides_win(
    start_node: Callable[..., NodeProcess], make_peer: Callable[..., Peer]
) -> None:
    name = 'qos_overrides./image.subscription.reliability'
    node = start_node(**{name: 'reliable'})
    make_peer(reliable=False)
    node.wait_for('with a QoS that does not fit')
    wrong = start_node(**{name: 'perfect'})
    assert wrong.process.wait(40) == 1
    assert "'perfect': set it to" in wrong.text() and 'Traceback' not in wrong.text()


def test_subscribers_that_ask_for_more_than_is_offered_are_told_of(
    start_node: Callable[..., NodeProcess], peer: Peer
) -> None:
    """The peer asks for reliable detections."""
    node = start_node()
    peer.wait_for_node()
    seen = len(peer.diagnostics)
    peer.until(lambda: len(peer.diagnostics) > seen + 2, 'two looks at the graph')
    assert 'QoS' not in node.text(), 'all fits'
    assert node.end() == 0
    node = start_node(output_qos='sensor_data')
    node.wait_for('set output_qos to "reliable"')
