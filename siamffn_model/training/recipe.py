"""Training recipes: what they hold, within which ranges, and reading them from YAML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from reprlib import repr as shortened
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails, PydanticCustomError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode
from ruamel.yaml.reader import ReaderError

from siamffn_model.errors import DataError
from siamffn_model.networks.zoo import MODELS
from siamffn_model.training.losses import LOSSES

Key = tuple[str, ...]  # ('rate', 'peak')
Values = dict[str, Any]
Places = dict[Key, str]  # 'FILE line 7' or '--set rate.peak=1'

SourceName = Literal['got10k', 'coco', 'vid', 'det', 'pack', 'rendered']
SOURCES: tuple[str, ...] = get_args(SourceName)

if TYPE_CHECKING:
    ModelName = str
    LossName = str
else:
    ModelName = Literal[tuple(MODELS)]
    LossName = Literal[tuple(LOSSES)]

Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=1)]
STRICT = ConfigDict(frozen=True, extra='forbid', strict=True)


class SourceConfig(BaseModel):
    """What a source of pairs gives."""

    model_config = STRICT

    pairs: int = Field(ge=1, description='pairs an epoch')
    range: int = Field(
        default=1, ge=1, description='frames between template and search image, at most'
    )


class Augmentation(BaseModel):
    """What happens to crops: how much of it, or the share of pairs it happens to."""

    model_config = STRICT

    shift: float = Field(
        default=64.0,
        ge=0,
        le=64,
        description='search crop: pixels by which the target is off the middle, at most',
    )
    scale: float = Field(
        default=0.18, ge=0, le=0.5, description="search crop: change of the target's size, at most"
    )
    stretch: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="both crops, and the search crop once more: change of the target's ratio of "
        'width to height, at most',
    )
    colour: Share = Field(
        default=0.0, description='strength of a change of colour that both crops share'
    )
    light: Share = Field(
        default=0.2, description='strength of a change of colour of each crop alone'
    )
    grey: Share = Field(default=0.0, description='share of grey pairs')
    faint: Share = Field(default=0.0, description='share of pairs with little contrast')
    blur: Share = Field(default=0.2, description='share of search crops with motion blur')
    pixels: Share = Field(default=0.0, description='share of pairs shown with few pixels')
    noise: Share = Field(default=0.0, description='share of noisy pairs')
    compression: Share = Field(default=0.0, description='share of pairs compressed as JPEG')


class Schedule(BaseModel):
    """The learning rate, constant within an epoch: it rises geometrically, then so falls."""

    model_config = STRICT

    warmup: int = Field(default=5, ge=0, description='epochs in which it rises')
    start: Rate = Field(default=1e-3, description='at the start of the warm-up')
    peak: Rate = Field(default=5e-3, description='after the warm-up')
    end: Rate = Field(default=5e-5, description='in the last epoch')


class Recipe(BaseModel):
    """How to train a model."""

    model_config = STRICT

    model: ModelName = Field(description='what to train, by its name in the zoo')
    loss: LossName = Field(description='what to minimise')
    data: dict[SourceName, SourceConfig] = Field(min_length=1, description='where pairs come from')
    epochs: int = Field(ge=1, le=1000, description='how often to go through the pairs')
    batch: int = Field(ge=1, le=4096, description='pairs a step, on all processes together')
    micro_batch: int | None = Field(
        default=None,
        ge=1,
        description='pairs that pass the network together: fewer need less memory',
    )
    negative: float = Field(
        default=0.2, ge=0, le=0.9, description='share of pairs whose template is of another target'
    )
    hard: Share = Field(
        default=0.0, description='share of negative candidates taken by score, not at random'
    )
    augmentation: Augmentation = Field(default=Augmentation(), description='what happens to crops')
    optimizer: Literal['sgd', 'adamw'] = Field(description='how steps follow from gradients')
    rate: Schedule = Field(description='learning rate')
    unfreeze: int | None = Field(
        default=None,
        ge=0,
        description='epoch from which the backbone learns, at a tenth of the rate',
    )
    ema: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description='share kept of the averaged weights a step; 0: no averaging',
    )
    bf16: bool = Field(
        default=True, description='compute in bfloat16, on CUDA and on CPUs that can'
    )
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description='of all that is random')

    @property
    def steps(self) -> int:
        """Steps an epoch."""
        return _pairs(self.data) // self.batch

    @property
    def pairs(self) -> int:
        """Pairs an epoch, of all sources, rounded down to whole batches."""
        return self.steps * self.batch

    @field_validator('batch')
    @classmethod
    def _fill_a_batch(cls, batch: int, info: ValidationInfo) -> int:
        pairs = _pairs(info.data['data']) if 'data' in info.data else batch
        if batch > pairs:
            raise PydanticCustomError(
                'conflict',
                'batch is {batch}, but an epoch has {pairs} pairs: take fewer or give more in data',
                {'batch': batch, 'pairs': pairs},
            )
        return batch

    @field_validator('rate')
    @classmethod
    def _end_the_warmup(cls, rate: Schedule, info: ValidationInfo) -> Schedule:
        epochs = info.data.get('epochs', rate.warmup)
        if rate.warmup > epochs:
            raise PydanticCustomError(
                'conflict',
                'rate.warmup is {warmup}, allowed are whole numbers from 0 to epochs, {epochs}',
                {'warmup': rate.warmup, 'epochs': epochs, 'below': ('warmup',)},
            )
        return rate


def read_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe from a YAML file and change it.

    The file's key `base` names another, relative to it, whose values count where the file gives
    none: mappings are joined key by key, but `data` is replaced as a whole. Each change is
    'key=value', with dots into mappings and the value in YAML ('rate.peak=0.01'). Raises
    `DataError` naming file and line, or change, of all that is wrong.
    """
    values, places = _read(path)
    for change in changes:
        _change(values, places, change)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        problems = [_problem(each, places) for each in error.errors()]
        raise DataError('\n'.join(problems)) from None


