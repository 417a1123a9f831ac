"""Validation of a model in training, on given sequences or on generated clips."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from siamffn_model.datasets.sequences import Sequence, read_sequences
from siamffn_model.datasets.synthetic import Scene, render_scene
from siamffn_model.evaluation.jobs import run_sequence
from siamffn_model.evaluation.metrics import Scores
from siamffn_model.evaluation.results import score_one_pass
from siamffn_model.evaluation.starts import with_starts
from siamffn_model.imaging.crop import SEARCH_SIZE, TEMPLATE_SIZE
from siamffn_model.imaging.frames import FOLDER_FPS, Frame, Frames
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import Image
from siamffn_model.networks.siamese import Siamese
from siamffn_model.runtimes.selection import prepare
from siamffn_model.tracking import Tracker
from siamffn_model.training.labels import edge_distances
from siamffn_model.training.losses import iou_loss
from siamffn_model.training.sampling import CropSpec

if TYPE_CHECKING:
    from siamffn_model.training.pair_sources import PackSource
    from siamffn_model.training.sampling import PairSource

STARTS = 4  # runs on each sequence of the folder
CLIPS, LENGTH = 4, 30  # number of generated clips, and frames in each
PAIRS = 12  # search crops from each run
SHIFT, SCALE = 40.0, 0.18  # maximum shift in pixels in them, and change of log(size)
FOUND_IOU = 0.3  # of the best box with the ground truth, from which the target counts as found


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


class PairScores(NamedTuple):
    """How well a model finds targets in single search crops.

    Attributes:
        found: fraction of the pairs in which the box with the highest score overlaps the target.
        iou: mean IoU of these boxes with the target; 0 if there are none.
    """

    found: float
    iou: float


def validate_pairs(
    model: Siamese, sequences: Iterable[Sequence], device: torch.device
) -> PairScores:
    """Score pairs that are cut from the sequences: the first frame, and later ones of each.

    Their mean varies much less than that of tracking, where one lost target changes all frames
    after it.
    """
    model = copy.deepcopy(model).eval()
    overlaps = np.concatenate(
        [_pair_overlaps(model, s, device, seed) for seed, s in enumerate(sequences)]
    )
    found = overlaps > FOUND_IOU
    iou = float(overlaps[found].mean()) if found.any() else 0.0
    return PairScores(float(found.mean()), iou)


@torch.no_grad()
def _pair_overlaps(
    model: Siamese, sequence: Sequence, device: torch.device, seed: int
) -> NDArray[np.float32]:
    """Return the IoU of the best box in each of at most `PAIRS` search crops."""
    assert sequence.frames is not None
    present = np.flatnonzero(np.all(sequence.truth[:, 2:] > 0, axis=1))
    wanted = present[np.linspace(min(1, len(present) - 1), len(present) - 1, PAIRS).astype(int)]
    rng, template, overlaps = np.random.default_rng(seed), None, []
    for number, image in enumerate(sequence.frames):
        if number == 0:
            spec = CropSpec.draw(rng, TEMPLATE_SIZE, 0, 0, 1)
            template = model.template(_to_tensor(spec.crop(image, sequence.first)[0], device))
        elif number in wanted:
            spec = CropSpec.draw(rng, SEARCH_SIZE, SHIFT, SCALE, 1)
            crop, box = spec.crop(image, Box(*sequence.truth[number].tolist()))
            assert template is not None
            logits, distances = model.search(_to_tensor(crop, device), template)
            best = (logits[0, 1] - logits[0, 0]).argmax()
            target = edge_distances(model.score_map, torch.tensor([box], device=device))
            overlaps.append(1 - float(iou_loss(distances[0, :, best], target[0, :, best])))
    return np.array(overlaps, np.float32)


def _to_tensor(image: Image, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float().to(device)
