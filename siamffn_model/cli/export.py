"""`siamffn export`."""

from __future__ import annotations

from pathlib import Path

import click

from siamffn_model.cli.options import model_option
from siamffn_model.errors import ConfigError
from siamffn_model.runtimes.exported import FORMATS


@click.command()
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
    from siamffn_model.export.export_model import export_model
    from siamffn_model.export.parity import change_in_success, difference
    from siamffn_model.runtimes.selection import load_model

    if int8 != (calibration is not None):
        raise ConfigError('--int8 and --calibration DIR go together: give both, or neither')
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
