"""What is different between two documents of an app, for a person who reviews it.

    for change in document_changes(old, new):
        str(change)              # "changed element offer_edit__save: label "Save" -> "Store""

States and elements are compared by their names, which are stable; see `naming`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any, Literal

from adwright.agent.document.elements import AppDocument, AppEdge, AppState, Element
from adwright.core.config import settings

__all__ = ["DocumentChange", "document_changes", "next_version"]


@settings
class DocumentChange:
    """One difference. field, old, new: of a changed part, as text; empty where a whole part came
    or went."""

    kind: Literal["added", "removed", "changed"]
    what: Literal["document", "state", "element", "edge"]
    name: str
    field: str = ""
    old: str = ""
    new: str = ""

    def __str__(self) -> str:
        said = f"{self.kind} {self.what} {self.name}"
        return f"{said}: {self.field} {self.old} -> {self.new}" if self.field else said


def document_changes(old: AppDocument, new: AppDocument) -> tuple[DocumentChange, ...]:
    """All differences, versions apart: what went, what came, and what changed, in that order.

    Empty exactly where the two are equal but for the version and the order of their parts.
    """
    found: list[DocumentChange] = []
    for name in ("app", "origins", "start"):
        a, b = getattr(old, name), getattr(new, name)
        if a != b:
            found.append(DocumentChange("changed", "document", old.app, name, _said(a), _said(b)))
    found += _compared("state", old.state_by_name, new.state_by_name)
    found += _compared("element", old.by_name, new.by_name)
    found += _compared("edge", _edges(old), _edges(new))
    order = ("removed", "added", "changed")
    return tuple(sorted(found, key=lambda one: order.index(one.kind)))


def next_version(version: str) -> str:
    """The number after it; of what is no number, the same with ".1" behind it."""
    return str(int(version) + 1) if version.isascii() and version.isdigit() else f"{version}.1"


def _edges(document: AppDocument) -> dict[str, AppEdge]:
    named: dict[str, AppEdge] = {}
    for one in document.edges:
        name = f"{one.source} -> {one.target} by {one.element}"
        while name in named:
            name += " again"
        named[name] = one
    return named


def _compared(
    what: Literal["state", "element", "edge"],
    old: Mapping[str, AppState | Element | AppEdge],
    new: Mapping[str, AppState | Element | AppEdge],
) -> Iterator[DocumentChange]:
    yield from _whole("removed", what, (one for one in old if one not in new))
    yield from _whole("added", what, (one for one in new if one not in old))
    for name, before in old.items():
        after = new.get(name)
        if after is None:
            continue
        for each in fields(before):
            a, b = getattr(before, each.name), getattr(after, each.name)
            if a != b:
                yield DocumentChange("changed", what, name, each.name, _said(a), _said(b))


def _whole(
    kind: Literal["added", "removed"],
    what: Literal["state", "element", "edge"],
    names: Iterable[str],
) -> Iterator[DocumentChange]:
    for name in names:
        yield DocumentChange(kind, what, name)


def _said(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
