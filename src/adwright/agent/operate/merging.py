"""Brings together what a person has written into a document and what a new exploration has seen.

    merged = merge_documents(base, edited, built)
    merged.document
    merged.kept, merged.lost         # sentences: edits that stand, and those that no longer can

`base` is what the exploration before had built, `edited` the file as it stands now: what differs
between the two is a person's edit, and stays, whatever the app says by now. All else is taken from
`built`. Parts are known by their names, so an element that a person has renamed is one of its own
from then on, and no longer refreshed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from adwright.agent.document.elements import AppDocument, AppEdge, AppState, Element

__all__ = ["MergedDocument", "merge_documents"]

Part = TypeVar("Part", AppState, Element)


@dataclass(frozen=True)
class MergedDocument:
    """kept: edits that stand. lost: edits of parts that the app no longer has."""

    document: AppDocument
    kept: tuple[str, ...]
    lost: tuple[str, ...]


def merge_documents(base: AppDocument, edited: AppDocument, built: AppDocument) -> MergedDocument:
    """The document with a person's edits, in the version of `built`."""
    kept: list[str] = []
    lost: list[str] = []
    states = _parts(base.states, edited.states, built.states, kept, lost)
    names = {one.name for one in states}
    elements = _parts(base.elements, edited.elements, built.elements, kept, lost)
    own = edited.by_name.keys() - base.by_name.keys()
    gone = [one for one in elements if one.state not in names and one.name in own]
    lost += [f"element {one.name}: its state {one.state} is gone" for one in gone]
    found = tuple(
        one if one.target in names else replace(one, target=None)
        for one in elements
        if one.state in names
    )
    edges = _edges(base.edges, edited.edges, built.edges)
    known = {one.name for one in found}
    start = edited.start if edited.start != base.start and edited.start in names else built.start
    document = AppDocument(
        built.app if edited.app == base.app else edited.app,
        built.version,
        built.origins if edited.origins == base.origins else edited.origins,
        start if start in names else states[0].name,
        tuple(states),
        found,
        tuple(one for one in edges if _holds(one, names, known)),
    )
    return MergedDocument(document, tuple(kept), tuple(lost))


def _parts(
    base: Sequence[Part],
    edited: Sequence[Part],
    built: Sequence[Part],
    kept: list[str],
    lost: list[str],
) -> list[Part]:
    was, mine, now = _named(base), _named(edited), _named(built)
    kind = "state" if any(isinstance(one, AppState) for one in (*base, *edited)) else "element"
    found: list[Part] = []
    for name, new in now.items():
        if name in was and name not in mine:
            kept.append(f"{kind} {name} stays left out")
        elif name in mine:
            found.append(_merged(was.get(name), mine[name], new, f"{kind} {name}", kept))
        else:
            found.append(new)
    for name, own in mine.items():
        if name in now:
            continue
        if name not in was:
            kept.append(f"{kind} {name}, which is yours")
            found.append(own)
        elif own != was[name]:
            lost.append(f"{kind} {name}: the app no longer has it")
    return found


def _merged(was: Part | None, mine: Part, new: Part, said: str, kept: list[str]) -> Part:
    edits: dict[str, Any] = {}
    for one in fields(mine):
        own = getattr(mine, one.name)
        if (was is None or own != getattr(was, one.name)) and own != getattr(new, one.name):
            edits[one.name] = own
            kept.append(f"{said}: {one.name} is yours")
    return replace(new, **edits)


def _named(parts: Sequence[Part]) -> Mapping[str, Part]:
    return {one.name: one for one in parts}


def _edges(
    base: Sequence[AppEdge], edited: Sequence[AppEdge], built: Sequence[AppEdge]
) -> list[AppEdge]:
    removed = [one for one in base if one not in edited]
    added = [one for one in edited if one not in base and one not in built]
    return [*(one for one in built if one not in removed), *added]


def _holds(edge: AppEdge, states: set[str], elements: set[str]) -> bool:
    ends = {edge.source, edge.target} <= states
    return ends and {edge.element, *edge.needs} <= elements
