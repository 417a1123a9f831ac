"""The documentation: links, commands, paths, parameters and dependencies match the code."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import pytest
import yaml

from siamffn_model.cli.main import main
from siamffn_model.datasets.synthetic import Scene
from siamffn_model.imaging.geometry import iou
from siamffn_model.tracking import State

try:
    from siamffn_ros.bags.commands import command as bag_commands
except ImportError:
    bag_commands = None

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / 'README.md',
    ROOT / 'CONTRIBUTING.md',
    ROOT / 'CHANGELOG.md',
    *sorted((ROOT / 'docs').glob('*.md')),
]
FENCE = re.compile(r'^ *```(\w*)\n(.*?)^ *```', re.M | re.S)
INDENTED = re.compile(r'(?:^(?: {4}|\t).*\n|^\n(?= {4}))+', re.M)
LINK = re.compile(r'\]\(([^)\s]+)\)')
SPAN = re.compile(r'`([^`\n]+)`')
PROGRAM = re.compile(
    r'(?:(?:ros2 run siamffn |\S*/)?siamffn|(?:torchrun|\S*python3?) .*-m siamffn_model) (.*)'
)
CODE_FOLDERS = 'config|docs|interfaces|launch|msg|scripts|siamffn_model|siamffn_ros|srv|test'
PATH = re.compile(rf'(?:{CODE_FOLDERS})/[\w./-]+')
ROSDEP = {  # rosdep key of package.xml: distribution on PyPI
    'python3-click': 'click',
    'python3-numpy': 'numpy',
    'python3-opencv': 'opencv-python-headless',
    'python3-psutil': 'psutil',
    'python3-tqdm': 'tqdm',
}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """Return the text of a page without its code blocks."""
    return INDENTED.sub('', FENCE.sub('', page.read_text(encoding='utf-8')))


def code_lines(page: Path) -> Iterator[str]:
    """Yield the lines of all code blocks, continued ones joined, and `a && b` as two lines."""
    text = page.read_text(encoding='utf-8')
    blocks = [match[2] for match in FENCE.finditer(text)]
    blocks += INDENTED.findall(FENCE.sub('', text))
    for block in blocks:
        for line in re.sub(r'\\\n', ' ', block).splitlines():
            yield from (part.strip() for part in line.split(' && '))


def snippets(page: Path) -> list[str]:
    """Return the lines of code blocks and the code spans of a page."""
    return [*code_lines(page), *SPAN.findall(prose(page))]


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings, as GitHub forms them."""
    headings = re.findall(r'^#+ (.+)$', prose(page), re.M)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_links_point_to_files_and_headings(page: Path) -> None:
    broken = []
    for target in LINK.findall(prose(page)):
        if re.match(r'\w+:', target):
            continue
        path, _, anchor = target.partition('#')
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_paths_of_the_repository_exist(page: Path) -> None:
    spans = SPAN.findall(prose(page))
    paths = [match[0] for span in spans if (match := PATH.fullmatch(span))]
    assert [path for path in paths if not (ROOT / path).exists()] == []


def siamffn_calls() -> list[Any]:
    """Return the words after `siamffn` in each documented call, once."""
    calls: dict[str, Any] = {}
    for page in PAGES:
        for line in snippets(page):
            match = PROGRAM.fullmatch(line.partition('  #')[0].strip())
            words = shlex.split(match[1]) if match else []
            if words and not words[0].isupper():  # `siamffn COMMAND --help`
                calls.setdefault(match[1], pytest.param(words, id=f'{name_of(page)}: {match[1]}'))
    return list(calls.values())


@pytest.mark.parametrize('words', siamffn_calls())
def test_commands_and_their_options_exist(words: list[str]) -> None:
    context = click.Context(main)
    command: click.Command | None = main
    rest = list(words)
    if rest[0] == 'bag':
        if bag_commands is None:
            pytest.skip('siamffn bag requires ROS 2 and rosbags')
        command = bag_commands
        rest.pop(0)
    while isinstance(command, click.Group) and rest and not rest[0].startswith('-'):
        command = command.get_command(context, rest.pop(0))
    assert command is not None, 'no such command'
    known = {'--help', *(option for param in command.params for option in param.opts)}
    used = {word.partition('=')[0] for word in rest if re.match(r'--?[a-z]', word)}
    assert used <= known


def make_targets() -> list[Any]:
    """Return the targets of each documented call of make, once."""
    targets: dict[str, Any] = {}
    for page in PAGES:
        for line in snippets(page):
            if line.startswith('make '):
                words = line.partition('#')[0].split()[1:]
                for word in words:
                    if re.fullmatch(r'[a-z][a-z-]*', word):
                        targets.setdefault(word, pytest.param(word, id=f'{name_of(page)}: {word}'))
    return list(targets.values())


@pytest.mark.parametrize('target', make_targets())
def test_make_targets_exist(target: str) -> None:
    makefile = (ROOT / 'Makefile').read_text(encoding='utf-8')
    names = {
        name for line in re.findall(r'^([a-z][a-z -]*):', makefile, re.M) for name in line.split()
    }
    assert target in names


