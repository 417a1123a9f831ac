"""`siamffn benchmark` and `siamffn complexity`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from siamffn_model.cli.options import device_option


@click.command()
@click.option(
    '--model',
    'models',
    multiple=True,
    default=('siamffn_lite0', 'siamffn_r50'),
    show_default=True,
    help='Can be given several times. Weights are random if the package contains none.',
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
@click.option('--json', 'as_json', is_flag=True, help='Print JSON instead of tables.')
@click.option(
    '--report',
    'report_file',
    metavar='FILE.md',
    type=click.Path(path_type=Path),
    help='Also measure more targets and larger images, and add all results to this file.',
)
def benchmark(
    models: tuple[str, ...],
    runtimes: tuple[str, ...],
    device: str,
    targets: int,
    nano: str | None,
    as_json: bool,
    report_file: Path | None,
) -> None:
    """Measure the time of an update by stages, with SiamBAN and OpenCV's trackers as baselines.

    All trackers run in turns, so that their ratios are valid on a busy machine too. An update
    starts with an image in memory and ends with the boxes. Runtimes: eager is PyTorch with the
    network as trained; torch is PyTorch optimised for inference (on a GPU with CUDA graphs in half
    precision); openvino-f32 is OpenVINO in single precision; openvino uses the precision that is
    fastest on this CPU.
    """
    from siamffn_model.benchmarking import report, speed
    from siamffn_model.tracking.opencv import OPENCV_PREFIX, OPENCV_TRACKERS

    configs = [speed.TrackerConfig(m, r, device) for m in models for r in runtimes]
    configs.append(speed.TrackerConfig(speed.BASELINE_MODEL, speed.BASELINE_RUNTIME, device))
    names = [name for name in OPENCV_TRACKERS if name != 'nano'] + (
        [f'nano={nano}'] if nano else []
    )
    configs += [speed.TrackerConfig(f'{OPENCV_PREFIX}{name}') for name in names]
    results = speed.compare(configs, targets)
    if as_json:
        click.echo(json.dumps(report.as_dict(results), indent=2))
        return
    click.echo(report.format_results(results))
    if report_file:
        scaling = report.measure_scaling(configs[0])
        click.echo(f'\n{scaling}')
        report.add_section(report_file, report.report_section(results, scaling))
        click.echo(f'see {report_file}')


@click.command()
@click.argument('models', metavar='[MODEL]...', nargs=-1)
@click.option('--device', default='auto', show_default=True, help='Device for the speed.')
@click.option('--json', 'as_json', is_flag=True, help='Print JSON instead of a table.')
def complexity(models: tuple[str, ...], device: str, as_json: bool) -> None:
    """Count parameters and operations as in Table 2 of the paper, and measure the speed.

    Without MODEL, all models are measured. Weights are random; operations are those of one target.
    """
    from tqdm import tqdm

    from siamffn_model.benchmarking.complexity import (
        count_complexity,
        summarise,
        table_header,
        table_row,
    )
    from siamffn_model.benchmarking.speed import frames_per_second
    from siamffn_model.networks import zoo
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
