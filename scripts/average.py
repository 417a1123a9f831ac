"""Average weight files of one model, tensor by tensor, to go on from (docs/training_log.md).

    python scripts/average.py OUT WEIGHTS WEIGHTS...

Trainings that came from the same weights lie in one basin, where the mean does as well as the best
of them or better (Wortsman et al., "Model soups", 2022), and depends less on the seed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from siamffn_model.networks.zoo import create_model, read_card, read_weights, save_weights


def main() -> None:
    """Write the mean; its card holds the cards of all."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('out', type=Path)
    parser.add_argument('weights', type=Path, nargs='+')
    parser.add_argument('--model', default='siamffn_lite0')
    given = parser.parse_args()
    states = [read_weights(path, given.model) for path in given.weights]
    model = create_model(given.model)
    model.load_state_dict(
        {
            key: torch.stack([state[key] for state in states]).double().mean(0).to(value.dtype)
            for key, value in states[0].items()
        }
    )
    cards = {str(path): read_card(path) for path in given.weights}
    save_weights(model, given.model, given.out, {'mean of': cards})


if __name__ == '__main__':
    main()
