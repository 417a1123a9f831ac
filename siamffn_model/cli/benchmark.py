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
    help='May be given several times. Weights are random where none ship.',
)
@click.option(
    '--runtime',
    'runtimes',
    multiple=True,
    default=('auto',),
    show_default=True,
    help='auto, eager, torch, onnx, openvino or openvino-f32; may be given several times.',
)
@device_option
@click.option(
    '--targets', type=click.IntRange(1), default=1, show_default=True, help='Followed at once.'
)
@click.option('--nano', metavar='DIR', help="Measure OpenCV's NanoTrack, whose models are in DIR.")
@click.option('--json', 'as_json', is_flag=True, help='Print JSON in the place of tables.')
@click.option(
    '--report',
    metavar='FILE.md',
    type=click.Path(path_type=Path),
    help='Measure also what more targets and larger images cost, and put all into this file.',
)
def benchmark(
    models: tuple[str, ...],
    runtimes: tuple[str, ...],
    device: str,
    targets: int,
    nano: str | None,
    as_json: bool,
    report: Path | None,
) -> None:
    """Measure updates by stages, beside SiamBAN in PyTorch and OpenCV's trackers.

    All take turns in one run, so that ratios hold on a busy machine too. An update goes from an
    image in memory to the boxes. Runtimes: eager is PyTorch with the network as it was trained,
    torch the same made quick (CUDA graphs in half precision), openvino-f32 OpenVINO in single
    precision, openvino in the precision that is quickest on this CPU.
    """
    from siamffn_model.benchmarking import report as telling
    from siamffn_model.benchmarking import speed as measuring
    from siamffn_model.tracking.opencv import NAMES, PREFIX

    entries = [measuring.Entry(m, r, device) for m in models for r in runtimes]
    entries.append(measuring.Entry(*measuring.REFERENCE, device))
    names = [name for name in NAMES if name != 'nano'] + ([f'nano={nano}'] if nano else [])
    entries += [measuring.Entry(f'{PREFIX}{name}') for name in names]
    rows = measuring.compare(entries, targets)
    if as_json:
        click.echo(json.dumps(telling.as_dict(rows), indent=2))
        return
    click.echo(telling.table(rows))
    if report:
        curves = telling.curves(entries[0])
        click.echo(f'\n{curves}')
        telling.add_section(report, telling.report(rows, curves))
        click.echo(f'see {report}')


@click.command()
@click.argument('models', metavar='[MODEL]...', nargs=-1)
@click.option('--device', default='auto', show_default=True, help='Where to measure fps.')
@click.option('--json', 'as_json', is_flag=True, help='Print JSON in the place of a table.')
def complexity(models: tuple[str, ...], device: str, as_json: bool) -> None:
    """Count parameters and operations as in the paper's Table 2, and measure fps here.

    Without MODEL, of all models. The weights are random, the operations those of one target.
    """
    from tqdm import tqdm

    from siamffn_model.benchmarking import complexity as counting
    from siamffn_model.benchmarking.speed import frames_per_second
    from siamffn_model.networks import zoo
    from siamffn_model.runtimes.devices import choose_device
    from siamffn_model.runtimes.selection import prepare

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
