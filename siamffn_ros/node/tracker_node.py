"""The lifecycle node `tracker`: wiring between the graph and `Targets`."""

from __future__ import annotations

import argparse
import ctypes
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from concurrent import futures
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock
from rclpy.exceptions import ParameterException
from rclpy.executors import Executor, MultiThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from rclpy.utilities import remove_ros_args
from siamffn.msg import TrackStatus
from siamffn.srv import InitTarget, ListTargets, StopTarget
from std_srvs.srv import SetBool, Trigger
from vision_msgs.msg import BoundingBox2D, Detection2D

from siamffn_model.errors import SiamFFNError
from siamffn_model.imaging.geometry import Box
from siamffn_model.live.frame_buffer import Frame, FrameBuffer
from siamffn_model.live.targets import Targets
from siamffn_model.live.worker import Worker
from siamffn_model.runtimes.selection import free_memory
from siamffn_model.tracking import Tracker, load_model
from siamffn_ros.dds import use_profile
from siamffn_ros.launch_utils import camera_topics
from siamffn_ros.messages.conversions import to_box, to_nanoseconds
from siamffn_ros.node import parameters
from siamffn_ros.node.diagnostics import NodeStatistics, status
from siamffn_ros.node.image_subscriber import THROTTLE, ImageSubscriber
from siamffn_ros.node.publishers import Publishers, status_of

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
INTERNAL = 'internal error'
MMAP_THRESHOLD = -3  # glibc's number of this option of mallopt
LARGE = 800_000  # bytes: an image of 640x480 has 921,600, a search crop 780,300
WAITING = 100  # calls of services at most that wait for the tracker
Result = TypeVar('Result')


