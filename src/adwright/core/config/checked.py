"""Settings that are given in Python: values, types and names are checked when a config is built.

Without that, FitConfig(epochs="3") would fail in the midst of a run.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache, wraps
from itertools import islice
from numbers import Integral, Number, Real
from pathlib import Path, PurePath
from types import NoneType, UnionType
from typing import Any, NamedTuple, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from adwright.core.config.choices import check_choice, choices_of
from adwright.core.config.names import require_known
from adwright.core.errors import ConfigError

__all__ = ["check_literals", "checked", "require_count"]

T = TypeVar("T")

#: Of a long tuple so many values are looked at.
_LOOKED_AT = 1000
_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "a text",
    Path: "a Path",
    NoneType: "None",
}


class _Choices(NamedTuple):
    """A field that takes one of `allowed`, or where `many` is true a tuple of them."""

    name: str
    allowed: tuple[object, ...]
    many: bool


class _Typed(NamedTuple):
    """A field that takes values of one of `types`, or where `many` is true several of them."""

    name: str
    types: tuple[type[Any], ...]
    many: bool


def check_literals(config: object) -> None:
    """Refuse a value that is none of the choices of its field, or of another type than the field's;
    the first line of `__post_init__`.

    Checked are the fields of the dataclass instance `config` that are annotated as a `Literal`, as
    a number, text, path, truth value or dataclass, as one of these or None, or as a tuple of them.
    Choices come first; other fields may be unset then.
    Raises ConfigError naming the class, the field and the value, with the choices and the closest
    one, or with the type.
    """
    cls: type[Any] = type(config)
    choices, typed = _rules(cast(Hashable, cls))
    for name, allowed, many in choices:
        check_choice(config, name, allowed, many=many)
    for name, types, many in typed:
        value = getattr(config, name)
        if many and not (_is_several(value) or (value is None and NoneType in types)):
            raise _wrong_type(cls, name, value, types, many=True)
        several = () if value is None else value
        for one in islice(several, _LOOKED_AT) if many else (value,):
            if not _is_of(one, types):
                raise _wrong_type(cls, name, one, types, many=False)


def require_count(name: str, value: object) -> None:
    """Raise ConfigError where an argument is no whole number from 1 on."""
    if not _is_of(value, (int,)):
        raise ConfigError(
            f"{name} is a whole number, not {value!r} of type {type(value).__name__}", where=name
        )
    if value < 1:  # type: ignore[operator]
        raise ConfigError(f"{name} must be at least 1", where=f"{name} {value}")


def checked(cls: type[T]) -> type[T]:
    """A dataclass whose values are checked by `check_literals` before anything else looks at them,
    and which answers an unknown keyword as `suggesting` does.

        @checked
        @dataclass(frozen=True)
        class FitConfig: ...
    """
    made: Any = cls
    init, after = made.__init__, getattr(made, "__post_init__", None)
    names = tuple(one.name for one in fields(made) if one.init)

    @wraps(init)
    def _init(self: Any, *values: Any, **given: Any) -> None:
        require_known(cls, names, given)
        init(self, *values, **given)
        if after is None:
            check_literals(self)

    def _post_init(self: Any) -> None:
        check_literals(self)
        if after is not None:
            after(self)

    made.__init__ = _init
    if after is not None:
        made.__post_init__ = _post_init
    return cls


@cache
def _rules(cls: type[Any]) -> tuple[tuple[_Choices, ...], tuple[_Typed, ...]]:
    # Reading annotations takes longer than building a config: once a class.
    hints = get_type_hints(cls)
    choices: list[_Choices] = []
    typed: list[_Typed] = []
    for each in fields(cls):
        hint, many = hints[each.name], False
        unset: tuple[type[Any], ...] = ()
        if get_origin(hint) in (Union, UnionType) and _is_tuple(hint):
            # A tuple or None.
            (hint,) = (one for one in get_args(hint) if one is not NoneType)
            unset = (NoneType,)
        if _is_tuple(hint):
            parts = [one for one in get_args(hint) if one is not ...]
            hint, many = Union[tuple(parts)] if parts else Any, True  # noqa: UP007
        allowed = choices_of(hint)
        if allowed:
            if not unset:
                choices.append(_Choices(each.name, allowed, many))
        elif types := _types(hint):
            typed.append(_Typed(each.name, (*types, *unset), many))
    return tuple(choices), tuple(typed)


def _is_tuple(hint: Any) -> bool:
    """Whether it is a tuple, or one or None."""
    if get_origin(hint) in (Union, UnionType):
        others = [one for one in get_args(hint) if one is not NoneType]
        return len(others) == 1 and _is_tuple(others[0])
    return get_origin(hint) is tuple


def _types(hint: Any) -> tuple[type[Any], ...]:
    """The types that are checked; nothing where one of them is another."""
    if hint in _WORDS or (isinstance(hint, type) and is_dataclass(hint)):
        return (hint,)
    if get_origin(hint) not in (Union, UnionType):
        return ()
    parts = [_types(part) for part in get_args(hint)]
    return tuple(one for part in parts for one in part) if all(parts) else ()


def _is_of(value: object, types: tuple[type[Any], ...]) -> bool:
    for one in types:
        if one is bool:
            # numpy's truth values, too.
            fits = isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")
        elif one in (int, float):
            number = Integral if one is int else Real
            fits = isinstance(value, number) and not isinstance(value, bool)
        elif one is Path:
            fits = isinstance(value, PurePath)
        elif is_dataclass(one):
            # What acts as one is welcome.
            plain = (str, bytes, Number, Mapping, list, tuple, NoneType)
            fits = not isinstance(value, plain)
        else:
            fits = isinstance(value, one)
        if fits:
            return True
    return False


def _is_several(value: object) -> bool:
    return isinstance(value, Collection) and not isinstance(value, str | bytes | Mapping)


def _wrong_type(
    cls: type[Any], name: str, value: object, types: tuple[type[Any], ...], *, many: bool
) -> ConfigError:
    words = " or ".join(_WORDS.get(one, f"a {one.__name__}") for one in types)
    shown = repr(value)[:80]
    hint = "pass a value of that type"
    if many:
        words, hint = f"several values, each {words}", f"write ({shown},)"
    elif isinstance(value, str) and Path in types:
        hint = f"write Path({shown})"
    elif isinstance(value, str) and {int, float, bool} & {*types}:
        hint = "leave out the quotation marks"
    what = f"{name} is {words}, not {shown} of type {type(value).__name__}"
    return ConfigError(what, where=f"{cls.__name__}.{name}", hint=hint)
