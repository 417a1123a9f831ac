"""The messages between server and page."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siamffn_model.console.protocol import REQUESTS, pack_frame, parse
from siamffn_model.errors import ConfigError
from siamffn_model.imaging.geometry import Box

INIT = {'type': 'init', 'request': 7, 'stamp': '12', 'box': [1, 2.5, 3, 4], 'target_id': 'a'}


def test_a_frame_is_16_bytes_and_its_jpeg() -> None:
    data = pack_frame(-5, 2**32 - 1, (1280, 720), b'jpeg')
    assert struct.unpack('<qIHH', data[:16]) == (-5, 2**32 - 1, 1280, 720)
    assert data[16:] == b'jpeg'


def test_a_request_is_read() -> None:
    request = parse(json.dumps(INIT))
    assert request.type == 'init'
    assert request.fields == {
        'request': 7,
        'stamp': 12,
        'box': Box(1, 2.5, 3, 4),
        'target_id': 'a',
    }


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'type': 'x'}, 'unknown type'),
        ({'type': None}, 'unknown type'),
        ({'more': 1}, "init: unknown field 'more'"),
        ({'request': True}, 'whole number'),
        ({'request': -1}, 'whole number'),
        ({'stamp': 12}, 'text of digits'),
        ({'stamp': '-1'}, 'text of digits'),
        ({'stamp': '\u0663'}, 'text of digits'),
        ({'stamp': '9' * 19}, 'below 2'),
        ({'box': [1, 2, 3]}, '4 numbers'),
        ({'box': [1, 2, 3, '4']}, 'must be a number'),
        ({'box': [1, 2, 3, 1e7]}, 'within 1e'),
        ({'target_id': 'a\n'}, 'printable'),
        ({'target_id': 'a' * 65}, 'at most 64'),
    ],
)
def test_what_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(json.dumps({**INIT, **changes}))


@pytest.mark.parametrize('text', ['{"type":"ack","sequence":NaN}', '[' * 4000, 'x' * 4097, '1'])
def test_what_is_no_message(text: str) -> None:
    with pytest.raises(ConfigError):
        parse(text)


@pytest.mark.parametrize('name', INIT)
def test_every_field_is_required(name: str) -> None:
    with pytest.raises(ConfigError):
        parse(json.dumps({key: value for key, value in INIT.items() if key != name}))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
)


@given(st.sampled_from(sorted(REQUESTS)), st.data())
def test_any_json_is_read_or_refused(kind: str, data: st.DataObject) -> None:
    fields = {name: data.draw(json_values) for name in REQUESTS[kind]}
    try:
        request = parse(json.dumps({'type': kind, **fields}))
    except ConfigError:
        return
    assert request.fields.keys() == fields.keys()


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse(text)
    except ConfigError:
        return
