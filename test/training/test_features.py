"""Features of a frozen backbone, and their replay."""

from __future__ import annotations

import numpy as np
import torch

from siamffn_model.networks.efficientnet_lite import EfficientNetLite0
from siamffn_model.training.features import Replay, frozen_features


def test_features_are_the_backbones_own() -> None:
    torch.manual_seed(0)
    backbone = EfficientNetLite0()
    crops = np.random.default_rng(0).integers(0, 256, (2, 127, 127, 3), dtype=np.uint8)
    quick = frozen_features(backbone)(crops)
    with torch.no_grad():
        plain = backbone(torch.from_numpy(crops).permute(0, 3, 1, 2).float())
    for one, other in zip(quick, plain, strict=True):
        assert torch.allclose(one, other, atol=1e-4 * float(other.abs().max()))


def test_replay_keeps_the_newest_and_rows_together() -> None:
    replay = Replay(4)
    for start in range(0, 9, 3):
        number = torch.arange(start, start + 3)
        replay.add([number.half()[:, None], number.float()])
    a, b = replay.draw(100)
    assert set(b.tolist()) == {5, 6, 7, 8}
    assert torch.equal(a[:, 0], b)
    assert a.dtype == torch.float32


def test_replay_draws_from_what_is_there() -> None:
    replay = Replay(100)
    replay.add([torch.tensor([1.0, 2.0])])
    assert set(replay.draw(50)[0].tolist()) == {1, 2}
