"""Typed dataclasses as JSON and back, checked."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from foreseen.errors import UserError, suggest


def to_plain(value: Any) -> Any:
    """A tree of dataclasses, tuples, lists, dicts and paths as what JSON holds."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, list | tuple):
        return [to_plain(x) for x in value]
    if isinstance(value, dict):
        return {str(k): to_plain(v) for k, v in value.items()}
    return str(value) if isinstance(value, Path) else value


def from_plain(kind: Any, value: Any, where: str) -> Any:
    """What `to_plain` made, as an instance of `kind` again.

    Raises `UserError` naming the place, such as `config.solver.steps`, for a field that is absent, unknown or
    of another type. `where` is the name of the root.
    """
    if kind is Any:
        return value
    if is_dataclass(kind):
        return dataclass_from_plain(kind, value, where)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _union(get_args(kind), value, where)
    if origin is Literal:
        return value if value in get_args(kind) else _wrong(where, kind, value)
    if origin is tuple:
        return _tuple(get_args(kind), value, where)
    if origin is list:
        return list(_tuple((get_args(kind)[0], ...), value, where))
    if origin is dict:
        inner = get_args(kind)[1]
        return {k: from_plain(inner, v, f"{where}.{k}") for k, v in _expect(dict, value, where).items()}
    if kind is float and type(value) is int:
        return float(value)
    if kind is Path:
        return Path(_expect(str, value, where))
    return value if type(value) is kind or (kind is type(None) and value is None) else _wrong(where, kind, value)


def dataclass_from_plain(kind: Any, value: Any, where: str, types: Mapping[str, Any] | None = None) -> Any:
    """As `from_plain`, of a dataclass. `types` replaces the types of some fields: those that depend on other fields."""
    hints = {**get_type_hints(kind), **(types or {})}
    value = _expect(dict, value, where)
    members = {f.name: f for f in fields(kind)}
    for name in value:
        if name not in members:
            raise UserError(f"{where} has no field '{name}': {suggest(name, members)}")
    for name, f in members.items():
        if name not in value and f.default is MISSING and f.default_factory is MISSING:
            raise UserError(f"{_inside(where, name)} is absent.")
    return kind(**{name: from_plain(hints[name], item, _inside(where, name)) for name, item in value.items()})


def with_overrides(config: Any, overrides: dict[str, Any], where: str) -> Any:
    """The config with fields replaced; a dotted name reaches a nested dataclass. Raises `UserError` as
    `from_plain`."""
    for name, value in overrides.items():
        first, _, rest = name.partition(".")
        hints = get_type_hints(type(config))
        if first not in hints:
            raise UserError(f"{where} has no field '{first}': {suggest(first, hints)}")
        if rest:
            new = with_overrides(getattr(config, first), {rest: value}, f"{where}.{first}")
        else:
            new = from_plain(hints[first], to_plain(value), f"{where}.{first}")
        config = replace(config, **{first: new})
    return config


def differences(saved: Any, requested: Any, where: str = "") -> list[str]:
    """Lines "name: saved -> requested" for each leaf of two plain trees that differs."""
    if isinstance(saved, dict) and isinstance(requested, dict):
        out = []
        for key in dict.fromkeys([*saved, *requested]):
            out += differences(saved.get(key), requested.get(key), _inside(where, key))
        return out
    return [] if saved == requested else [f"{where}: {saved} -> {requested}"]


def _inside(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    for kind in kinds:
        try:
            return from_plain(kind, value, where)
        except UserError:
            continue
    return _wrong(where, " or ".join(_name(k) for k in kinds), value)


def _tuple(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    items = _expect(list, value, where)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(items)
    if len(kinds) != len(items):
        raise UserError(f"{where} has {len(items)} values; it takes {len(kinds)}.")
    return tuple(from_plain(k, item, f"{where}[{i}]") for i, (k, item) in enumerate(zip(kinds, items, strict=True)))


def _expect(kind: type, value: Any, where: str) -> Any:
    return value if isinstance(value, kind) else _wrong(where, kind, value)


def _wrong(where: str, kind: Any, value: Any) -> Any:
    raise UserError(f"{where} is {value!r}; it takes {kind if isinstance(kind, str) else _name(kind)}.")


def _name(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(repr(x) for x in get_args(kind))
    return "null" if kind is type(None) else getattr(kind, "__name__", str(kind))
