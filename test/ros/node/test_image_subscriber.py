"""siamffn_ros/node/image_subscriber.py: the image topic of a real node in a process of its own."""

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


def test_compressed_images_are_taken_where_they_are_published(
    start_node: Callable[..., NodeProcess], make_peer: Callable[..., Peer], clip: Scene
) -> None:
    """The type of the topic changes while the node runs."""
    node = start_node()
    raw = make_peer()
    raw.wait_for_node()
    raw.close_camera()
    peer = make_peer(kind=CompressedImage)
    peer.wait_for_node()
    assert peer.init(clip.boxes[0], 0, 'car').success is False, 'of another image'
    peer.track(clip.images[0], 10 * SECOND)
    assert peer.init(clip.boxes[0], 10 * SECOND, 'car').success
    assert peer.track_until(clip.images[1:], 11 * SECOND, 'car').state == State.TRACKING
    assert peer.set(image_transport='raw').successful
    peer.until(lambda: not peer.camera.get_subscription_count(), 'the other type')
    assert peer.set(image_transport='compressed').successful
    peer.until(peer.camera.get_subscription_count, 'this type')
    peer.camera.publish(CompressedImage(format='jpeg', data=bytes(100)))
    node.wait_for('neither JPEG nor PNG')
    peer.track(clip.images[8], 30 * SECOND)
    assert 'Traceback' not in node.text()


def test_silent_and_unfitting_cameras_are_told_of(
    start_node: Callable[..., NodeProcess], make_peer: Callable[..., Peer]
) -> None:
    node = start_node(image_qos='reliable', image_timeout=0.5)
    node.wait_for('nobody publishes there')
    make_peer(reliable=False)
    node.wait_for('set image_qos to "sensor_data"')
    node.wait_for('fastdds.xml')


def test_a_silent_camera_is_told_of_though_the_clock_stands_still(
    start_node: Callable[..., NodeProcess], peer: Peer
) -> None:
    node = start_node(use_sim_time='true', image_timeout=0.5)
    node.wait_for('no image on /image')

    def told() -> list[DiagnosticStatus]:  # just after the log
        return [d for d in peer.diagnostics if d.message.startswith('no image on /image')]

    assert peer.until(told, 'diagnostics of it')[0].level == DiagnosticStatus.ERROR
