"""Which elements a task is about: 10 to 30 of all, with the way to them.

    found = ElementIndex(document).retrieve('Set the discount of "Spring" to 25')
    found.elements               # best first, then what is on the way or belongs to their forms

BM25 over what the document says of each element; with an encoder, the ranks of both are fused
(reciprocal rank fusion, Cormack et al. 2009: sum of 1 / (60 + rank)).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from adwright.agent.document.elements import AppDocument, Element
from adwright.agent.document.routes import find_route
from adwright.authoring.describe.bm25 import Bm25
from adwright.core.config import check_literals, require_count

__all__ = ["ElementIndex", "Encode", "RetrieveConfig", "RetrievedElements"]

#: Vectors of B texts, float32 [B, D], each of length 1; `SentenceEncoder.encode` is one.
Encode: TypeAlias = Callable[[Sequence[str]], npt.NDArray[np.float32]]
_FUSION = 60
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


@dataclass(frozen=True)
class RetrieveConfig:
    """best: elements that are taken by rank. most: with what belongs to them; what is ranked lower
    is left out."""

    best: int = 10
    most: int = 30

    def __post_init__(self) -> None:
        check_literals(self)
        require_count("best", self.best)
        require_count("most", self.most)


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

    def __init__(self, document: AppDocument, *, encode: Encode | None = None) -> None:
        self._document = document
        self._encode = encode
        texts = [_text(document, one) for one in document.elements]
        self._bm25 = Bm25(texts)
        self._vectors = encode(texts) if encode is not None and texts else None

    def retrieve(self, task: str, config: RetrieveConfig | None = None) -> RetrievedElements:
        """The elements that a task is about."""
        config = config or RetrieveConfig()
        elements = self._document.elements
        order = self.ranks(task)
        best = [elements[n] for n in order[: config.best]]
        found = {one.name: one for one in best}
        for one in [*best]:
            for other in self._around(one):
                found.setdefault(other.name, other)
        kept = tuple(found.values())[: config.most]
        return RetrievedElements(kept, min(len(best), len(kept)))

    def ranks(self, task: str) -> list[int]:
        """The places of all elements in the document, best first; those without a word of the task
        come last."""
        scores = self._bm25.scores(task)
        fused = _reciprocal(scores)
        if self._encode is not None and self._vectors is not None:
            near = self._vectors @ self._encode([task])[0]
            fused = fused + _reciprocal(near.astype(np.float64))
        return [int(n) for n in np.argsort(-fused, kind="stable")]

    def _around(self, element: Element) -> Iterable[Element]:
        """What sends a field, what a button needs, the rows of a list, and the way there."""
        document = self._document
        same = document.elements_of(element.state)
        if element.value_type != "none":
            yield from (one for one in same if one.writes and one.value_type == "none")
        if element.writes:
            yield from (one for one in same if one.constraints.required)
        if element.many:
            yield from (one for one in same if one.many)
        yield from self._way(element.state)

    def _way(self, state: str) -> Iterable[Element]:
        document = self._document
        route = find_route(document, document.start, state) or ()
        for edge in route:
            one = document.by_name[edge.element]
            yield one
            if one.many:
                yield from (row for row in document.elements_of(one.state) if row.many)


def _text(document: AppDocument, element: Element) -> str:
    """What is searched: names, label, options and words for the effect."""
    state = document.state_by_name[element.state]
    parts = [element.name.replace("_", " "), element.label, element.label, element.role]
    parts += [state.title, " ".join(element.options[:20]), element.description[:200]]
    return " ".join([*parts, _EFFECT_WORDS[element.effect]])


def _reciprocal(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """1 / (60 + rank), from 1; 0 where the score is not positive."""
    order = np.argsort(-scores, kind="stable")
    found = np.zeros(len(scores))
    found[order] = 1.0 / (_FUSION + 1 + np.arange(len(scores)))
    return np.where(scores > 0, found, 0.0)
