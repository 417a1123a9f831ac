"""How well a model in training tracks: on sequences given, else on clips made for it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from siamffn_model.datasets.sequences import open_sequences
from siamffn_model.datasets.synthetic import render_scene
from siamffn_model.evaluation import results, runner
from siamffn_model.frames import FOLDER_FPS, Frames, Image
from siamffn_model.geometry import Box
from siamffn_model.networks.siamese import Siamese
from siamffn_model.networks.zoo import prepare
from siamffn_model.tracking import Tracker
from siamffn_model.training.sampling import Source
from siamffn_model.training.sources import PackSource

CLIPS, LENGTH = 4, 30  # made for validation where no sequences are given; frames in each


class MadeFrames(Frames):
    """Images with exact boxes that lie on no disk."""

    fps = FOLDER_FPS

    def __init__(self, name: str, images: Sequence[Image], boxes: Sequence[Box]) -> None:
        self.path, self._images, self.groundtruth = Path(name), images, list(boxes)
        self.size = (images[0].shape[1], images[0].shape[0])
        self.expected = len(images)

    @property
    def count(self) -> int:
        """See `Frames`."""
        return len(self._images)

    def __iter__(self) -> Iterator[Image]:
        return iter(self._images)


def open_validation(folder: Path | None, sources: Sequence[Source]) -> Mapping[str, Frames]:
    """Open the folder of sequences; without it make clips from the pack, if that is a source.

    Without either they are rendered scenes. Raises the errors of `open_sequences`.
    """
    if folder is not None:
        return open_sequences(folder)
    packs = [source for source in sources if isinstance(source, PackSource)]
    make = partial(_from_pack, packs[0]) if packs else _render
    return {f'clip{seed}': make(seed) for seed in range(CLIPS)}


def _from_pack(pack: PackSource, seed: int) -> MadeFrames:
    _, clip = pack.draw_clip(np.random.default_rng(seed), LENGTH)
    images, boxes = zip(*(clip.frame(number) for number in range(LENGTH)))
    return MadeFrames(f'clip of the pack {seed}', images, boxes)


def _render(seed: int) -> MadeFrames:
    images, boxes = render_scene(LENGTH, seed=seed)
    return MadeFrames(f'rendered scene {seed}', images, boxes)


def validate(
    model: Siamese, sequences: Mapping[str, Frames], device: torch.device
) -> runner.Result:
    """Track through the sequences with a copy of the model; return the means of the scores."""
    tracker = Tracker(prepare(copy.deepcopy(model), device))
    return results.mean(dict(runner.evaluate(tracker, sequences)))
