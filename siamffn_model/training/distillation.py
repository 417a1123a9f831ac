"""Distillation: losses by which a model learns from a teacher, beside its labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from siamffn_model.errors import ConfigError
from siamffn_model.networks.efficientnet_lite import EfficientNetLite0
from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.networks.siamese import Siamese
from siamffn_model.runtimes.nanotrack import SCORE_MAP
from siamffn_model.training.feature_store import FeatureBatch
from siamffn_model.training.forward import Outputs
from siamffn_model.training.labels import edge_distances, points
from siamffn_model.training.losses import iou_loss
from siamffn_model.training.sampling import Batch
from siamffn_model.training.teacher import CHANNELS, Lesson, Teacher, load_teacher

if TYPE_CHECKING:
    from siamffn_model.training.recipe import Recipe

TRUSTED_IOU = 0.5  # of the teacher's best box with the label
LABEL_SCALE, LABEL_CENTRE = 0.7, 0.4  # weights of the label in the box to learn
FOREGROUND = 0.5  # score of the teacher from which a point belongs to the target
MIN_BOX_SCORE = 0.3  # score of the teacher from which its box counts
HARD = 32  # background points with the highest loss, which count twice


class Distillation:
    """A teacher and what training needs to learn from it.

    `projection` maps the deepest level of the backbone to the teacher's features, if they are
    learned; it is trained with the model and then no longer used.
    """

    def __init__(self, recipe: Recipe, teacher: Teacher, model: Siamese) -> None:
        """Raises `ConfigError` if the maps of the model and of the teacher cannot be compared."""
        if not isinstance(model.backbone, EfficientNetLite0) or model.score_map.anchors:
            raise ConfigError(
                f'the teacher cannot teach {recipe.model}: choose a model with EfficientNet-Lite0 '
                'and without anchors, such as siamffn_lite0, or remove teacher'
            )
        self.recipe, self.teacher, self.stride = recipe, teacher, model.backbone.stride
        self.points = common_points(model.score_map, SCORE_MAP)
        self.projection: nn.Module = nn.Identity()
        if recipe.teacher.features:
            device = next(model.parameters()).device
            self.projection = nn.Conv2d(model.backbone.channels[-1], CHANNELS, 1).to(device)

    def teach(self, batch: Batch | FeatureBatch) -> Batch | FeatureBatch:
        """Return a batch with its lesson, which it has already if it was stored."""
        if batch.lesson is not None:
            return batch
        assert isinstance(batch, Batch)
        return batch._replace(lesson=self.teacher(batch.template, batch.search))

    def boxes(self, batch: Batch | FeatureBatch) -> Tensor:
        """Return (B, 4): the boxes to learn, x, y, w, h, given the batch of `teach`.

        Where the teacher is trusted they are between its best box and the label, see `_between`;
        elsewhere they are the labels.
        """
        lesson = batch.lesson
        assert lesson is not None
        best = _best(lesson)
        left, top, right, bottom = _between(lesson, batch).gather(2, best)[..., 0].unbind(1)
        x, y = points(SCORE_MAP, best.device)[:, best[:, 0, 0]]
        box = torch.stack([x - left, y - top, left + right, top + bottom], dim=1)
        return torch.where(_trusted(lesson, batch)[:, None] > 0, box, batch.box)

    def losses(self, batch: Batch | FeatureBatch, outputs: Outputs) -> dict[str, Tensor]:
        """Return the weighted losses of features, scores and boxes of pairs (B) of `teach`.

        Each is the sum over the pairs divided by the size of the recipe's batch, so that the losses
        of all parts of a batch add up. Scores and boxes count in pairs in which the teacher finds
        the target.
        """
        lesson = batch.lesson
        assert lesson is not None
        student, taught = (torch.as_tensor(index, device=batch.box.device) for index in self.points)
        trusted = _trusted(lesson, batch)
        log_odds = (outputs.logits[:, 1] - outputs.logits[:, 0]).float()[:, student]
        scores = lesson.scores[:, taught]
        label = _between(lesson, batch)[:, :, taught]
        losses = {
            'scores': trusted * score_loss(log_odds, scores),
            'boxes': trusted * box_loss(outputs.distances[:, :, student], label, scores),
        }
        if self.recipe.teacher.features:
            losses['features'] = self._feature_loss(lesson, outputs.projected)
        weights = self.recipe.teacher.model_dump()
        return {n: weights[n] * loss.sum() / self.recipe.batch for n, loss in losses.items()}

    def _feature_loss(self, lesson: Lesson, projected: list[Tensor]) -> Tensor:
        """Return (B,): 1 - cosine plus half the smooth L1 loss, of template and search crop.

        The smooth L1 loss is that of features in units of their standard deviation.
        """
        scale = lesson.search.std((0, 2, 3), keepdim=True) + 1e-3
        total = torch.zeros(len(lesson.search), device=lesson.search.device)
        for own, features in zip(projected, (lesson.template, lesson.search), strict=True):
            if self.stride == 8:
                own = own[..., ::2, ::2]
            else:
                features = features[..., 1:, 1:]  # as the levels at stride 16
            difference = F.smooth_l1_loss(own.float() / scale, features / scale, reduction='none')
            total = total + 1 - F.cosine_similarity(own.float(), features, dim=1).mean((1, 2))
            total = total + 0.5 * difference.mean((1, 2, 3))
        return total


def open_distillation(recipe: Recipe, path: Path | None, model: Siamese) -> Distillation | None:
    """Return the distillation of a recipe with its teacher, or None if it has no teacher.

    Raises `ConfigError` for a recipe with a teacher without the path of its files, and the reverse,
    and the errors of `load_teacher`.
    """
    if recipe.teacher.needed and path is None:
        raise ConfigError('the recipe has a teacher: give the folder of its files with --teacher')
    if path is None:
        return None
    if not recipe.teacher.needed:
        raise ConfigError(
            '--teacher: the recipe has no teacher; remove the option or add its losses to the '
            'recipe, such as --set teacher.scores=1'
        )
    return Distillation(recipe, load_teacher(path, next(model.parameters()).device), model)


def common_points(one: ScoreMap, other: ScoreMap) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the points that two score maps have in common, in the same order."""
    lines = one.points(), other.points()
    first, second = ([tuple(point) for point in line.T.tolist()] for line in lines)
    position = {point: index for index, point in enumerate(second)}
    pairs = [(i, position[point]) for i, point in enumerate(first) if point in position]
    return np.array(pairs)[:, 0], np.array(pairs)[:, 1]


