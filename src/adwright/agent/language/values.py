"""The values of a running script: plain data, each with the elements whose text went into it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol, TypeAlias

__all__ = [
    "ArgumentValue",
    "ElementHandle",
    "PlainValue",
    "ScriptValue",
    "ScriptWorld",
    "SecretName",
    "joined_sources",
    "matching_handles",
]

#: What a parameter of a script is given.
ArgumentValue: TypeAlias = str | int | Decimal | bool


@dataclass(frozen=True)
class ElementHandle:
    """An element of the document on the screen; where it stands is found anew for each act.

    place: which item of a list, None of what is no item. seen: the text that the item had when the
    list was read, by which it is known again. within: the item in which it stands.
    """

    name: str
    place: int | None = None
    seen: str = ""
    within: ElementHandle | None = None


@dataclass(frozen=True)
class SecretName:
    """A secret that the user keeps; its value is no value of a script."""

    name: str


PlainValue: TypeAlias = (
    "str | int | Decimal | bool | ElementHandle | SecretName | tuple[ScriptValue, ...] | None"
)


@dataclass(frozen=True)
class ScriptValue:
    """A value. sources: names of elements; empty for what no page had a part in."""

    data: PlainValue
    sources: frozenset[str] = frozenset()


def joined_sources(values: Iterable[ScriptValue]) -> frozenset[str]:
    """All sources of several values."""
    return frozenset[str]().union(*(one.sources for one in values))


def matching_handles(handles: Iterable[ElementHandle], wanted: str) -> tuple[ElementHandle, ...]:
    """The items whose text has `wanted` in it, in capitals or not; where some have it as whole
    words, as "offer-1" is no part of "offer-10", these alone."""
    folded = " ".join(wanted.split()).casefold()
    found = [one for one in handles if folded in " ".join(one.seen.split()).casefold()]
    whole = re.compile(rf"(?<![\w-]){re.escape(folded)}(?![\w-])")
    exact = [one for one in found if whole.search(" ".join(one.seen.split()).casefold())]
    return tuple(exact or found)


class ScriptWorld(Protocol):
    """What a script acts on: a screen behind a policy, or something in memory.

    All methods raise ScriptError, with line 0, where that cannot be done.
    """

    def act(
        self, verb: str, target: ElementHandle | None, value: str | bool | SecretName | None
    ) -> bool:
        """Do what an acting verb says. Of scroll the answer is whether the end is reached."""
        ...

    def text(self, target: ElementHandle) -> str:
        """The text of an element, or what stands in a field."""
        ...

    def attribute(self, target: ElementHandle, name: str) -> str | bool:
        """One of `kinds.ATTRIBUTES`, of the kind that is said there."""
        ...

    def items(self, name: str) -> tuple[ElementHandle, ...]:
        """The items that an element stands for, in the order of the screen."""
        ...

    def find(self, name: str, wanted: str) -> ElementHandle:
        """The one item of `name` with this text, on the page or where its search leads."""
        ...

    def answer(self, text: str, sources: frozenset[str]) -> None:
        """Something for the user."""
        ...
