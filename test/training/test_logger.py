"""The logger: log.jsonl, TensorBoard, images of pairs, and resumed trainings."""

from __future__ import annotations

import json
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from siamffn_model.imaging.drawing import GREEN
from siamffn_model.imaging.image import Image
from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.networks.siamese import ANCHORS, SiamFFN
from siamffn_model.networks.zoo import create_model
from siamffn_model.training.labels import points
from siamffn_model.training.logger import RED, TrainingLogger, draw_pairs, record_scale_weights
from siamffn_model.training.recipe import Recipe
from siamffn_model.training.sampling import Batch

RECIPE = Recipe.model_validate(
    {
        'model': 'siamffn_lite0',
        'loss': 'csrl',
        'data': {'rendered': {'pairs': 8}},
        'epochs': 3,
        'batch': 4,
        'optimizer': 'sgd',
        'rate': {'warmup': 0},
    }
)
IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)


def run(out: Path, first: int, last: int, gain: float = 1.0, pause: float = 0.0) -> None:
    """Log the steps from `first` to `last`, with a validation after every second step."""
    logger = TrainingLogger(out, RECIPE, first - 1, (first - 1) // 2 * 2)
    for step in range(first, last + 1):
        logger.log_image(IMAGE)
        logger.advance([])
        time.sleep(pause)
        logger.log_scalars({'loss': gain * step, 'rate': 0.5})
        if step % 2 == 0:
            logger.log_validation({'success': step / 8, 'precision': step / 16})
    logger.close()


def log(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / 'log.jsonl').read_text().splitlines()]


def board(out: Path) -> EventAccumulator:
    events = EventAccumulator(str(out / 'tensorboard'), {'scalars': 0, 'images': 0})
    return events.Reload()


def scalars(out: Path, name: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in board(out).Scalars(name)]


# --- log and TensorBoard


def test_log_and_tensorboard_contain_the_logged_values(tmp_path: Path) -> None:
    run(tmp_path, 1, 2)
    assert log(tmp_path) == [
        {'step': 1, 'loss': 1, 'rate': 0.5},
        {'step': 2, 'loss': 2, 'rate': 0.5},
        {'step': 2, 'success': 0.25, 'precision': 0.125},
    ]
    assert scalars(tmp_path, 'train/loss') == [(1, 1), (2, 2)]
    assert scalars(tmp_path, 'train/rate') == [(1, 0.5), (2, 0.5)]
    assert scalars(tmp_path, 'validation/success') == [(2, 0.25)]
    assert scalars(tmp_path, 'validation/precision') == [(2, 0.125)]
    images = board(tmp_path).Images('pairs')
    assert [image.step for image in images] == [0, 1]
    data = np.frombuffer(images[0].encoded_image_string, np.uint8)
    assert np.array_equal(cv2.imdecode(data, cv2.IMREAD_COLOR), IMAGE)


def test_a_resumed_training_removes_log_lines_after_its_checkpoint(tmp_path: Path) -> None:
    resumed, complete = tmp_path / 'resumed', tmp_path / 'complete'
    run(resumed, 1, 6, gain=9)
    time.sleep(1)  # TensorBoard orders files by their time in seconds
    run(resumed, 1, 4)
    assert [line['step'] for line in log(resumed)] == [1, 2, 2, 3, 4, 4], 'started again'
    time.sleep(1)
    run(resumed, 4, 5)
    run(complete, 1, 5)
    assert (resumed / 'log.jsonl').read_text() == (complete / 'log.jsonl').read_text()
    assert scalars(resumed, 'train/loss') == [(step, step) for step in range(1, 6)]
    assert scalars(resumed, 'validation/success') == [(2, 0.25), (4, 0.5)]
    assert {image.step for image in board(resumed).Images('pairs')} == {0, 1, 2, 3, 4}


def test_a_repeated_validation_is_logged_once(tmp_path: Path) -> None:
    run(tmp_path, 1, 2)
    TrainingLogger(tmp_path, RECIPE, 2, 0).close()
    assert log(tmp_path) == [
        {'step': 1, 'loss': 1.0, 'rate': 0.5},
        {'step': 2, 'loss': 2.0, 'rate': 0.5},
    ]


@pytest.mark.parametrize('end', ['{"step": 2, "lo', '\0\0\0'])
def test_an_incomplete_line_is_removed(tmp_path: Path, end: str) -> None:
    run(tmp_path, 1, 1)
    with (tmp_path / 'log.jsonl').open('a') as file:
        file.write(end)
    run(tmp_path, 2, 3)
    assert [line['step'] for line in log(tmp_path)] == [1, 2, 2, 3]


def test_a_missing_log_is_started_again(tmp_path: Path) -> None:
    run(tmp_path, 1, 1)
    (tmp_path / 'log.jsonl').unlink()
    run(tmp_path, 2, 3)
    assert [line['step'] for line in log(tmp_path)] == [2, 2, 3]


def test_the_log_does_not_depend_on_speed(tmp_path: Path) -> None:
    fast, slow = tmp_path / 'fast', tmp_path / 'slow'
    run(fast, 1, 3)
    run(slow, 1, 3, pause=0.6)  # more than a second in all: the bar needs it to measure a speed
    assert (fast / 'log.jsonl').read_bytes() == (slow / 'log.jsonl').read_bytes()
    assert scalars(slow, 'speed/pairs_per_second')[-1][0] == 3


def test_an_unreadable_image_is_reported_once_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = TrainingLogger(tmp_path, RECIPE, 0, 0)
    for unreadable in (
        [],
        ['a.jpg: damaged', 'a.jpg: damaged'],
        ['b.jpg: damaged', 'a.jpg: damaged'],
    ):
        logger.advance(unreadable)
        logger.log_scalars({'loss': 0.0})
    logger.close()
    lines = capsys.readouterr().out.splitlines()
    assert lines == ['skipped: a.jpg: damaged', 'skipped: b.jpg: damaged']
    assert scalars(tmp_path, 'data/broken_images') == [(1, 0), (2, 1), (3, 2)]