def score_loss(log_odds: Tensor, scores: Tensor) -> Tensor:
    """Return (B,): the divergence of scores, given as log odds, from the teacher's (B, N).

    Of the points of the target it is the mean; of those of the background it is the mean of two
    means, over all of them and over the 32 with the highest loss.
    """
    entropy = F.binary_cross_entropy(scores, scores, reduction='none')
    divergence = F.binary_cross_entropy_with_logits(log_odds, scores, reduction='none') - entropy
    target = (scores > FOREGROUND).float()
    background = 1 - target
    hardest = (divergence.detach() * background).topk(min(HARD, scores.shape[1]), dim=1).indices
    hard = background * torch.zeros_like(background).scatter(1, hardest, 1.0)
    all_background = _mean(divergence, background)
    return _mean(divergence, target) + 0.5 * (all_background + _mean(divergence, hard))


def box_loss(distances: Tensor, label: Tensor, scores: Tensor) -> Tensor:
    """Return (B,): the mean of 1 - IoU with the label, weighted by the teacher's scores (B, N).

    Both distances (B, 4, N) are as in `edge_distances`; points outside the label do not count.
    """
    overlap = iou_loss(distances.float().transpose(1, 2), label.transpose(1, 2))
    return _mean(overlap, scores * (scores > MIN_BOX_SCORE) * (label.amin(1) > 0))


def _trusted(lesson: Lesson, batch: Batch | FeatureBatch) -> Tensor:
    """Return (B,): 1 for positive pairs whose target the teacher finds, else 0."""
    best = _best(lesson)
    label = edge_distances(SCORE_MAP, batch.box)
    distances, label = (tensor.gather(2, best)[..., 0] for tensor in (lesson.distances, label))
    overlap = 1 - iou_loss(distances, label)
    return ((overlap >= TRUSTED_IOU) & ~batch.negative).float()


def _between(lesson: Lesson, batch: Batch | FeatureBatch) -> Tensor:
    """Return boxes between the label and those of the teacher, as distances (B, 4, 225).

    Boxes of the teacher are like those drawn in videos but follow only a third of a change of size;
    labels enclose parts of objects or fit masks exactly. So the aspect ratio is the teacher's, the
    scale mostly the label's.
    """
    label_and_taught = edge_distances(SCORE_MAP, batch.box), lesson.distances
    label_size, size = (d[:, :2] + d[:, 2:] for d in label_and_taught)
    growth = (label_size.clamp(min=1).log() - size.clamp(min=1).log()).mean(1, keepdim=True)
    half = size * torch.exp(LABEL_SCALE * growth) / 2
    label_offset, offset = ((d[:, 2:] - d[:, :2]) / 2 for d in label_and_taught)
    offset = torch.lerp(offset, label_offset, LABEL_CENTRE)
    return torch.cat([half - offset, half + offset], dim=1)


def _best(lesson: Lesson) -> Tensor:
    """Return (B, 4, 1): the index of the teacher's best point, for each distance."""
    return lesson.scores.argmax(1)[:, None, None].expand(-1, 4, 1)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Return (B,): the weighted means of values (B, N), 0 where all weights are 0."""
    return (values * weights).sum(1) / weights.sum(1).clamp(min=1e-6)
