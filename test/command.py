"""The `siamffn` command, in the process of the tests and in one that lacks packages."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from click.testing import CliRunner, Result

from siamffn_model.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
FINDER = """
import sys
from importlib.machinery import PathFinder

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        missing = name.partition('.')[0] in NAMES
        return None if missing else super().find_spec(name, path, target)

sys.meta_path = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
"""


def siamffn(*arguments: str | Path) -> Result:
    """Run the command with these arguments; return its exit code and output."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def environment_without(folder: Path, packages: Iterable[str]) -> dict[str, str]:
    """Return an environment in which Python does not find these packages.

    Args:
        folder: takes the file that hides them.
        packages: top-level modules.
    """
    (folder / 'sitecustomize.py').write_text(f'NAMES = {set(packages)}\n{FINDER}')
    return {**os.environ, 'PYTHONPATH': f'{folder}{os.pathsep}{ROOT}'}


def siamffn_process(
    environment: dict[str, str], *arguments: str | Path
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process with this environment."""
    command = [sys.executable, '-m', 'siamffn_model', *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
