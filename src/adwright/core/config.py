"""Frozen dataclasses to and from TOML and JSON, strict about every key.

Inside adwright a config is a frozen dataclass. At the border, where a person's file comes
in, pydantic checks it: a key that nobody reads is an error (it is nearly always a typing
mistake), and so is a number written as text. A config that is built in Python is checked by
nobody but itself: `check_literals` in its `__post_init__` refuses what is none of the choices.
"""

from __future__ import annotations

import json
import os
import tomllib
import warnings
from collections.abc import Collection, Hashable, Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import date, datetime, time
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Any,
    Literal,
    NamedTuple,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import TypeAdapter, ValidationError

from adwright.core.errors import ConfigError
from adwright.core.regular import read_regular

__all__ = [
    "check_literals",
    "from_jsonable",
    "load_toml",
    "read_toml",
    "to_jsonable",
    "with_current_names",
    "with_overrides",
]

T = TypeVar("T")

#: Of a run file.
_MOST_BYTES = 16 << 20


class _Choices(NamedTuple):
    """A field that takes one of `allowed`, or where `many` is true a tuple of them."""

    name: str
    allowed: tuple[object, ...]
    many: bool


def check_literals(config: object) -> None:
    """Refuse a value that is none of the choices of its field; the first line of `__post_init__`.

    Checked are the fields of the dataclass instance `config` that are annotated as a `Literal`,
    as one or None, or as a tuple of them; other fields may be unset still.
    Raises ConfigError naming the class, the field, the value, the choices and the closest one.
    """
    cls: type[Any] = type(config)
    for name, allowed, many in _choices(cast(Hashable, cls)):
        value = getattr(config, name)
        if not many:
            if not _is_one_of(value, allowed):
                raise _no_choice(config, name, value, allowed)
        elif isinstance(value, str) or not isinstance(value, Collection):
            raise ConfigError(
                f"{name} is a tuple of choices, not {value!r}",
                where=f"{cls.__name__}.{name}",
                hint=f"write ({value!r},)",
            )
        else:
            for one in value:
                if not _is_one_of(one, allowed):
                    raise _no_choice(config, name, one, allowed)


def load_toml(path: str | Path, cls: type[T]) -> T:
    """Read a TOML file into the dataclass `cls`, nested dataclasses included.

    Raises ConfigError as `read_toml` and `from_jsonable`, naming the file and the key.
    """
    return from_jsonable(cls, read_toml(path), source=str(path))