def _read(path: Path, above: tuple[Path, ...] = (), named: str = '') -> tuple[Values, Places]:
    """Return a file's values, those of its base included, and where each stands.

    `above` are the files it is a base of, `named` is the place that names it as one.
    """
    try:
        text = path.read_text(encoding='utf-8')
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise DataError(
            f'{named}{path} cannot be read ({reason}): give the path of a YAML file'
        ) from None
    if path.resolve() in above:
        raise DataError(f'{named}base {path} leads in a circle: remove a `base` from it')
    values, places = _parse(text, lambda line: f'{path} line {line}')
    places[()] = str(path)
    if not isinstance(values, dict):
        raise DataError(f'{path} holds no mapping: write lines such as `batch: 16`')
    if 'base' not in values:
        return values, places
    base, place = values.pop('base'), places['base',]
    if not isinstance(base, str):
        raise DataError(f'{place}: base is {_shown(base)}, allowed are names of YAML files')
    below, places_below = _read(path.parent / base, (*above, path.resolve()), f'{place}: ')
    return _join(below, values), places_below | places


def _join(below: Values, above: Values) -> Values:
    joined = below | above
    for key in (below.keys() & above.keys()) - {'data'}:
        if isinstance(below[key], dict) and isinstance(above[key], dict):
            joined[key] = _join(below[key], above[key])
    return joined


def _change(values: Values, places: Places, change: str) -> None:
    """Set one value."""
    name, equals, text = change.partition('=')
    place = f'--set {change}'
    if not equals:
        raise DataError(f'{place} gives no value: write key=value, such as --set batch=16')
    key = tuple(name.split('.'))
    value, inner = _parse(text, lambda _: place)
    for old in [old for old in places if old[: len(key)] == key]:
        del places[old]
    for depth, part in enumerate(key[:-1], 1):
        if not isinstance(values.get(part), dict):
            values[part], places[key[:depth]] = {}, place
        values = values[part]
    values[key[-1]] = value
    places.update({key + below: place for below in inner})


