"""Validate the weights of a training that is finished or stopped, beside those it started from.

    python scripts/gpu_validate.py TRAINING --config RECIPE --out DIR [--start FILE] ...

A step of scripts/gpu_run.py. Writes DIR/MODEL.safetensors, the better of the final weights (the
averaged ones if the recipe averages) and the best weights of all epochs, and DIR/validation.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch

from siamffn_model.atomic_io import atomic_write, write_text
from siamffn_model.datasets.training_set import parse_folder
from siamffn_model.networks.zoo import create_model, load_weights, save_weights
from siamffn_model.runtimes.devices import choose_device
from siamffn_model.training.pair_sources import open_sources
from siamffn_model.training.recipe_reader import read_recipe
from siamffn_model.training.validation import open_validation, validate

AVERAGED = 'module.'  # prefix of the averaged weights in a checkpoint


def write_final_weights(training: Path, model: str, start: str, path: Path) -> None:
    """Write the weights in a checkpoint to `path`."""
    state = torch.load(training / 'checkpoint.pt', map_location='cpu', weights_only=True)
    averaged = {
        key.removeprefix(AVERAGED): value
        for key, value in state['average'].items()
        if key.startswith(AVERAGED)
    }
    network = create_model(model)
    network.load_state_dict(averaged or state['model'])
    card = {'recipe': state['recipe'], 'start': start, 'step': state['step']}
    save_weights(network, model, path, card)


def main() -> None:
    """Write weights first, then the scores as they are computed."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('training', type=Path, help='folder of the training')
    parser.add_argument('--config', type=Path, required=True, help='the recipe')
    parser.add_argument('--set', dest='changes', action='append', default=[], metavar='KEY=VALUE')
    parser.add_argument('--data', action='append', default=[], metavar='NAME=DIR')
    parser.add_argument('--start', type=Path, help='weights that the training started from')
    parser.add_argument('--device', default='auto')
    parser.add_argument('--out', type=Path, required=True)
    options = parser.parse_args()
    recipe = read_recipe(options.config, options.changes)
    weights, final = (
        options.out / f'{recipe.model}.safetensors',
        options.training / 'final.safetensors',
    )
    finished = options.training / f'{recipe.model}.safetensors'
    if (options.training / 'checkpoint.pt').is_file():
        write_final_weights(options.training, recipe.model, str(options.start), final)
    else:
        shutil.copyfile(finished, final)
    _copy(final, weights)
    folders = dict(map(parse_folder, options.data))
    validation = folders.pop('validation', None)
    sequences = open_validation(validation, open_sources(recipe, folders))
    candidates = {'final': final, 'best': options.training / 'best.safetensors'}
    if options.start:
        candidates['start'] = options.start
    device = torch.device(choose_device(options.device))
    scores: dict[str, dict[str, float]] = {}
    for name, path in candidates.items():
        if path.is_file():
            network = create_model(recipe.model)
            load_weights(network, recipe.model, path)
            result = validate(network.eval(), sequences, device)
            scores[name] = {'success': result.success, 'precision': result.precision}
            delivered = max(scores.keys() - {'start'}, key=lambda key: scores[key]['success'])
            _copy(candidates[delivered], weights)
            summary = {
                'sequences': str(validation or 'generated'),
                'delivered': delivered,
                **scores,
            }
            write_text(options.out / 'validation.json', json.dumps(summary))


def _copy(source: Path, target: Path) -> None:
    with atomic_write(target) as partial:
        shutil.copyfile(source, partial)


if __name__ == '__main__':
    main()