def read_toml(path: str | Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises ConfigError naming the file: where it is missing, unreadable or broken.
    """
    path = Path(path)
    try:
        text = read_regular(os.path.realpath(path), most=_MOST_BYTES).decode("utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            "the run file does not exist", where=str(path), hint="check the path"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the run file cannot be read: {error}",
            where=str(path),
            hint="it must be a text file in UTF-8 that you may read",
        ) from error
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(
            f"the run file is not valid TOML: {error}", where=str(path), hint="mend that line"
        ) from error


def from_jsonable(cls: type[T], values: dict[str, Any], *, source: str | None = None) -> T:
    """Build the dataclass `cls` from plain values, as `to_jsonable` made them.

    source: where they stand, for errors; by default the name of the class.
    Raises ConfigError naming the key: for a missing or unknown key, or a value of the wrong
    type. Types are strict: "8" and true are not numbers; an integer is accepted where a float is
    asked for.
    """
    source = source or cls.__name__
    # Strict checking of Python objects would refuse a list for a tuple and text for a path;
    # strict checking of JSON accepts exactly those, which is what a file can hold.
    try:
        text = json.dumps(values, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"the config holds a value that is not plain data: {error}",
            where=source,
            hint="use text, numbers, true, false, lists and tables",
        ) from error
    try:
        return TypeAdapter(cls).validate_json(text, strict=True, extra="forbid")
    except ValidationError as error:
        raise _config_error(error, source) from error
    except ConfigError as error:
        # From a dataclass that checks itself: keep its words, add the file.
        where = f"{source}, {error.where}" if error.where else source
        raise ConfigError(error.what, where=where, hint=error.hint) from error


def with_overrides(config: T, values: Mapping[str, object]) -> T:
    """The dataclass instance `config` with those fields replaced whose value is not None."""
    given = {name: value for name, value in values.items() if value is not None}
    return replace(config, **given)  # type: ignore[type-var]


def with_current_names(
    values: Mapping[str, Any], names: Mapping[str, str], *, source: str
) -> dict[str, Any]:
    """A table with the keys that `names` (old name: current name) replaces, with a warning each.

    source: where the table stands. Raises ConfigError where both names of a key are given.
    """
    found = dict(values)
    for old, current in names.items():
        if old not in found:
            continue
        if current in found:
            raise ConfigError(
                f"{old} is the old name of {current}, and both are given",
                where=source,
                hint=f"remove {old}",
            )
        warnings.warn(f"{source}: {old} is now called {current}", stacklevel=3)
        found[current] = found.pop(old)
    return found


def to_jsonable(config: object) -> dict[str, Any]:
    """The dataclass instance `config` as a dict of plain JSON values.

    Tuples become lists, paths and dates become text, nested dataclasses become dicts;
    `from_jsonable(type(config), ...)` gives back an equal instance.
    Raises ConfigError where `config` is no dataclass instance or a field does not hold what
    its annotation says.
    """
    if not is_dataclass(config) or isinstance(config, type):
        raise ConfigError(
            "only an instance of a dataclass can be written as a config",
            where=repr(config)[:80],
            hint="pass the config object itself",
        )
    cls: type[Any] = type(config)
    try:
        values = TypeAdapter(cls).dump_python(config, mode="json", warnings="error")
    except ValueError as error:
        raise ConfigError(
            f"a field does not hold what its annotation says: {error}",
            where=cls.__name__,
            hint="build the config with values of the annotated types",
        ) from error
    return dict(values)


def _config_error(error: ValidationError, source: str) -> ConfigError:
    first, *others = error.errors(include_url=False)
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        what, hint = "unknown key", "remove it, or correct its spelling"
    elif first["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        what, hint = "a required key is missing", "add it"
    else:
        what = f"{first['msg']}, got {json.dumps(first['input'], default=str)[:80]}"
        hint = "correct the value"
    if others:
        hint += f" ({len(others)} more problems in this config)"
    return ConfigError(what, where=f"{source}, key {key}" if key else source, hint=hint)


def _plain(value: object) -> str:
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} {value!r}")


@cache
def _choices(cls: type[Any]) -> tuple[_Choices, ...]:
    # Reading annotations takes longer than building a config: once a class.
    hints = get_type_hints(cls)
    found: list[_Choices] = []
    for each in fields(cls):
        hint, many = hints[each.name], False
        if get_origin(hint) is tuple and get_args(hint)[1:] == (...,):
            hint, many = get_args(hint)[0], True
        allowed = _allowed(hint)
        if allowed:
            found.append(_Choices(each.name, allowed, many))
    return tuple(found)


def _allowed(hint: Any) -> tuple[object, ...]:
    """What a Literal, or a union of Literals and None, admits; nothing for other types."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    if get_origin(hint) not in (Union, UnionType):
        return ()
    parts = [(None,) if part is NoneType else _allowed(part) for part in get_args(hint)]
    literal = all(parts) and any(part != (None,) for part in parts)
    return tuple(value for part in parts for value in part) if literal else ()


def _is_one_of(value: object, allowed: tuple[object, ...]) -> bool:
    for one in allowed:
        if value is one:
            return True
        # True is not 1; and arrays, whose == gives no single answer, are of no choice's type.
        same_kind = isinstance(value, type(one)) and isinstance(value, bool) == isinstance(
            one, bool
        )
        if same_kind and value == one:
            return True
    return False


def _no_choice(
    config: object, name: str, value: object, allowed: tuple[object, ...]
) -> ConfigError:
    choices = {str(one): repr(one) for one in allowed}
    hint = f"use one of {', '.join(choices.values())}"
    close = get_close_matches(str(value), choices, n=1)
    if close:
        hint += f"; the closest is {choices[close[0]]}"
    return ConfigError(
        f"{name} cannot be {repr(value)[:80]}", where=f"{type(config).__name__}.{name}", hint=hint
    )
