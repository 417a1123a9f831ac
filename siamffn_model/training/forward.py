"""The forward pass of a training step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from siamffn_model.networks.neck import center_crop
from siamffn_model.networks.siamese import Siamese

FeatureFunction: TypeAlias = Callable[[Any], Sequence[Tensor]]  # of crops or frozen stages


class Outputs(NamedTuple):
    """The outputs of a forward pass.

    Attributes:
        logits: (B, 2, N).
        distances: (B, 4, N).
        projected: the projected deepest levels (B, C, H, W) of template and search crop.
    """

    logits: Tensor
    distances: Tensor
    projected: list[Tensor]


class ForwardModule(nn.Module):
    """The mapping from inputs to outputs, as one module that DDP can wrap.

    The inputs are crops (B, H, W, 3), BGR uint8, or the outputs of the frozen stages.
    """

    def __init__(
        self, model: Siamese, features: FeatureFunction, bf16: bool, projection: nn.Module
    ) -> None:
        """`features` maps the inputs to the levels of the backbone; `bf16` requests bfloat16.

        `projection` is that of a distillation, otherwise the identity.
        """
        super().__init__()
        self.model, self.features, self.bf16 = model, features, bf16
        self.projection = projection

    def forward(self, template: Tensor | list[Tensor], search: Tensor | list[Tensor]) -> Outputs:
        """Map the inputs of `features` to outputs."""
        device = next(self.model.parameters()).device
        with autocast(device, self.bf16):
            z, x = self.features(template), self.features(search)
            cropped = [center_crop(level, self.model.cells) for level in z]
            logits, distances = respond(self.model, cropped, x)
            projected = [self.projection(levels[-1]) for levels in (z, x)]
            return Outputs(logits, distances, projected)


def respond(model: Siamese, z: Sequence[Tensor], x: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Map backbone levels to logits (B, 2, N) and distances (B, 4, N).

    z and x are the levels (B, C, H, W) of the cropped template and of the search region. Their
    cells pass through the neck in one tensor: its batch norm is trained on the common statistics,
    which it also uses in tracking.
    """
    cells = z[0].shape[-2] * z[0].shape[-1]
    joined = model.neck(
        [torch.cat([a.flatten(2), b.flatten(2)], dim=2)[:, :, None] for a, b in zip(z, x)]
    )
    template = [level[..., :cells].squeeze(2).unflatten(2, z[0].shape[2:]) for level in joined]
    search = [level[..., cells:].squeeze(2).unflatten(2, x[0].shape[2:]) for level in joined]
    return model.compare(search, model.kernels(template))


def autocast(device: torch.device, bf16: bool) -> torch.autocast:
    """Return a bfloat16 autocast context, enabled if `bf16` and if it is faster on the device."""
    enabled = bf16 and _has_fast_bf16(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def _has_fast_bf16(device: torch.device) -> bool:
    """Return whether the device computes bfloat16 faster than single precision."""
    return device.type == 'cuda' or torch.cpu.get_capabilities().get('avx512_bf16', False)