@pytest.mark.parametrize('page', ['README.md', 'docs/models.md'])
def test_the_python_example_tracks(page: str, scene: Scene) -> None:
    (example,) = (
        match[2]
        for match in FENCE.finditer((ROOT / page).read_text(encoding='utf-8'))
        if match[1] == 'python'
    )
    x, y, w, h = scene.boxes[0]
    example = re.sub(r'Box\([\d, ]+\)', f'Box({x}, {y}, {w}, {h})', example)
    names: dict[str, Any] = {'first_image': scene.images[0], 'next_image': scene.images[1]}
    exec(example, names)
    assert names['state'] == State.TRACKING
    assert iou(names['box'], scene.boxes[1]) > 0.5


def test_new_measurements_are_added_before_the_earlier_ones() -> None:
    """`siamffn benchmark --report` adds its section before the first heading of level 2."""
    text = (ROOT / 'docs' / 'performance.md').read_text(encoding='utf-8')
    days = re.findall(r'^## (.*)$', text, re.M)
    assert all(re.match(r'\d{4}-\d\d-\d\d, ', day) for day in days)
    dates = [day[:10] for day in days]
    assert dates == sorted(dates, reverse=True)


@pytest.mark.parametrize('page', ['README.md', 'docs/ros.md'])
def test_rosdep_and_pip_install_all_dependencies(page: str) -> None:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))['project']
    (line,) = (line for line in code_lines(ROOT / page) if line.startswith('pip install openvino'))
    by_pip = {re.split(r'[<>=]', word)[0] for word in shlex.split(line)[2:]}
    tree = ElementTree.parse(ROOT / 'package.xml')
    by_rosdep = {
        ROSDEP[str(element.text)]
        for element in tree.iter('exec_depend')
        if str(element.text).startswith('python3-')
    }
    assert set(project['dependencies']) <= by_pip | by_rosdep
    assert by_pip <= {*project['dependencies'], 'openvino'}
    (comment,) = re.findall(r'<!--(.*?)-->', (ROOT / 'package.xml').read_text(), re.DOTALL)
    without_key = set(re.split(r',? and | or |, ', ' '.join(comment.rpartition(':')[2].split())))
    assert without_key == {*project['dependencies'], 'openvino', 'onnxruntime'} - by_rosdep


@pytest.fixture
def parameters() -> dict[str, Any]:
    """The parameters that the node declares, by name."""
    pytest.importorskip('rclpy', reason='the parameters are declared with ROS 2')
    from siamffn_ros.node.parameters import PARAMETERS

    return {parameter.name: parameter for parameter in PARAMETERS}


def test_the_page_of_parameters_is_complete(parameters: dict[str, Any]) -> None:
    text = (ROOT / 'docs' / 'parameters.md').read_text(encoding='utf-8')
    table = [line.strip('|').split('|') for line in text.splitlines() if line.startswith('| `')]
    names = [cells[0].strip(' `') for cells in table]
    assert sorted(names) == sorted(parameters), 'one row for each parameter'
    for name, (_, *cells) in zip(names, table, strict=True):
        default, allowed, changes, description = (cell.strip() for cell in cells)
        parameter = parameters[name]
        assert description, name
        value = yaml.safe_load(default.strip('`'))
        assert (value, type(value)) == (parameter.default, type(parameter.default)), name
        expected = ', '.join(f'`{choice}`' for choice in parameter.choices)
        if parameter.limits:
            expected = '{:g} to {:g}'.format(*parameter.limits)
        assert allowed == expected, name
        when = {parameter.read_at_start: 'start', parameter.read_by_configure: 'configure'}.get(
            True, 'any time'
        )
        assert changes == when, name


def test_the_parameters_of_the_mavlink_camera_are_complete() -> None:
    pytest.importorskip('rclpy', reason='the parameters are declared with ROS 2')
    pytest.importorskip('pymavlink', reason='extra [mavlink] not installed')
    from siamffn_ros.mavlink.gimbal_node import PARAMETERS as GIMBAL_PARAMETERS
    from siamffn_ros.mavlink.node import PARAMETERS

    text = (ROOT / 'docs' / 'parameters.md').read_text(encoding='utf-8')
    section = text.partition('## MAVLink camera')[2].partition('\n## ')[0]
    documented = dict(re.findall(r'^- `(\w+)` \(default `(.*?)`\): .', section, re.M))
    assert {name: yaml.safe_load(value) for name, value in documented.items()} == {
        name: default
        for name, (default, _, _) in PARAMETERS.items()
        if name not in GIMBAL_PARAMETERS
    }
    text = (ROOT / 'docs' / 'gimbal.md').read_text(encoding='utf-8')
    rows = dict(re.findall(r'^\| `(\w+)` \| `(.*?)` \|', text, re.M))
    assert rows.keys() == GIMBAL_PARAMETERS.keys()
    for name, (default, _, _) in GIMBAL_PARAMETERS.items():
        assert rows[name].strip('"') == str(default)


def test_the_parameter_file_holds_the_defaults(parameters: dict[str, Any]) -> None:
    content = yaml.safe_load((ROOT / 'config' / 'tracker.yaml').read_text(encoding='utf-8'))
    values = content['/**']['ros__parameters']
    flat = {name: value for name, value in values.items() if not isinstance(value, dict)}
    flat |= {f'tracking.{name}': value for name, value in values['tracking'].items()}
    assert flat == {name: parameter.default for name, parameter in parameters.items()}
    assert all(type(flat[name]) is type(parameters[name].default) for name in flat)
