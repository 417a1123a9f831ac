"""`siamffn train` and `siamffn data`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from siamffn_model.cli.options import device_option, require_extra
from siamffn_model.datasets.training_set import parse_folder
from siamffn_model.errors import ConfigError


def parse_folders(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> dict[str, Path]:
    """Parse the values NAME=DIR of an option; a click callback. Raises `click.BadParameter`."""
    folders: dict[str, Path] = {}
    for value in values:
        try:
            name, folder = parse_folder(value)
        except ConfigError as error:
            raise click.BadParameter(str(error)) from None
        if name in folders:
            raise click.BadParameter(
                f'{value!r}: {name} is already {folders[name]}; give each name once'
            )
        folders[name] = folder
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


def _default_workers() -> int:
    """Return the number of cores for each process of this machine, less one."""
    processes = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    return max((os.cpu_count() or 1) // processes - 1, 1)


def _recipe_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option(
            '--workers',
            type=click.IntRange(0),
            default=_default_workers,
            show_default='all cores but one, divided among the processes of torchrun',
            help='Number of processes that prepare training pairs.',
        ),
        _data_option('Folder of a data set that the recipe uses; see `siamffn data check`.'),
        click.option(
            '--set',
            'overrides',
            metavar='KEY=VALUE',
            multiple=True,
            help='Override a value of the recipe, such as batch=40 or data.pack.pairs=1000.',
        ),
        click.option(
            '--config',
            required=True,
            metavar='FILE',
            type=click.Path(path_type=Path),
            help='Training recipe: one of config/train/*.yaml, which pip installs in '
            'share/siamffn, or your own.',
        ),
    ):
        command = option(command)
    return command


@click.command()
@_recipe_options
@click.option(
    '--out',
    type=click.Path(path_type=Path),
    default=Path('out/train'),
    show_default=True,
    help='Folder for weights, log, TensorBoard files and, during training, the checkpoint.',
)
@device_option
@click.option(
    '--weights',
    type=click.Path(path_type=Path),
    help='A .safetensors file to start from, instead of ImageNet weights for the backbone.',
)
@click.option(
    '--teacher',
    type=click.Path(path_type=Path),
    help='Folder of the ONNX files of NanoTrackV3, for a recipe with a teacher; or the file that '
    '`siamffn weights import-nanotrack` writes.',
)
@click.option('--resume', is_flag=True, help='Continue from the checkpoint in --out.')
def train(
    config: Path,
    overrides: tuple[str, ...],
    folders: dict[str, Path],
    workers: int,
    out: Path,
    device: str,
    weights: Path | None,
    teacher: Path | None,
    resume: bool,
) -> None:
    """Train a model with the given recipe.

    With `--data validation=DIR`, the model is validated on the sequences in DIR after each epoch.
    To train on several GPUs: torchrun --nproc-per-node 4 -m siamffn_model train ...
    """
    with require_extra('train', 'training'):
        from siamffn_model.training.recipe_reader import read_recipe
        from siamffn_model.training.trainer import train

    recipe = read_recipe(config, overrides)
    path = train(recipe, folders, out, device, workers, resume, weights, teacher)
    click.echo(f'see {path}')


@click.group()
def data() -> None:
    """Inspect training data."""


@data.command()
@_data_option('Data set to check: got10k, coco, vid, det, pack or aerial.')
def check(folders: dict[str, Path]) -> None:
    """Count the contents of each data set and read every image.

    Reports which data sets are missing and where to get them. The exit status is 1 if an image
    is missing or cannot be read.
    """
    from siamffn_model.datasets.check import check_sets

    if not check_sets(folders):
        raise click.exceptions.Exit(1)


@data.command()
@_recipe_options
@click.option(
    '--seconds', default=20.0, show_default=True, help='Minimum duration of the measurement.'
)
def speed(
    config: Path,
    overrides: tuple[str, ...],
    folders: dict[str, Path],
    workers: int,
    seconds: float,
) -> None:
    """Measure the number of pairs per second that the workers prepare, without training."""
    with require_extra('train', 'training'):
        from siamffn_model.training.loading import pairs_per_second
        from siamffn_model.training.recipe_reader import read_recipe

    rate = pairs_per_second(read_recipe(config, overrides), folders, workers, seconds)
    click.echo(f'{rate:.0f} pairs/s')


@data.command()
@click.argument('folder', metavar='DIR', type=click.Path(path_type=Path))
@click.option(
    '--out',
    type=click.Path(path_type=Path),
    default=Path('pack.zip'),
    show_default=True,
    help='File to write.',
)
def bundle(folder: Path, out: Path) -> None:
    """Write the training pack in DIR as one file of reduced images, less than 50 MiB.

    Train with it by --data pack=FILE.
    """
    from siamffn_model.datasets.bundle import write_bundle
    from siamffn_model.datasets.pack import Pack

    size = write_bundle(Pack.read(folder), out)
    click.echo(f'{size / 2**20:.1f} MiB; train with it by --data pack={out}')
