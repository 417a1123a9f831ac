"""Tests of siamffn_ros/node/image_subscriber.py with the node in a separate process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import CompressedImage

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.tracking import State

if TYPE_CHECKING:
    from conftest import NodeProcess, Peer

SECOND = 10**9


def test_the_type_of_the_image_topic_is_followed(
    start_node: Callable[..., NodeProcess], make_peer: Callable[..., Peer], clip: Scene
) -> None:
    """The camera is replaced by one that publishes compressed images while the node runs."""
    node = start_node()
    raw = make_peer()
    raw.wait_for_node()
    raw.close_camera()
    peer = make_peer(image_type=CompressedImage)
    peer.wait_for_node()
    assert peer.init(clip.boxes[0], 0, 'car').success is False, 'outside of the small images'
    peer.track(clip.images[0], 10 * SECOND)
    assert peer.init(clip.boxes[0], 10 * SECOND, 'car').success
    assert peer.track_until(clip.images[1:], 11 * SECOND, 'car').state == State.TRACKING
    assert peer.set_parameters(image_transport='raw').successful
    peer.until(lambda: not peer.camera.get_subscription_count(), 'the end of the subscription')
    assert peer.set_parameters(image_transport='compressed').successful
    peer.until(peer.camera.get_subscription_count, 'the new subscription')
    peer.camera.publish(CompressedImage(format='jpeg', data=bytes(100)))
    node.wait_for('neither JPEG nor PNG')
    peer.track(clip.images[8], 30 * SECOND)
    assert 'Traceback' not in node.log_text()


def test_missing_and_incompatible_cameras_are_reported(
    start_node: Callable[..., NodeProcess], make_peer: Callable[..., Peer]
) -> None:
    node = start_node(image_qos='reliable', image_timeout=0.5)
    node.wait_for('nobody publishes there')
    make_peer(reliable=False)
    node.wait_for('set image_qos to "sensor_data"')
    node.wait_for('fastdds.xml')


def test_a_silent_camera_is_reported_though_simulated_time_stands_still(
    start_node: Callable[..., NodeProcess], peer: Peer
) -> None:
    node = start_node(use_sim_time='true', image_timeout=0.5)
    node.wait_for('no image on /image')

    def warnings() -> list[DiagnosticStatus]:
        return [d for d in peer.diagnostics if d.message.startswith('no image on /image')]

    # The diagnostics are published just after the log line.
    assert peer.until(warnings, 'diagnostics')[0].level == DiagnosticStatus.ERROR
