"""Batch norm over the batches of all processes of a distributed training."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class AnyDeviceSyncBatchNorm(nn.BatchNorm2d):
    """Batch norm with statistics of the batches of all processes, on any device.

    `torch.nn.SyncBatchNorm` supports GPUs only.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        if not self.training:
            return super().forward(x)
        values, dims, (channels,) = x.float(), (0, 2, 3), self.weight.shape
        count = torch.full((1,), x.numel() / channels, device=x.device)
        total = all_reduce(torch.cat([values.sum(dims), count]))
        mean = total[:-1] / total[-1]
        centred = values - mean[:, None, None]
        variance = all_reduce(centred.square().sum(dims)) / total[-1]
        with torch.no_grad():
            self._update_running_statistics(mean, variance * total[-1] / (total[-1] - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    def _update_running_statistics(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        assert self.num_batches_tracked is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked += 1


def convert_sync_batchnorm(module: nn.Module) -> None:
    """Replace every `BatchNorm2d` in `module`, in place, by `AnyDeviceSyncBatchNorm`."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            synced = AnyDeviceSyncBatchNorm(child.num_features, child.eps, child.momentum)
            synced.load_state_dict(child.state_dict())
            setattr(module, name, synced)
        else:
            convert_sync_batchnorm(child)
