"""Choices: a field that is a Literal takes what the Literal lists and nothing else.

A dataclass is checked by nobody but itself: DINConfig(interest="atention") would build another
model.
"""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from adwright.core.errors import ConfigError

__all__ = ["check_choice", "choices_of"]


def check_choice(config: object, name: str, allowed: tuple[object, ...], *, many: bool) -> None:
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
