"""Which elements a task is about: 10 to 30 of all, with the way to them.

    found = ElementIndex(document).retrieve('Set the discount of "Spring" to 25')
    found.elements               # best first, then what belongs to their forms, and their doors

Each of the best brings what it is of no use without: the button of its form, fields of the form
that the task names or that must be filled, and the list and link that lead to an item's page.
What stands on most pages, and other views of the same page, are left out. The rank is that of BM25
over what the document says of each element.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from adwright.agent.document.elements import AppDocument, Element, edges_of, frame_of, variants_of
from adwright.agent.generate.task import near_terms, terms_of
from adwright.agent.run.locate import form_of
from adwright.authoring.describe.rankers import Bm25
from adwright.core.config import Count, settings

_ITEMS = ("row", "listitem", "article")
#: So many buttons of a form, and doors of an item's page, are taken.
_BUTTONS, _DOORS = 2, 2
#: Words of tasks, and of the elements that are meant by them.
_EFFECT_WORDS = {
    "commit": "save set change update create add edit submit rename apply",
    "destructive": "delete remove erase cancel discard",
    "message": "send mail message notify reply write",
    "spend": "pay buy order launch spend budget publish",
    "navigate": "open go show view list",
    "read": "read what how many show",
    "draft": "set fill type enter choose select",
    "unknown": "",
}


@settings
class RetrieveConfig:
    """best: elements that are taken by rank. most: with what belongs to them; what is ranked lower
    is left out."""

    best: Count = 10
    most: Count = 30


@dataclass(frozen=True)
class RetrievedElements:
    """elements: at most `most`. ranked: how many of them were found by rank; the others belong to
    these. states: of the elements."""

    elements: tuple[Element, ...]
    ranked: int

    @property
    def states(self) -> tuple[str, ...]:
        """The states in which they stand."""
        return tuple(dict.fromkeys(one.state for one in self.elements))


class ElementIndex:
    """The elements of a document, ready to be searched."""

    def __init__(self, document: AppDocument) -> None:
        self._document = document
        frame, variants = frame_of(document), variants_of(document)
        self._left_out = frozenset(
            one.name for one in document.elements if one.name in frame or one.state in variants
        )
        self._doors = _doors(document, self._left_out)
        self._bm25 = Bm25([_text(document, one) for one in document.elements])

    def retrieve(self, task: str, config: RetrieveConfig | None = None) -> RetrievedElements:
        """The elements that a task is about."""
        config = config or RetrieveConfig()
        terms = frozenset(terms_of(task))
        elements = self._document.elements
        best: list[Element] = []
        found: dict[str, Element] = {}
        for place in self.ranks(task):
            one = elements[place]
            if one.name in self._left_out:
                continue
            if len(best) >= config.best or len(found) >= config.most:
                break
            best.append(one)
            found.setdefault(one.name, one)
            for other in self._around(one, terms):
                found.setdefault(other.name, other)
        kept = tuple(found.values())[: config.most]
        names = {one.name for one in best}
        ranked = [one for one in kept if one.name in names]
        others = [one for one in kept if one.name not in names]
        return RetrievedElements((*ranked, *others), len(ranked))

    def ranks(self, task: str) -> list[int]:
        """The places of all elements in the document, best first; those without a word of the task
        come last."""
        return [int(n) for n in np.argsort(-self._bm25.scores(task), kind="stable")]

    def _around(self, element: Element, terms: frozenset[str]) -> Iterable[Element]:
        """What sends a field, its neighbours that the task names, the rows of a list, its door."""
        document = self._document
        same = [
            one for one in document.elements_of(element.state) if one.name not in self._left_out
        ]
        form = form_of(element)
        mine = [one for one in same if form_of(one) == form]
        if element.value_type != "none":
            sends = [one for one in mine if one.value_type == "none" and _sends(one)]
            yield from sorted(sends, key=lambda one: len(one.label))[:_BUTTONS]
        if element.value_type != "none" or element.writes:
            yield from (
                one
                for one in mine
                if one.value_type != "none" and (one.constraints.required or _is_named(one, terms))
            )
        if element.many:
            yield from (one for one in same if one.many and one.role in _ITEMS)
        for door in self._doors.get(_path(document, element.state), ())[:_DOORS]:
            yield door
            yield from (
                row
                for row in document.elements_of(door.state)
                if row.many and row.role in _ITEMS and row is not door
            )


def _sends(element: Element) -> bool:
    return element.role == "button" and element.effect not in ("read", "unknown", "draft")


def _is_named(element: Element, terms: frozenset[str]) -> bool:
    """Whether the task has a word of the label, or one that is near it."""
    own = terms_of(element.label)
    return any(one in terms or near_terms(one) & terms for one in own)


def _path(document: AppDocument, state: str) -> str:
    return document.state_by_name[state].url_template.partition("?")[0] or state


def _doors(document: AppDocument, left_out: frozenset[str]) -> Mapping[str, Sequence[Element]]:
    """By the path of an item's page, the links of lists that lead to it; where there are none,
    those that lead to a page one link before it."""
    direct: dict[str, list[Element]] = defaultdict(list)
    onward: dict[str, set[str]] = defaultdict(set)
    for edge in edges_of(document):
        link = document.by_name[edge.element]
        if link.name in left_out or link.effect not in ("navigate", "read"):
            continue
        source, target = _path(document, edge.source), _path(document, edge.target)
        if source == target:
            continue
        if link.many:
            direct[target].append(link)
        else:
            onward[target].add(source)
    found = {path: list(links) for path, links in direct.items()}
    for target, sources in onward.items():
        if "{}" in target and target not in found:
            further = [one for source in sorted(sources) for one in direct.get(source, ())]
            found[target] = list(dict.fromkeys(further))
    return found


def _text(document: AppDocument, element: Element) -> str:
    """What is searched: names, label, options and words for the effect."""
    state = document.state_by_name[element.state]
    parts = [element.name.replace("_", " "), element.label, element.label, element.role]
    parts += [state.title, " ".join(element.options[:20]), element.description[:200]]
    return " ".join([*parts, _EFFECT_WORDS[element.effect]])
