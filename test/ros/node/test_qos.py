"""Tests of siamffn_ros/node/qos.py: the QoS parameters and overrides of the node."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import NodeProcess, Peer


def test_qos_overrides_take_precedence(
    start_node: Callable[..., NodeProcess], make_peer: Callable[..., Peer]
) -> None:
    name = 'qos_overrides./image.subscription.reliability'
    node, invalid = (start_node(**{name: value}) for value in ('reliable', 'perfect'))
    make_peer(reliable=False)
    node.wait_for(f'so none of its images arrive: set {name} to best_effort')
    assert invalid.process.wait(40) == 1
    assert "'perfect': set it to" in invalid.log_text() and 'Traceback' not in invalid.log_text()


def test_subscribers_with_an_incompatible_qos_are_reported(
    start_node: Callable[..., NodeProcess], make_peer: Callable[..., Peer]
) -> None:
    """Both peers request reliable detections, which only the first node offers."""
    compatible = start_node()
    incompatible = start_node(
        arguments=['--camera', 'other=/other/image'], output_qos='sensor_data'
    )
    peer, _ = make_peer(), make_peer(namespace='other')
    peer.wait_for_node()
    incompatible.wait_for('set output_qos to "reliable"')
    # A node checks its subscribers before it publishes its diagnostics, which both do each second.
    received = len(peer.diagnostics)
    peer.until(lambda: len(peer.diagnostics) > received + 4, 'two checks of each node')
    assert 'QoS' not in compatible.log_text()
