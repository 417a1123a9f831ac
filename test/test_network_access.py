"""No command connects to the network, starts a foreign process or writes into the home folder.

Python calls an audit hook for each connection, process and opened file. The hook is installed by a
`sitecustomize.py`, so that child processes, the node among them, have it too. Native code does not
call it, but what it leaves in the home folder is found there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import torch

from siamffn_model.cli.main import main
from siamffn_model.runtimes.selection import weight_file

from .checkpoints.test_pysot import checkpoint
from .training.teacher_files import write_teacher

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = (
    'aiohttp',
    'jinja2',
    'nncf',
    'onnx',
    'onnxruntime',
    'onnxscript',
    'openvino',
    'optuna',
    'pydantic',
)
HOOK = """
import json, os, sys

PROCESSES = {'os.exec', 'os.fork', 'os.forkpty', 'os.posix_spawn', 'os.system', 'subprocess.Popen'}
NETWORK = {'socket.connect', 'socket.getaddrinfo', 'socket.gethostbyname', 'socket.sendto'}
HOME, LOG = os.environ['HOME'], os.environ['AUDIT_LOG']

def hook(event, arguments):
    if event == 'open':
        path, _, flags = arguments
        if not isinstance(path, (str, bytes)) or not flags & (os.O_WRONLY | os.O_RDWR):
            return
        if not os.path.abspath(os.fsdecode(path)).startswith(HOME):
            return
    elif event not in PROCESSES | NETWORK | {'test.command'}:
        return
    with open(LOG, 'a') as log:
        log.write(json.dumps([event, *map(str, arguments)]) + '\\n')

sys.addaudithook(hook)
"""
COMMANDS = """
import json, os, signal, sys, threading, time
from siamffn_model.cli.main import main

def end_server():  # as soon as it waits for a signal
    while getattr(signal.getsignal(signal.SIGINT), '__name__', '') != 'request_stop':
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGINT)

for words in json.loads(sys.argv[1]):
    sys.audit('test.command', ' '.join(words))
    if words[0] == 'console':
        threading.Thread(target=end_server, daemon=True).start()
    if main(words, standalone_mode=False):
        sys.exit(f'{words} failed')
if sys.argv[2:]:
    sys.audit('test.command', 'import')
    __import__(sys.argv[2])