class TrackerNode(LifecycleNode):
    """Follow targets in the images of one camera.

    The executor's threads receive images, which they only store, answer services and tell of the
    node's health; the worker's thread owns the targets and publishes. Services wait for it without
    holding a thread of the executor.

    Args:
        camera: namespace of the node; empty for the one of the process.
        topic: of the images, in the place of `image`; empty to leave it.
    """

    def __init__(self, camera: str = '', topic: str = '') -> None:
        remapping = ['--ros-args', '-r', f'image:={topic}'] if topic else None
        super().__init__('tracker', namespace=camera or None, cli_args=remapping)
        parameters.declare(self)
        self._configured = self._active = False
        self._enabled = True
        self._targets: Targets | None = None
        self._figures = NodeStatistics()
        self.add_on_set_parameters_callback(self._on_parameters)
        self._create_interfaces()

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and offer the topics of what is tracked."""
        values = parameters.values_of(self)
        self._images = ImageSubscriber(self, self._on_frame, self._figures)
        self._worker: Worker[Frame] = Worker(self._track, self._images.failed, self._catch_up)
        try:
            if reason := parameters.validate(values, values, configured=False):
                raise SiamFFNError(reason)
            # PyTorch and OpenVINO keep threads for each thread they are used from, and slow all of
            # them when they are more than the cores: only the worker ever uses them.
            model = self._worker.call(partial(_load, values))
            self._outputs = Publishers(self, values['output_qos'])
        except Exception as error:
            self._worker.close()
            self.get_logger().error(f'cannot configure: {error}')
            return FAILURE
        self._computed = {'runtime': model.name, 'device': model.device}
        self._ring = FrameBuffer(values['buffer_seconds'], values['buffer_megabytes'])
        settings = parameters.settings_of(values)
        self._targets = Targets(model, self._ring, settings, values['max_targets'])
        self._configured = True
        self.get_logger().info(f'loaded {values["model"]}: {model.name} on {model.device}')
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to receive images."""
        values = parameters.values_of(self)
        try:
            self._images.open(values['image_transport'], values['image_qos'])
        except SiamFFNError as error:
            self.get_logger().error(f'cannot activate: {error}')
            return FAILURE
        self._figures.reset()
        self._active = True
        self.get_logger().info(
            f'waiting for images on {self._images.topic}; '
            f'give a target by {self.resolve_service_name("~/init_target")}'
        )
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop to receive images and forget the targets: they have moved on when images return."""
        self._active = False
        self._images.close()
        self._worker.call(self._forget)
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of the model and its memory."""
        self._configured = False
        self.close()
        self._outputs.destroy()
        self._targets = None
        free_memory()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Do what is left of deactivate and cleanup."""
        self._tear_down(state)
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Do the same after a transition that failed, so that the node can be configured again."""
        self._tear_down(state)
        return super().on_error(state)

    def _tear_down(self, state: LifecycleState) -> None:
        if self._active:
            self.on_deactivate(state)
        if self._configured:
            self.on_cleanup(state)

    def close(self) -> None:
        """Stop tracking, for the end of the process."""
        if hasattr(self, '_worker'):
            self._worker.close()

    def _create_interfaces(self) -> None:
        """Offer what is there in every state: to take it away while it is used would be unsafe."""
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        # of the system's clock: with use_sim_time the node's own may stand still
        self.create_timer(1.0, self._on_second, clock=Clock())
        self.create_subscription(Detection2D, '~/init_box', self._on_init_box, 10)
        for kind, name, answer in (
            (InitTarget, 'init_target', self._on_init),
            (StopTarget, 'stop_target', self._on_stop),
            (ListTargets, 'list_targets', self._on_list),
            (SetBool, 'enable', self._on_enable),
            (Trigger, 'reset', self._on_reset),
        ):
            self.create_service(kind, f'~/{name}', answer)

    def _on_parameters(self, changes: list[Parameter[Any]]) -> SetParametersResult:
        """Refuse or apply changes of our own parameters; those of ROS are not ours to judge."""
        new = {change.name: change.value for change in changes if change.name in parameters.BY_NAME}
        values = {**parameters.values_of(self), **new}
        reason = parameters.validate(values, new, self._configured)
        if not reason and self._configured:
            reason = self._apply(values, new.keys() & {'image_transport', 'image_qos'})
        return SetParametersResult(successful=not reason, reason=reason)

    def _apply(self, values: dict[str, Any], of_images: set[str]) -> str:
        """Let changes take effect; returns why they cannot."""
        if of_images and self._active:
            try:
                self._images.open(values['image_transport'], values['image_qos'])
            except SiamFFNError as error:
                return str(error)
        self._ring.limit(values['buffer_seconds'], values['buffer_megabytes'])
        self._worker.submit(partial(self._set_targets, values))
        return ''

    # Receiving: store only

    def _on_frame(self, frame: Frame) -> None:
        if not self._ring.add(frame):
            self._figures.count('out of order')
        elif self._enabled and self._worker.offer(frame):
            self._figures.count('dropped')

    def _on_second(self) -> None:
        silence = ''
        if self._active:
            silence = self._images.watch(self.get_parameter('image_timeout').value)
            self._outputs.watch()
        facts = self._facts() if self._configured else {}
        targets = self._targets.all if self._targets else []
        name = f'{self.get_fully_qualified_name().lstrip("/")}: tracking'
        told = status(name, self._figures, targets, facts, self._doing(len(targets)), silence)
        array = DiagnosticArray(status=[told])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)

    def _facts(self) -> dict[str, Any]:
        frames, megabytes = self._ring.kept
        return {
            'model': self.get_parameter('model').value,
            **self._computed,
            'images kept': f'{frames} ({megabytes:.0f} MB)',
            'jumps of time': self._ring.jumps,
        }

    def _doing(self, targets: int) -> str:
        if not self._active:
            return 'inactive' if self._configured else 'unconfigured'
        if not self._enabled:
            return 'paused'
        return 'following' if targets else 'no target'

    # Services and the topic that does the same

    async def _on_init(
        self, request: InitTarget.Request, response: InitTarget.Response
    ) -> InitTarget.Response:
        stamp = to_nanoseconds(request.header.stamp)
        init = partial(self._init, request.bbox, stamp, request.target_id)
        target_id, problem = await self._ask(init)
        response.success = not problem
        response.target_id = target_id or ''
        response.message = problem or f'following target {target_id}'
        return response

    def _on_init_box(self, box: Detection2D) -> None:
        init = partial(self._init, box.bbox, to_nanoseconds(box.header.stamp), box.id)

        def tell(future: futures.Future[str]) -> None:
            if problem := _problem(future):
                self.get_logger().warning(
                    f'init_box refused: {problem}', throttle_duration_sec=THROTTLE
                )

        self._submit(init).add_done_callback(tell)

    async def _on_stop(
        self, request: StopTarget.Request, response: StopTarget.Response
    ) -> StopTarget.Response:
        told, problem = await self._ask(partial(self._stop, request.target_id))
        response.success = not problem
        response.message = problem or told or ''
        return response

    async def _on_list(
        self, request: ListTargets.Request, response: ListTargets.Response
    ) -> ListTargets.Response:
        response.targets, _ = await self._ask(self._list)
        response.targets = response.targets or []
        return response

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        response.success = True
        response.message = 'tracking' if request.data else 'paused: images are kept, not tracked'
        return response

    async def _on_reset(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        count, problem = await self._ask(self._forget)
        self._figures.reset()
        response.success = not problem
        response.message = problem or f'forgot {count} target(s) and all images'
        return response

    async def _ask(self, function: Callable[[], Result]) -> tuple[Result | None, str]:
        """Let the worker run a function; returns its result, and what went wrong, if anything."""
        answer: Future[futures.Future[Result]] = Future(executor=self.executor)
        self._submit(function).add_done_callback(answer.set_result)
        done = await answer
        assert done is not None
        problem = _problem(done)
        if problem.startswith(INTERNAL):
            self.get_logger().error(problem)
            self._figures.count('failed')
        return (None if problem else done.result()), problem

    def _submit(self, function: Callable[[], Result]) -> futures.Future[Result]:
        if self._configured:
            return self._worker.submit(function, WAITING)
        future: futures.Future[Result] = futures.Future()
        future.set_exception(SiamFFNError('the node is not configured: configure and activate it'))
        return future

    # In the worker's thread

    def _track(self, frame: Frame) -> None:
        assert self._targets is not None
        try:
            seen = self._targets.update(frame)
            self._outputs.publish(frame, seen, idle=not len(self._targets))
        finally:
            frame.release()
        self._figures.tracked(frame.arrival)

    def _catch_up(self) -> bool:
        return self._targets is not None and self._targets.catch_up()

    def _init(self, bbox: BoundingBox2D, stamp: int, target_id: str) -> str:
        assert self._targets is not None
        return self._targets.init(to_box(bbox), stamp, target_id).id

    def _stop(self, target_id: str) -> str:
        assert self._targets is not None
        if not target_id:
            return f'stopped {self._targets.clear()} target(s)'
        self._targets.stop(target_id)
        return f'stopped target {target_id}'

    def _list(self) -> list[TrackStatus]:
        assert self._targets is not None
        return [status_of(target) for target in self._targets.all]

    def _forget(self) -> int:
        assert self._targets is not None
        self._ring.clear()
        return self._targets.clear()

    def _set_targets(self, values: dict[str, Any]) -> None:
        assert self._targets is not None
        self._targets.set(parameters.settings_of(values))
        self._targets.limit = values['max_targets']


def _problem(future: futures.Future[Any]) -> str:
    """Return what went wrong, for the one who asked; empty if nothing did."""
    if future.cancelled():
        return 'the node is shutting down: try again when it is active'
    error = future.exception()
    if error is None or isinstance(error, SiamFFNError):
        return str(error or '')
    return f'{INTERNAL}: {error!r}'


def _load(values: dict[str, Any]) -> Any:
    """Return the model, once run: the first call is much slower than the others."""
    weights = values['weights']
    model = load_model(
        values['model'], Path(weights) if weights else None, values['device'], values['runtime']
    )
    tracker = Tracker(model)
    image = np.zeros((64, 64, 3), np.uint8)
    tracker.init(image, Box(16, 16, 32, 32))
    tracker.update(image)
    return model


def return_large_buffers() -> None:
    """Have the C library give images of 640x480 and more back as soon as they are free.

    That is how glibc begins, but with each one it has seen it takes larger ones from the heap,
    which images of many sizes leave full of holes.
    """
    if hasattr(libc := ctypes.CDLL(None), 'mallopt'):
        libc.mallopt(MMAP_THRESHOLD, LARGE)


def make_executor() -> Executor:
    """Return the quickest executor there is.

    The events executor of Kilted takes next to no time; that of older distributions costs half a
    core at 30 images a second, and needs a second thread to receive while parameters change.
    """
    try:
        from rclpy.experimental.events_executor import EventsExecutor
    except ImportError:
        return MultiThreadedExecutor(num_threads=2)
    executor: Executor = EventsExecutor()
    return executor


def make_nodes(cameras: Sequence[str]) -> list[TrackerNode]:
    """Return a node for each NAME=TOPIC, in the namespace NAME; without any, one as ROS names it.

    Raises `SiamFFNError` for a text that is not of this form.
    """
    topics = camera_topics(cameras)
    return [TrackerNode(name, topic) for name, topic in topics.items()] or [TrackerNode()]


def main(args: list[str] | None = None) -> int:
    """Run the node, or one for each `--camera NAME=TOPIC`, until SIGINT or SIGTERM.

    Returns the exit code.
    """
    parser = argparse.ArgumentParser(prog='tracker_node')
    parser.add_argument(
        '--camera',
        action='append',
        default=[],
        metavar='NAME=TOPIC',
        help='follow in this topic, by a node /NAME/tracker; several share the process',
    )
    options = parser.parse_args(remove_ros_args(sys.argv if args is None else args)[1:])
    return_large_buffers()
    use_profile()
    stop = False

    def request_stop(number: int, frame: FrameType | None) -> None:
        nonlocal stop
        stop = True

    signal.signal(signal.SIGINT, request_stop)
    signal.signal(signal.SIGTERM, request_stop)
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        nodes = make_nodes(options.camera)
    except (ParameterException, SiamFFNError, RuntimeError) as error:  # RuntimeError: of rcl
        print(f'error: {error}', file=sys.stderr)
        rclpy.try_shutdown()
        return 1
    executor = make_executor()
    code = 0
    for node in nodes:
        executor.add_node(node)
        if code == 0 and node.get_parameter('autostart').value:
            started = node.trigger_configure() == SUCCESS and node.trigger_activate() == SUCCESS
            code = 0 if started else 1
    while code == 0 and not stop:
        try:
            executor.spin_once(timeout_sec=0.2)
        except Exception:  # no message, service or timer may end the node
            nodes[0].get_logger().error(f'{INTERNAL}: {traceback.format_exc()}')
    for node in nodes:
        node.close()
    executor.shutdown()
    for node in nodes:
        node.destroy_node()
    rclpy.shutdown()
    return code


if __name__ == '__main__':
    sys.exit(main())
