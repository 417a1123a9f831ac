"""Calls of a tracker's services, which end with an answer, a refusal or a timeout."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

from rclpy.client import Client
from rclpy.node import Node
from siamffn.srv import InitPoint, InitTarget, StopTarget
from std_srvs.srv import SetBool

from siamffn_model.errors import ConfigError, NotReadyError, SiamFFNError

SERVICES = {
    'init_target': InitTarget,
    'init_point': InitPoint,
    'stop_target': StopTarget,
    'enable': SetBool,
}
TIMEOUT = 8.0  # seconds; below that of the web server


class _Call(NamedTuple):
    service: str
    response: Any  # future of ROS
    future: Future[Any]
    deadline: float


class ServiceClients:
    """The clients of one tracker; all methods run in the thread of the node's executor."""

    def __init__(self, node: Node, tracker: str) -> None:
        self._node, self._tracker = node, tracker
        self._clients: dict[str, Client[Any, Any]] = {
            name: node.create_client(kind, f'{tracker}/{name}') for name, kind in SERVICES.items()
        }
        self._calls: list[_Call] = []

    @property
    def ready(self) -> bool:
        """Whether the tracker's service for boxes can be called."""
        return self._clients['init_target'].service_is_ready()

    def call(
        self, name: str, request: Any, future: Future[Any], convert: Callable[[Any], Any]
    ) -> None:
        """Call a service; the future receives what `convert` makes of the response.

        It receives `ConfigError` with the tracker's message if it refuses, and `NotReadyError` if
        it does not offer the service or does not answer.
        """
        client = self._clients.get(name)
        if client is None or not client.service_is_ready():
            raise NotReadyError(
                f'{self._tracker} does not offer {name}: check that it runs and is of this version'
            )
        response = client.call_async(request)
        call = _Call(name, response, future, time.monotonic() + TIMEOUT)
        self._calls.append(call)
        response.add_done_callback(lambda _: self._finish(call, convert))

    def _finish(self, call: _Call, convert: Callable[[Any], Any]) -> None:
        if call not in self._calls:
            return  # has timed out
        self._calls.remove(call)
        try:
            response = call.response.result()
            if not response.success:
                raise ConfigError(response.message)
            result = convert(response)
        except SiamFFNError as error:
            call.future.set_exception(error)
        except Exception as error:  # a response that no tracker gives
            text = f'{self._tracker} has answered {call.service} wrongly: {error!r}'
            call.future.set_exception(ConfigError(text))
        else:
            call.future.set_result(result)

    def check_deadlines(self) -> None:
        """End the calls that are not answered in time; call about once a second."""
        now = time.monotonic()
        self._fail([call for call in self._calls if now > call.deadline], 'has not answered')

    def close(self) -> None:
        """End all calls and remove the clients."""
        self._fail(self._calls, 'has ended before it answered')
        for client in self._clients.values():
            self._node.destroy_client(client)

    def _fail(self, calls: list[_Call], what: str) -> None:
        for call in list(calls):
            self._calls.remove(call)
            self._clients[call.service].remove_pending_request(call.response)
            call.future.set_exception(
                NotReadyError(f'{self._tracker} {what} {call.service}: check that it still runs')
            )
