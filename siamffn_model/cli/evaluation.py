"""`siamffn evaluate`, `score`, `tune` and `calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from siamffn_model.atomic_io import write_text
from siamffn_model.cli.options import extra, model_options, settings_option
from siamffn_model.errors import ConfigError

if TYPE_CHECKING:
    from siamffn_model.datasets.benchmarks import Benchmark


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


@click.command()
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
@settings_option
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
    changes: dict[str, Any],
    model: str,
    device: str,
    weights: Path | None,
    runtime: str,
) -> None:
    """Run trackers over a benchmark and score them.

    SET is uav20l, uav123, otb2015, vot2016, vot2018, vot2019, got10k (its validation part) or
    sequences (a plain folder of them). Each result is in --out, in the benchmark's own format, as
    soon as its sequence is done; after Ctrl-C or a kill --resume goes on. Many machines with one
    disk: torchrun --nnodes 4 ... -m siamffn_model evaluate ...
    """
    with extra('eval', 'evaluation'):
        from siamffn_model.distributed import init_distributed, restarted
        from siamffn_model.evaluation import runner, scoring
        from siamffn_model.evaluation.tracker_specs import opencv_tracker, our_tracker
        from siamffn_model.tracking import TrackerSettings

    given = {
        name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    with init_distributed(device) as world:
        trackers = [opencv_tracker(text) for text in peers]
        if not peers or given & {'model', 'weights', 'runtime', 'changes'}:
            chosen = our_tracker(
                model, weights, str(world.device), runtime, TrackerSettings(**changes)
            )
            trackers.append(chosen)
        sequences = benchmark.read(data, True)
        jobs = runner.plan(benchmark, sequences, trackers, out)
        share = jobs[world.rank :: world.size]  # before any is left out: all divide the same list
        if resume or restarted():
            share = [job for job in share if not job.done()]
        runner.run_all(share, workers)
        world.barrier()
        if not world.is_main:
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


@click.command()
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
    with extra('eval', 'evaluation'):
        from siamffn_model.evaluation import scoring
        from siamffn_model.evaluation.raw_results import find_trackers

    sequences = benchmark.read(annotations, strips)
    sources = find_trackers([*first, *others], [sequence.name for sequence in sequences])
    scoring.report(out, benchmark, sequences, sources, absent_counts=not leave_out_absent)
    _show(out)


def _show(out: Path) -> None:
    click.echo((out / 'table.md').read_text())
    click.echo(f'see {out / "report.html"}')


_allow_test_set_option = click.option(
    '--allow-test-set', is_flag=True, help='Tune on a set that trackers are compared on.'
)


def _spare_test_sets(benchmark: Benchmark, allowed: bool) -> None:
    if benchmark.test and not allowed:
        raise ConfigError(
            f'{benchmark.title} is a test set: what is tuned on it cannot be compared with others '
            'on it; tune on other sequences, or give --allow-test-set and say so with the figures'
        )


@click.command()
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
@_allow_test_set_option
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
    runtime: str,
) -> None:
    """Search the tracker's window, penalty_k, lr and motion for the best mean score.

    SET, to validate on, is one of those of `siamffn evaluate`, best `sequences`. The search can be
    stopped at any time, and goes on where it was when called again. Use what it finds with --set.
    """
    _spare_test_sets(benchmark, allow_test_set)
    from siamffn_model.evaluation import runner
    from siamffn_model.evaluation.tracker_specs import our_tracker
    from siamffn_model.evaluation.tuning import RANGES, tune
    from siamffn_model.tracking import Tracker, TrackerSettings, load_model

    sequences = benchmark.read(data, True)
    network = load_model(model, weights, device, runtime)

    def objective(settings: TrackerSettings) -> float:
        tracker = Tracker(network, settings)
        if benchmark.lengths:
            return runner.track_all_with_resets(tracker, sequences, benchmark.lengths).score
        return runner.track_all(tracker, sequences).score

    identity = our_tracker(model, weights, device, runtime, TrackerSettings()).identity
    identity = {key: identity[key] for key in ('model', 'weights')}
    identity['set'] = f'{benchmark.title}, {sum(len(s.truth) for s in sequences)} frames'
    best, value = tune(study, benchmark.title, objective, trials, identity)
    changes = [f'--set {name}={getattr(best, name):.3f}' for name in RANGES]
    click.echo(f'{value:.4f} with {" ".join(changes)}')


@click.command()
@_set_argument
@_data_folder_option
@click.option(
    '--out',
    type=click.Path(path_type=Path),
    help='Weight file to write, whose scores are calibrated; without it there is the report only.',
)
@_allow_test_set_option
@settings_option
@model_options
def calibrate(
    benchmark: Benchmark,
    data: Path,
    out: Path | None,
    allow_test_set: bool,
    changes: dict[str, Any],
    model: str,
    device: str,
    weights: Path | None,
    runtime: str,
) -> None:
    """Show how often boxes are right at each score, and make scores mean that.

    SET is one of those of `siamffn evaluate`, best `sequences`. The log odds of the scores are
    scaled and shifted so that a score is the share of boxes that overlap the target by half or
    more; targets that are not there at all are among the wrong ones.
    """
    _spare_test_sets(benchmark, allow_test_set)
    from siamffn_model.evaluation import calibration
    from siamffn_model.networks.siamese import SiamFFN
    from siamffn_model.networks.zoo import create_model, load_weights, read_card, save_weights
    from siamffn_model.runtimes.selection import weight_file
    from siamffn_model.tracking import Tracker, TrackerSettings, load_model

    tracker = Tracker(load_model(model, weights, device, runtime), TrackerSettings(**changes))
    observed = calibration.observe(tracker, benchmark.read(data, True))
    click.echo(calibration.report(observed))
    if out is None:
        return
    network = create_model(model)
    if not isinstance(network, SiamFFN):
        raise ConfigError(f'the scores of {model} cannot be changed: only those of SiamFFN can')
    scale, shift = calibration.fit(observed)
    path = weight_file(model, weights)
    load_weights(network, model, path)
    network.rescale_scores(scale, shift)
    card = {**read_card(path), 'calibration': {'scale': scale, 'shift': shift}}
    save_weights(network, model, out, card)
    click.echo(f'log odds * {scale:.3f} + {shift:.3f}: see {out}')
