"""The services of the node, and the topic that does the same as init_target."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from concurrent import futures
from typing import Protocol, TypeVar

from rclpy.lifecycle import LifecycleNode
from rclpy.task import Future
from siamffn.srv import InitPoint, InitTarget, ListTargets, StopTarget
from std_srvs.srv import SetBool, Trigger
from vision_msgs.msg import Detection2D

from siamffn_model.errors import NotReadyError, SiamFFNError
from siamffn_model.live.pipeline import TrackingPipeline
from siamffn_ros.messages.conversions import to_bbox, to_box, to_nanoseconds
from siamffn_ros.node.diagnostics import NodeStatistics
from siamffn_ros.node.publishers import status_message

LOG_PERIOD = 1.0  # seconds between two log lines about the same kind of event
Result = TypeVar('Result')


class Tracking(Protocol):
    """What the services need of the node that offers them."""

    def pipeline(self, receiving: bool = False) -> TrackingPipeline:
        """Return the pipeline; `NotReadyError` if there is none, or it receives no images."""

    def enable(self, enabled: bool) -> str:
        """Pause or resume; return what happens now."""

    @property
    def image_problem(self) -> str:
        """Why no images arrive; empty if they do."""


class Services:
    """Create the services, which await the pipeline without blocking a thread of the executor.

    Args:
        node: owns the services.
        tracking: what they act on.
        statistics: counts internal errors; set to zero by `~/reset`.
    """

    def __init__(self, node: LifecycleNode, tracking: Tracking, statistics: NodeStatistics) -> None:
        self._node = node
        self._tracking = tracking
        self._statistics = statistics
        node.create_subscription(Detection2D, '~/init_box', self.on_init_box, 10)
        node.create_service(InitTarget, '~/init_target', self.on_init_target)
        node.create_service(InitPoint, '~/init_point', self._on_init_point)
        node.create_service(StopTarget, '~/stop_target', self._on_stop_target)
        node.create_service(ListTargets, '~/list_targets', self._on_list_targets)
        node.create_service(SetBool, '~/enable', self._on_enable)
        node.create_service(Trigger, '~/reset', self._on_reset)

    async def on_init_target(
        self, request: InitTarget.Request, response: InitTarget.Response
    ) -> InitTarget.Response:
        """Start or restart a target."""
        try:
            box, stamp = to_box(request.bbox), to_nanoseconds(request.header.stamp)
            pipeline = self._tracking.pipeline(receiving=True)
            response.target_id = await self._result_of(
                lambda: pipeline.init(box, stamp, request.target_id)
            )
        except SiamFFNError as error:
            response.message = str(error)
        else:
            response.success, response.message = True, self._started(response.target_id)
        return response

    async def _on_init_point(
        self, request: InitPoint.Request, response: InitPoint.Response
    ) -> InitPoint.Response:
        point, stamp = (request.point.x, request.point.y), to_nanoseconds(request.header.stamp)
        try:
            pipeline = self._tracking.pipeline(receiving=True)
            found = await self._result_of(
                lambda: pipeline.init_point(point, request.radius, stamp, request.target_id)
            )
        except SiamFFNError as error:
            response.message = str(error)
        else:
            response.target_id, response.bbox = found.target_id, to_bbox(found.box)
            response.success, response.message = True, self._started(found.target_id)
        return response

    def _started(self, target_id: str) -> str:
        problem = self._tracking.image_problem
        return f'tracking target {target_id}' + (f', but {problem}' if problem else '')

    def on_init_box(self, detection: Detection2D) -> None:
        """Do the same for a message; log what is refused."""
        try:
            future = self._tracking.pipeline(receiving=True).init(
                to_box(detection.bbox), to_nanoseconds(detection.header.stamp), detection.id
            )
        except SiamFFNError as error:
            self._warn_of_refused_box(error)
        else:
            future.add_done_callback(self._on_init_box_done)

    def _on_init_box_done(self, future: futures.Future[str]) -> None:
        try:
            self._value(future)
        except SiamFFNError as error:
            self._warn_of_refused_box(error)

    def _warn_of_refused_box(self, error: SiamFFNError) -> None:
        self._node.get_logger().warning(
            f'init_box refused: {error}', throttle_duration_sec=LOG_PERIOD
        )

    async def _on_stop_target(
        self, request: StopTarget.Request, response: StopTarget.Response
    ) -> StopTarget.Response:
        try:
            pipeline = self._tracking.pipeline()
            count = await self._result_of(lambda: pipeline.stop(request.target_id))
        except SiamFFNError as error:
            response.message = str(error)
        else:
            stopped = f'target {request.target_id}' if request.target_id else f'{count} target(s)'
            response.success, response.message = True, f'stopped {stopped}'
        return response

    def _on_list_targets(
        self, request: ListTargets.Request, response: ListTargets.Response
    ) -> ListTargets.Response:
        try:
            targets = self._tracking.pipeline().targets
        except NotReadyError:
            return response  # without a pipeline there are none
        response.targets = [status_message(target) for target in targets]
        return response

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success, response.message = True, self._tracking.enable(request.data)
        return response

    async def _on_reset(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        try:
            count = await self._result_of(self._tracking.pipeline().reset)
        except SiamFFNError as error:
            response.message = str(error)
        else:
            response.success, response.message = True, f'removed {count} target(s) and all images'
        self._statistics.reset()
        return response

    async def _result_of(self, call: Callable[[], futures.Future[Result]]) -> Result:
        """Await a call of the pipeline and return its result; raises `SiamFFNError`."""
        done: Future[futures.Future[Result]] = Future(executor=self._node.executor)
        call().add_done_callback(done.set_result)
        future = await done
        return self._value(future)  # type: ignore[arg-type]

    def _value(self, future: futures.Future[Result]) -> Result:
        """Return the result of a future that is done; raises `SiamFFNError`.

        Unexpected exceptions are counted and logged as internal errors.
        """
        if future.cancelled():
            raise NotReadyError('the node was cleaned up meanwhile: try again when it is active')
        error = future.exception()
        if error is None:
            return future.result()
        if isinstance(error, SiamFFNError):
            raise error
        self._statistics.count('failed')
        reason = ''.join(traceback.format_exception(error))
        self._node.get_logger().error(f'internal error: {reason}')
        raise SiamFFNError(f'internal error: {error!r}')
