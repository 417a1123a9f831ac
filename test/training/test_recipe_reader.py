"""Reading recipes: bases, changes and error messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from siamffn_model.errors import ConfigError
from siamffn_model.networks.zoo import MODELS
from siamffn_model.training.losses import LOSSES
from siamffn_model.training.recipe import SOURCES, Augmentation, Schedule, SourceConfig
from siamffn_model.training.recipe_reader import read_recipe

from .test_recipe import REQUIRED

DATA_KEYS = (*SOURCES, 'device')
GOOD = """\
model: siamffn_lite0
loss: csrl
data:
  pack: {pairs: 100}
  coco:
    pairs: 60
epochs: 5
batch: 16
optimizer: adamw
rate:
  warmup: 2
  peak: 1e-2
"""


def write(folder: Path, text: str, name: str = 'x.yaml') -> Path:
    path = folder / name
    path.write_text(text, encoding='utf-8')
    return path


def error_message(path: Path, *changes: str) -> str:
    """Return the error message about a recipe, without the folder."""
    with pytest.raises(ConfigError) as caught:
        read_recipe(path, changes)
    return str(caught.value).replace(f'{path.parent}/', '')


def names(allowed: Any) -> str:
    return ', '.join(allowed)


def test_an_epoch_has_complete_batches(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, GOOD), ['batch=50'])
    assert (recipe.steps, recipe.pairs) == (3, 150)


def test_a_base_provides_defaults(tmp_path: Path) -> None:
    (tmp_path / 'below').mkdir()
    write(tmp_path, GOOD, 'base.yaml')
    write(tmp_path / 'below', 'base: ../base.yaml\nseed: 3\nepochs: 7', 'middle.yaml')
    text = 'epochs: 9\nbase: below/middle.yaml\nrate: {start: 0.5}\ndata: {vid: {pairs: 99}}'
    recipe = read_recipe(write(tmp_path, text))
    assert (recipe.epochs, recipe.seed, recipe.batch) == (9, 3, 16)
    assert recipe.rate == Schedule(warmup=2, start=0.5, peak=0.01)
    assert recipe.data == {'vid': SourceConfig(pairs=99)}


def test_changes_override_the_file_in_their_order(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    changes = ['data.pack.pairs=30', 'data.det={pairs: 7}', 'rate.peak=1e-1', 'augmentation.blur=1']
    recipe = read_recipe(path, [*changes, 'seed=4', 'seed=5', 'micro_batch=null', 'bf16=false'])
    assert {name: source.pairs for name, source in recipe.data.items()} == {
        'pack': 30,
        'coco': 60,
        'det': 7,
    }
    assert recipe.rate == Schedule(warmup=2, peak=0.1)
    assert recipe.augmentation == Augmentation(blur=1)
    assert (recipe.seed, recipe.micro_batch, recipe.bf16) == (5, None, False)
    assert read_recipe(path, ['rate={end: 0.5}']).rate == Schedule(end=0.5)


@pytest.mark.parametrize(
    ('old', 'new', 'line', 'message'),
    [
        ('batch: 16', 'batch: 0', 8, 'batch is 0, allowed: integers from 1 to 4096'),
        ('batch: 16', 'batch: "16"', 8, "batch is '16', allowed: integers from 1 to 4096"),
        ('batch: 16', 'batch: 8.0', 8, 'batch is 8.0, allowed: integers from 1 to 4096'),
        ('batch: 16', 'batch: yes', 8, "batch is 'yes', allowed: integers from 1 to 4096"),
        ('batch: 16', 'batch:', 8, 'batch is empty, allowed: integers from 1 to 4096'),
        ('batch: 16', 'batch: true', 8, 'batch is True, allowed: integers from 1 to 4096'),
        ('batch: 16', 'batch: [1]', 8, 'batch is [1], allowed: integers from 1 to 4096'),
        ('epochs: 5', 'epochs: 5\nbf16: no', 8, "bf16 is 'no', allowed: true and false"),
        ('epochs: 5', 'epochs: 5\nema: 1', 8, 'ema is 1, allowed: numbers from 0 to below 1'),
        ('epochs: 5', 'epochs: 5\nhard: .nan', 8, 'hard is nan, allowed: numbers from 0 to 1'),
        (
            'epochs: 5',
            'epochs: 5\nunfreeze: -1',
            8,
            'unfreeze is -1, allowed: integers from 0, and null',
        ),
        ('csrl', 'iou', 2, f"loss is 'iou', allowed: {names(LOSSES)}"),
        ('siamffn_lite0', 'siamffn', 1, f"model is 'siamffn', allowed: {names(MODELS)}"),
        ('adamw', 'adam', 9, "optimizer is 'adam', allowed: sgd, adamw"),
        ('1e-2', '0', 12, 'rate.peak is 0, allowed: numbers above 0 to 1'),
        (
            'warmup: 2',
            'warmup: 6',
            11,
            'rate.warmup is 6, allowed: integers from 0 to epochs (5)',
        ),
        ('60', '0', 6, 'data.coco.pairs is 0, allowed: integers from 1'),
        ('pairs: 60', '{}', 5, 'data.coco.pairs is missing, allowed: integers from 1'),
        (
            '{pairs: 100}',
            '100',
            4,
            'data.pack is 100, allowed: mappings with keys from pairs, range',
        ),
        ('epochs', 'epoks', 7, "unknown key 'epoks' (did you mean 'epochs'?), allowed: base, "),
        ('epochs: 5', 'epochs: 5\nbas: y.yaml', 8, "unknown key 'bas' (did you mean 'base'?)"),
        ('epochs: 5', 'epochs: 5\n7: 7', 8, "unknown key '7', allowed: base, model, loss, "),
        (
            'peak',
            'peek',
            12,
            "unknown key 'rate.peek' (did you mean 'peak'?), allowed: warmup, start, peak, end, "
            'backbone',
        ),
        (
            'coco',
            'coc',
            5,
            f"unknown key 'data.coc' (did you mean 'coco'?), allowed: {names(DATA_KEYS)}",
        ),
    ],
)
def test_errors_name_the_line(tmp_path: Path, old: str, new: str, line: int, message: str) -> None:
    assert GOOD.count(old) == 1
    text = GOOD.replace(old, new)
    assert f'x.yaml line {line}: {message}' in error_message(write(tmp_path, text))
    write(tmp_path, '\n\n' + text, 'base.yaml')
    base_message = error_message(write(tmp_path, 'base: base.yaml\nseed: 3'))
    assert f'base.yaml line {line + 2}: {message}' in base_message


@pytest.mark.parametrize('key', REQUIRED)
def test_a_missing_key_is_reported(tmp_path: Path, key: str) -> None:
    values = dict(REQUIRED)
    del values[key]
    path = write(tmp_path, repr(values))  # is also YAML
    assert error_message(path).startswith(f'x.yaml: {key} is missing, allowed: ')
    assert '\n' not in error_message(path)


def test_data_device_is_a_key_beside_the_data_sets(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    assert not read_recipe(path).data_device
    recipe = read_recipe(path, ['data={pack: {pairs: 100}, device: true}'])
    assert recipe.data == {'pack': SourceConfig(pairs=100)}
    assert recipe.data_device
    message = error_message(path, 'data.device=3')
    assert message == '--set data.device=3: data.device is 3, allowed: true and false'
    message = error_message(path, 'data.device=true')
    assert 'data.device is true, but coco cannot be kept on a device, only pack' in message


def test_data_without_a_source_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path, 'data: {}\nbase: base.yaml')
    write(tmp_path, GOOD, 'base.yaml')
    expected = f'data is {{}}, allowed: non-empty mappings with keys from {names(DATA_KEYS)}'
    assert error_message(path) == f'x.yaml line 1: {expected}'


def test_a_batch_larger_than_an_epoch_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    assert read_recipe(path, ['batch=160']).steps == 1
    assert error_message(path, 'batch=161') == (
        '--set batch=161: batch is 161, but an epoch has 160 pairs: reduce batch or increase pairs'
    )


def test_all_errors_are_reported_together(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace('csrl', 'iou').replace('1e-2', '2'), 'base.yaml')
    path = write(tmp_path, 'base: base.yaml\nseed: -1\nepochs: 1\nsede: 4')
    places = [line.split(': ')[0] for line in error_message(path, 'batch=x').splitlines()]
    assert sorted(places) == [
        '--set batch=x',
        'base.yaml line 12',
        'base.yaml line 2',
        'x.yaml line 2',
        'x.yaml line 4',
    ]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ('batch=x', "batch is 'x', allowed: integers from 1 to 4096"),
        ('batch=', 'batch is empty, allowed: integers from 1 to 4096'),
        ('rate.peak=2', 'rate.peak is 2, allowed: numbers above 0 to 1'),
        ('rate={peak: 2}', 'rate.peak is 2, allowed: numbers above 0 to 1'),
        ('rate={}', 'rate.warmup is 5, allowed: integers from 0 to epochs (4)'),
        (
            'data.vid.range=2',
            'data.vid.pairs is missing, allowed: integers from 1',
        ),
        ('data.vit.pairs=2', "unknown key 'data.vit' (did you mean 'vid'?), allowed: got10k, "),
        ('rate.peak.x=1', "rate.peak is {'x': 1}, allowed: numbers above 0 to 1"),
        ('bach=1', "unknown key 'bach' (did you mean 'batch'?), allowed: model, loss, "),
        ('base=y.yaml', "unknown key 'base'"),
        ('=1', "unknown key '', allowed: model, "),
        ('rate={peak: 1, peak: 2}', 'not valid YAML (duplicate key peak): correct it'),
        ('loss=[csrl', 'not valid YAML ('),
    ],
)
def test_an_invalid_change_is_reported(tmp_path: Path, change: str, message: str) -> None:
    path = write(tmp_path, GOOD.replace('epochs: 5', 'epochs: 4'))
    matching = [line for line in error_message(path, change).splitlines() if message in line]
    assert len(matching) == 1
    assert matching[0].startswith(f'--set {change}: {message}')


def test_a_change_without_a_value_is_reported(tmp_path: Path) -> None:
    assert error_message(write(tmp_path, GOOD), 'batch') == (
        '--set batch gives no value: write key=value, such as --set batch=16'
    )


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a: 1\nb: c: d', 'x.yaml line 2: not valid YAML (mapping values are not allowed here)'),
        ('a: 1\nb: *c', "x.yaml line 2: not valid YAML (found undefined alias 'c')"),
        ('a: 1\nb: \x07', 'x.yaml line 2: not valid YAML (special characters are not allowed)'),
        ('a: 1\nb: 2026-02-30', 'x.yaml line 2: not valid YAML (day is out of range for month)'),
        ('a: 1\nb: !!bool c', "x.yaml line 2: not valid YAML ('c')"),
        (
            'a: 1\nb: !c d',
            'x.yaml line 2: not valid YAML (could not determine a constructor for the tag',
        ),
        ('a: 1\n---\nb: 2', 'x.yaml line 2: not valid YAML (but found another document)'),
        ('a: 1\n[b]: 1', 'x.yaml line 2: not valid YAML (a key is not text)'),
        ('a: 1\nb: 2\na: 3', 'x.yaml line 3: not valid YAML (duplicate key a): correct it'),
        ('b: 2\na:\n  c: 3\n  c: 3', 'x.yaml line 4: not valid YAML (duplicate key c): correct it'),
        ('a: &a\n  b: *a', 'x.yaml line 1: not valid YAML (values are nested too deeply)'),
        ('a: ' + '[' * 1000, 'x.yaml line 1: not valid YAML (values are nested too deeply)'),
        ('', 'x.yaml is not a mapping: write lines such as `batch: 16`'),
        ('- batch: 3', 'x.yaml is not a mapping: write lines such as `batch: 16`'),
        ('a: 1\nbase: 3', 'x.yaml line 2: base is 3, allowed: names of YAML files'),
        ('a: 1\nbase:', 'x.yaml line 2: base is empty, allowed: names of YAML files'),
        (
            'a: 1\nbase: y.yaml',
            'x.yaml line 2: y.yaml cannot be read (No such file or directory): give the path',
        ),
        ('a: 1\nbase: x.yaml', 'x.yaml line 2: base x.yaml is circular: remove one key `base`'),
    ],
)
def test_an_invalid_file_is_reported(tmp_path: Path, text: str, message: str) -> None:
    assert error_message(write(tmp_path, text)).startswith(message)


def test_circular_bases_are_reported(tmp_path: Path) -> None:
    write(tmp_path, '# y\nbase: ../x.yaml', 'y.yaml')
    (tmp_path / 'sub').mkdir()
    write(tmp_path / 'sub', '\n\nbase: ../x.yaml', 'y.yaml')
    assert error_message(write(tmp_path, 'base: sub/y.yaml')).startswith(
        'sub/y.yaml line 3: base sub/../x.yaml is circular'
    )


def test_an_unreadable_file_is_reported(tmp_path: Path) -> None:
    assert error_message(tmp_path / 'x.yaml').startswith(
        'x.yaml cannot be read (No such file or directory): give the path of a YAML file'
    )
    (tmp_path / 'x.yaml').mkdir()
    assert 'x.yaml cannot be read (Is a directory)' in error_message(tmp_path / 'x.yaml')
    (tmp_path / 'y.yaml').write_bytes(b'seed: \xff')
    assert "y.yaml cannot be read ('utf-8' codec can't decode" in error_message(tmp_path / 'y.yaml')
