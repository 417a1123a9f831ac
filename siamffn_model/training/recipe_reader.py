"""Reading training recipes from YAML, and saying where they are wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from reprlib import repr as shortened
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode
from ruamel.yaml.reader import ReaderError

from siamffn_model.errors import ConfigError
from siamffn_model.training.recipe import Recipe

Key = tuple[str, ...]  # ('rate', 'peak')
Values = dict[str, Any]
Places = dict[Key, str]  # 'FILE line 7' or '--set rate.peak=1'


def read_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe from a YAML file and change it.

    The file's key `base` names another, relative to it, whose values count where the file gives
    none: mappings are joined key by key, but `data` is replaced as a whole. Each change is
    'key=value', with dots into mappings and the value in YAML ('rate.peak=0.01'). Raises
    `ConfigError` naming file and line, or change, of all that is wrong.
    """
    values, places = _read(path)
    for change in changes:
        _change(values, places, change)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        problems = [_problem(each, places) for each in error.errors()]
        raise ConfigError('\n'.join(problems)) from None


def _read(path: Path, above: tuple[Path, ...] = (), named: str = '') -> tuple[Values, Places]:
    """Return a file's values, those of its base included, and where each stands.

    `above` are the files it is a base of, `named` is the place that names it as one.
    """
    try:
        text = path.read_text(encoding='utf-8')
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise ConfigError(
            f'{named}{path} cannot be read ({reason}): give the path of a YAML file'
        ) from None
    if path.resolve() in above:
        raise ConfigError(f'{named}base {path} leads in a circle: remove a `base` from it')
    values, places = _parse(text, lambda line: f'{path} line {line}')
    places[()] = str(path)
    if not isinstance(values, dict):
        raise ConfigError(f'{path} holds no mapping: write lines such as `batch: 16`')
    if 'base' not in values:
        return values, places
    base, place = values.pop('base'), places['base',]
    if not isinstance(base, str):
        raise ConfigError(f'{place}: base is {_shown(base)}, allowed are names of YAML files')
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
        raise ConfigError(f'{place} gives no value: write key=value, such as --set batch=16')
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

    Raises `ConfigError` for what is not YAML.
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
    raise ConfigError(f'{at(line + 1)}: not YAML ({reason}): correct it')


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
