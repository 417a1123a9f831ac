"""Tests of siamffn_ros/node/image_subscriber.py with the node in a separate process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import CompressedImage

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.tracking import State

if TYPE_CHECKING:
    from conftest import NodeProcess, Peer

SECOND = 10**9
INCOMPATIBLE = '/peer publishes on /image with a QoS that is incompatible'


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
    elsewhere = start_node(arguments=['--camera', 'x=/elsewhere'], image_timeout=0.5)
    node.wait_for('nobody publishes there')
    peer = make_peer(reliable=False)
    node.wait_for(f'{INCOMPATIBLE} (reliability), so none of its images arrive: set image_qos')

    def silences() -> list[str]:
        lines = node.log_text().splitlines()
        return [line for line in lines if 'no image on /image' in line and INCOMPATIBLE in line]

    assert 'set image_qos to "sensor_data"' in peer.until(silences, 'the cause of silence')[0]
    assert 'to "reliable"' not in node.log_text() and 'fastdds' not in node.log_text()
    peer.until(
        lambda: any(INCOMPATIBLE in status.message for status in peer.diagnostics),
        'the cause in the diagnostics',
    )
    elsewhere.wait_for('nobody publishes there: start the camera or remap image:=/its/topic; ')
    elsewhere.wait_for('images are on /image')


def test_the_suffix_of_image_transport_is_appended(
    start_node: Callable[..., NodeProcess], make_peer: Callable[..., Peer], clip: Scene
) -> None:
    """Compressed images on the topic itself are accepted, too."""
    node = start_node(image_transport='compressed')
    node.wait_for('waiting for images on /image/compressed')
    for topic in ('image/compressed', 'image'):
        peer = make_peer(image_type=CompressedImage, topic=topic)
        peer.wait_for_node()
        assert peer.track(clip.images[0], 10 * SECOND).state == State.IDLE
        peer.close_camera()


def test_lost_images_are_reported(start_node: Callable[..., NodeProcess], peer: Peer) -> None:
    """Nothing is lost here: the stamps are those of a camera of which every third arrives."""
    node = start_node(device='cpu')
    peer.wait_for_node()
    image = np.zeros((48, 64, 3), np.uint8)
    stamp = 10 * SECOND
    for interval in (1, 4, 2, 5) * 16:
        stamp += interval * SECOND // 15
        peer.track(image, stamp)
    node.wait_for('10 of 15 images per second on /image do not arrive: give the publisher the Fast')
    reported = peer.until(
        lambda: [each for each in peer.diagnostics if 'do not arrive' in each.message], 'the loss'
    )
    assert reported[0].level == DiagnosticStatus.WARN


def test_a_silent_camera_is_reported_though_simulated_time_stands_still(
    start_node: Callable[..., NodeProcess], peer: Peer
) -> None:
    node = start_node(use_sim_time='true', image_timeout=0.5)
    node.wait_for('no image on /image')

    def warnings() -> list[DiagnosticStatus]:
        return [d for d in peer.diagnostics if d.message.startswith('no image on /image')]

    # The diagnostics are published just after the log line.
    assert peer.until(warnings, 'diagnostics')[0].level == DiagnosticStatus.ERROR
