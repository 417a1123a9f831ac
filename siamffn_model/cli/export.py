"""`siamffn export`."""

from __future__ import annotations

from pathlib import Path

import click

from siamffn_model.cli.options import model_option, require_extra
from siamffn_model.errors import ConfigError
from siamffn_model.networks.names import DEFAULT_MODEL
from siamffn_model.runtimes.exported import FORMATS


@click.command()
@model_option()
@click.option(
    '--weights',
    type=click.Path(path_type=Path),
    help='A .safetensors file to use instead of the weights in the package.',
)
@click.option(
    '--format',
    'format_name',
    required=True,
    type=click.Choice(FORMATS),
    help='onnx is for ONNX Runtime and TensorRT, torchscript for libtorch.',
)
@click.option(
    '--int8',
    is_flag=True,
    help='Quantise the search network to 8 bits; only with --format openvino.',
)
@click.option(
    '--calibration',
    metavar='DIR',
    type=click.Path(path_type=Path),
    help='Folder of sequences, each with img/ and groundtruth.txt, that calibrate --int8.',
)
@click.option(
    '--sequences',
    metavar='DIR',
    type=click.Path(path_type=Path),
    help='Folder of sequences for the comparison with the trained network, instead of rendered '
    'crops.',
)
@click.option(
    '--out',
    required=True,
    metavar='DIR',
    type=click.Path(path_type=Path),
    help='Folder to create.',
)
def export(
    model: str,
    weights: Path | None,
    format_name: str,
    int8: bool,
    calibration: Path | None,
    sequences: Path | None,
    out: Path,
) -> None:
    """Export a model to an inference format and compare it with the trained network.

    Pass the exported folder to --weights of other commands. See docs/export.md.
    """
    with require_extra('export', 'export'):
        from siamffn_model.export.export_model import export_model
        from siamffn_model.export.parity import change_in_success, difference
    from siamffn_model.datasets.sequences import read_sequences
    from siamffn_model.runtimes.selection import load_model

    if int8 != (calibration is not None):
        raise ConfigError(
            '--int8 and --calibration DIR must be given together: give both, or neither'
        )
    comparison_sequences = read_sequences(sequences) if sequences else []
    calibration_sequences = read_sequences(calibration) if calibration else []
    exported = export_model(model, weights, format_name, out, calibration_sequences)
    trained = load_model(model, weights, 'cpu', 'eager')
    click.echo(difference(trained, exported, comparison_sequences))
    if comparison_sequences:
        click.echo(change_in_success(trained, exported, comparison_sequences))
    model_argument = '' if model == DEFAULT_MODEL else f'--model {model} '
    usage = (
        ''
        if format_name == 'torchscript'
        else f': `siamffn track {model_argument}--weights {out} ...`'
    )
    click.echo(f'see {out}{usage}')
