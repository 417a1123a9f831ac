"""Reading training recipes from YAML files, with errors that name file and line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from reprlib import repr as short_repr
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import AliasPath, ValidationError
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
# Keys within a mapping that are fields of the recipe itself, such as ('data', 'device').
NESTED = {
    tuple(map(str, field.validation_alias.path)): name
    for name, field in Recipe.model_fields.items()
    if isinstance(field.validation_alias, AliasPath)
}


def read_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe from a YAML file and apply changes to it.

    The key `base` names another YAML file, relative to this one, that provides defaults: mappings
    are merged recursively, except `data`, which is replaced. Each change is 'key=value', with dots
    between the keys of nested mappings and a value in YAML, such as 'rate.peak=0.01'. Raises
    `ConfigError` that names the file and line, or the change, of every error.
    """
    values, places = _read_file(path)
    for change in changes:
        _apply_change(values, places, change)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        messages = [_format_error(details, places) for details in error.errors()]
        raise ConfigError('\n'.join(messages)) from None


def _read_file(
    path: Path, including: tuple[Path, ...] = (), prefix: str = ''
) -> tuple[Values, Places]:
    """Return the values of a file, merged with those of its base, and the place of each key.

    `including` are the files that include this one as a base, and `prefix` is the place of the key
    `base` that names it, for error messages.
    """
    try:
        text = path.read_text(encoding='utf-8')
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise ConfigError(
            f'{prefix}{path} cannot be read ({reason}): give the path of a YAML file'
        ) from None
    if path.resolve() in including:
        raise ConfigError(f'{prefix}base {path} is circular: remove one key `base`')
    values, places = _parse(text, lambda line: f'{path} line {line}')
    places[()] = str(path)
    if not isinstance(values, dict):
        raise ConfigError(f'{path} is not a mapping: write lines such as `batch: 16`')
    if 'base' not in values:
        return values, places
    base, place = values.pop('base'), places['base',]
    if not isinstance(base, str):
        raise ConfigError(f'{place}: base is {_format(base)}, allowed: names of YAML files')
    base_values, base_places = _read_file(
        path.parent / base, (*including, path.resolve()), f'{place}: '
    )
    return _merge(base_values, values), base_places | places


def _merge(base: Values, values: Values) -> Values:
    """Return `base` updated with `values`, recursively except for `data`."""
    merged = base | values
    for key in (base.keys() & values.keys()) - {'data'}:
        if isinstance(base[key], dict) and isinstance(values[key], dict):
            merged[key] = _merge(base[key], values[key])
    return merged


def _apply_change(values: Values, places: Places, change: str) -> None:
    """Set the value of a change 'key=value', in place."""
    name, equals, text = change.partition('=')
    place = f'--set {change}'
    if not equals:
        raise ConfigError(f'{place} gives no value: write key=value, such as --set batch=16')
    key = tuple(name.split('.'))
    value, new_places = _parse(text, lambda _: place)
    for replaced in [old for old in places if old[: len(key)] == key]:
        del places[replaced]
    for depth, part in enumerate(key[:-1], 1):
        if not isinstance(values.get(part), dict):
            values[part], places[key[:depth]] = {}, place
        values = values[part]
    values[key[-1]] = value
    places.update({key + subkey: place for subkey in new_places})


