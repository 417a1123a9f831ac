"""ROS in this process: started without its signal handlers, with errors that users can fix."""

from __future__ import annotations

import re
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import rclpy
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.context import Context
from rclpy.exceptions import NameValidationException, ParameterException
from rclpy.executors import Executor, MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from siamffn_model.errors import ConfigError
from siamffn_model.signals import END_SIGNALS, handle_signals
from siamffn_ros.dds import use_profile

PLACE_IN_RCL = re.compile(r',? at [\w./-]+\.[ch](pp)?:\d+')
PARSING = re.compile(r"Couldn't parse (.+?): '(.+?)'\. (?:Error: )?(.*)")
REMEDIES = {  # what rcl cannot parse: the remedy
    'parameter override rule': 'give -p NAME:=VALUE',
    'remap rule': 'give -r FROM:=TO; a name has letters, digits, underscores and single slashes',
    'params file': 'give a YAML file with NODE: {ros__parameters: {NAME: VALUE}}',
    'log level': 'give debug, info, warn, error or fatal',
}


def watch_signals() -> Callable[[], bool]:
    """Return a function that tells whether SIGINT or one of `END_SIGNALS` has been received.

    More of them change nothing: a process gets that of `ros2 launch` beside that of the terminal.
    """
    received: list[int] = []
    handle_signals((signal.SIGINT, *END_SIGNALS), lambda number, _: received.append(number))
    return lambda: bool(received)


@contextmanager
def ros_context(arguments: Sequence[str] = ()) -> Iterator[None]:
    """Start ROS with the Fast DDS profile for large images, and shut it down at the end.

    Args:
        arguments: the command line without the program: ROS arguments follow `--ros-args`.

    Raises `ConfigError` for ROS arguments or an environment that are not valid.
    """
    use_profile()
    with ros_errors():
        rclpy.init(args=list(arguments), signal_handler_options=SignalHandlerOptions.NO)
    try:
        yield
    finally:
        rclpy.shutdown()


def create_steady_timer(node: Node, seconds: float, callback: Callable[[], None]) -> None:
    """Call a function of a node regularly, by a clock that runs whatever happens to the others.

    The clock of a node may stand still, with use_sim_time; that of the system may be set back.
    """
    node.create_timer(seconds, callback, clock=Clock(clock_type=ClockType.STEADY_TIME))


def make_executor(context: Context | None = None, threads: int = 2) -> Executor:
    """Return the fastest executor available.

    The events executor of Kilted needs next to no time; that of older distributions uses half a
    core at 30 images/s, and the tracker needs a second thread there to receive images while
    parameters change.
    """
    try:
        from rclpy.experimental.events_executor import EventsExecutor
    except ImportError:
        if threads == 1:
            return SingleThreadedExecutor(context=context)
        return MultiThreadedExecutor(num_threads=threads, context=context)
    executor: Executor = EventsExecutor(context=context)
    return executor


def spin(executor: Executor, node: Node, stop_requested: Callable[[], bool]) -> None:
    """Spin until a stop is requested; `node` logs exceptions, which end nothing."""
    while not stop_requested():
        try:
            executor.spin_once(timeout_sec=0.2)
        except Exception:  # no message, service or timer may end a node
            node.get_logger().error(f'internal error: {traceback.format_exc()}')


@contextmanager
def ros_errors() -> Iterator[None]:
    """Raise `ConfigError` for arguments, files, names and parameters that ROS refuses."""
    try:
        yield
    except (NameValidationException, ParameterException, RuntimeError, UnicodeError) as error:
        raise ConfigError(one_line(error)) from error


def one_line(error: Exception) -> str:
    """Return the message of an error of ROS in one line, with the remedy where it is known."""
    text = PLACE_IN_RCL.sub('', str(error))
    if isinstance(error, UnicodeError):
        return f'the arguments are not valid UTF-8 ({text}): use other names'
    if type(error).__name__ == 'UnknownROSArgsError':
        return f'unknown ROS arguments {text}: give them before --ros-args, or remove them'
    if match := PARSING.search(text):
        what, argument, reason = match.groups()
        remedy = REMEDIES.get(what)
        unclear = reason.startswith(('Expected lexeme', 'error not set'))
        detail = '' if unclear else f' ({reason})'
        return f"'{argument}' is not a {what}{detail}" + (f': {remedy}' if remedy else '')
    remedy = ': see docs/security.md' if 'SECURITY ERROR' in text else ''
    return ' '.join(text.split()) + remedy
