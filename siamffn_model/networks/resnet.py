"""ResNet-50 with dilation at stride 8, as in SiamRPN++ and SiamBAN (He et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from siamffn_model.atomic_io import cache_folder
from siamffn_model.errors import WeightsError
from siamffn_model.networks.backbone import Backbone

# width, number of blocks, stride, dilation of the first block and of the others, for layers 1 to 4.
# Layers 3 and 4 of the original run at stride 16 and 32; here they are dilated at stride 8 instead.
LAYERS = ((64, 3, 1, 1, 1), (128, 4, 2, 1, 1), (256, 6, 1, 1, 2), (512, 3, 1, 2, 4))
EXPANSION = 4


class CroppedConv1x1(nn.Conv2d):
    """A 1x1 convolution without the outermost cells, aligned with an unpadded 3x3 convolution."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, (H-3) // stride + 1, (W-3) // stride + 1)."""
        return super().forward(x[..., 1:-1, 1:-1])


def _conv3x3(inputs: int, outputs: int, stride: int, dilation: int) -> nn.Conv2d:
    """Return a convolution padded at stride 1 only: at stride 2, 63 cells become 31."""
    padding = dilation if stride == 1 else 0
    return nn.Conv2d(inputs, outputs, 3, stride, padding, dilation, bias=False)


def _conv1x1(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """Return a convolution equal to `_conv3x3` with a kernel that is zero except at its centre."""
    kind = nn.Conv2d if stride == 1 else CroppedConv1x1
    return kind(inputs, outputs, 1, stride, bias=False)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with the residual connection `downsample`."""

    def __init__(
        self, inputs: int, width: int, stride: int, dilation: int, downsample: nn.Module
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _conv1x1(inputs, width),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            _conv3x3(width, width, stride, dilation),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            _conv1x1(width, EXPANSION * width),
            nn.BatchNorm2d(EXPANSION * width),
        )
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, 4 * width, H', W')."""
        return torch.relu(self.layers(x) + self.downsample(x))


class ResNet50(Backbone):
    """Map BGR images (B, 3, H, W), 0-255, to layers 2, 3 and 4 (512, 1024 and 2048 channels).

    The levels have 31x31 cells for 255 px and 15x15 for 127 px. `downsample` is the kernel size of
    the downsample convolutions in these layers: 3 as in SiamRPN++, or 1 as in the original, which
    has fewer parameters.
    """

    channels = tuple(EXPANSION * layer[0] for layer in LAYERS[1:])

    def __init__(self, downsample: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, stride=2, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.layers = nn.ModuleList()
        inputs = 64
        for width, blocks, stride, first, others in LAYERS:
            outputs = EXPANSION * width
            if downsample == 3 and self.layers:
                shortcut = _conv3x3(inputs, outputs, stride, first)
            else:
                shortcut = _conv1x1(inputs, outputs, stride)
            layer = nn.Sequential(
                Bottleneck(
                    inputs, width, stride, first, nn.Sequential(shortcut, nn.BatchNorm2d(outputs))
                )
            )
            for _ in range(blocks - 1):
                layer.append(Bottleneck(outputs, width, 1, others, nn.Identity()))
            self.layers.append(layer)
            inputs = outputs

    def frozen_stages(self, image: Tensor) -> list[Tensor]:
        """See `Backbone.frozen_stages`; includes the stem and layer 1."""
        return [self.layers[0](self.stem(image))]

    def trainable_stages(self, stages: Sequence[Tensor]) -> list[Tensor]:
        """Return the outputs of layers 2, 3 and 4."""
        (x,), levels = stages, []
        for layer in self.layers[1:]:
            x = layer(x)
            levels.append(x)
        return levels

    def trainable(self) -> list[nn.Module]:
        """Return layers 2, 3 and 4, which SiamRPN++ and SiamBAN fine-tune."""
        return list(self.layers[1:])

    def load_imagenet(self) -> None:
        """Load the weights of `siamffn weights import-imagenet`, or raise `WeightsError`."""
        self.load_classifier(imagenet_weights())

    def load_classifier(self, state: dict[str, Tensor]) -> None:
        """Load the state of an ImageNet classifier that uses the names of this module.

        1x1 downsample kernels are padded to 3x3 if necessary, which does not change the output.
        Other entries, such as those of the last layer, are ignored.
        """
        own = self.state_dict()
        for name, value in own.items():
            if name in state:
                kernel = state[name]
                own[name] = kernel if kernel.shape == value.shape else _pad_to_3x3(kernel)
        self.load_state_dict(own)


def _pad_to_3x3(kernel: Tensor) -> Tensor:
    """Pad (O, I, 1, 1) with zeros to (O, I, 3, 3)."""
    return nn.functional.pad(kernel, (1, 1, 1, 1))


def imagenet_file() -> Path:
    """Return the file in the user's cache that `siamffn weights import-imagenet` writes."""
    return cache_folder() / 'resnet50_imagenet.safetensors'


def imagenet_weights() -> dict[str, Tensor]:
    """Read the imported ImageNet weights; raise `WeightsError` if they are missing."""
    path = imagenet_file()
    if not path.is_file():
        raise WeightsError(
            f'the ImageNet weights of ResNet-50 are missing ({path}): '
            'run `siamffn weights import-imagenet` once'
        )
    return load_file(path)
