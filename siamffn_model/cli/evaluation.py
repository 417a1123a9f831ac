"""`siamffn evaluate`, `score`, `tune` and `calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from siamffn_model.atomic_io import write_text
from siamffn_model.cli.options import model_options, require_extra, settings_option
from siamffn_model.errors import ConfigError

if TYPE_CHECKING:
    from siamffn_model.datasets.benchmarks import Benchmark
    from siamffn_model.datasets.sequences import Sequence


def _parse_set(_ctx: click.Context, _param: click.Parameter, value: str) -> Benchmark:
    """Look up SET, the name of a benchmark; a click callback. Raises `click.BadParameter`."""
    from siamffn_model.datasets.benchmarks import BENCHMARKS

    if value not in BENCHMARKS:
        raise click.BadParameter(f'{value!r}: choose one of {", ".join(BENCHMARKS)}')
    return BENCHMARKS[value]


_set_argument = click.argument('benchmark', metavar='SET', callback=_parse_set)
_data_folder_option = click.option(
    '--data', required=True, type=click.Path(path_type=Path), help='Folder of the benchmark.'
)
_out_option = click.option(
    '--out',
    type=click.Path(path_type=Path),
    default=Path('out/evaluate'),
    show_default=True,
    help='Folder for report.html, tables, plots and summary.json.',
)
_starts_option = click.option(
    '--starts',
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help='Number of frames in each sequence, evenly spaced, from which the tracker is run to the '
    'end. Several make scores less accidental and give their standard errors.',
)


def _read(benchmark: Benchmark, folder: Path, images: bool, starts: int) -> list[Sequence]:
    """Read a benchmark and add the parts of its sequences that begin at the other starts.

    Raises `ConfigError` for several starts in the protocol with resets.
    """
    from siamffn_model.evaluation.starts import with_starts

    if starts > 1 and benchmark.eao_lengths:
        raise ConfigError(
            f'--starts {starts} does not apply to {benchmark.title}, whose protocol starts a '
            'tracker again after each failure; omit --starts'
        )
    return with_starts(benchmark.read(folder, images), starts)


@click.command()
@_set_argument
@_data_folder_option
@click.option(
    '--tracker',
    'baselines',
    metavar='opencv:NAME',
    multiple=True,
    help='Also run a tracker of OpenCV: csrt, kcf, mil or nano=DIR. SiamFFN then runs only if '
    '--model, --weights, --runtime or --set is given.',
)
@_starts_option
@click.option(
    '--workers', type=click.IntRange(1), default=1, show_default=True, help='Number of processes.'
)
@click.option('--resume', is_flag=True, help='Keep existing results of the same run.')
@_out_option
@click.option(
    '--json',
    'summary_file',
    type=click.Path(path_type=Path),
    help='Also write the scores to this JSON file.',
)
@settings_option
@model_options
@click.pass_context
def evaluate(
    ctx: click.Context,
    benchmark: Benchmark,
    data: Path,
    baselines: tuple[str, ...],
    starts: int,
    workers: int,
    resume: bool,
    out: Path,
    summary_file: Path | None,
    overrides: dict[str, Any],
    model: str,
    device: str,
    weights: Path | None,
    runtime: str,
) -> None:
    """Run trackers over a benchmark and score them.

    SET is uav20l, uav123, otb2015, vot2016, vot2018, vot2019, got10k (its validation split) or
    sequences (a folder of sequences). The result of each sequence is written to --out, in the
    format of the benchmark, when the sequence is complete. After an interruption, --resume
    continues the run. On several machines with a shared disk: torchrun --nnodes 4 ...
    -m siamffn_model evaluate ...
    """
    with require_extra('eval', 'evaluation'):
        from siamffn_model.distributed import init_distributed, restarted
        from siamffn_model.evaluation import runner, scoring
        from siamffn_model.evaluation.tracker_specs import opencv_tracker, siamffn_tracker
        from siamffn_model.tracking import TrackerSettings

    given = {
        name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    with init_distributed(device) as world:
        trackers = [opencv_tracker(text) for text in baselines]
        if not baselines or given & {'model', 'weights', 'runtime', 'overrides'}:
            chosen = siamffn_tracker(
                model, weights, world.device_name, runtime, TrackerSettings(**overrides)
            )
            trackers.append(chosen)
        sequences = _read(benchmark, data, True, starts)
        jobs = runner.plan(benchmark, sequences, trackers, out)
        # Every process must divide the same list: completed jobs are left out afterwards.
        own_jobs = jobs[world.rank :: world.size]
        if resume or restarted():
            own_jobs = [job for job in own_jobs if not job.done()]
        runner.run_all(own_jobs, workers)
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
    help='Folder of the benchmark; its images are not needed.',
)
@click.option(
    '--results',
    'results',
    required=True,
    multiple=True,
    metavar='DIR [DIR]...',
    type=click.Path(path_type=Path),
    help='Result files: a folder or zip file with the name of the tracker, or a folder of these.',
)
@click.argument('more_results', nargs=-1, metavar='', type=click.Path(path_type=Path))
@click.option(
    '--leave-out-absent',
    is_flag=True,
    help='Exclude frames without a target, as some tool kits do. Published results count them as '
    'failures in success and as hits in precision.',
)
@_starts_option
@click.option('--strips', is_flag=True, help='Also show frames; needs the images.')
@_out_option
def score(
    benchmark: Benchmark,
    annotations: Path,
    results: tuple[Path, ...],
    more_results: tuple[Path, ...],
    leave_out_absent: bool,
    starts: int,
    strips: bool,
    out: Path,
) -> None:
    """Score the result files of any trackers.

    SET is a benchmark of `siamffn evaluate`. There is one result file for each sequence, with
    values separated by commas, tabs or spaces.
    """
    with require_extra('eval', 'evaluation'):
        from siamffn_model.evaluation import scoring
        from siamffn_model.evaluation.raw_results import find_trackers

    sequences = _read(benchmark, annotations, strips, starts)
    sources = find_trackers([*results, *more_results], [sequence.name for sequence in sequences])
    scoring.report(out, benchmark, sequences, sources, absent_counts=not leave_out_absent)
    _show(out)


def _show(out: Path) -> None:
    click.echo((out / 'table.md').read_text())
    click.echo(f'see {out / "report.html"}')


_allow_test_set_option = click.option(
    '--allow-test-set', is_flag=True, help='Allow a benchmark that trackers are compared on.'
)


def _reject_test_set(benchmark: Benchmark, allowed: bool) -> None:
    """Raise `ConfigError` for a benchmark that is a test set, unless it is allowed."""
    if benchmark.is_test_set and not allowed:
        raise ConfigError(
            f'{benchmark.title} is a test set: a tracker tuned on it cannot be compared with '
            'others on it; tune on other sequences, or give --allow-test-set and state this with '
            'the results'
        )


@click.command()
@_set_argument
@_data_folder_option
@_starts_option
@click.option(
    '--trials',
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help='Total number of settings to try, including earlier runs of the study.',
)
@click.option(
    '--study',
    type=click.Path(path_type=Path),
    default=Path('out/tune.db'),
    show_default=True,
    help='SQLite file of the trials; several processes can share it.',
)
@_allow_test_set_option
@model_options
def tune(
    benchmark: Benchmark,
    data: Path,
    starts: int,
    trials: int,
    study: Path,
    allow_test_set: bool,
    model: str,
    device: str,
    weights: Path | None,
    runtime: str,
) -> None:
    """Search for the tracker settings with the best mean score.

    The settings are window_influence, penalty_k, lr and motion_gain. SET, the validation set, is a
    benchmark of `siamffn evaluate`, preferably `sequences`. The search can be interrupted at any
    time and continues when the command is called again. Pass the result to --set.
    """
    _reject_test_set(benchmark, allow_test_set)
    from siamffn_model.evaluation import runner
    from siamffn_model.evaluation.tracker_specs import siamffn_tracker
    from siamffn_model.evaluation.tuning import RANGES, tune
    from siamffn_model.tracking import Tracker, TrackerSettings, load_model

    sequences = _read(benchmark, data, True, starts)
    network = load_model(model, weights, device, runtime)

    def objective(settings: TrackerSettings) -> float:
        tracker = Tracker(network, settings)
        if benchmark.eao_lengths:
            return runner.track_all_with_resets(tracker, sequences, benchmark.eao_lengths).score
        return runner.track_all(tracker, sequences).score

    identity = siamffn_tracker(model, weights, device, runtime, TrackerSettings()).identity
    identity = {key: identity[key] for key in ('model', 'weights')}
    identity['set'] = f'{benchmark.title}, {sum(len(s.truth) for s in sequences)} frames'
    if starts > 1:
        identity['set'] += f', {starts} starts'
    best, value = tune(study, benchmark.title, objective, trials, identity)
    options = [f'--set {name}={getattr(best, name):.3f}' for name in RANGES]
    click.echo(f'{value:.4f} with {" ".join(options)}')


@click.command()
@_set_argument
@_data_folder_option
@click.option(
    '--out',
    type=click.Path(path_type=Path),
    help='Weight file with calibrated scores to write; if omitted, the command only reports.',
)
@_allow_test_set_option
@settings_option
@model_options
def calibrate(
    benchmark: Benchmark,
    data: Path,
    out: Path | None,
    allow_test_set: bool,
    overrides: dict[str, Any],
    model: str,
    device: str,
    weights: Path | None,
    runtime: str,
) -> None:
    """Report how often boxes are correct at each score, and calibrate the scores.

    SET is a benchmark of `siamffn evaluate`, preferably `sequences`. The log odds of the scores
    are scaled and shifted until a score equals the fraction of boxes with an overlap of at least
    0.5. Boxes in frames without the target count as wrong.
    """
    _reject_test_set(benchmark, allow_test_set)
    from siamffn_model.evaluation import calibration
    from siamffn_model.runtimes.conversion import require_torch
    from siamffn_model.runtimes.selection import weight_file
    from siamffn_model.tracking import Tracker, TrackerSettings, load_model

    path = weight_file(model, weights)
    if out:
        require_torch(model, path)
    tracker = Tracker(load_model(model, weights, device, runtime), TrackerSettings(**overrides))
    observed = calibration.observe(tracker, benchmark.read(data, True))
    click.echo(calibration.report(observed))
    if out:
        scale, shift = calibration.fit(observed)
        _rescale_scores(model, path, scale, shift, out)
        click.echo(f'log odds * {scale:.3f} + {shift:.3f}: see {out}')


def _rescale_scores(model: str, path: Path, scale: float, shift: float, out: Path) -> None:
    """Write the weights in `path` with other scores to `out`."""
    from siamffn_model.networks.siamese import SiamFFN
    from siamffn_model.networks.zoo import create_model, load_weights, read_card, save_weights

    network = create_model(model)
    if not isinstance(network, SiamFFN):
        raise ConfigError(
            f'the scores of {model} cannot be calibrated: choose a SiamFFN model, or omit --out'
        )
    load_weights(network, model, path)
    network.rescale_scores(scale, shift)
    card = {**read_card(path), 'calibration': {'scale': scale, 'shift': shift}}
    save_weights(network, model, out, card)