"""
# Caches that belong in a home folder: docs/security.md names them.
OWN_FILES = r'\.cache/(siamffn|matplotlib)/.*|\.config/matplotlib/.*|\.ros/log/.*'


def run_audited(tmp_path: Path, lines: list[str], *modules: str) -> list[list[str]]:
    """Run commands of `siamffn` with an empty home folder, and import at most one module.

    Returns the events of the hook, each a list: the command that was running, the name of the event
    and its arguments.
    Fails if a command fails, or leaves files in the home folder that are not in `OWN_FILES`.
    """
    home, hook, log = tmp_path / 'home', tmp_path / 'hook', tmp_path / 'events'
    home.mkdir()
    hook.mkdir()
    (hook / 'sitecustomize.py').write_text(HOOK)
    suppressing = {'CI', 'JENKINS_URL', 'ORT_DISABLE_TELEMETRY', 'TF_BUILD', 'XDG_CACHE_HOME'}
    environment = {key: value for key, value in os.environ.items() if key not in suppressing}
    environment |= {
        'AUDIT_LOG': str(log),
        'HOME': str(home),
        'OMP_NUM_THREADS': '1',
        'PYTHONPATH': f'{hook}{os.pathsep}{ROOT}',
    }
    done = subprocess.run(
        [sys.executable, '-c', COMMANDS, json.dumps([line.split() for line in lines]), *modules],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    files = [str(p.relative_to(home)) for p in home.rglob('*') if not p.is_dir()]
    assert [name for name in files if not re.fullmatch(OWN_FILES, name)] == []
    events, command = [], ''
    for line in log.read_text().splitlines():
        name, *arguments = json.loads(line)
        if name == 'test.command':
            command = arguments[0]
        elif name != 'open' or not re.fullmatch(OWN_FILES, os.path.relpath(arguments[0], home)):
            events.append([command, name, *arguments])
    return events


def names_of(group: click.Group, prefix: str = '') -> set[str]:
    """Return the names of all commands in a group, such as 'data check'."""
    names = set()
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            names |= names_of(command, f'{prefix}{name} ')
        else:
            names.add(prefix + name)
    return names


# Each line runs in the order of a group, so that it can use the results of earlier lines.
TRACKING = """\
track {clips}/clip1 --out track
track {clips}/clip1 --model nanotrack --weights {teacher} --runtime onnx --out track
export --format openvino --out exported
evaluate sequences --data {clips} --out evaluate
score sequences --annotations {clips} --results evaluate/results --out score
tune sequences --data {clips} --trials 1 --study tune.db
calibrate sequences --data {clips} --out calibrated.safetensors
console {clips}/clip1 --port 0
"""
TRAINING = """\
train {recipe} --device cpu --weights {weights} --out train
data check --data pack={pack}
data speed {recipe} --seconds 0.1
data bundle {pack} --out pack.zip
complexity siamfc_alex
benchmark --model siamffn_lite0 --seconds 0
weights import-nanotrack {teacher} --out teacher.safetensors
weights import-pysot siamban.pth --out siamban.safetensors
"""


def test_all_commands_are_tested() -> None:
    """Except for `weights import-imagenet`, which downloads, as its help says."""
    words = [line.split() for line in (TRACKING + TRAINING).splitlines()]
    called = {' '.join(line[:count]) for line in words for count in (1, 2)}
    assert names_of(main) - called == {'weights import-imagenet'}


@pytest.mark.slow
@pytest.mark.parametrize('group', [TRACKING, TRAINING], ids=['tracking', 'training'])
def test_commands_neither_connect_nor_start_processes(
    group: str, tmp_path: Path, clips: Path, tiny_pack: Path
) -> None:
    for package in EXTRAS:
        pytest.importorskip(
            package, reason='extras [console], [eval], [export] and [train] not installed'
        )
    teacher = write_teacher(tmp_path / 'teacher')
    torch.save({'state_dict': checkpoint('head', 'box', 1)}, tmp_path / 'siamban.pth')
    recipe = f'--config {ROOT}/config/train/smoke.yaml --workers 0 --set batch=2'
    recipe += ' --set epochs=1 --set data.rendered.pairs=2'
    weights = weight_file('siamffn_lite0')  # the model of the recipe
    lines = group.format(
        clips=clips, teacher=teacher, recipe=recipe, weights=weights, pack=tiny_pack
    ).splitlines()
    # `export --int8` takes a minute: its part that could send data is NNCF, from the import on.
    events = run_audited(tmp_path, lines, 'siamffn_model.export.quantisation')
    # Matplotlib, for the plots, asks fontconfig once for the fonts of this machine. The console
    # listens on an address of this machine only.
    assert [event for event in events if event[2] not in ('fc-list', '127.0.0.1')] == []


@pytest.mark.slow
@pytest.mark.ros
def test_node_and_bag_commands_start_only_each_other(
    tmp_path: Path, sequence: Path, weights: Path
) -> None:
    """`bag replay` starts the node and `bag play`; their traffic is that of DDS, native code."""
    pytest.importorskip('rclpy', reason='ROS 2 is not installed')
    from siamffn_ros.bags.commands import command

    lines = [
        f'bag create {sequence} -o clip.mcap',
        'bag play clip.mcap --rate 100 --wait 0',
        'bag track clip.mcap -o tracked.mcap',
        'bag evaluate tracked.mcap --truth clip.mcap',
        f'bag replay clip.mcap --weights {weights} -o replay',
    ]
    assert {f'bag {name}' for name in command.commands} == {
        ' '.join(line.split()[:2]) for line in lines
    }
    events = run_audited(tmp_path, lines)
    assert [(line, name) for line, name, *_ in events] == [(lines[-1], 'subprocess.Popen')] * 2
    for (_, _, _, words, *_), module in zip(events, ('siamffn_ros.node.main', 'siamffn_model')):
        assert f"'{sys.executable}', '-m', '{module}'" in words
