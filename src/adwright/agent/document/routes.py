"""Ways through an app, found when they are needed: shortest paths in the document's graph.

    route = find_route(document, "offer_list", "offer_edit")
    [edge.element for edge in route]                 # what to act on, in this order

A way costs one for each act, and one for each field that has to be filled before. It goes through
elements that read or navigate; others only where the caller names their effect.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator
from itertools import count

from adwright.agent.document.elements import AppDocument, AppEdge, EffectClass
from adwright.core.config import closest_name
from adwright.core.errors import ConfigError

__all__ = ["HARMLESS", "edges_of", "find_route", "reachable"]

#: The effects that a way goes through by itself.
HARMLESS: tuple[EffectClass, ...] = ("read", "navigate")


def find_route(
    document: AppDocument, start: str, target: str, *, through: Collection[EffectClass] = HARMLESS
) -> tuple[AppEdge, ...] | None:
    """The cheapest way from one state to another, empty where they are one, None where there is
    none. Of equal ways that whose edges stand first in the document.

    through: effects of elements that it may act on. Raises ConfigError for an unknown state.
    """
    for name in (start, target):
        _require_state(document, name)
    steps = _steps(document, through)
    ticket = count()
    heap: list[tuple[int, int, str]] = [(0, next(ticket), start)]
    best: dict[str, tuple[int, AppEdge | None]] = {start: (0, None)}
    while heap:
        cost, _, state = heapq.heappop(heap)
        if state == target:
            return _back(best, target)
        if cost > best[state][0]:
            continue
        for edge in steps.get(state, ()):
            further = cost + 1 + len(edge.needs)
            if edge.target not in best or further < best[edge.target][0]:
                best[edge.target] = (further, edge)
                heapq.heappush(heap, (further, next(ticket), edge.target))
    return None


def reachable(
    document: AppDocument, start: str, *, through: Collection[EffectClass] = HARMLESS
) -> frozenset[str]:
    """The states that can be reached from one, itself included."""
    _require_state(document, start)
    steps = _steps(document, through)
    seen, waiting = {start}, [start]
    while waiting:
        for edge in steps.get(waiting.pop(), ()):
            if edge.target not in seen:
                seen.add(edge.target)
                waiting.append(edge.target)
    return frozenset(seen)


def edges_of(document: AppDocument) -> Iterator[AppEdge]:
    """The document's edges, and one for each element with a target that no edge names."""
    named = {(one.source, one.element) for one in document.edges}
    yield from document.edges
    for one in document.elements:
        if one.target is not None and (one.state, one.name) not in named:
            yield AppEdge(one.state, one.name, one.target)


def _steps(document: AppDocument, through: Collection[EffectClass]) -> dict[str, list[AppEdge]]:
    steps: dict[str, list[AppEdge]] = {}
    for edge in edges_of(document):
        if document.by_name[edge.element].effect in through:
            steps.setdefault(edge.source, []).append(edge)
    return steps


def _back(best: dict[str, tuple[int, AppEdge | None]], target: str) -> tuple[AppEdge, ...]:
    found: list[AppEdge] = []
    edge = best[target][1]
    while edge is not None:
        found.append(edge)
        edge = best[edge.source][1]
    return tuple(reversed(found))


def _require_state(document: AppDocument, name: str) -> None:
    if name not in document.state_by_name:
        meant = closest_name(name, document.state_by_name)
        raise ConfigError(
            f"the document has no state {name!r}",
            where=document.app,
            hint=f"did you mean {meant}?" if meant else "look at its states",
        )
