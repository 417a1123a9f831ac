"""The `siamffn` command. Each command imports heavy packages when it runs: `--help` stays fast."""

from __future__ import annotations

import signal
import sys
from importlib.metadata import EntryPoint, entry_points
from io import TextIOWrapper
from typing import Any

import click

from siamffn_model import __version__
from siamffn_model.atomic_io import disk_is_full
from siamffn_model.cli.benchmark import benchmark, complexity
from siamffn_model.cli.console import console
from siamffn_model.cli.evaluation import calibrate, evaluate, score, tune
from siamffn_model.cli.export import export
from siamffn_model.cli.track import track
from siamffn_model.cli.training import data, train
from siamffn_model.cli.weights import weights
from siamffn_model.errors import INTERRUPTED, DependencyError, SiamFFNError
from siamffn_model.signals import END_SIGNALS, handle_signals

PLUGINS = 'siamffn.commands'  # entry point group of the commands that other packages add
ROS_MODULE = 'siamffn_ros.'  # the plug-in of this distribution, which pip installs without ROS
ROS_REMEDY = (
    'it needs ROS 2, which pip does not install: `sudo apt-get install ros-$ROS_DISTRO-ros-base '
    'ros-$ROS_DISTRO-vision-msgs ros-$ROS_DISTRO-cv-bridge`, build this package with colcon and '
    'source its setup.bash, as docs/ros.md describes'
)


class _UserError(click.ClickException):
    exit_code = 2


class _Commands(click.Group):
    """The commands of this package and those of the entry point group `siamffn.commands`.

    A plug-in is imported when its command is called or listed. One that cannot be imported reports
    the reason when it is called and does not affect the other commands.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self.commands, *entry_points(group=PLUGINS).names})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        plugins = entry_points(group=PLUGINS, name=cmd_name)
        if cmd_name in self.commands or not plugins:
            return super().get_command(ctx, cmd_name)
        plugin = next(iter(plugins))
        try:
            command: click.Command = plugin.load()
        except Exception as error:  # the module of a plug-in can raise anything
            return _unavailable(plugin, error)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors='backslashreplace')  # names that are not UTF-8
        restore_handlers = handle_signals(END_SIGNALS, signal.default_int_handler)
        try:
            return super().invoke(ctx)
        except SiamFFNError as error:
            raise _UserError(str(error)) from error
        except OSError as error:
            if not disk_is_full(error):
                raise
            raise _UserError(
                f'{error.filename or "output"} cannot be written ({error.strerror}); '
                'free some space'
            ) from error
        except KeyboardInterrupt:
            click.echo('interrupted', err=True)
            ctx.exit(INTERRUPTED)
        finally:
            restore_handlers()


def _unavailable(plugin: EntryPoint, error: Exception) -> click.Command:
    """Return a command that takes any arguments and reports why its plug-in cannot be imported."""
    reason = f'{type(error).__name__}: {error}'
    of_ros = plugin.value.startswith(ROS_MODULE) and isinstance(error, ModuleNotFoundError)
    remedy = ROS_REMEDY if of_ros else 'install the packages that it needs'

    @click.command(
        plugin.name,
        short_help=f'(not available: {reason})',
        add_help_option=False,
        context_settings={'ignore_unknown_options': True, 'allow_extra_args': True},
    )
    def command() -> None:
        raise DependencyError(
            f'`siamffn {plugin.name}` cannot be imported from {plugin.value} ({reason}): {remedy}'
        )

    return command


@click.group(cls=_Commands)
@click.version_option(__version__, prog_name='siamffn')
def main() -> None:
    """Track objects in videos; train, evaluate and export trackers."""


for command in (
    benchmark,
    calibrate,
    complexity,
    console,
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
