"""The item with the most or the least of something: 'Choose the cheapest room'.

    best = read_best("the cheapest room")        # is_most False, words for prices
    best_act(best, "the cheapest room", targets, forms)

Of the items of a list the script compares the numbers when it runs, with a loop; of buttons or
cards that stand alone, the document has the numbers in their names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from adwright.agent.document.columns import column_of
from adwright.agent.document.elements import Element
from adwright.agent.generate.acts.act_targets import ActTargets
from adwright.agent.generate.form_ways import DocumentForms
from adwright.agent.generate.task_terms import terms_of
from adwright.agent.language.field_values import number_in
from adwright.agent.language.tree import (
    Act,
    Assignment,
    BinaryTerm,
    Branch,
    ElementUse,
    Expression,
    IndexedTerm,
    Operator,
    Repetition,
    Statement,
    VariableUse,
    VerbCall,
    WholeLiteral,
)

__all__ = ["BestOf", "best_act", "read_best"]

_MOST = r"greatest|largest|highest|biggest|longest|most expensive|most|maximum|latest|oldest"
_LEAST = r"smallest|lowest|cheapest|shortest|least expensive|least|fewest|minimum|youngest"
_BEST = re.compile(rf"\b(?:(?P<most>{_MOST})|(?P<least>{_LEAST}))\b", re.I)
_TIME = re.compile(r"\b(?:longest|shortest|duration|time)\b", re.I)
_TIMES = frozenset(("duration", "tim", "length", "hour", "minut"))
_RECORDS = ("row", "listitem", "article")


@dataclass(frozen=True)
class BestOf:
    """is_most: the greatest is wanted, else the smallest. terms: of what is compared."""

    is_most: bool
    terms: frozenset[str]


def read_best(words: str) -> BestOf | None:
    """What the words compare; None where they compare nothing."""
    found = _BEST.search(words)
    if found is None:
        return None
    terms = frozenset(terms_of(words[found.end() :]))
    return BestOf(bool(found["most"]), terms | (_TIMES if _TIME.search(words) else frozenset()))


def best_act(
    best: BestOf, words: str, targets: ActTargets, forms: DocumentForms
) -> list[Statement] | None:
    """The statements that tap it; None where nothing on the page can be compared."""
    for rows in targets.lists(_RECORDS):
        parts = [one for one in targets.all if one.many and forms.rows_around(one) is rows]
        taps = [one for one in parts if one.role in ("button", "link")]
        if len(taps) == 1:
            return _loop(best, rows, _compared(best, parts, taps[0]), taps[0])
    return _of_names(best, targets)


def _compared(best: BestOf, parts: Sequence[Element], tapped: Element) -> Element:
    """The part whose column is spoken of, or else what is tapped."""
    for one in parts:
        if one.role in ("cell", "gridcell") and set(terms_of(column_of(one))) & best.terms:
            return one
    return tapped


def _loop(best: BestOf, rows: Element, compared: Element, tapped: Element) -> list[Statement]:
    use = ElementUse(rows.name)

    def number(item: Expression) -> Expression:
        part = VerbCall("inside", (item, ElementUse(compared.name)))
        return VerbCall("number", (VerbCall("get_text", (part,)),))

    best_one, row = VariableUse("best"), VariableUse("row")
    operator: Operator = ">" if best.is_most else "<"
    is_better = BinaryTerm(operator, number(row), number(best_one))
    return [
        Assignment("best", IndexedTerm(use, WholeLiteral(0))),
        Repetition("row", use, (Branch(is_better, (Assignment("best", row),)),)),
        Act(VerbCall("tap", (VerbCall("inside", (best_one, ElementUse(tapped.name))),))),
    ]


def _of_names(best: BestOf, targets: ActTargets) -> list[Statement] | None:
    """Of parts of a page that are called by numbers and are of one role."""
    alike: dict[str, list[Element]] = {}
    for one in targets.all:
        is_tapped = not one.many and one.role in ("generic", "button", "link")
        if is_tapped and number_in(one.label) is not None:
            alike.setdefault(one.role, []).append(one)
    several = [many for many in alike.values() if len(many) > 1]
    if len(several) != 1:
        return None
    ranked = sorted(several[0], key=lambda one: number_in(one.label) or 0)
    one = ranked[-1] if best.is_most else ranked[0]
    return [Act(VerbCall("tap", (ElementUse(one.name),)))]