def _parse(text: str, at: Callable[[int], str]) -> tuple[Any, Places]:
    """Return the value in a YAML text, and where each key stands; `at` tells the place of a line.

    Raises `DataError` for what is not YAML.
    """
    construct = YAML(typ='safe', pure=True).constructor.construct_object
    places: Places = {(): at(1)}

    def value_of(node: Node, key: Key) -> Any:
        if not isinstance(node, MappingNode):
            try:
                return construct(node, deep=True)
            except (ValueError, LookupError) as error:  # such as 2026-02-30
                raise MarkedYAMLError(problem=str(error), problem_mark=node.start_mark) from None
        values = {}
        for name, value in node.value:
            inner = (*key, str(name.value))
            if inner in places or not isinstance(name, ScalarNode):
                problem = f'{inner[-1]} is there twice' if inner in places else 'a key is no text'
                raise MarkedYAMLError(problem=problem, problem_mark=name.start_mark)
            places[inner] = at(name.start_mark.line + 1)
            values[inner[-1]] = value_of(value, inner)
        return values

    try:
        node = YAML(typ='safe', pure=True).compose(text)
        return node and value_of(node, ()), places
    except ReaderError as error:
        line, reason = text.count('\n', 0, error.position), error.reason
    except MarkedYAMLError as error:
        line, reason = error.problem_mark.line, error.problem
    except RecursionError:
        line, reason = 0, 'values within values without end'
    raise DataError(f'{at(line + 1)}: not YAML ({reason}): correct it')


def _problem(error: ErrorDetails, places: Places) -> str:
    """Say in a line where something is wrong, what, and what is allowed."""
    below = error.get('ctx', {}).get('below', ())
    key = tuple(str(part) for part in (*error['loc'], *below) if part != '[key]')
    missing = error['type'] == 'missing'
    stands = key[:-1] if missing else key
    place = next(places[stands[:n]] for n in range(len(stands), -1, -1) if stands[:n] in places)
    name = '.'.join(key)
    if error['type'] == 'conflict':
        return f'{place}: {error["msg"]}'
    if error['type'] == 'extra_forbidden' or error['loc'][-1] == '[key]':
        names = _names(_field(key[:-1])[0])
        if len(key) == 1 and not place.startswith('--set'):
            names = ['base', *names]
        near = get_close_matches(key[-1], names, 1)
        hint = f' (did you mean {near[0]!r}?)' if near else ''
        return f'{place}: unknown key {name!r}{hint}, allowed are {", ".join(names)}'
    fault = 'missing' if missing else _shown(error['input'])
    return f'{place}: {name} is {fault}, allowed are {_allowed(*_field(key))}'


def _field(key: Key) -> tuple[Any, list[Any]]:
    """Return type and bounds of what stands under a key."""
    kind: Any = Recipe
    bounds: list[Any] = []
    for part in key:
        if get_origin(kind) is dict:
            kind, bounds = get_args(kind)[1], []
        else:
            field = kind.model_fields[part]
            kind, bounds = field.annotation, field.metadata
    return kind, bounds


def _names(kind: Any) -> list[str]:
    """Return the keys of a mapping."""
    return list(get_args(get_args(kind)[0]) if get_origin(kind) is dict else kind.model_fields)


def _allowed(kind: Any, bounds: list[Any]) -> str:
    """Say which values a type takes within its bounds."""
    if NoneType in get_args(kind):
        return f'{_allowed(get_args(kind)[0], bounds)}, and null'
    if get_origin(kind) is Literal:
        return ', '.join(get_args(kind))
    if kind is bool:
        return 'true and false'
    if kind in (int, float):
        words = {'ge': 'from', 'gt': 'from above', 'le': 'to', 'lt': 'to below'}
        found = [f'{words[k]} {getattr(b, k)}' for k in words for b in bounds if hasattr(b, k)]
        return ' '.join(['whole numbers' if kind is int else 'numbers', *found])
    filled = ', not empty,' if bounds else ''
    return f'mappings{filled} with keys from {", ".join(_names(kind))}'


def _shown(value: Any) -> str:
    return 'empty' if value is None else shortened(value)


def _pairs(data: dict[SourceName, SourceConfig]) -> int:
    return sum(source.pairs for source in data.values())
