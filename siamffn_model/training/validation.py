"""Validation of a model in training, on given sequences or on generated clips."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from siamffn_model.datasets.sequences import Sequence, read_sequences
from siamffn_model.datasets.synthetic import Scene, render_scene
from siamffn_model.evaluation.jobs import run_sequence
from siamffn_model.evaluation.metrics import Scores
from siamffn_model.evaluation.results import score_one_pass
from siamffn_model.evaluation.starts import with_starts
from siamffn_model.imaging.frames import FOLDER_FPS, Frame, Frames
from siamffn_model.imaging.image import Image
from siamffn_model.networks.siamese import Siamese
from siamffn_model.runtimes.selection import prepare
from siamffn_model.tracking import Tracker

if TYPE_CHECKING:
    from siamffn_model.training.pair_sources import PackSource
    from siamffn_model.training.sampling import PairSource

STARTS = 4  # runs on each sequence of the folder
CLIPS, LENGTH = 4, 30  # number of generated clips, and frames in each


class RenderedFrames(Frames):
    """A sequence of images in memory."""

    fps = FOLDER_FPS

    def __init__(self, name: str, images: list[Image]) -> None:
        self.path, self._images = Path(name), images
        self.size = (images[0].shape[1], images[0].shape[0])
        self.expected = len(images)
        self.unreadable = []

    def read(self) -> Iterator[Frame]:
        """See `Frames`."""
        for number, image in enumerate(self._images):
            yield Frame(number, number / self.fps, image)


def open_validation(folder: Path | None, sources: Iterable[PairSource]) -> list[Sequence]:
    """Return the sequences to validate on.

    They are read from the folder, each with its parts from `STARTS` frames. Without a folder, clips
    are generated from the training pack if it is one of the sources, else scenes are rendered.
    Raises the errors of `read_sequences`.
    """
    if folder is not None:
        return with_starts(read_sequences(folder), STARTS)
    from siamffn_model.training.pair_sources import PackSource  # needs packages of the data sets

    packs = [source for source in sources if isinstance(source, PackSource)]
    generate = partial(_clip_scene, packs[0]) if packs else _rendered_scene
    return [synthetic_sequence(f'clip{seed}', generate(seed)) for seed in range(CLIPS)]


def _clip_scene(pack: PackSource, seed: int) -> Scene:
    _, clip = pack.draw_clip(np.random.default_rng(seed), LENGTH)
    images, boxes = zip(*(clip.frame(number) for number in range(LENGTH)))
    return Scene(list(images), list(boxes))


def _rendered_scene(seed: int) -> Scene:
    return render_scene(LENGTH, seed=seed)


def synthetic_sequence(name: str, scene: Scene) -> Sequence:
    """Return a scene as a sequence for evaluation."""
    return Sequence(name, np.array(scene.boxes, float), RenderedFrames(name, scene.images))


def validate(model: Siamese, sequences: list[Sequence], device: torch.device) -> Scores:
    """Run the tracker on the sequences with a copy of the model; return the mean scores.

    The copy runs in PyTorch on every device: PyTorch never frees the weights of models that are
    converted for other inference engines.
    """
    tracker = Tracker(prepare(copy.deepcopy(model), str(device), 'torch'))
    boxes = {s.name: run_sequence(tracker, s, lambda: None).boxes for s in sequences}
    return score_one_pass(sequences, boxes).curves.scores
