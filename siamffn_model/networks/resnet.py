"""ResNet-50 at stride 8 (He et al. 2016), dilated as SiamRPN++ and SiamBAN have it."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from siamffn_model.atomic_io import cache_folder
from siamffn_model.errors import WeightsError
from siamffn_model.networks.backbone import Backbone

# width, blocks, stride, dilation of the first block and of the others, for layers 1 to 4. Layers 3
# and 4 would run at stride 16 and 32; here they stay at stride 8 and dilate instead.
LAYERS = ((64, 3, 1, 1, 1), (128, 4, 2, 1, 1), (256, 6, 1, 1, 2), (512, 3, 1, 2, 4))
EXPANSION = 4


class Inner1x1(nn.Conv2d):
    """A 1x1 convolution that skips the outermost cells, as a 3x3 one without padding does."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, (H-3) // stride + 1, (W-3) // stride + 1)."""
        return super().forward(x[..., 1:-1, 1:-1])


def _conv3x3(inputs: int, outputs: int, stride: int, dilation: int) -> nn.Conv2d:
    """Keep the size at stride 1; at stride 2 there is no padding: 63 cells become 31."""
    padding = dilation if stride == 1 else 0
    return nn.Conv2d(inputs, outputs, 3, stride, padding, dilation, bias=False)


def _conv1x1(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """Compute what `_conv3x3` would if only the middle of its kernel were not zero."""
    kind = nn.Conv2d if stride == 1 else Inner1x1
    return kind(inputs, outputs, 1, stride, bias=False)


class Bottleneck(nn.Module):
    """Convolutions 1x1, 3x3, 1x1, added to the input, or to `downsample` of it."""

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
    """Map BGR images (B, 3, H, W), 0-255, to layers 2-4 (512, 1024, 2048 channels).

    255 px give 31x31 cells, 127 px give 15x15. The first block of each of these layers carries its
    input over by a 3x3 convolution, as in SiamRPN++, or, lighter, by the 1x1 of the original.
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
                carry = _conv3x3(inputs, outputs, stride, first)
            else:
                carry = _conv1x1(inputs, outputs, stride)
            layer = nn.Sequential(
                Bottleneck(
                    inputs, width, stride, first, nn.Sequential(carry, nn.BatchNorm2d(outputs))
                )
            )
            for _ in range(blocks - 1):
                layer.append(Bottleneck(outputs, width, 1, others, nn.Identity()))
            self.layers.append(layer)
            inputs = outputs

    def frozen_stages(self, image: Tensor) -> Tensor:
        """See `Backbone.frozen_stages`: the stem and layer 1."""
        x: Tensor = self.layers[0](self.stem(image))
        return x

    def trainable_stages(self, x: Tensor) -> list[Tensor]:
        """Return layers 2, 3 and 4."""
        levels = []
        for layer in self.layers[1:]:
            x = layer(x)
            levels.append(x)
        return levels

    def trainable(self) -> list[nn.Module]:
        """Return layers 2, 3 and 4, as SiamRPN++ and SiamBAN tune them."""
        return list(self.layers[1:])

    def load_imagenet(self) -> None:
        """Take the weights that `siamffn weights import-imagenet` left; raises `WeightsError`."""
        self.load_classifier(imagenet_weights())

    def load_classifier(self, state: dict[str, Tensor]) -> None:
        """Take the weights of an ImageNet classifier under this module's names.

        Its 1x1 downsample convolutions become the centre of 3x3 ones, which compute the same.
        Further entries, such as the classifier's last layer, are left aside.
        """
        own = self.state_dict()
        for name, value in own.items():
            if name in state:
                given = state[name]
                own[name] = _centred(given) if given.shape != value.shape else given
        self.load_state_dict(own)


def _centred(kernel: Tensor) -> Tensor:
    """Make (O, I, 1, 1) the middle of zeros (O, I, 3, 3)."""
    return nn.functional.pad(kernel, (1, 1, 1, 1))


def imagenet_file() -> Path:
    """Return where `siamffn weights import-imagenet` leaves the weights, in the user's cache."""
    return cache_folder() / 'resnet50_imagenet.safetensors'


def imagenet_weights() -> dict[str, Tensor]:
    """Read the imported ImageNet weights; raises `WeightsError` where they are missing."""
    path = imagenet_file()
    if not path.is_file():
        raise WeightsError(
            f'the ImageNet weights of ResNet-50 are missing ({path}): '
            'run `siamffn weights import-imagenet` once'
        )
    return load_file(path)
