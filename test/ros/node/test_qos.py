"""siamffn_ros/node/qos.py: what a real node does with its names and overrides."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import NodeProcess, Peer


def test_qos_overrides_win(
    start_node: Callable[..., NodeProcess], make_peer: Callable[..., Peer]
) -> None:
    name = 'qos_overrides./image.subscription.reliability'
    node, wrong = (start_node(**{name: value}) for value in ('reliable', 'perfect'))
    make_peer(reliable=False)
    node.wait_for('with a QoS that is incompatible')
    assert wrong.process.wait(40) == 1
    assert "'perfect': set it to" in wrong.text() and 'Traceback' not in wrong.text()


def test_subscribers_that_ask_for_more_than_is_offered_are_told_of(
    start_node: Callable[..., NodeProcess], make_peer: Callable[..., Peer]
) -> None:
    """The peers ask for reliable detections."""
    fitting = start_node()
    other = start_node(arguments=['--camera', 'other=/other/image'], output_qos='sensor_data')
    peer, _ = make_peer(), make_peer(namespace='other')
    peer.wait_for_node()
    other.wait_for('set output_qos to "reliable"')
    seen = len(peer.diagnostics)
    peer.until(lambda: len(peer.diagnostics) > seen + 4, 'two looks at the graph of each')
    assert 'QoS' not in fitting.text(), 'all fits'
