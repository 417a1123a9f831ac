"""The forward pass of a training step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from siamffn_model.networks.neck import center_crop
from siamffn_model.networks.siamese import Siamese
from siamffn_model.training.features import Features


class ForwardModule(nn.Module):
    """From crops to logits and distances, as one module for DDP."""

    def __init__(self, model: Siamese, features: Features, bf16: bool) -> None:
        """`features` maps crops to the levels of the model's backbone."""
        super().__init__()
        self.model, self.features, self.bf16 = model, features, bf16

    def forward(self, template: Tensor, search: Tensor) -> tuple[Tensor, Tensor]:
        """Map crops (B, H, W, 3), BGR uint8, to what `Siamese.compare` gives."""
        with autocast(template.device, self.bf16):
            z, x = self.features(template), self.features(search)
            return respond(self.model, [center_crop(level, self.model.cells) for level in z], x)


def respond(model: Siamese, z: Sequence[Tensor], x: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Map backbone levels to logits and distances.

    Template cells and search cells pass the neck together, so that its batch norm learns from one
    set of statistics, the one it will use in tracking.
    """
    cells = z[0].shape[-2] * z[0].shape[-1]
    together = model.neck(
        [torch.cat([a.flatten(2), b.flatten(2)], dim=2)[:, :, None] for a, b in zip(z, x)]
    )
    template = [level[..., :cells].squeeze(2).unflatten(2, z[0].shape[2:]) for level in together]
    search = [level[..., cells:].squeeze(2).unflatten(2, x[0].shape[2:]) for level in together]
    return model.compare(search, model.kernels(template))


def autocast(device: torch.device, bf16: bool) -> torch.autocast:
    """Return the context in which a device computes in bfloat16, if asked to and quicker there."""
    enabled = bf16 and _computes_bf16(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def _computes_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is quicker there than single precision."""
    return device.type == 'cuda' or torch.cpu.get_capabilities().get('avx512_bf16', False)
