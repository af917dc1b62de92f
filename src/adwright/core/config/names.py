"""Names of settings: which one is meant by a name that there is not."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from functools import wraps
from types import UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from adwright.core.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])


def suggesting(target: F) -> F:
    """A function that answers an unknown keyword with the one that was meant.

    Raises ConfigError for it, where Python would raise TypeError.
    """
    names = tuple(inspect.signature(target).parameters)

    @wraps(target)
    def _called(*values: Any, **given: Any) -> Any:
        require_known(target, names, given)
        return target(*values, **given)

    return cast(F, _called)


def closest_name(name: str, names: Iterable[str]) -> str | None:
    """Which of `names` is meant by `name`: one like it, one whose initials or word it is.

    >>> closest_name("lr", ["learning_rate", "decay"]), closest_name("epoch", ["epochs"])
    ('learning_rate', 'epochs')
    """
    known = list(names)
    alike = get_close_matches(name, known, n=1, cutoff=0.7)
    initials = [one for one in known if "".join(part[:1] for part in one.split("_")) == name]
    words = [one for one in known if name in one.split("_")]
    found = [*alike, *initials, *(words if len(words) == 1 else ())]
    found += get_close_matches(name, known, n=1)
    return found[0] if found else None


def name_hint(name: str, names: Iterable[str]) -> str:
    """What to do about a name that is none of `names`: the closest of them, then all."""
    known = list(names)
    close = closest_name(name, known)
    return (f"did you mean {close}? " if close else "") + f"There are {', '.join(known)}"


def names_at(cls: type[Any], path: Sequence[int | str] = ()) -> list[str]:
    """The fields of the dataclass that stands in `cls` at a path of names, as "fit", "stream"; none
    where no single one does."""
    for part in path:
        if isinstance(part, str) and is_dataclass(cls):
            inner = list(_dataclasses_of(get_type_hints(cls).get(part)))
            if len(inner) != 1:
                return []
            (cls,) = inner
    return [one.name for one in fields(cls) if one.init] if is_dataclass(cls) else []


def require_known(
    target: Callable[..., Any], names: Sequence[str], given: Mapping[str, object]
) -> None:
    """Raise ConfigError for a keyword that `target`, which takes `names`, does not take."""
    name = next((one for one in given if one not in names), None)
    if name is None:
        return
    # aw.train(epochs=1) means fit=FitConfig(epochs=1).
    hints = get_type_hints(target)
    inner = [
        f"{outer}={cls.__name__}({name}=...)"
        for outer in names
        for cls in _dataclasses_of(hints.get(outer))
        if name in names_at(cls)
    ]
    meant = inner[0] if inner else closest_name(name, names)
    hint = f"did you mean {meant}?" if meant else f"it takes {', '.join(names)}"
    raise ConfigError(f"{target.__name__} takes no {name!r}", where=target.__name__, hint=hint)


def _dataclasses_of(hint: Any) -> Iterator[type[Any]]:
    if isinstance(hint, type) and is_dataclass(hint):
        yield hint
    elif get_origin(hint) in (Union, UnionType, tuple):
        for part in get_args(hint):
            yield from _dataclasses_of(part)
