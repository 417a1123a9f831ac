"""The `siamffn` command. Commands import what is heavy themselves, so that --help is quick."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from siamffn_model import __version__
from siamffn_model.cli.benchmark import benchmark, complexity
from siamffn_model.cli.evaluation import calibrate, evaluate, score, tune
from siamffn_model.cli.export import export
from siamffn_model.cli.track import track
from siamffn_model.cli.training import data, train
from siamffn_model.cli.weights import weights
from siamffn_model.errors import INTERRUPTED, SiamFFNError


class _Failure(click.ClickException):
    exit_code = 2


class _Commands(click.Group):
    """Our own commands, and those that other modules register as `siamffn.commands`.

    A registered command is imported when it is asked for; one that cannot be imported says why
    when it is called and disturbs no other.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_plugins()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        plugin = None if own else _plugins().get(cmd_name)
        return _load(plugin) if plugin else own

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SiamFFNError as error:
            raise _Failure(str(error)) from error
        except KeyboardInterrupt:
            click.echo('interrupted', err=True)
            ctx.exit(INTERRUPTED)


def _plugins() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group='siamffn.commands')}


def _load(plugin: EntryPoint) -> click.Command:
    try:
        command: click.Command = plugin.load()
    except Exception as error:  # whatever a foreign module raises
        reason = f'{type(error).__name__}: {error}'

        def fail(_words: tuple[str, ...]) -> None:
            raise SiamFFNError(
                f'`siamffn {plugin.name}` cannot be loaded from {plugin.value} ({reason}); '
                'install what it needs'
            )

        return click.Command(
            plugin.name,
            callback=fail,
            params=[click.Argument(['_words'], nargs=-1, type=click.UNPROCESSED)],
            context_settings={'ignore_unknown_options': True},
            add_help_option=False,
            short_help=f'(not available: {reason})',
        )
    return command


@click.group(cls=_Commands)
@click.version_option(__version__, prog_name='siamffn')
def main() -> None:
    """Follow what you draw a box around."""


for command in (
    benchmark,
    calibrate,
    complexity,
    data,
    evaluate,
    export,
    score,
    track,
    train,
    tune,
    weights,
):
    main.add_command(command)
