"""The forms of a document, the lists whose items they are of, and the way there.

    forms = DocumentForms(document)
    forms.scope(button)              # the fields that it sends, of all tabs of its page
    forms.doors("offer_edit")        # links in items that lead to that state and to nothing else
    forms.terms_of_state("offer_edit")

A state that harmless ways reach without an item, and whose address holds no data, is never looked
for through one.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from adwright.agent.document.columns import column_of
from adwright.agent.document.elements import AppDocument, AppEdge, Element
from adwright.agent.document.routes import edges_of
from adwright.agent.generate.task_terms import TermWeights, terms_of
from adwright.agent.language.reach import StateReach
from adwright.agent.run.searching import form_of, next_page

__all__ = ["DocumentForms", "ItemDoor"]

_ROWS = ("row", "listitem", "article")
_FURTHEST = 4


@dataclass(frozen=True)
class ItemDoor:
    """rows: the list, or the door itself where nothing is around it. door: what is tapped within an
    item; None where the goal stands in the item. steps: from there to the goal's state."""

    rows: Element
    door: Element | None
    steps: int


class DocumentForms:
    """Of one document; what is asked once is kept."""

    def __init__(self, document: AppDocument) -> None:
        self.document = document
        self.reach = StateReach(document)
        self._doors: dict[str, tuple[ItemDoor, ...]] = {}
        self._terms: dict[str, frozenset[str]] = {}
        self._path_terms: dict[str, frozenset[str]] = {}
        self._rows: dict[str, tuple[Element, ...]] = {}

    @cached_property
    def free(self) -> frozenset[str]:
        """The states that are reached from the start without an item."""
        return self.reach.from_state(self.document.start)

    @cached_property
    def kinds(self) -> frozenset[str]:
        """The terms of all paths: words for kinds of items, among others."""
        return frozenset[str]().union(*(self.path_terms(s.name) for s in self.document.states))

    @cached_property
    def _of_state(self) -> Mapping[str, tuple[Element, ...]]:
        found: dict[str, list[Element]] = {one.name: [] for one in self.document.states}
        for one in self.document.elements:
            found[one.state].append(one)
        return {state: tuple(elements) for state, elements in found.items()}

    @cached_property
    def _by_path(self) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, list[str]] = {}
        for one in self.document.states:
            found.setdefault(self.path(one.name), []).append(one.name)
        return {path: tuple(states) for path, states in found.items()}

    @cached_property
    def _edges(self) -> Mapping[str, tuple[AppEdge, ...]]:
        found: dict[str, list[AppEdge]] = {}
        for edge in edges_of(self.document):
            found.setdefault(edge.source, []).append(edge)
        return {state: tuple(edges) for state, edges in found.items()}

    @cached_property
    def _openers(self) -> Mapping[str, str]:
        """By state, the first element that leads there."""
        found: dict[str, str] = {}
        for edge in edges_of(self.document):
            found.setdefault(edge.target, edge.element)
        return found

    @cached_property
    def weights(self) -> TermWeights:
        """Over the labels of all fields and buttons, and the words of all states."""
        texts = [f"{one.label} {column_of(one)}" for one in self.document.elements]
        labels = dict.fromkeys(texts)
        return TermWeights([*labels, *(" ".join(self.terms(s.name)) for s in self.document.states)])

    def path(self, state: str) -> str:
        """The path of a state's address, or its name where it has none."""
        return self.document.state_by_name[state].url_template.partition("?")[0] or state

    def is_of_item(self, state: str) -> bool:
        """Whether a state is that of one item: there is data in its address."""
        return "{}" in self.path(state)

    def of_page(self, state: str) -> tuple[Element, ...]:
        """The elements of a state, and of the tabs and menus of its page."""
        same = [one for one in self._by_path[self.path(state)] if one != state]
        return tuple(e for one in (state, *same) for e in self._of_state[one])

    def scope(self, button: Element) -> tuple[Element, ...]:
        """The fields that a button sends: those of its form, in all tabs of its page."""
        form = form_of(button)
        found: dict[str, Element] = {}
        for one in self.of_page(button.state):
            if one.value_type in ("none", "file") or (one.many and not column_of(one)):
                continue
            if form is None or form_of(one) in (form, None):
                found.setdefault(one.name, one)
        return tuple(found.values())

    def terms(self, state: str) -> frozenset[str]:
        """The terms of a state: of its path, title and headings."""
        if state not in self._terms:
            about = self.document.state_by_name[state]
            heads = [one.label for one in self._of_state[state] if one.role == "heading"]
            title = re.split(r" [|·–-] ", about.title)[:2]
            words = set(terms_of(" ".join([*heads[:12], *title])))
            self._terms[state] = frozenset(words | self.path_terms(state))
        return self._terms[state]

    def path_terms(self, state: str) -> frozenset[str]:
        """The terms of a state's path, and of the part of the page that it is."""
        if state not in self._path_terms:
            path = self.path(state).replace("{}", " ")
            opener = self._openers.get(state)
            if opener is not None and self._shares(opener, state):
                path += f" {opener.partition('__')[2]}"
            self._path_terms[state] = frozenset(terms_of(re.sub(r"[^A-Za-z0-9]+", " ", path)))
        return self._path_terms[state]

    def _shares(self, element: str, state: str) -> bool:
        return self.path(self.document.by_name[element].state) == self.path(state)

    def is_paged(self, state: str) -> bool:
        """Whether a list of the state goes on on other pages."""
        link = next_page(self.document, state)
        return link is not None and link.effect == "navigate"

    def lists(self, state: str) -> tuple[Element, ...]:
        """The lists of items of a page, heads of tables left out."""
        path = self.path(state)
        if path not in self._rows:
            found = [
                one
                for one in self.of_page(state)
                if one.many and one.role in _ROWS and "/thead" not in _place(one)
            ]
            self._rows[path] = tuple(found)
        return self._rows[path]

    def rows_around(self, part: Element) -> Element | None:
        """The list whose items hold `part`, by their paths; else the first of its state."""
        rows = self.lists(part.state)
        path = _place(part)
        around = [one for one in rows if _place(one) and path.startswith(f"{_place(one)}/")]
        if around:
            return max(around, key=lambda one: len(_place(one)))
        return rows[0] if rows and not path else None

    def doors(self, state: str) -> tuple[ItemDoor, ...]:
        """The parts of items over which a state is reached, the shortest way first."""
        if state in self._doors:
            return self._doors[state]
        distances = self._distances_to(state)
        found = []
        for edge in edges_of(self.document):
            one = self.document.by_name[edge.element]
            if not one.many or one.effect not in ("navigate", "read"):
                continue
            steps = min((distances.get(s, 99) for s in self._alike(edge.target)), default=99)
            if steps <= _FURTHEST:
                rows = self.rows_around(one) or one
                found.append(ItemDoor(rows, one, steps))
        found.sort(key=lambda one: one.steps)
        self._doors[state] = tuple(dict.fromkeys(found))
        return self._doors[state]

    def _alike(self, state: str) -> Iterable[str]:
        return self._by_path[self.path(state)]

    def _distances_to(self, goal: str) -> dict[str, int]:
        """How many steps each state is from a goal, over single links, and over no state that is of
        no item."""
        before: dict[str, set[str]] = {}
        for source, edges in self._edges.items():
            for edge in edges:
                one = self.document.by_name[edge.element]
                if one.effect in ("navigate", "read") and not one.many and self.is_of_item(source):
                    before.setdefault(edge.target, set()).add(source)
        found = dict.fromkeys(self._alike(goal), 0)
        waiting = deque(found)
        while waiting:
            state = waiting.popleft()
            nearer = {s for before_it in before.get(state, ()) for s in self._alike(before_it)}
            for source in sorted(nearer - found.keys()):
                found[source] = found[state] + 1
                waiting.append(source)
        return found


def _place(element: Element) -> str:
    return next((one.value for one in element.locators if one.kind == "xpath"), "")
