"""Frozen dataclasses to and from TOML and JSON, strict about every key.

Inside adwright a config is a frozen dataclass. At the border, where a person's file comes
in, pydantic checks it: a key that nobody reads is an error (it is nearly always a typing
mistake), and so is a number written as text. A config that is built in Python checks itself, see
`settings`.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass, replace
from datetime import date, datetime, time
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from annotated_types import Ge, Gt, Le, Lt

from adwright.core.config.declared import range_of
from adwright.core.config.names import closest_name, names_at
from adwright.core.errors import ConfigError
from adwright.core.regular import read_regular

if TYPE_CHECKING:
    from pydantic import ValidationError

T = TypeVar("T")

#: Of a run file.
_MOST_BYTES = 16 << 20
#: Of pydantic's kinds of errors.
_BOUNDS = {
    "greater_than": Gt,
    "greater_than_equal": Ge,
    "less_than": Lt,
    "less_than_equal": Le,
}
#: Problems of a file that an error names, beside the first.
_NAMED = 10


def load_toml(path: str | Path, cls: type[T]) -> T:
    """Read a TOML file into the dataclass `cls`, nested dataclasses included.

    Raises ConfigError as `read_toml` and `from_jsonable`, naming the file and the key.
    """
    return from_jsonable(cls, read_toml(path), source=str(path))


def package_toml(package: str, name: str) -> dict[str, Any]:
    """The tables of a TOML file that stands in a package."""
    return tomllib.loads(files(package).joinpath(name).read_text("utf-8"))


def package_patterns(package: str, name: str, section: str) -> dict[Any, re.Pattern[str]]:
    """The regular expressions of a section of such a file, each whole or in parts, by their
    names."""
    table = package_toml(package, name)[section]
    return {one: re.compile("".join(parts)) for one, parts in table.items()}


def read_toml(path: str | Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises ConfigError naming the file: where it is missing, unreadable or broken.
    """
    path = Path(path)
    if path.is_dir():
        raise ConfigError(
            "this is a folder, and a run file in TOML is wanted",
            where=str(path),
            hint="name data by its option, such as --log, --events or --task; -h shows which",
        )
    try:
        text = read_regular(os.path.realpath(path), most=_MOST_BYTES).decode("utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            "the file does not exist", where=str(path), hint="check the path"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the file cannot be read: {error}",
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
    asked for. All problems are named, unknown keys with the closest that there is.
    """
    # Half the time that `adwright -h` would take.
    from pydantic import TypeAdapter, ValidationError

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
        raise _config_error(error, source, cls) from error
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
    from pydantic import TypeAdapter

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


def _config_error(error: ValidationError, source: str, cls: type[Any]) -> ConfigError:
    (key, what, hint), *others = [_problem(one, cls) for one in error.errors(include_url=False)]
    if others:
        named = [f"{key}: {what} ({hint})" for key, what, hint in others]
        hint += f"; {len(others)} more: {'; '.join(named[:_NAMED])}"
    return ConfigError(what, where=f"{source}, key {key}" if key else source, hint=hint)


def _problem(found: Any, cls: type[Any]) -> tuple[str, str, str]:
    """(key, what is wrong, what to do) of one error of pydantic's."""
    path: Sequence[int | str] = found["loc"]
    key = ".".join(str(part) for part in path)
    if found["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        close = closest_name(str(path[-1]), names_at(cls, path[:-1]))
        hint = f"did you mean {close}? Else remove it" if close else "remove it"
        return key, "unknown key", hint
    if found["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return key, "a required key is missing", "add it"
    shown = json.dumps(found["input"], default=str)[:80]
    if bound := _BOUNDS.get(found["type"]):
        (limit,) = (value for name, value in found["ctx"].items() if name != "error")
        name = next(part for part in reversed(path) if isinstance(part, str))
        limit = int(limit) if limit == int(limit) else limit
        return key, f"{name} {range_of([bound(limit)])}, not {shown}", "correct the value"
    return key, f"{found['msg']}, got {shown}", "correct the value"


def _plain(value: object) -> str:
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} {value!r}")
