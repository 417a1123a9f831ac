"""The dependencies between modules that CONTRIBUTING describes."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# From the lowest to the highest: a layer of siamffn_model imports only itself and lower layers.
LAYERS = (
    'errors',
    'atomic_io',
    'signals',
    'imaging',
    'networks',
    'checkpoints',
    'runtimes',
    'distributed',
    'tracking',
    'live',
    'console',
    'datasets',
    'evaluation',
    'export',
    'training',
    'benchmarking',
    'cli',
)
FILES = sorted(ROOT.glob('siamffn_*/**/*.py'))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


MODULES = {module_name(path): path for path in FILES}


def imports(path: Path) -> set[str]:
    """Return the modules that a file imports, in functions too, except under TYPE_CHECKING."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    typing_only = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == 'TYPE_CHECKING'
        for node in ast.walk(branch)
    }
    modules: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: relative import'
            submodules = {f'{node.module}.{alias.name}' for alias in node.names}
            modules |= submodules & MODULES.keys() or {str(node.module)}
    return modules


GRAPH = {name: imports(path) & MODULES.keys() - {name} for name, path in MODULES.items()}


def test_no_import_cycles() -> None:
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        pytest.fail(' -> '.join(error.args[1]))


def test_imports_point_to_lower_layers_only() -> None:
    def layer(module: str) -> int:
        return LAYERS.index(module.split('.')[1])

    upward = [
        f'{name} imports {other}'
        for name, others in GRAPH.items()
        for other in others
        if name.startswith('siamffn_model.') and other.startswith('siamffn_model.')
        if not name.endswith('__main__') and layer(other) > layer(name)
    ]
    assert upward == []


def test_the_model_imports_no_ros() -> None:
    ros = {'ament_index_python', 'cv_bridge', 'launch', 'rclpy', 'siamffn', 'siamffn_ros'}
    messages = {
        name for path in FILES for name in imports(path) if '.msg' in name or '.srv' in name
    }
    foreign = [
        f'{name} imports {other}'
        for name, path in MODULES.items()
        if name.startswith('siamffn_model')
        for other in imports(path)
        if other.split('.')[0] in ros or other in messages
    ]
    assert messages, 'siamffn_ros imports messages'
    assert foreign == []


def test_the_demo_imports_no_command_line() -> None:
    assert not [name for name in GRAPH['siamffn_ros.demo'] if name.startswith('siamffn_model.cli')]


@pytest.mark.skipif(importlib.util.find_spec('rclpy') is None, reason='rclpy is not installed')
def test_starting_the_node_imports_no_pytorch() -> None:
    program = 'import sys, siamffn_ros.node.main; print("torch" in sys.modules)'
    done = subprocess.run(
        [sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ['False']
