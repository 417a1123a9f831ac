"""config/: the layouts of RViz and Foxglove are valid and match the topics of the node."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CONFIG = Path(__file__).parents[2] / 'config'
TOPICS = {
    '/tracker/detections',
    '/tracker/detection',
    '/tracker/status',
    '/tracker/debug_image',
    '/tracker/init_box',
    '/diagnostics',
}
TOPIC = re.compile(r'(/[a-z_/]+)(\.[a-z_.]+)?')  # and a field of its messages


def texts(value: Any) -> Iterator[str]:
    """Yield all texts in a JSON or YAML value, except keys."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from texts(part)
    elif isinstance(value, str):
        yield value


def topics(value: Any) -> set[str]:
    matches = (TOPIC.fullmatch(text) for text in texts(value))
    return {match[1] for match in matches if match}


def test_foxglove_layout() -> None:
    layout = json.loads((CONFIG / 'foxglove.json').read_text())
    panels = layout['configById']
    kinds = {name.partition('!')[0] for name in panels}
    assert kinds == {'Image', 'Plot', 'StateTransitions', 'DiagnosticSummary', 'RawMessages'}
    placed = [text for text in texts(layout['layout']) if '!' in text]
    assert sorted(placed) == sorted(panels), 'each panel has one place'
    assert topics(panels) == TOPICS - {'/tracker/detection', '/tracker/init_box'}


def test_foxglove_fields_exist() -> None:
    from siamffn.msg import TrackStatus

    panels = (CONFIG / 'foxglove.json').read_text()
    fields = re.findall(r'/tracker/status\.(\w+)', panels)
    assert fields and set(fields) <= set(TrackStatus.get_fields_and_field_types())


def test_rviz_shows_the_debug_image() -> None:
    displays = yaml.safe_load((CONFIG / 'tracker.rviz').read_text())['Visualization Manager'][
        'Displays'
    ]
    (display,) = displays
    assert display['Class'] == 'rviz_default_plugins/Image' and display['Enabled']
    assert display['Topic']['Reliability Policy'] == 'Reliable'
    assert topics(display) == {'/tracker/debug_image'} <= TOPICS


def test_the_node_has_all_topics(peer: Any, start_node: Any) -> None:
    start_node()
    inputs = {'/tracker/init_box'}
    peer.until(lambda: all(map(peer.node.count_publishers, TOPICS - inputs)), 'its outputs')
    peer.until(lambda: all(map(peer.node.count_subscribers, inputs)), 'its inputs')
