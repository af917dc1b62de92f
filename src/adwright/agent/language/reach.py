"""Which states a run can be in, and which it can go to without writing anything.

A route uses edges of elements that write nothing and need nothing filled before: what the runner
does by itself is harmless. Which item of a list is meant, only a script can say. States of one path
count as one: what leads to the page of a record may show any of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property

from adwright.agent.document.elements import AppDocument, EffectClass, Element

__all__ = ["StateReach", "leads", "own_ways"]

_HARM: tuple[EffectClass, ...] = ("unknown", "destructive", "spend", "message", "commit")


def leads(element: Element) -> bool:
    """Whether a route may use an element: it writes nothing, and there is one of it."""
    return element.effect in ("navigate", "read") and not element.many


class StateReach:
    """The harmless edges of a document."""

    def __init__(self, document: AppDocument) -> None:
        self._document = document
        self._known: dict[str, frozenset[str]] = {}

    @cached_property
    def _next(self) -> Mapping[str, frozenset[str]]:
        found: dict[str, set[str]] = defaultdict(set)
        for edge in self._document.edges:
            if not edge.needs and leads(self._document.by_name[edge.element]):
                found[edge.source].add(edge.target)
        for one in self._document.elements:
            if one.target and leads(one):
                found[one.state].add(one.target)
        return {state: self._with_alike(targets) for state, targets in found.items()}

    @cached_property
    def _alike(self) -> Mapping[str, frozenset[str]]:
        """States of one path, by each of them: which one comes, only the run shows."""
        by_template: dict[str, set[str]] = defaultdict(set)
        for one in self._document.states:
            by_template[one.url_template.partition("?")[0] or one.name].add(one.name)
        return {one: frozenset(many) for many in by_template.values() for one in many}

    def _with_alike(self, states: Iterable[str]) -> frozenset[str]:
        return frozenset[str]().union(*(self._alike[one] for one in states))

    @cached_property
    def everywhere(self) -> frozenset[str]:
        """All states."""
        return frozenset(one.name for one in self._document.states)

    def from_state(self, state: str) -> frozenset[str]:
        """All states that harmless edges lead to from `state`, itself among them."""
        if state not in self._known:
            seen = set(self._alike[state])
            ahead = list(seen)
            while ahead:
                for target in self._next.get(ahead.pop(), frozenset()) - seen:
                    seen.add(target)
                    ahead.append(target)
            self._known[state] = self._with_alike(seen)
        return self._known[state]

    def is_reachable(self, goal: str, here: Iterable[str]) -> bool:
        """Whether `goal` can be reached from the start, or from each state in `here`."""
        if goal in self.from_state(self._document.start):
            return True
        places = list(here)
        return bool(places) and all(goal in self.from_state(one) for one in places)

    def after(self, element: Element) -> frozenset[str]:
        """Where a run can be once it has acted on `element`."""
        targets = {
            edge.target
            for edge in self._document.edges
            if edge.element == element.name and edge.source == element.state
        }
        if element.target:
            targets.add(element.target)
        return self._with_alike(targets or {element.state})

    def enter_effect(self, states: Iterable[str]) -> EffectClass:
        """What the key Enter may do in one of `states`: the worst of what their elements do."""
        found = {one.effect for state in states for one in self._document.elements_of(state)}
        return next((one for one in _HARM if one in found), "navigate")


def own_ways(document: AppDocument) -> AppDocument:
    """The document with the ways that a runner may go by itself, and no other."""
    elements = tuple(one if leads(one) else replace(one, target=None) for one in document.elements)
    edges = tuple(
        one for one in document.edges if not one.needs and leads(document.by_name[one.element])
    )
    return replace(document, elements=elements, edges=edges)