def _parse(text: str, place_of_line: Callable[[int], str]) -> tuple[Any, Places]:
    """Return the value of a YAML text and the place of each key.

    Keys are read as text. Raises `ConfigError` for text that is not YAML, and for duplicate keys.
    """
    construct = YAML(typ='safe', pure=True).constructor.construct_object
    places: Places = {(): place_of_line(1)}

    def read_node(node: Node, key: Key) -> Any:
        if not isinstance(node, MappingNode):
            try:
                return construct(node, deep=True)
            except (ValueError, LookupError) as error:  # such as 2026-02-30
                raise MarkedYAMLError(problem=str(error), problem_mark=node.start_mark) from None
        values = {}
        for name, value in node.value:
            inner = (*key, str(name.value))
            if inner in places or not isinstance(name, ScalarNode):
                problem = f'duplicate key {inner[-1]}' if inner in places else 'a key is not text'
                raise MarkedYAMLError(problem=problem, problem_mark=name.start_mark)
            places[inner] = place_of_line(name.start_mark.line + 1)
            values[inner[-1]] = read_node(value, inner)
        return values

    try:
        root = YAML(typ='safe', pure=True).compose(text)
        return root and read_node(root, ()), places
    except ReaderError as error:
        line, reason = text.count('\n', 0, error.position), error.reason
    except MarkedYAMLError as error:
        line, reason = error.problem_mark.line, error.problem
    except RecursionError:
        line, reason = 0, 'values are nested too deeply'
    raise ConfigError(f'{place_of_line(line + 1)}: not valid YAML ({reason}): correct it')


def _format_error(error: ErrorDetails, places: Places) -> str:
    """Return a line with the place of an error, the wrong value and the allowed values."""
    below = error.get('ctx', {}).get('below', ())
    key = tuple(str(part) for part in (*error['loc'], *below) if part != '[key]')
    missing = error['type'] == 'missing'
    existing = key[:-1] if missing else key
    place = next(
        places[existing[:n]] for n in range(len(existing), -1, -1) if existing[:n] in places
    )
    name = '.'.join(key)
    if error['type'] == 'conflict':
        return f'{place}: {error["msg"]}'
    if error['type'] == 'extra_forbidden' or error['loc'][-1] == '[key]':
        names = _key_names(key[:-1])
        if len(key) == 1 and not place.startswith('--set'):
            names = ['base', *names]
        matches = get_close_matches(key[-1], names, 1)
        hint = f' (did you mean {matches[0]!r}?)' if matches else ''
        return f'{place}: unknown key {name!r}{hint}, allowed: {", ".join(names)}'
    value = 'missing' if missing else _format(error['input'])
    return f'{place}: {name} is {value}, allowed: {_allowed_values(key)}'


def _field(key: Key) -> tuple[Any, list[Any]]:
    """Return the type and the bounds of the value of a key."""
    kind: Any = Recipe
    bounds: list[Any] = []
    for part in (NESTED[key],) if key in NESTED else key:
        if get_origin(kind) is dict:
            kind, bounds = get_args(kind)[1], []
        else:
            field = kind.model_fields[part]
            kind, bounds = field.annotation, field.metadata
    return kind, bounds


def _key_names(key: Key) -> list[str]:
    """Return the allowed keys of the mapping that is the value of a key."""
    kind = _field(key)[0]
    names = get_args(get_args(kind)[0]) if get_origin(kind) is dict else kind.model_fields
    nested = [path[-1] for path in NESTED if path[:-1] == key]
    return [*(name for name in names if name not in NESTED.values()), *nested]


def _allowed_values(key: Key) -> str:
    """Return a description of the allowed values of a key."""
    kind, bounds = _field(key)
    null = NoneType in get_args(kind)
    if null:
        kind = get_args(kind)[0]
    return f'{_describe(key, kind, bounds)}{", and null" if null else ""}'


def _describe(key: Key, kind: Any, bounds: list[Any]) -> str:
    """Return a description of the values of a type within bounds."""
    if get_origin(kind) is Literal:
        return ', '.join(get_args(kind))
    if kind is bool:
        return 'true and false'
    if kind in (int, float):
        words = {'ge': 'from', 'gt': 'above', 'le': 'to', 'lt': 'to below'}
        limits = [f'{words[k]} {getattr(b, k)}' for k in words for b in bounds if hasattr(b, k)]
        return ' '.join(['integers' if kind is int else 'numbers', *limits])
    non_empty = 'non-empty ' if bounds else ''
    return f'{non_empty}mappings with keys from {", ".join(_key_names(key))}'


def _format(value: Any) -> str:
    return 'empty' if value is None else short_repr(value)
