"""The lifecycle node `tracker`: wiring between the graph and `Targets`."""

from __future__ import annotations

import signal
import sys
import time
import traceback
from concurrent.futures import CancelledError
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import rclpy
import torch
from numpy.typing import NDArray
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock
from rclpy.exceptions import ParameterException
from rclpy.executors import Executor, MultiThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from siamffn.msg import TrackStatus
from siamffn.srv import InitTarget
from std_srvs.srv import Trigger
from vision_msgs.msg import Detection2D, Detection2DArray

from siamffn_model.drawing import draw_track
from siamffn_model.errors import SiamFFNError
from siamffn_model.geometry import Box
from siamffn_model.tracking import State, Tracker, load_model
from siamffn_ros.conversions import (
    check_image,
    to_bgr,
    to_box,
    to_detection,
    to_image,
    to_nanoseconds,
)
from siamffn_ros.dds import use_profile
from siamffn_ros.targets import Frame, FrameRing, Target, Targets
from siamffn_ros.worker import Worker

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

RELIABILITY = {
    'sensor_data': ReliabilityPolicy.BEST_EFFORT,
    'reliable': ReliabilityPolicy.RELIABLE,
}
# Only what the receiving thread cannot take at once is queued here, as while it answers an
# `init_target`: it hands every image on, and the worker takes the newest. With 1 images are lost.
QUEUE = 30
LARGE_IMAGES = (
    'give the publisher the Fast DDS profile config/fastdds.xml '
    '(FASTDDS_DEFAULT_PROFILES_FILE), or set image_qos to "reliable"'
)
THROTTLE = 1.0  # seconds between two log lines about bad images
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class TrackerNode(LifecycleNode):
    """Follow targets in the images of one camera.

    The executor's threads receive images, which they only store, answer services and watch for
    silence; the worker's thread owns the targets and publishes.
    """

    def __init__(self) -> None:
        super().__init__('tracker')
        self._declare_parameters()
        self._image_group = MutuallyExclusiveCallbackGroup()
        self._bad_images = 0
        self._last_image = 0.0

    def _declare_parameters(self) -> None:
        def declare(
            name: str, value: Any, text: str, limits: tuple[float, float] | None = None
        ) -> None:
            descriptor = ParameterDescriptor(description=text)
            if limits:
                low, high = limits
                descriptor.floating_point_range = [
                    FloatingPointRange(from_value=low, to_value=high, step=0.0)
                ]
            self.declare_parameter(name, value, descriptor)

        declare('autostart', True, 'Configure and activate at start, without a manager.')
        declare('model', 'siamffn_lite0', 'Name of the network. Read by configure.')
        declare('weights', '', 'Weight file; empty: the one that ships. Read by configure.')
        declare('device', 'auto', '"cpu", "cuda", or "auto": CUDA if there. Read by configure.')
        declare(
            'image_qos',
            'sensor_data',
            '"sensor_data" (best effort) or "reliable"; the newest image wins. Read by activate.',
        )
        declare(
            'image_timeout',
            5.0,
            'Warn when no image came for so many seconds; 0: never. Read by activate.',
            (0.0, 3600.0),
        )
        declare(
            'buffer_seconds',
            2.0,
            'How long frames are kept for boxes that come late. Read by configure.',
            (0.0, 60.0),
        )
        declare(
            'buffer_megabytes',
            256.0,
            'Memory that these frames may take. Read by configure.',
            (1.0, 65536.0),
        )

    def _value(self, name: str) -> Any:
        return self.get_parameter(name).value

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and offer topics and services."""
        self._worker: Worker[Frame] = Worker(self._track, self._on_failure)
        try:
            self._reliability()
            # PyTorch keeps threads for each thread that it is used from, and slows all of them when
            # they are more than the cores: only the worker ever uses it.
            model = self._worker.call(self._load)
        except Exception as error:
            self._worker.close()
            self.get_logger().error(f'cannot configure: {error}')
            return FAILURE
        self._ring = FrameRing(self._value('buffer_seconds'), self._value('buffer_megabytes'))
        self._targets = Targets(model, self._ring)
        self._create_interfaces()
        device = next(model.parameters()).device
        self.get_logger().info(f'loaded {self._value("model")} on {device}')
        return super().on_configure(state)

    def _load(self) -> Any:
        weights = self._value('weights')
        model = load_model(
            self._value('model'), Path(weights) if weights else None, self._value('device')
        )
        _warm_up(model)
        return model

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to receive images."""
        try:
            qos = QoSProfile(depth=QUEUE, reliability=self._reliability())
        except SiamFFNError as error:
            self.get_logger().error(f'cannot activate: {error}')
            return FAILURE
        self._topic = self.resolve_topic_name('image')
        self._last_image = time.monotonic()
        self._subscription = self.create_subscription(
            Image,
            'image',
            self._on_image,
            qos,
            callback_group=self._image_group,
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible),
        )
        self._watchdog = None
        if timeout := self._value('image_timeout'):
            # of the system's clock: with use_sim_time the node's own may stand still
            self._watchdog = self.create_timer(timeout, self._on_silence, clock=Clock())
        self.get_logger().info(
            f'waiting for images on {self._topic}; give a target by {self.get_name()}/init_target'
        )
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop to receive images and forget the targets: they have moved on when images return."""
        self.destroy_subscription(self._subscription)
        if self._watchdog:
            self.destroy_timer(self._watchdog)
        self._worker.call(self._targets.stop)
        self._ring.clear()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of the model and its memory."""
        self.close()
        self._destroy_interfaces()
        del self._targets, self._ring, self._worker
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Do what is left of deactivate and cleanup."""
        if state.label == 'active':
            self.on_deactivate(state)
        if state.label in ('active', 'inactive'):
            self.on_cleanup(state)
        return super().on_shutdown(state)

    def close(self) -> None:
        """Stop tracking, for the end of the process."""
        if hasattr(self, '_worker'):
            self._worker.close()

    def _reliability(self) -> ReliabilityPolicy:
        name = self._value('image_qos')
        if name not in RELIABILITY:
            raise SiamFFNError(f'image_qos is {name!r}: set it to "sensor_data" or "reliable"')
        return RELIABILITY[name]

    def _create_interfaces(self) -> None:
        publisher = self.create_lifecycle_publisher
        self._detections = publisher(Detection2DArray, '~/detections', 10)
        self._detection = publisher(Detection2D, '~/detection', 10)
        self._status = publisher(TrackStatus, '~/status', 10)
        self._debug_image = publisher(Image, '~/debug_image', 1)
        self._own_services = [
            self.create_service(InitTarget, '~/init_target', self._on_init),
            self.create_service(Trigger, '~/stop', self._on_stop),
        ]

    def _destroy_interfaces(self) -> None:
        for publisher in (self._detections, self._detection, self._status, self._debug_image):
            self.destroy_lifecycle_publisher(publisher)
        for service in self._own_services:
            self.destroy_service(service)

    # Receiving: store only

    def _on_image(self, message: Image) -> None:
        self._last_image = time.monotonic()
        try:
            check_image(message)
            frame = Frame(
                to_nanoseconds(message.header.stamp),
                partial(to_bgr, message),
                3 * message.height * message.width,
                message.header,
            )
            self._ring.add(frame)
            self._worker.offer(frame)
        except Exception as error:  # no message may end the node
            self._on_failure(error)

    def _on_failure(self, error: Exception) -> None:
        self._bad_images += 1
        ours = isinstance(error, SiamFFNError)
        reason = str(error) if ours else ''.join(traceback.format_exception(error))
        self.get_logger().error(
            f'image skipped ({self._bad_images} so far): {reason}', throttle_duration_sec=THROTTLE
        )

    def _on_incompatible(self, event: Any) -> None:
        self.get_logger().warning(
            f'a publisher of {self._topic} offers a QoS that does not fit '
            f'image_qos "{self._value("image_qos")}", so none of its images arrive: '
            'set image_qos to "sensor_data" or make the publisher reliable and volatile'
        )

    def _on_silence(self) -> None:
        silent = time.monotonic() - self._last_image
        if silent < self._value('image_timeout'):
            return
        publishers = self.count_publishers(self._topic)
        remedy = (
            f'{publishers} publisher(s) there: if their images are large, {LARGE_IMAGES}'
            if publishers
            else 'nobody publishes there: start the camera or remap image:=/its/topic'
        )
        self.get_logger().warning(f'no image on {self._topic} for {silent:.0f} s; {remedy}')

    # Services

    def _on_init(
        self, request: InitTarget.Request, response: InitTarget.Response
    ) -> InitTarget.Response:
        try:
            init = partial(
                self._targets.init,
                to_box(request.bbox),
                to_nanoseconds(request.header.stamp),
                request.target_id,
            )
            response.target_id = self._worker.call(init)
            response.success = True
            response.message = f'following target {response.target_id}'
        except SiamFFNError as error:
            response.message = str(error)
        except CancelledError:
            response.message = 'the node is shutting down: try again when it is active'
        except Exception as error:
            self.get_logger().error(f'init_target failed: {error!r}')
            response.message = f'internal error: {error!r}'
        return response

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        count = self._worker.call(self._targets.stop)
        response.success = True
        response.message = f'stopped {count} target(s)'
        return response

    # Tracking, in the worker's thread

    def _track(self, frame: Frame) -> None:
        seen = self._targets.update(frame)
        found = [target for target in seen if target.track.state != State.LOST]
        detections = [
            to_detection(target.id, target.track.box, target.track.score, frame.header)
            for target in found
        ]
        self._detections.publish(Detection2DArray(header=frame.header, detections=detections))
        if detections and found[0] is seen[0]:
            self._detection.publish(detections[0])
        for status in [_status(target, frame) for target in seen] or [_idle(frame)]:
            self._status.publish(status)
        if self._debug_image.get_subscription_count():
            self._debug_image.publish(to_image(_drawn(frame, seen), frame.header))


def _warm_up(model: Any) -> None:
    """Run the network once: the first call is much slower than the others."""
    tracker = Tracker(model)
    image = np.zeros((64, 64, 3), np.uint8)
    tracker.init(image, Box(16, 16, 32, 32))
    tracker.update(image)


def _status(target: Target, frame: Frame) -> TrackStatus:
    return TrackStatus(
        header=frame.header,
        target_id=target.id,
        state=int(target.track.state),
        score=float(target.track.score),
        last_ms=target.last_ms,
        mean_ms=target.mean_ms,
        max_ms=target.max_ms,
        frames_processed=target.processed,
        frames_dropped=target.dropped,
    )


def _idle(frame: Frame) -> TrackStatus:
    return TrackStatus(header=frame.header, state=TrackStatus.IDLE)


def _drawn(frame: Frame, targets: list[Target]) -> NDArray[np.uint8]:
    """Return a copy of the image with the targets drawn in."""
    image: NDArray[np.uint8] = frame.image.copy()
    for target in targets:
        box = None if target.track.state == State.LOST else target.track.box
        label = f'{target.id} {target.track.state.name.lower()} {target.track.score:.2f}'
        draw_track(image, box, label)
    return image


def make_executor() -> Executor:
    """Return the quickest executor there is.

    The events executor of Kilted takes next to no time; that of older distributions costs half a
    core at 30 images a second, and needs a second thread to receive while a service is answered.
    """
    try:
        from rclpy.experimental.events_executor import EventsExecutor
    except ImportError:
        return MultiThreadedExecutor(num_threads=2)
    executor: Executor = EventsExecutor()
    return executor


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; returns the exit code."""
    use_profile()
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    stop = False

    def request_stop(number: int, frame: FrameType | None) -> None:
        nonlocal stop
        stop = True

    signal.signal(signal.SIGINT, request_stop)
    signal.signal(signal.SIGTERM, request_stop)
    try:
        node = TrackerNode()
    except ParameterException as error:
        print(f'error: {error}', file=sys.stderr)
        rclpy.shutdown()
        return 1
    executor = make_executor()
    executor.add_node(node)
    code = 0
    if node.get_parameter('autostart').value:
        started = node.trigger_configure() == SUCCESS and node.trigger_activate() == SUCCESS
        code = 0 if started else 1
    while code == 0 and not stop:
        executor.spin_once(timeout_sec=0.2)
    node.close()
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown()
    return code


if __name__ == '__main__':
    sys.exit(main())
