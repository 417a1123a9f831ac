"""The messages between the console's server and its page, see docs/console.md.

Text messages are JSON objects with a `type`; the server's binary messages are images. Stamps are
nanoseconds; in JSON they are decimal strings, since JavaScript numbers have 53 bits.
"""

from __future__ import annotations

import json
import math
import struct
import time
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from siamffn_model.console.backend import TrackerInfo
from siamffn_model.errors import ConfigError
from siamffn_model.imaging.geometry import Box
from siamffn_model.live.results import Result, Target
from siamffn_model.tracking import State

FRAME_HEADER = struct.Struct('<qIHH')  # stamp, sequence number, width and height of the camera
MAX_TEXT = 4096  # bytes of a message from a page
MAX_NAME = 256  # characters of a tracker's name
MAX_ID = 64  # characters of a target's id
MAX_OPERATOR = 32  # characters of an operator's name
MAX_PIXELS = 1e6  # largest coordinate


class Request(NamedTuple):
    """A validated message of a page: its type, and its fields with their types below."""

    type: str
    fields: Mapping[str, Any]


def pack_frame(stamp: int, sequence: int, size: tuple[int, int], jpeg: bytes) -> bytes:
    """Return the binary message of an image; `size` is (width, height) of the camera's image,
    whose pixels are the unit of all boxes, while the JPEG may be smaller."""
    return FRAME_HEADER.pack(stamp, sequence, *size) + jpeg


def trackers_message(trackers: tuple[TrackerInfo, ...], selected: str) -> str:
    """Return the message with the list of trackers and the one that the page watches."""
    return _dump('trackers', trackers=[each._asdict() for each in trackers], selected=selected)


def result_message(
    result: Result, operators: Mapping[str, str], starting: Collection[str] = ()
) -> str:
    """Return the message with all targets in one image.

    `operators` maps ids to who gave them; `starting` are the ids of targets that were given and
    have not yet reached this image.
    """
    targets = [_target(each, operators.get(each.id, '')) for each in result.targets]
    present = {each.id for each in result.targets}
    targets += [
        _starting(name, operators.get(name, '')) for name in starting if name not in present
    ]
    return _dump('result', stamp=str(result.stamp), targets=targets)


def _starting(name: str, operator: str) -> dict[str, object]:
    target = _target(Target(name, State.IDLE, None, None, 0.0, 0, 0, 0.0), operator)
    return target | {'state': 'STARTING'}


def _target(target: Target, operator: str) -> dict[str, object]:
    return {
        'id': target.id,
        'state': target.state.name,
        'box': _numbers(target.box),
        'search': _numbers(target.search),
        'score': round(target.score, 3),
        'processed': target.processed,
        'dropped': target.dropped,
        'ms': round(target.last_ms, 2),
        'operator': operator,
    }


def reply_message(
    request: int, error: str = '', values: Mapping[str, object] = MappingProxyType({})
) -> str:
    """Return the reply to a request of a page: `ok`, the refusal, and what the request returns."""
    return _dump('reply', request=request, ok=not error, message=error, **values)


def event_message(text: str, operator: str = '') -> str:
    """Return the message with a line for the operators, and who has caused it."""
    return _dump('event', text=text, operator=operator, time=time.time())


def message(kind: str, **values: object) -> str:
    """Return a message of another type."""
    return _dump(kind, **values)


def _dump(kind: str, **values: object) -> str:
    return json.dumps({'type': kind, **values}, separators=(',', ':'), allow_nan=False)


def _numbers(box: Box | None) -> list[float] | None:
    return [round(value, 2) for value in box] if box else None


# --- messages of the page


def parse(text: str) -> Request:
    """Validate a message of a page; raises `ConfigError` for anything else."""
    if len(text) > MAX_TEXT:
        raise ConfigError(f'a message has {len(text)} characters: at most {MAX_TEXT} are allowed')
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise ConfigError('a message is not JSON: reload the page') from None
    kind = value.get('type') if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in REQUESTS:
        raise ConfigError(f'a message has an unknown type: it must be one of {", ".join(REQUESTS)}')
    fields = REQUESTS[kind]
    if unknown := value.keys() - fields.keys() - {'type'}:
        raise ConfigError(f'{kind}: unknown field {sorted(unknown)[0][:MAX_NAME]!r}')
    try:
        return Request(kind, {name: read(value[name]) for name, read in fields.items()})
    except KeyError as error:
        raise ConfigError(f'{kind}: field {error} is missing') from None
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f'{kind}: {error}') from None


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


def _text(limit: int) -> Callable[[object], str]:
    def read(value: object) -> str:
        if not isinstance(value, str) or len(value) > limit or not value.isprintable():
            raise ValueError(f'a text must be printable and of at most {limit} characters')
        return value

    return read


def _whole(lowest: int, highest: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if type(value) is not int or not lowest <= value <= highest:
            raise ValueError(f'a whole number must be in {lowest} to {highest}')
        return value

    return read


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError('a coordinate must be a number')
    if not (math.isfinite(value) and abs(value) <= MAX_PIXELS):
        raise ValueError(f'a coordinate must be within {MAX_PIXELS:g} pixels')
    return float(value)


def _tuple_of(count: int) -> Callable[[object], tuple[float, ...]]:
    def read(value: object) -> tuple[float, ...]:
        if not isinstance(value, list) or len(value) != count:
            raise ValueError(f'{count} numbers are required')
        return tuple(_number(each) for each in value)

    return read


def _stamp(value: object) -> int:
    if not isinstance(value, str) or len(value) > 19 or not (value.isascii() and value.isdigit()):
        raise ValueError('a stamp must be nanoseconds as a text of digits')
    if (stamp := int(value)) >= 2**63:
        raise ValueError('a stamp must be below 2^63')
    return stamp


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError('true or false is required')
    return value


def _box(value: object) -> Box:
    return Box(*_tuple_of(4)(value))


_request = _whole(0, 2**31 - 1)  # chosen by the page; the reply repeats it

# For each type of message its fields, all of them required, and how they are read.
REQUESTS: Mapping[str, Mapping[str, Callable[[object], Any]]] = {
    'ack': {'sequence': _whole(0, 2**32 - 1)},
    'view': {'width': _whole(1, 16384), 'height': _whole(1, 16384)},
    'name': {'name': _text(MAX_OPERATOR)},
    'select': {'request': _request, 'tracker': _text(MAX_NAME)},
    'init': {'request': _request, 'stamp': _stamp, 'box': _box, 'target_id': _text(MAX_ID)},
    'point': {
        'request': _request,
        'stamp': _stamp,
        'point': _tuple_of(2),
        'radius': _number,
        'target_id': _text(MAX_ID),
    },
    'stop': {'request': _request, 'target_id': _text(MAX_ID)},
    'pause': {'request': _request, 'paused': _flag},
    'record': {'request': _request, 'on': _flag, 'images': _flag},
}
