"""Train and evaluate SiamBAN and SiamFFN, without and with CSRL, with three seeds each.

    python scripts/ablation.py PACK SEQUENCES [--out DIR] [--jobs N]

PACK is the training pack, SEQUENCES a folder of sequences to evaluate on. Results that exist in
--out are kept, and interrupted training is resumed. docs/ablation.md has the results.
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


class Experiment(NamedTuple):
    """One training run and its evaluation."""

    head: str
    csrl: str
    seed: int

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f'{HEADS[self.head]}-{LOSSES[self.csrl]}-{self.seed}'


def run(
    pack: Path, sequences: Path, out: Path, threads: int, experiment: Experiment
) -> dict[str, float]:
    """Train and evaluate, unless the results exist; return success and precision."""
    folder, model = out / experiment.name, HEADS[experiment.head]
    scores, weights = folder / 'scores.json', folder / f'{model}.safetensors'
    checkpoint = folder / 'checkpoint.pt'
    if checkpoint.exists() or not weights.exists():
        changes = (
            f'--set model={model} --set loss={LOSSES[experiment.csrl]} --set seed={experiment.seed}'
        )
        resume = ['--resume'] if checkpoint.exists() else []
        paths = ['--config', CONFIG, '--data', f'pack={pack}', '--out', folder, '--workers', '0']
        siamffn(threads, 'train', *changes.split(), *paths, *resume)
    if not scores.exists():
        options = ['--data', sequences, '--model', model, '--weights', weights]
        siamffn(threads, 'evaluate', 'sequences', *options, '--out', folder, '--json', scores)
    (result,) = json.loads(scores.read_text()).values()
    print(f'{experiment.name}: success {result["success"]:.3f}', flush=True)
    return {key: result[key] for key in ('success', 'precision')}


def siamffn(threads: int, *arguments: str | Path) -> None:
    """Run a subcommand of `siamffn` with this number of threads."""
    command = [sys.executable, '-m', 'siamffn_model', *map(str, arguments)]
    environment = {**os.environ, 'OMP_NUM_THREADS': str(threads)}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


def table(results: dict[Experiment, dict[str, float]]) -> str:
    """Return a Markdown table with mean and standard deviation over the seeds."""
    lines = ['| head | CSRL | success | of each seed | precision |', '|---|---|---|---|---|']
    for head in HEADS:
        for csrl in LOSSES:
            runs = [results[Experiment(head, csrl, seed)] for seed in SEEDS]
            success, precision = ([run[key] for run in runs] for key in ('success', 'precision'))
            values = ', '.join(f'{value:.3f}' for value in success)
            row = head, csrl, mean_std(success), values, mean_std(precision)
            lines.append(f'| {" | ".join(row)} |')
    return '\n'.join(lines)


def mean_std(values: list[float]) -> str:
    """Return the mean and the standard deviation as text."""
    return f'{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}'


def main() -> None:
    """Run all experiments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('pack', type=Path)
    parser.add_argument('sequences', type=Path)
    parser.add_argument('--out', type=Path, default=Path('out/ablation'))
    parser.add_argument('--jobs', type=int, default=1, help='number of parallel runs')
    options = parser.parse_args()
    experiments = [
        Experiment(head, csrl, seed) for seed in SEEDS for head in HEADS for csrl in LOSSES
    ]
    threads = max(1, len(os.sched_getaffinity(0)) // options.jobs)
    with ThreadPoolExecutor(options.jobs) as pool:
        work = partial(run, options.pack, options.sequences, options.out, threads)
        results = dict(zip(experiments, pool.map(work, experiments)))
    print(table(results))


if __name__ == '__main__':
    main()
