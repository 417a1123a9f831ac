"""The lifecycle node `tracker`: connects the ROS graph to a `TrackingPipeline`."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from siamffn_model.errors import ConfigError, ImageError, NotReadyError, SiamFFNError
from siamffn_model.live.frame_buffer import Frame
from siamffn_model.live.pipeline import PushResult, TrackingPipeline
from siamffn_model.live.shared_runtime import load_shared
from siamffn_model.live.targets import TargetStatus
from siamffn_model.runtimes.selection import free_memory
from siamffn_ros.context import create_steady_timer, one_line
from siamffn_ros.node import parameters
from siamffn_ros.node.diagnostics import NodeStatistics, diagnostic_status
from siamffn_ros.node.image_subscriber import ImageSubscriber
from siamffn_ros.node.parameters import NodeParameters
from siamffn_ros.node.publishers import Publishers
from siamffn_ros.node.services import LOG_PERIOD, Services
from siamffn_ros.node.target_log import TargetLog

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class _Configured(NamedTuple):
    """What exists between configure and cleanup."""

    pipeline: TrackingPipeline
    publishers: Publishers


class TrackerNode(LifecycleNode):
    """Track targets in the images of one camera.

    The executor's threads receive images, which the pipeline only stores, answer services and
    publish diagnostics. The pipeline's thread tracks and publishes the results.

    Args:
        camera: namespace of the node; empty for that of the process.
        topic: image topic in place of `image`; empty to keep it.
    """

    def __init__(self, camera: str = '', topic: str = '') -> None:
        remapping = ['--ros-args', '-r', f'image:={topic}'] if topic else None
        super().__init__('tracker', namespace=camera or None, cli_args=remapping)
        parameters.declare(self)
        self._warn_of_unknown_parameters()
        self._configured: _Configured | None = None
        self._active = False
        self._finalized = False
        self._enabled = True
        self.image_problem = ''  # why no images arrive
        self._correction = ''  # of thresholds, as last logged
        self._image_size: tuple[int, ...] = ()  # height and width of the last tracked image
        self._statistics = NodeStatistics()
        self._images = ImageSubscriber(
            self, partial(self._statistics.count, 'received'), self._on_frame, self._on_frame_error
        )
        self.add_on_set_parameters_callback(self._on_parameters)
        self._target_log = TargetLog(self.get_logger().info)
        # These exist in every state: to destroy them while they are in use would be unsafe.
        self._target_services = Services(self, self, self._statistics)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        create_steady_timer(self, 1.0, self._on_second)

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model, unless another camera has, and create the publishers."""
        values = parameters.read(self)
        try:
            if reason := parameters.validate(values, parameters.BY_NAME, configured=False):
                raise ConfigError(reason)
            self._configured = self._configure(values)
        except Exception as error:
            self.get_logger().error(f'cannot configure: {one_line(error)}')
            return FAILURE
        model = self._configured.pipeline.model
        self.get_logger().info(f'loaded {values.model}: {model.name} on {model.device}')
        return super().on_configure(state)

    def _configure(self, values: NodeParameters) -> _Configured:
        publishers = Publishers(self, values.output_qos)
        try:
            pipeline = TrackingPipeline(
                partial(
                    load_shared,
                    values.model,
                    Path(values.weights) if values.weights else None,
                    values.device,
                    values.runtime,
                ),
                values.tracking.ordered,
                values.max_targets,
                values.buffer_seconds,
                values.buffer_megabytes,
                partial(self._on_result, publishers),
                self._on_frame_error,
            )
        except BaseException:
            publishers.destroy()
            raise
        pipeline.enable(self._enabled)
        return _Configured(pipeline, publishers)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to receive images."""
        values = parameters.read(self)
        try:
            self._images.open(values.image_transport, values.image_qos)
        except Exception as error:
            self.get_logger().error(f'cannot activate: {one_line(error)}')
            return FAILURE
        self._statistics.reset()
        self._active = True
        self.get_logger().info(
            f'waiting for images on {self._images.topic}; '
            f'give a target by {self.resolve_service_name("~/init_target")}'
        )
        if not self._enabled:
            enable = self.resolve_service_name('~/enable')
            self.get_logger().warning(f'tracking is paused: call {enable} with true to resume')
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop receiving images and remove the targets, which move while no images arrive."""
        self._active = False
        self._images.close()
        self.image_problem = ''
        if configured := self._configured:
            configured.pipeline.clear()
        self.get_logger().info('deactivated: no images are received, all targets are removed')
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model, unless another camera uses it, and its memory."""
        configured, self._configured = self._configured, None
        if configured:
            configured.pipeline.close()
            configured.publishers.destroy()
        del configured
        free_memory()
        self.get_logger().info('cleaned up: the model is released')
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Do what remains of deactivate and cleanup."""
        self._tear_down(state)
        self._finalized = True
        self.get_logger().info('shut down: start the node again to use it')
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Clean up after a transition that failed, so that the node can be configured again."""
        self._tear_down(state)
        return super().on_error(state)

    def _tear_down(self, state: LifecycleState) -> None:
        if self._active:
            self.on_deactivate(state)
        if self._configured:
            self.on_cleanup(state)

    def close(self) -> None:
        """Stop tracking, at the end of the process."""
        if configured := self._configured:
            configured.pipeline.close()

    # Parameters

    def _warn_of_unknown_parameters(self) -> None:
        """Warn of values for parameters that do not exist, which ROS would ignore silently."""
        unknown = parameters.unknown(self._parameter_overrides)
        if unknown:
            self.get_logger().warning(
                f'unknown parameters are ignored: {", ".join(unknown)}; see `ros2 param list`'
            )

    def _on_parameters(self, changes: list[Parameter[Any]]) -> SetParametersResult:
        """Refuse or apply changes of our own parameters; those of ROS are left to ROS."""
        changed = {item.name: item.value for item in changes if item.name in parameters.BY_NAME}
        try:
            values = parameters.read(self, changed)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        configured = self._configured
        reason = parameters.validate(values, changed, configured is not None)
        if not reason and configured:
            reason = self._apply(values, changed, configured.pipeline)
        return SetParametersResult(successful=not reason, reason=reason)

    def _warn_of_corrected_thresholds(self) -> None:
        """Warn once of thresholds that are not in order; not of each step of `ros2 param load`."""
        correction = parameters.threshold_correction(parameters.read(self).tracking)
        if correction and correction != self._correction:
            self.get_logger().warning(correction)
        self._correction = correction

    def _apply(
        self, values: NodeParameters, changed: Mapping[str, Any], pipeline: TrackingPipeline
    ) -> str:
        """Apply changed parameters; return why that is not possible, or an empty string."""
        if self._active and changed.keys() & {'image_transport', 'image_qos'}:
            try:
                self._images.open(values.image_transport, values.image_qos)
            except SiamFFNError as error:
                return str(error)
        pipeline.configure(
            values.tracking.ordered,
            values.max_targets,
            values.buffer_seconds,
            values.buffer_megabytes,
        )
        return ''

    # Images in, results out

    def _on_frame(self, frame: Frame) -> None:
        configured = self._configured  # read once: another thread may clean up meanwhile
        if not configured:
            return
        result = configured.pipeline.push(frame)
        if result is PushResult.OUT_OF_ORDER:
            self._statistics.count('out of order')
        elif result is PushResult.REPLACED:
            self._statistics.count('dropped')

    def _on_result(
        self, publishers: Publishers, frame: Frame, targets: tuple[TargetStatus, ...]
    ) -> None:
        publishers.publish(frame, targets, self.get_parameter('clip_boxes').value)
        size = frame.image.shape[:2]
        if targets and self._image_size and size != self._image_size:
            self.get_logger().info(
                f'the image size has changed to {size[1]}x{size[0]}: boxes are scaled with it',
                throttle_duration_sec=LOG_PERIOD,
            )
        self._image_size = size
        self._statistics.count_tracked(frame.arrival)

    def _on_frame_error(self, error: Exception) -> None:
        """Count and log an image that cannot be used, or that tracking failed on."""
        if isinstance(error, ImageError):
            count = self._statistics.count_bad(str(error))
            if configured := self._configured:
                configured.pipeline.buffer.refused = str(error)
            self.get_logger().error(
                f'image skipped ({count} so far): {error}', throttle_duration_sec=LOG_PERIOD
            )
            return
        count = self._statistics.count('failed')
        reason = ''.join(traceback.format_exception(error))
        self.get_logger().error(
            f'tracking failed ({count} times so far): {reason}', throttle_duration_sec=LOG_PERIOD
        )

    # Diagnostics

    def _on_second(self) -> None:
        self._warn_of_corrected_thresholds()
        configured = self._configured
        if self._active and configured:
            self.image_problem = self._images.check(self.get_parameter('image_timeout').value)
            configured.publishers.check_subscribers()
        targets = configured.pipeline.targets if configured else ()
        self._target_log.update(targets)
        status = diagnostic_status(
            f'{self.get_fully_qualified_name().lstrip("/")}: tracking',
            self._statistics,
            targets,
            self._facts(configured.pipeline) if configured else {},
            self._activity(bool(targets)),
            self.image_problem,
            self._images.loss if self._active else f'{self._lifecycle}: {self._remedy()}',
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)

    def _facts(self, pipeline: TrackingPipeline) -> dict[str, object]:
        frames, megabytes = pipeline.buffer.usage
        return {
            'model': self.get_parameter('model').value,
            'runtime': pipeline.model.name,
            'device': pipeline.model.device,
            'paused': not self._enabled,
            'images kept': f'{frames} ({megabytes:.0f} MB)',
            'time jumps': pipeline.buffer.time_jumps,
        }

    def _activity(self, has_targets: bool) -> str:
        if not self._enabled:
            return f'paused: call {self.resolve_service_name("~/enable")} with true to resume'
        return 'tracking' if has_targets else 'no target'

    # What the services use

    def pipeline(self, receiving: bool = False) -> TrackingPipeline:
        """Return the pipeline.

        Raises `NotReadyError` if the node is not configured and, with `receiving`, if it is not
        active; the message says what is possible.
        """
        configured = self._configured
        if configured and (self._active or not receiving):
            return configured.pipeline
        raise NotReadyError(f'the node is {self._lifecycle}: {self._remedy()}')

    def enable(self, enabled: bool) -> str:
        """Pause or resume tracking, also of a node that is activated later."""
        self._enabled = enabled
        if configured := self._configured:
            configured.pipeline.enable(enabled)
        if not self._active:
            when = 'tracks' if enabled else 'is paused'
            return f'the node {when} once it is active; it is {self._lifecycle}: {self._remedy()}'
        return 'tracking' if enabled else 'paused: images are kept, not tracked'

    @property
    def _lifecycle(self) -> str:
        """The state of the lifecycle, by the name that `ros2 lifecycle get` shows."""
        if self._active:
            return 'active'
        if self._finalized:
            return 'finalized'
        return 'inactive' if self._configured else 'unconfigured'

    def _remedy(self) -> str:
        """Return how to make the node active."""
        if self._finalized:
            return 'it was shut down, start it again'
        command = f'ros2 lifecycle set {self.get_fully_qualified_name()}'
        if self._configured:
            return f'activate it ({command} activate)'
        return f'configure and activate it ({command} configure, then activate)'
