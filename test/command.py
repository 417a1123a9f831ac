"""The command `siamffn`, called within the tests' own process."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from siamffn_model.cli.main import main


def siamffn(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])
