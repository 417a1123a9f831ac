"""Test, measure and train on a GPU within some minutes, without network and from a checkout.

    python scripts/gpu_run.py --out DIR [--minutes 10] [--train RECIPE --weights START --data ...]

The steps, each in a process of its own that ends in time: the tests marked `gpu`, `siamffn
benchmark`, the throughput of training, training for the rest of the time, validation. A second
start with the same --out omits finished steps and continues the training. docs/training.md
describes the files and has an example.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout, not installed

from gpu_state import Run, read_json, work_folder
from gpu_steps import ROOT, run_all

from siamffn_model.datasets.training_set import parse_folder
from siamffn_model.errors import ConfigError, DependencyError, SiamFFNError

MARGIN = 4  # seconds for the start and the end of this script


def main() -> int:
    """Run all steps; return 1 if one failed, 2 for a wrong option."""
    start = time.monotonic()
    options = parse_options()
    try:
        run = open_run(options, start)
        run.save()
    except SiamFFNError as error:
        print(f'Error: {error}', file=sys.stderr)
        return 2
    run_all(run)
    print(f'see {run.out / "report.md"}')
    return int(any(step['status'] == 'failed' for step in run.results['steps'].values()))


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--out', type=Path, required=True, help='folder of the results')
    parser.add_argument('--minutes', type=_minutes, default=10.0, help='end after this time')
    parser.add_argument('--device', default='cuda', help='cuda, or cpu to try the script')
    parser.add_argument(
        '--train',
        type=Path,
        default=ROOT / 'config' / 'train' / 'smoke.yaml',
        help='recipe of the training (default: rendered scenes, which need no data)',
    )
    parser.add_argument('--model', help='train this model instead of that of the recipe')
    parser.add_argument('--weights', type=Path, help='start from this file (default: packaged)')
    parser.add_argument(
        '--data',
        type=_folder,
        action='append',
        default=[],
        metavar='NAME=DIR',
        help='as of `siamffn train`',
    )
    parser.add_argument(
        '--validation', type=Path, metavar='DIR', help='sequences (default: generated clips)'
    )
    parser.add_argument(
        '--wheels', type=Path, metavar='DIR', help='use the packages that `make gpu-wheels` wrote'
    )
    return parser.parse_args()


def _minutes(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f'{text}: give a positive number of minutes')
    return value


def _folder(text: str) -> tuple[str, Path]:
    try:
        return parse_folder(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def open_run(options: argparse.Namespace, start: float) -> Run:
    """Check the options and read earlier results; raises `SiamFFNError` before time is spent."""
    work = work_folder(options.out)
    paths = [str(ROOT)]
    if options.wheels:
        paths.append(install_wheels(options.wheels, work / 'site'))
        sys.path.append(paths[-1])
    from siamffn_model.networks.zoo import read_weights
    from siamffn_model.runtimes.devices import choose_device
    from siamffn_model.runtimes.selection import weight_file
    from siamffn_model.training.pair_sources import open_sources
    from siamffn_model.training.recipe_reader import read_recipe
    from siamffn_model.training.validation import open_validation

    try:
        choose_device(options.device)
    except DependencyError as error:
        raise DependencyError(
            f'{error}. To try everything on the CPU: `make gpu DEVICE=cpu MINUTES=3`, or '
            '`python scripts/gpu_run.py --device cpu --minutes 3 --out DIR`'
        ) from None
    model = [f'model={options.model}'] if options.model else []
    recipe = read_recipe(options.train, model)
    if recipe.repeat or recipe.teacher.needed:
        raise ConfigError(
            f'{options.train} has a teacher or repeats pairs, which this script does not support: '
            'choose another recipe, such as config/train/siamffn_lite0_gpu.yaml'
        )
    open_sources(recipe, dict(options.data))
    if options.validation:
        open_validation(options.validation, [])
    if options.weights:
        read_weights(options.weights, recipe.model)
    elif (packaged := weight_file(recipe.model)).is_file():
        options.weights = packaged
    results = _earlier_results(options.out, recipe.model_dump())
    now = datetime.now(timezone.utc).isoformat(timespec='seconds')
    results |= {'command': ' '.join(sys.argv), 'started': now, 'minutes': options.minutes}
    path = os.pathsep.join([*paths, *filter(None, [os.environ.get('PYTHONPATH')])])
    environment = {**os.environ, 'PYTHONPATH': path, 'PYTHONUNBUFFERED': '1'}
    return Run(options, recipe, results, start + 60 * options.minutes - MARGIN, environment)


def _earlier_results(out: Path, recipe: dict[str, Any]) -> dict[str, Any]:
    """Return the results of an earlier start, which must have had the same recipe."""
    path = out / 'results.json'
    results = read_json(path) or {'steps': {}, 'files': {}}
    if results.setdefault('recipe', recipe) != recipe:
        raise ConfigError(
            f'{path} belongs to a run with another recipe or model: choose another folder with '
            '--out, or remove it'
        )
    return results


def install_wheels(wheels: Path, site: Path) -> str:
    """Install the wheels of a folder into `site` without network; return its path."""
    pip = [
        sys.executable,
        '-m',
        'pip',
        'install',
        '--quiet',
        '--no-index',
        '--no-deps',
        '--upgrade',
    ]
    files = sorted(wheels.glob('*.whl'))
    done = subprocess.run(
        [*pip, '--target', site, *files], capture_output=True, text=True, check=False
    )
    if done.returncode or not files:
        raise DependencyError(
            f'{wheels}: its wheels cannot be installed ({done.stderr.strip()[-300:]}); write the '
            'folder again with `make gpu-wheels`'
        )
    return str(site)


if __name__ == '__main__':
    sys.exit(main())
