"""The import of checkpoints that the tests write in the layout of pysot and SiamBAN."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from siamffn_model.checkpoints.pysot import read_checkpoint
from siamffn_model.errors import WeightsError
from siamffn_model.networks.zoo import create_model, read_weights
from siamffn_model.runtimes.selection import load_model

from ..command import siamffn
from ..networks.conftest import pixels

State = dict[str, Tensor]


def conv(state: State, name: str, shape: tuple[int, ...], bias: bool = False) -> None:
    state[f'{name}.weight'] = torch.randn(shape) / (shape[1] * shape[2] * shape[3]) ** 0.5
    if bias:
        state[f'{name}.bias'] = torch.randn(shape[0]) / 10


def norm(state: State, name: str, width: int, scale: float = 1) -> None:
    state[f'{name}.weight'] = torch.rand(width) + 0.5
    state[f'{name}.bias'] = torch.randn(width) / 10
    state[f'{name}.running_mean'] = torch.randn(width) / 10
    state[f'{name}.running_var'] = scale * (torch.rand(width) + 0.5)
    state[f'{name}.num_batches_tracked'] = torch.tensor(7)


def checkpoint(head: str, level: str, anchors: int) -> State:
    """Return random tensors with the names in the source code of pysot and SiamBAN."""
    torch.manual_seed(0)
    state: State = {}
    conv(state, 'backbone.conv1', (64, 3, 7, 7))
    norm(state, 'backbone.bn1', 64, 1e4)
    inputs = 64
    for layer, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 1):
        for block in range(blocks):
            name = f'backbone.layer{layer}.{block}'
            shapes = (width, inputs, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)
            for number, shape in enumerate(shapes, 1):
                conv(state, f'{name}.conv{number}', shape)
                norm(state, f'{name}.bn{number}', shape[0])
            if block == 0:
                size = 1 if layer == 1 else 3
                conv(state, f'{name}.downsample.0', (4 * width, inputs, size, size))
                norm(state, f'{name}.downsample.1', 4 * width)
            inputs = 4 * width
    for number, width in ((2, 512), (3, 1024), (4, 2048)):
        conv(state, f'neck.downsample{number}.downsample.0', (256, width, 1, 1))
        norm(state, f'neck.downsample{number}.downsample.1', 256)
        for branch, outputs in (('cls', 2 * anchors), ('loc', 4 * anchors)):
            name = f'{head}.{level}{number}.{branch}'
            for part in ('conv_kernel', 'conv_search'):
                conv(state, f'{name}.{part}.0', (256, 256, 3, 3))
                norm(state, f'{name}.{part}.1', 256)
            conv(state, f'{name}.head.0', (256, 256, 1, 1))
            norm(state, f'{name}.head.1', 256)
            conv(state, f'{name}.head.3', (outputs, 256, 1, 1), bias=True)
            state[f'{name}.head.3.weight'] /= 10  # boxes of usual sizes
    state[f'{head}.cls_weight'], state[f'{head}.loc_weight'] = torch.randn(2, 3)
    if level == 'box':
        state['head.loc_scale'] = torch.tensor([0.5, 1.0, 1.5])
    return state


def bn(state: State, name: str, x: Tensor) -> Tensor:
    mean, var = state[f'{name}.running_mean'], state[f'{name}.running_var']
    return F.batch_norm(x, mean, var, state[f'{name}.weight'], state[f'{name}.bias'])


def stem_and_layer1(state: State, image: Tensor) -> Tensor:
    x = F.conv2d(image, state['backbone.conv1.weight'], stride=2)
    x = F.max_pool2d(bn(state, 'backbone.bn1', x).relu(), 3, 2, 1)
    for block in range(3):
        name = f'backbone.layer1.{block}'
        y = bn(state, f'{name}.bn1', F.conv2d(x, state[f'{name}.conv1.weight'])).relu()
        y = bn(state, f'{name}.bn2', F.conv2d(y, state[f'{name}.conv2.weight'], padding=1)).relu()
        y = bn(state, f'{name}.bn3', F.conv2d(y, state[f'{name}.conv3.weight']))
        if block == 0:
            x = F.conv2d(x, state[f'{name}.downsample.0.weight'])
            x = bn(state, f'{name}.downsample.1', x)
        x = (x + y).relu()
    return x


def head_outputs(
    state: State, head: str, level: str, template: list[Tensor], search: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """Compute the heads as pysot and SiamBAN define them, level by level, for one target."""
    results: dict[str, list[Tensor]] = {'cls': [], 'loc': []}
    for number, (z, x) in enumerate(zip(template, search, strict=True), 2):
        for branch, outputs in results.items():
            name = f'{head}.{level}{number}.{branch}'
            parts = {}
            for part, features in (('conv_kernel', z), ('conv_search', x)):
                y = F.conv2d(features, state[f'{name}.{part}.0.weight'])
                parts[part] = bn(state, f'{name}.{part}.1', y).relu()
            kernel = parts['conv_kernel'].transpose(0, 1)
            y = F.conv2d(parts['conv_search'], kernel, groups=256)
            y = bn(state, f'{name}.head.1', F.conv2d(y, state[f'{name}.head.0.weight'])).relu()
            y = F.conv2d(y, state[f'{name}.head.3.weight'], state[f'{name}.head.3.bias'])
            if branch == 'loc' and level == 'box':
                y = torch.exp(y * state['head.loc_scale'][number - 2])
            outputs.append(y)
    weights = {branch: state[f'{head}.{branch}_weight'].softmax(0) for branch in results}
    cls, loc = (
        sum((weight * y for weight, y in zip(weights[branch], results[branch])), torch.zeros(1))
        for branch in ('cls', 'loc')
    )
    return cls, loc


@pytest.mark.slow
@pytest.mark.parametrize(
    ('head', 'level', 'anchors', 'name'),
    [('head', 'box', 1, 'siamban_r50'), ('rpn_head', 'rpn', 5, 'siamrpnpp_r50')],
)
def test_an_imported_checkpoint_computes_the_same_outputs(
    head: str, level: str, anchors: int, name: str, tmp_path: Path
) -> None:
    theirs = checkpoint(head, level, anchors)
    path = tmp_path / 'checkpoint.pth'
    torch.save({'epoch': 20, 'state_dict': {f'module.{k}': v for k, v in theirs.items()}}, path)
    model_name, state = read_checkpoint(path)
    assert model_name == name
    model = create_model(name).eval()
    model.load_state_dict(state)

    with torch.no_grad():
        image = pixels(1, 127)
        backbone = model.backbone
        layer1 = backbone.layers[0](backbone.stem(image))
        assert torch.allclose(layer1, stem_and_layer1(theirs, image), rtol=1e-3, atol=1e-3)
        for layer in (2, 3, 4):
            first = backbone.layers[layer - 1][0].downsample[0].weight
            assert torch.equal(first, theirs[f'backbone.layer{layer}.0.downsample.0.weight'])
        template = [torch.randn(1, 256, 7, 7) for _ in range(3)]
        search = [torch.randn(1, 256, 31, 31) for _ in range(3)]
        logits, distances = model.compare(search, model.kernels(template))
        cls, loc = head_outputs(theirs, head, level, template, search)
        if anchors == 1:
            expected = loc.flatten(2)
        else:
            sides = torch.tensor([[104, 88, 64, 40, 32], [32, 40, 64, 80, 96.0]])[:, :, None, None]
            offsets = loc.view(4, 5, 25, 25)
            centre, size = offsets[:2] * sides, offsets[2:].exp() * sides
            expected = torch.cat([size / 2 - centre, size / 2 + centre]).view(1, 4, -1)
    assert torch.allclose(logits, cls.view(1, 2, -1), rtol=1e-3, atol=1e-3)
    assert torch.allclose(distances, expected, rtol=1e-3, atol=1e-2)


@pytest.mark.slow
def test_the_command_writes_a_weight_file(tmp_path: Path) -> None:
    path, out = tmp_path / 'ban.pth', tmp_path / 'ban.safetensors'
    state = checkpoint('head', 'box', 1)
    # PyTorch before 0.4.1 saved no counters.
    torch.save({k: v for k, v in state.items() if 'num_batches' not in k}, path)
    done = siamffn('weights', 'import-pysot', path, '--out', out)
    assert done.exit_code == 0, done.output
    assert f'--model siamban_r50 --weights {out}' in done.output
    written = read_weights(out, 'siamban_r50')
    assert torch.equal(written['head.scale'], state['head.loc_scale'])
    load_model('siamban_r50', out, 'cpu')

    del state['head.loc_scale']
    torch.save(state, path)
    done = siamffn('weights', 'import-pysot', path, '--out', out)
    assert done.exit_code == 2
    assert re.search('ban.pth is of another network: 1 of .* the first is head.scale', done.output)


def test_other_files_are_rejected(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path(tmp_path / 'executed').write_text, ('!',))

    contents: dict[str, tuple[object, str]] = {
        'alex.pth': ({'backbone.features.0.weight': torch.zeros(1)}, 'of an unknown model'),
        'list.pth': ([1, 2], 'no state_dict'),
        'words.pth': ({'state_dict': {'a': 'b'}}, 'no state_dict'),
        'code.pth': (Malicious(), 'is not a PyTorch checkpoint'),
    }
    for name, (content, message) in contents.items():
        torch.save(content, tmp_path / name)
        with pytest.raises(WeightsError, match=f'{name}.*{message}'):
            read_checkpoint(tmp_path / name)
    assert not (tmp_path / 'executed').exists()
    (tmp_path / 'text.pth').write_text('not a checkpoint')
    for name in ('text.pth', 'none.pth'):
        with pytest.raises(WeightsError, match=name):
            read_checkpoint(tmp_path / name)
