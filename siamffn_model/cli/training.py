"""`siamffn train` and `siamffn data`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from siamffn_model.cli.options import device_option, extra


def parse_folders(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> dict[str, Path]:
    """Callback of an option that takes NAME=DIR several times."""
    folders: dict[str, Path] = {}
    for value in values:
        name, sign, folder = value.partition('=')
        if not (name and sign and folder):
            raise click.BadParameter(f'{value!r}: give NAME=DIR, such as got10k=/data/GOT-10k')
        if name in folders:
            raise click.BadParameter(f'{value!r}: {name} is already {folders[name]}; give it once')
        folders[name] = Path(folder)
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


def _spare_cores() -> int:
    processes = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    return max((os.cpu_count() or 1) // processes - 1, 1)


def _recipe_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option(
            '--workers',
            type=click.IntRange(0),
            default=_spare_cores,
            show_default='all cores but one, shared by what torchrun starts',
            help='Processes that prepare pairs.',
        ),
        _data_option('Where a set lies that the recipe draws from; see `siamffn data check`.'),
        click.option(
            '--set',
            'changes',
            metavar='KEY=VALUE',
            multiple=True,
            help='Change a value of the recipe, such as batch=40 or data.pack.pairs=1000.',
        ),
        click.option(
            '--config',
            required=True,
            metavar='FILE',
            type=click.Path(path_type=Path),
            help='The recipe: one of config/train/*.yaml, or your own.',
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
    help='Folder for weights, log, TensorBoard and, while it runs, the checkpoint.',
)
@device_option
@click.option(
    '--weights',
    type=click.Path(path_type=Path),
    help="A .safetensors file to start from, in the place of the backbone's ImageNet weights.",
)
@click.option('--resume', is_flag=True, help='Go on from the checkpoint in --out.')
def train(
    config: Path,
    changes: tuple[str, ...],
    folders: dict[str, Path],
    workers: int,
    out: Path,
    device: str,
    weights: Path | None,
    resume: bool,
) -> None:
    """Train a model as a recipe says.

    `--data validation=DIR` names a folder of sequences to validate on after each epoch. On many
    GPUs: torchrun --nproc-per-node 4 -m siamffn_model train ...
    """
    with extra('train', 'training'):
        from siamffn_model.training.recipe_reader import read_recipe
        from siamffn_model.training.trainer import train

    path = train(read_recipe(config, changes), folders, out, device, workers, resume, weights)
    click.echo(f'see {path}')


@click.group()
def data() -> None:
    """Look at training data."""


@data.command()
@_data_option('A set to look at: got10k, coco, vid, det or pack.')
def check(folders: dict[str, Path]) -> None:
    """Count what each set holds, read every image, and say what is missing and where to get it.

    Exits with 1 where an image cannot be read.
    """
    from siamffn_model.datasets.check import check_sets

    if not check_sets(folders):
        raise click.exceptions.Exit(1)


@data.command()
@_recipe_options
@click.option('--seconds', default=20.0, show_default=True, help='How long to measure.')
def speed(
    config: Path,
    changes: tuple[str, ...],
    folders: dict[str, Path],
    workers: int,
    seconds: float,
) -> None:
    """Measure how many pairs a second the workers prepare, without any training."""
    with extra('train', 'training'):
        from siamffn_model.training.loading import pairs_per_second
        from siamffn_model.training.recipe_reader import read_recipe

    rate = pairs_per_second(read_recipe(config, changes), folders, workers, seconds)
    click.echo(f'{rate:.0f} pairs/s')
