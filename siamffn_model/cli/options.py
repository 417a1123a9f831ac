"""What the commands of `siamffn` have in common: options, and how their texts are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from siamffn_model.errors import DependencyError
from siamffn_model.imaging.geometry import Box


def parse_box(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Box | None:
    """Callback of an option that takes a box: 'x,y,w,h' -> Box."""
    if value is None:
        return None
    try:
        x, y, w, h = map(float, value.split(','))
    except ValueError:
        raise click.BadParameter(
            f'{value!r} is not a box: give x,y,w,h in pixels, such as 73,25,63,88'
        ) from None
    return Box(x, y, w, h)


def init_option(omitted: str) -> Callable[..., Any]:
    """Return --init, the argument `box`; `omitted` says where it may be left out."""
    return click.option(
        '--init',
        'box',
        metavar='X,Y,W,H',
        callback=parse_box,
        help='The target in the first image, pixels counted from 0. May be left out where '
        f'{omitted}.',
    )


device_option = click.option(
    '--device',
    default='auto',
    show_default=True,
    help='cpu, cuda, or auto: cuda where there is any.',
)


model_option = click.option(
    '--model', default='siamffn_lite0', show_default=True, help="Model's name."
)


def model_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add --model, --weights, --device and --runtime, the arguments of `load_model`."""
    for option in (
        click.option(
            '--runtime',
            default='auto',
            show_default=True,
            help='auto: the quickest that is installed; see `siamffn benchmark --help`.',
        ),
        click.option(
            '--weights',
            type=click.Path(path_type=Path),
            help="A .safetensors file to use in the place of the model's own, or a folder that "
            '`siamffn export` wrote.',
        ),
        device_option,
        model_option,
    ):
        command = option(command)
    return command


def parse_settings(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> dict[str, Any]:
    """Callback of an option that takes KEY=VALUE of `TrackerSettings` several times."""
    from siamffn_model.tracking import TrackerSettings

    kinds = {name: type(value) for name, value in asdict(TrackerSettings()).items()}
    changes = {}
    for value in values:
        key, _, number = value.partition('=')
        try:
            changes[key] = kinds[key](number)
        except (KeyError, ValueError):
            names = ', '.join(kinds)
            raise click.BadParameter(
                f'{value!r}: give KEY=NUMBER, such as window_influence=0.4; the keys are {names}'
            ) from None
    return changes


settings_option = click.option(
    '--set',
    'changes',
    metavar='KEY=NUMBER',
    multiple=True,
    callback=parse_settings,
    help='Change how responses become a box, such as window_influence=0.4; see `siamffn tune`.',
)


@contextmanager
def extra(name: str, purpose: str) -> Iterator[None]:
    """Raise `DependencyError` naming the extra where imports in the block find it not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise DependencyError(
            f'{error.name} is not installed: {purpose} needs the extra [{name}], which '
            f"`pip install -e '.[{name}]'` brings in the folder of the sources"
        ) from None