# --- scale attention


def test_recorded_scale_weights_are_those_of_the_attention() -> None:
    torch.manual_seed(0)
    model = create_model('siamffn_lite0')
    assert isinstance(model, SiamFFN)
    fusion = model.fusion
    torch.nn.init.normal_(fusion.score.weight, std=0.1)
    responses = [torch.randn(5, 96, 4, 4) for _ in range(3)]
    with record_scale_weights(model, True) as scales:
        fusion(responses)
    weights = fusion.weights(responses).detach().numpy()
    assert weights.std(axis=0).min() > 0.01
    for level in range(3):
        mean, spread = scales.pop(f'scale{level}'), scales.pop(f'scale{level}_spread')
        assert mean == pytest.approx(weights[:, level].mean())
        assert spread == pytest.approx(weights[:, level].std())
    assert scales == {}
    fusion(responses)
    assert scales == {}, 'no longer recorded'
    with record_scale_weights(model, False) as scales:
        fusion(responses)
    assert scales == {}


def test_the_hook_is_removed_after_an_error() -> None:
    model = create_model('siamffn_lite0')
    assert isinstance(model, SiamFFN)
    with pytest.raises(ValueError, match='loss'), record_scale_weights(model, True) as scales:
        raise ValueError('loss')
    model.fusion([torch.zeros(1, 96, 1, 1)] * 3)
    assert scales == {}


def test_a_model_without_scale_attention_has_no_scale_weights() -> None:
    model = create_model('siamfc_alex')
    with torch.no_grad(), record_scale_weights(model, True) as scales:
        model.search(torch.zeros(1, 3, 255, 255), model.template(torch.zeros(1, 3, 127, 127)))
    assert scales == {}


# --- images of pairs


def grey_batch(count: int, boxes: Tensor) -> Batch:
    """Pairs with one grey level each; the second is negative."""
    shades = torch.arange(100, 100 + count, dtype=torch.uint8)[:, None, None, None]
    template, search = shades.expand(-1, 127, 127, 3), shades.expand(-1, 255, 255, 3)
    negative = torch.arange(count) == 1
    return Batch(template, search, boxes, negative, torch.zeros(count, 2, 1), [])


def cells(image: Image) -> list[list[Image]]:
    """The images of a contact sheet, row by row."""
    starts = [range(4, length - 4, 259) for length in image.shape[:2]]
    return [[image[y : y + 255, x : x + 255] for x in starts[1]] for y in starts[0]]


def outline(image: Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """The smallest box around all pixels of a colour."""
    x, y, w, h = cv2.boundingRect((image == colour).all(axis=-1).astype(np.uint8))
    return x, y, w, h


@pytest.mark.parametrize('score_map', [ScoreMap(25), ScoreMap(25, ANCHORS), ScoreMap(17)])
def test_the_image_shows_boxes_and_scores(score_map: ScoreMap) -> None:
    side, count = score_map.side, score_map.points().shape[1]
    boxes = torch.tensor([[20.0, 150 + number, 60, 50] for number in range(6)])
    batch = grey_batch(6, boxes)
    places = [
        (3, 12),
        (2, 13),
        (4, 11),
        (5, 10),
        (0, 0),
        (0, 0),
    ]  # row and column, far from the true boxes
    anchors = np.arange(6) % max(1, len(score_map.anchors))
    best = [int(a) * side**2 + row * side + column for a, (row, column) in zip(anchors, places)]
    logits = torch.zeros(6, 2, count, requires_grad=True)
    with torch.no_grad():
        logits[:, 1] = -torch.rand(6, count)
        logits[range(6), 1, best] = 1
    distances = torch.tensor([20.0, 15, 30, 10])[:, None].expand(6, 4, count)
    rows = cells(draw_pairs(batch, score_map, logits, distances))
    assert [len(row) for row in rows] == [3, 3, 3, 3]
    for number, (template, search, heat) in enumerate(rows):
        assert (template == 100 + number).all()
        expected = (0, 0, 0, 0) if batch.negative[number] else (20, 150 + number, 60, 50)
        assert outline(search, GREEN) == expected
        x, y = points(score_map)[:, best[number]].int().tolist()
        assert outline(search, RED) == (x - 20, y - 15, 50, 25)
        middles = ((np.arange(side) + 0.5) * 255 / side).astype(int)
        light = heat[np.ix_(middles, middles)].sum(axis=-1)
        assert np.argwhere(light == light.max()).tolist() == [list(places[number])]
    assert (batch.search == torch.arange(100, 106)[:, None, None, None]).all(), 'unchanged'


def test_an_image_of_two_pairs_has_two_rows() -> None:
    batch = grey_batch(2, torch.tensor([[20.0, 150, 60, 50]] * 2))
    sheet = draw_pairs(batch, ScoreMap(25), torch.zeros(2, 2, 625), torch.ones(2, 4, 625))
    assert sheet.shape == (2 * 259 + 4, 3 * 259 + 4, 3)


@pytest.mark.parametrize('value', [torch.nan, torch.inf, -torch.inf, 1e30])
def test_an_image_can_be_drawn_of_any_output(value: float) -> None:
    batch = grey_batch(1, torch.tensor([[20.0, 150, 60, 50]]))
    wrong = torch.full((1, 6, 625), value)
    sheet = draw_pairs(batch, ScoreMap(25), wrong[:, :2], wrong[:, 2:])
    assert outline(cells(sheet)[0][1], GREEN) == (20, 150, 60, 50)
