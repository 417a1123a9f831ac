"""`siamffn benchmark` and `siamffn complexity`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from siamffn_model.cli.options import device_option, require_extra
from siamffn_model.errors import DependencyError
from siamffn_model.networks.names import DEFAULT_MODEL, MODEL_NAMES

if TYPE_CHECKING:  # imported by the commands, to keep the start of the others fast
    from siamffn_model.benchmarking.speed import TrackerConfig


@click.command()
@click.option(
    '--model',
    'models',
    multiple=True,
    default=(DEFAULT_MODEL, 'siamffn_r50'),
    show_default=True,
    help=f'{", ".join(MODEL_NAMES)}; can be given several times. Weights are random if the package '
    'contains none.',
)
@click.option(
    '--runtime',
    'runtimes',
    multiple=True,
    default=('auto',),
    show_default=True,
    help='auto, eager, torch, onnx, openvino or openvino-f32; can be given several times.',
)
@device_option
@click.option(
    '--targets', type=click.IntRange(1), default=1, show_default=True, help='Number of targets.'
)
@click.option(
    '--nano', metavar='DIR', help="Also measure OpenCV's NanoTrack, with the models in DIR."
)
@click.option(
    '--nanotrack',
    metavar='DIR',
    type=click.Path(path_type=Path),
    help='Also measure NanoTrackV3 in our tracker and in the same runtimes, with its files in DIR.',
)
@click.option('--json', 'as_json', is_flag=True, help='Print JSON instead of tables.')
@click.option(
    '--report',
    'report_file',
    metavar='FILE',
    type=click.Path(path_type=Path),
    help='Also measure more targets, larger images, and the bounds of the device. Add all results '
    'to FILE.md as a section, or write them to FILE.json after each part.',
)
@click.option(
    '--seconds',
    type=click.FloatRange(0),
    default=math.inf,
    show_default='enough for 24 rounds',
    help='Measure for about this long, with fewer rounds if necessary.',
)
def benchmark(
    models: tuple[str, ...],
    runtimes: tuple[str, ...],
    device: str,
    targets: int,
    nano: str | None,
    nanotrack: Path | None,
    as_json: bool,
    report_file: Path | None,
    seconds: float,
) -> None:
    """Measure the time of an update by stages, with SiamBAN and OpenCV's trackers as baselines.

    Trackers whose packages are not installed are left out.

    All trackers run in turns, so that their ratios are valid on a busy machine too. An update
    starts with an image in memory and ends with the boxes. Runtimes: eager is PyTorch with the
    network as trained; torch is PyTorch optimised for inference (on a GPU with CUDA graphs in half
    precision); onnx is ONNX Runtime; openvino-f32 is OpenVINO in single precision; openvino uses
    the precision that is fastest on this CPU.
    """
    from siamffn_model.atomic_io import write_text
    from siamffn_model.benchmarking import report
    from siamffn_model.benchmarking.measurements import baseline_config, measure
    from siamffn_model.benchmarking.speed import TrackerConfig
    from siamffn_model.runtimes.nanotrack import MODEL as NANOTRACK
    from siamffn_model.runtimes.selection import FORMAT_RUNTIMES
    from siamffn_model.tracking.opencv import OPENCV_PREFIX, OPENCV_TRACKERS

    configs = _available([TrackerConfig(m, r, device) for m in models for r in runtimes])
    others = [baseline_config(device)]
    if nanotrack:
        usable = [r for r in runtimes if r in ('auto', *FORMAT_RUNTIMES['onnx'])]
        others += [TrackerConfig(NANOTRACK, r, device, nanotrack) for r in usable]
    names = [name for name in OPENCV_TRACKERS if name != 'nano']
    names += [f'nano={nano}'] if nano else []
    others += [TrackerConfig(f'{OPENCV_PREFIX}{name}') for name in names]
    if not configs:
        raise DependencyError('none of the models can be measured: see the messages above')
    parts = measure(configs, _available(others), targets, bool(report_file), seconds)
    for results in parts:
        if report_file and report_file.suffix == '.json':
            write_text(report_file, json.dumps(report.as_dict(results), indent=2))
    if as_json:
        click.echo(json.dumps(report.as_dict(results), indent=2))
        return
    click.echo(report.format_results(results.trackers))
    if report_file:
        click.echo(f'\n{report.format_scaling(results)}')
        if report_file.suffix != '.json':
            report.add_section(report_file, report.report_section(results))
        click.echo(f'see {report_file}')


def _available(configs: list[TrackerConfig]) -> list[TrackerConfig]:
    """Return the trackers whose packages and devices are available; report the others."""
    available = []
    for config in configs:
        try:
            config.check()
        except DependencyError as error:
            click.echo(f'not measured: {error}', err=True)
        else:
            available.append(config)
    return available


@click.command()
@click.argument('models', metavar='[MODEL]...', nargs=-1)
@click.option('--device', default='auto', show_default=True, help='Device for the speed.')
@click.option('--json', 'as_json', is_flag=True, help='Print JSON instead of a table.')
def complexity(models: tuple[str, ...], device: str, as_json: bool) -> None:
    """Count parameters and operations as in Table 2 of the paper, and measure the speed.

    Without MODEL, all models are measured, which `siamffn export --help` lists. Weights are random;
    operations are those of one target.
    """
    from tqdm import tqdm

    with require_extra('torch', 'counting operations'):
        from siamffn_model.benchmarking.complexity import (
            count_complexity,
            summarise,
            table_header,
            table_row,
        )
        from siamffn_model.networks import zoo
    from siamffn_model.benchmarking.speed import frames_per_second
    from siamffn_model.runtimes.devices import choose_device
    from siamffn_model.runtimes.selection import prepare

    device, summaries = choose_device(device), {}
    names = models or tuple(zoo.MODELS)
    counts = {name: count_complexity(name) for name in names}
    if not as_json:
        click.echo(table_header())
    for name in tqdm(names, disable=not as_json, leave=False):
        fps = frames_per_second(prepare(zoo.create_model(name), device))
        summaries[name] = summarise(counts[name], fps, name)
        if not as_json:
            click.echo(table_row(name, summaries[name]))
    if as_json:
        click.echo(json.dumps(summaries, indent=2))
