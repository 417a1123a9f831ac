"""Train and score SiamBAN and SiamFFN, without and with CSRL, three seeds each: docs/ablation.md.

    python scripts/ablation.py PACK SEQUENCES [--out DIR] [--jobs N]

PACK is the training pack, SEQUENCES a folder of sequences to score on. What is done already in
--out is kept, and a training that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

CONFIG = Path(__file__).resolve().parents[1] / 'config/train/ablation.yaml'
HEADS = {'SiamBAN': 'siamban_lite0', 'SiamFFN': 'siamffn_lite0'}
LOSSES = {'without': 'separate', 'with': 'csrl'}
SEEDS = (0, 1, 2)


class Cell(NamedTuple):
    """One training."""

    head: str
    csrl: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f'{HEADS[self.head]}-{LOSSES[self.csrl]}-{self.seed}'


def run(pack: Path, sequences: Path, out: Path, threads: int, cell: Cell) -> dict[str, float]:
    """Train and score one cell, unless that is done; return success and precision."""
    folder, model = out / cell.name, HEADS[cell.head]
    scores, weights = folder / 'scores.json', folder / f'{model}.safetensors'
    checkpoint = folder / 'checkpoint.pt'
    if checkpoint.exists() or not weights.exists():
        changes = f'--set model={model} --set loss={LOSSES[cell.csrl]} --set seed={cell.seed}'
        resume = ['--resume'] if checkpoint.exists() else []
        where = ['--config', CONFIG, '--data', f'pack={pack}', '--out', folder, '--workers', '0']
        siamffn(threads, 'train', *changes.split(), *where, *resume)
    if not scores.exists():
        what = ['--data', sequences, '--model', model, '--weights', weights]
        siamffn(threads, 'evaluate', 'sequences', *what, '--out', folder, '--json', scores)
    (found,) = json.loads(scores.read_text()).values()
    print(f'{cell.name}: success {found["success"]:.3f}', flush=True)
    return {key: found[key] for key in ('success', 'precision')}


def siamffn(threads: int, *arguments: str | Path) -> None:
    """Run a command of `siamffn`."""
    command = [sys.executable, '-m', 'siamffn_model', *map(str, arguments)]
    environment = {**os.environ, 'OMP_NUM_THREADS': str(threads)}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


def table(found: dict[Cell, dict[str, float]]) -> str:
    """Return Markdown: mean and spread over the seeds."""
    lines = ['| head | CSRL | success | of each seed | precision |', '|---|---|---|---|---|']
    for head in HEADS:
        for csrl in LOSSES:
            runs = [found[Cell(head, csrl, seed)] for seed in SEEDS]
            success, precision = ([each[key] for each in runs] for key in ('success', 'precision'))
            each = ', '.join(f'{value:.3f}' for value in success)
            lines.append(f'| {head} | {csrl} | {spread(success)} | {each} | {spread(precision)} |')
    return '\n'.join(lines)


def spread(values: list[float]) -> str:
    """Return mean and standard deviation."""
    return f'{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}'


def main() -> None:
    """Run all cells and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('pack', type=Path)
    parser.add_argument('sequences', type=Path)
    parser.add_argument('--out', type=Path, default=Path('out/ablation'))
    parser.add_argument('--jobs', type=int, default=1, help='trainings at a time')
    given = parser.parse_args()
    cells = [Cell(head, csrl, seed) for seed in SEEDS for head in HEADS for csrl in LOSSES]
    threads = max(1, len(os.sched_getaffinity(0)) // given.jobs)
    with ThreadPoolExecutor(given.jobs) as pool:
        work = partial(run, given.pack, given.sequences, given.out, threads)
        found = dict(zip(cells, pool.map(work, cells)))
    print(table(found))


if __name__ == '__main__':
    main()
