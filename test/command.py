"""The `siamffn` command, run in the process of the tests."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from siamffn_model.cli.main import main


def siamffn(*arguments: str | Path) -> Result:
    """Run the command with these arguments; return its exit code and output."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])
