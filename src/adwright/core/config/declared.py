"""Settings: a frozen dataclass in which each field says what it may be, checked where it is built.

    @settings
    class SearchConfig:
        k: Annotated[Count, Help("Results for each query.")] = 10
        rule: Literal["sum", "mean"] = "sum"
        share: Annotated[float, Gt(0), Le(1)] = 0.5
        seeds: tuple[Natural, ...] = (0,)
        most: Count | None = None

SearchConfig(k=0), SearchConfig(rule="summ") and SearchConfig(shares=1) raise ConfigError. Without
that, FitConfig(epochs="3") would fail in the midst of a run, and DINConfig(interest="atention")
would build another model. Bounds are those of `annotated_types`, which pydantic reads as well: a
file, an HTTP body and a command line are held to the same. What needs more than one field is
checked in `__post_init__`, which runs when each field is known to be right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from functools import cache, wraps
from itertools import islice
from numbers import Integral, Number, Real
from pathlib import Path, PurePath
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    TypeAlias,
    TypeVar,
    Union,
    cast,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

from annotated_types import Ge, Gt, Le, Lt, MinLen, Predicate

from adwright.core.config.names import require_known
from adwright.core.errors import ConfigError

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


@dataclass(frozen=True)
class Help:
    """What a field is, in one sentence for users: the help of its option and of its key."""

    text: str

    def __get_pydantic_json_schema__(self, schema: Any, handler: Callable[[Any], Any]) -> Any:
        return {**handler(schema), "description": self.text}


#: Neither infinite nor nan.
Finite = Predicate(math.isfinite)
Count = Annotated[int, Ge(1)]
Natural = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0), Finite]
NotNegative = Annotated[float, Ge(0), Finite]


_BOUNDS = (Ge, Gt, Le, Lt, MinLen, Predicate)


#: Of a class, by field: the choices; the types; the bounds. The last of each says whether the field
#: takes several such values.
_Rules: TypeAlias = tuple[
    list[tuple[str, tuple[object, ...], bool]],
    list[tuple[str, tuple[type[Any], ...], bool]],
    list[tuple[str, tuple[Any, ...], bool]],
]


@overload
@dataclass_transform(frozen_default=True, field_specifiers=(Field, field))
def settings(cls: type[T]) -> type[T]: ...
@overload
@dataclass_transform(frozen_default=True, field_specifiers=(Field, field))
def settings(
    *, eq: bool = True, kw_only: bool = False, order: bool = False
) -> Callable[[type[T]], type[T]]: ...
def settings(
    cls: type[T] | None = None, *, eq: bool = True, kw_only: bool = False, order: bool = False
) -> type[T] | Callable[[type[T]], type[T]]:
    """A frozen dataclass whose fields are checked, see the module, before `__post_init__` runs.

    An unknown keyword is answered with the one that was meant. Raises ConfigError where an instance
    is built, naming the class, the field and the value, with what the field takes.
    """

    def _made(plain: type[T]) -> type[T]:
        made: Any = plain
        after = getattr(made, "__post_init__", None)
        if not hasattr(after, "checks"):
            made.__post_init__ = _checking(after)
        dataclass(frozen=True, eq=eq, kw_only=kw_only, order=order)(made)
        made.__init__ = _suggesting(made)
        return plain

    return _made if cls is None else _made(cls)


def _checking(after: Callable[..., None] | None) -> Callable[..., None]:
    def _post_init(self: Any, *initial: Any) -> None:
        check_literals(self)
        if after is not None:
            after(self, *initial)

    _post_init.checks = True  # type: ignore[attr-defined]
    return _post_init


def _suggesting(made: Any) -> Callable[..., None]:
    init, names = made.__init__, tuple(one.name for one in fields(made) if one.init)

    @wraps(init)
    def _init(self: Any, *values: Any, **given: Any) -> None:
        try:
            init(self, *values, **given)
        except TypeError:
            require_known(made, names, given)
            raise

    return cast(Callable[..., None], _init)


def check_literals(config: object) -> None:
    """Refuse a value that is none of the choices of its field, of another type, or out of bounds.

    Checked are the fields of the dataclass instance `config` that are annotated as a `Literal`, as
    a number, text, path, truth value or dataclass, as one of these or None, or as a tuple of them,
    and bounds wherever they stand. Choices come first; other fields may be unset then.
    Raises ConfigError naming the class, the field and the value, with the choices and the closest
    one, with the type, or with the bounds. `settings` calls it.
    """
    cls: type[Any] = type(config)
    choices, typed, bounded = _rules(cast(Hashable, cls))
    for name, allowed, many in choices:
        _check_choice(config, name, allowed, many=many)
    for name, types, many in typed:
        value = getattr(config, name)
        if many and not (_is_several(value) or (value is None and NoneType in types)):
            raise _wrong_type(cls, name, value, types, many=True)
        several = () if value is None else value
        for one in islice(several, _LOOKED_AT) if many else (value,):
            if not _is_of(one, types):
                raise _wrong_type(cls, name, one, types, many=False)
    for name, bounds, each in bounded:
        value = getattr(config, name)
        several = () if value is None else value
        for one in islice(several, _LOOKED_AT) if each else (value,):
            if one is not None and not all(_is_within(one, bound) for bound in bounds):
                raise _out_of_bounds(cls, name, one, bounds)


def _out_of_bounds(
    cls: type[Any], name: str, value: object, bounds: tuple[Any, ...]
) -> ConfigError:
    usual = next(one.default for one in fields(cls) if one.name == name)
    hint = "correct it" if usual is MISSING or usual is None else f"the usual is {usual!r}"
    what = f"{name} {range_of(bounds)}, not {repr(value)[:80]}"
    return ConfigError(what, where=f"{cls.__name__}.{name}", hint=hint)


def range_of(bounds: Collection[Any]) -> str:
    """Bounds in words, as "must be at least 1"."""
    words = []
    for one in bounds:
        match one:
            case Ge(ge=0):
                words.append("not be negative")
            case Ge():
                words.append(f"be at least {one.ge}")
            case Gt():
                words.append(f"be above {one.gt}")
            case Le():
                words.append(f"be at most {one.le}")
            case Lt():
                words.append(f"be below {one.lt}")
            case MinLen():
                words.append(f"have at least {one.min_length}")
            case _:
                words.append("be finite")
    return ("must " + " and ".join(words)).replace("and be ", "and ")


def _is_within(value: Any, bound: Any) -> bool:
    match bound:
        case Ge():
            return bool(value >= bound.ge)
        case Gt():
            return bool(value > bound.gt)
        case Le():
            return bool(value <= bound.le)
        case Lt():
            return bool(value < bound.lt)
        case MinLen():
            return len(value) >= bound.min_length
        case Predicate():
            return bool(bound.func(value))
        case _:
            return True


def require_count(name: str, value: object) -> None:
    """Raise ConfigError where an argument is no whole number from 1 on."""
    if not _is_of(value, (int,)):
        raise ConfigError(
            f"{name} is a whole number, not {value!r} of type {type(value).__name__}", where=name
        )
    if value < 1:  # type: ignore[operator]
        raise ConfigError(f"{name} must be at least 1", where=f"{name} {value}")


@cache
def _rules(cls: type[Any]) -> _Rules:
    # Reading annotations takes longer than building a config: once a class.
    hints, annotated = get_type_hints(cls), get_type_hints(cls, include_extras=True)
    rules: _Rules = [], [], []
    choices, typed, bounded = rules
    for each in fields(cls):
        hint, many = hints[each.name], False
        unset: tuple[type[Any], ...] = ()
        bounded += ((each.name, *found) for found in _bounds(annotated[each.name], each=False))
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
                choices.append((each.name, allowed, many))
        elif types := _types(hint):
            typed.append((each.name, (*types, *unset), many))
    return rules


def _bounds(hint: Any, *, each: bool) -> Iterator[tuple[tuple[Any, ...], bool]]:
    """The bounds that stand in an annotation, and whether they are those of each value of it."""
    parts = get_args(hint)
    if get_origin(hint) is Annotated:
        found = tuple(one for one in hint.__metadata__ if isinstance(one, _BOUNDS))
        if found:
            yield found, each
        parts = parts[:1]
    elif get_origin(hint) is tuple:
        each = True
    elif get_origin(hint) not in (Union, UnionType):
        return
    for part in parts:
        yield from _bounds(part, each=each)


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


def _check_choice(config: object, name: str, allowed: tuple[object, ...], *, many: bool) -> None:
    """Raise ConfigError where the field `name` of `config` holds none of `allowed`, or where `many`
    is true no tuple of them."""
    value = getattr(config, name)
    if not many:
        if not _is_one_of(value, allowed):
            raise _no_choice(config, name, value, allowed)
    elif not isinstance(value, Collection) or isinstance(value, str):
        raise ConfigError(
            f"{name} is a tuple of choices, not {value!r}",
            where=f"{type(config).__name__}.{name}",
            hint=f"write ({value!r},)",
        )
    else:
        for one in value:
            if not _is_one_of(one, allowed):
                raise _no_choice(config, name, one, allowed)


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


def choices_of(hint: Any) -> tuple[object, ...]:
    """What a Literal, or a union of Literals and None, admits; nothing for other types."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    if get_origin(hint) not in (Union, UnionType):
        return ()
    parts = [(None,) if part is NoneType else choices_of(part) for part in get_args(hint)]
    literal = all(parts) and any(part != (None,) for part in parts)
    return tuple(value for part in parts for value in part) if literal else ()
