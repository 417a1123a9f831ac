"""launch/"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('launch_ros', reason='launch_ros is not installed (no registry has it)')

LAUNCH = Path(__file__).parents[2] / 'launch'


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location('launch_file', LAUNCH / name)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('profile', ['', '/my/own.xml'])
def test_tracker_launch(monkeypatch: pytest.MonkeyPatch, profile: str) -> None:
    from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
    from launch_ros.actions import Node

    from launch import LaunchContext

    prefixes = [sys.prefix, os.environ.get('AMENT_PREFIX_PATH', '')]
    monkeypatch.setenv('AMENT_PREFIX_PATH', os.pathsep.join(filter(None, prefixes)))
    for name in ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE'):
        monkeypatch.setenv(name, profile)
    entities = load('tracker.launch.py').generate_launch_description().entities
    declared = [entity for entity in entities if isinstance(entity, DeclareLaunchArgument)]
    assert {argument.name for argument in declared} == {
        'image_topic', 'params_file', 'model', 'device', 'autostart', 'log_level',
    }  # fmt: skip
    context = LaunchContext()
    for entity in entities:
        if not isinstance(entity, OpaqueFunction):
            entity.execute(context)
    set_here = [entity for entity in entities if isinstance(entity, SetEnvironmentVariable)]
    assert len(set_here) == (0 if profile else 1)
    assert Path(context.launch_configurations['params_file']).is_file()
    context.launch_configurations['device'] = 'cpu'
    (function,) = [entity for entity in entities if isinstance(entity, OpaqueFunction)]
    (node,) = function.execute(context)
    assert isinstance(node, Node)
