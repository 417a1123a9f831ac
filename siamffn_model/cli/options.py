"""Options that several commands share, and the parsing of their values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from siamffn_model.errors import BoxError, ConfigError, missing_package
from siamffn_model.imaging.geometry import Box
from siamffn_model.networks.names import DEFAULT_MODEL, MODEL_NAMES


def parse_box(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Box | None:
    """Parse the text 'x,y,w,h' of an option; a click callback. Raises `click.BadParameter`."""
    try:
        return None if value is None else Box.parse(value)
    except BoxError as error:
        raise click.BadParameter(str(error)) from None


def init_option(omitted: str) -> Callable[..., Any]:
    """Return the option --init, whose argument is `box`.

    Args:
        omitted: the condition under which the option can be omitted, for its help text.
    """
    return click.option(
        '--init',
        'box',
        metavar='X,Y,W,H',
        callback=parse_box,
        help='Box of the target in the first image, in pixels counted from 0. Can be omitted if '
        f'{omitted}.',
    )


device_option = click.option(
    '--device',
    default='auto',
    show_default=True,
    help='cpu, cuda, cuda:N, or auto: cuda if it is available.',
)


def model_option(*others: str) -> Callable[..., Any]:
    """Return the option --model, whose help lists `MODEL_NAMES` and the names `others`."""
    return click.option(
        '--model',
        default=DEFAULT_MODEL,
        show_default=True,
        help=f'Name of the model: {", ".join((*MODEL_NAMES, *others))}.',
    )


def model_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add --model, --weights, --device and --runtime, the arguments of `load_model`."""
    for option in (
        click.option(
            '--runtime',
            default='auto',
            show_default=True,
            help='Inference engine; auto: the fastest that is installed. '
            'See `siamffn benchmark --help`.',
        ),
        click.option(
            '--weights',
            type=click.Path(path_type=Path),
            help='A .safetensors file, or a folder written by `siamffn export`, to use instead of '
            'the weights in the package; for the model nanotrack, the folder of its ONNX files.',
        ),
        device_option,
        model_option('nanotrack'),
    ):
        command = option(command)
    return command


def parse_settings(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> dict[str, Any]:
    """Parse the values KEY=NUMBER of an option that changes fields of `TrackerSettings`.

    A click callback. Raises `click.BadParameter` for an unknown key, a value that is not a number
    or not allowed, and thresholds that are not in order.
    """
    from siamffn_model.tracking import TrackerSettings

    types = {name: type(value) for name, value in asdict(TrackerSettings()).items()}
    overrides: dict[str, Any] = {}
    for value in values:
        key, _, number = value.partition('=')
        try:
            overrides[key] = types[key](number)
        except (KeyError, ValueError):
            names = ', '.join(types)
            whole = 'WHOLE ' if types.get(key) is int else ''
            raise click.BadParameter(
                f'{value!r}: give KEY={whole}NUMBER, such as window_influence=0.4; the keys are '
                f'{names}'
            ) from None
    try:
        settings = TrackerSettings(**overrides)
    except ConfigError as error:
        raise click.BadParameter(str(error)) from None
    if settings != settings.ordered:
        raise click.BadParameter(
            f'the thresholds lost {settings.lost_threshold:g}, uncertain '
            f'{settings.uncertain_threshold:g} and reacquire {settings.reacquire_threshold:g} must '
            'be in ascending order'
        )
    return overrides


settings_option = click.option(
    '--set',
    'overrides',
    metavar='KEY=NUMBER',
    multiple=True,
    callback=parse_settings,
    help='Change a setting of the tracker, such as window_influence=0.4; see `siamffn tune`.',
)


@contextmanager
def require_extra(name: str, purpose: str) -> Iterator[None]:
    """Raise `DependencyError` if an import in the block fails because a package is missing.

    Args:
        name: extra of this distribution that installs the package.
        purpose: what the package is needed for, for the message.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = str(error.name).partition('.')[0]
        if package.startswith('siamffn'):
            raise
        raise missing_package(package, purpose, name) from None
