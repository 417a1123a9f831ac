"""Average weight files of one model, tensor by tensor, to start further training from.

    python scripts/average.py OUT WEIGHTS WEIGHTS...

Models that were fine-tuned from the same weights are in one basin of the loss, where the mean of
their weights is as good as the best of them or better (Wortsman et al., "Model soups", 2022) and
depends less on the seed. docs/training_log.md has an example.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from siamffn_model.networks.names import DEFAULT_MODEL
from siamffn_model.networks.zoo import create_model, read_card, read_weights, save_weights


def main() -> None:
    """Write the mean; its model card contains the cards of all files."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('out', type=Path)
    parser.add_argument('weights', type=Path, nargs='+')
    parser.add_argument('--model', default=DEFAULT_MODEL)
    options = parser.parse_args()
    states = [read_weights(path, options.model) for path in options.weights]
    model = create_model(options.model)
    model.load_state_dict(
        {
            key: torch.stack([state[key] for state in states]).double().mean(0).to(value.dtype)
            for key, value in states[0].items()
        }
    )
    cards = {str(path): read_card(path) for path in options.weights}
    save_weights(model, options.model, options.out, {'mean of': cards})


if __name__ == '__main__':
    main()
