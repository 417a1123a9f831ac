"""Ask pip whether all packages that an extra needs exist as wheels for Linux on 64-bit ARM.

Prints a Markdown table: a row for each extra, a column for each Python, `ok` or pip's reason in the
cells. The exit status is 1 if a package is missing. pip downloads metadata only and installs
nothing. It evaluates environment markers for the Python and the processor that run it, so use one
of those listed; packages that are required on ARM only are not checked on another processor.

    python3.11 scripts/check_wheels.py [EXTRA or requirements file]...
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ('3.10', '3.11', '3.12', '3.13')
EXTRAS = ('onnx', 'openvino', 'console', 'mavlink')
# pip takes each tag literally. 2.35 is the C library of Ubuntu 22.04 (JetPack 6); Raspberry Pi OS
# and Debian 12 have 2.36.
GLIBC_MINORS = (35, 34, 31, 28, 27, 26, 24, 17)
PLATFORMS = [*(f'manylinux_2_{minor}_aarch64' for minor in GLIBC_MINORS), 'manylinux2014_aarch64']


def requirements(name: str) -> list[str]:
    """Return pip's arguments for an extra of this package, or for a requirements file."""
    if name.endswith('.txt'):
        return ['-r', name]
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))['project']
    return [*project['dependencies'], *project['optional-dependencies'][name]]


def resolve(arguments: list[str], python: str) -> str:
    """Return 'ok', or the reason for which pip finds no set of wheels."""
    with tempfile.TemporaryDirectory() as target:
        command = [sys.executable, '-m', 'pip', 'install', '--dry-run', '--quiet']
        command += ['--ignore-installed', '--target', target, '--only-binary=:all:']
        command += ['--implementation', 'cp', '--python-version', python]
        command += [f'--platform={platform}' for platform in PLATFORMS]
        done = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 0:
        return 'ok'
    missing = re.search(r'No matching distribution found for (\S+)', done.stderr)
    return f'no {missing[1]}' if missing else done.stderr.strip().splitlines()[-1]


def main() -> None:
    """Print the table for the extras and files that are given, or for `EXTRAS`."""
    names = sys.argv[1:] or list(EXTRAS)
    print(f'| aarch64 | {" | ".join(PYTHONS)} |\n|---|{"---|" * len(PYTHONS)}')
    complete = True
    for name in names:
        results = [resolve(requirements(name), python) for python in PYTHONS]
        complete &= set(results) == {'ok'}
        print(f'| `{name}` | {" | ".join(results)} |', flush=True)
    sys.exit(0 if complete else 1)


if __name__ == '__main__':
    main()
