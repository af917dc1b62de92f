"""Plans for questions: how many items a list has, what stands in a column or a field of one.

    for body, merit, is_whole in question_plans(intent, forms):
        ...                   # answer(get_text(inside(find($orders__row, "7"), $orders__total)))

A list that goes on on other pages is not counted: the number would be that of one page.
"""

from __future__ import annotations

from collections.abc import Iterator

from adwright.agent.document.columns import column_of
from adwright.agent.document.elements import Element
from adwright.agent.generate.form_ways import DocumentForms, ItemDoor
from adwright.agent.generate.item_names import named_item
from adwright.agent.generate.task_intent import TaskIntent
from adwright.agent.generate.task_terms import terms_of
from adwright.agent.language.tree import (
    Act,
    ElementUse,
    Expression,
    Statement,
    TextLiteral,
    VerbCall,
)

__all__ = ["question_plans"]

_STRANGE, _STEP = 0.35, 0.4
_ASKING = frozenset(
    ("how", "many", "much", "count", "number", "read", "tell", "look", "up", "find", "out", "show")
)


def question_plans(
    intent: TaskIntent, forms: DocumentForms
) -> Iterator[tuple[list[Statement], float, bool]]:
    """All plans of a question: statements, merit, and whether each value has its place."""
    asked = [one for one in intent.terms if one not in _ASKING]
    if intent.kind == "count":
        yield from _counts(asked, forms)
        return
    sure = {one.value for one in intent.values if not one.named}
    items = [one.value for one in intent.values] if intent.values else []
    for one in forms.document.elements:
        for value in items:
            cue = next(cue for cue in intent.values if cue.value == value)
            kind = set() if cue.owns else set(cue.before[-1:]) & set(forms.kinds)
            wanted = [term for term in asked if term not in kind] or asked
            for body, merit, state in _of_item(one, value, wanted, forms):
                about = forms.terms(state) | forms.path_terms(one.state)
                likely, is_known = named_item(intent, forms, value, about)
                yield body, merit + 0.3 * likely, sure <= {value} and is_known
        if not sure and _is_read(one):
            fit = _fit(one, asked, forms)
            if fit is not None and not one.many:
                merit = fit + 0.5 * _about(one.state, asked, forms)
                yield [_said(_reading(one, ElementUse(one.name)))], merit, True


def _counts(
    asked: list[str], forms: DocumentForms
) -> Iterator[tuple[list[Statement], float, bool]]:
    weights = forms.weights
    for state in forms.document.states:
        if forms.is_paged(state.name):
            continue
        for rows in forms.lists(state.name):
            if rows.state != state.name:
                continue
            merit = _about(state.name, asked, forms)
            if merit <= 0:
                continue
            place = 0.3 if rows.role == "row" else 0.0
            merit += place - 0.1 * weights.of(set(forms.terms(state.name)) - set(asked)) / 10
            yield [_said(VerbCall("len", (ElementUse(rows.name),)))], merit, True


def _about(state: str, asked: list[str], forms: DocumentForms) -> float:
    """How much a state is about what is asked, less what else its path says."""
    weights = forms.weights
    path = forms.path_terms(state)
    shared = weights.shared(asked, forms.terms(state))
    strange = {one for one in path if not weights.shared([one], asked)}
    return shared - _STRANGE * weights.of(strange) if shared else 0.0


def _of_item(
    one: Element, value: str, asked: list[str], forms: DocumentForms
) -> Iterator[tuple[list[Statement], float, str]]:
    """Readings of one part of an item, in its list or on its own page, and the list's state."""
    merit = _fit(one, asked, forms)
    if merit is None:
        return
    if one.many:
        rows = forms.rows_around(one)
        if rows is None or rows is one:
            return
        item = VerbCall("find", (ElementUse(rows.name), TextLiteral(value)))
        inner = VerbCall("inside", (item, ElementUse(one.name)))
        yield [_said(_reading(one, inner))], merit + _about(rows.state, asked, forms), rows.state
    elif _is_read(one) and (one.state not in forms.free or forms.is_of_item(one.state)):
        for door in forms.doors(one.state)[:3]:
            about = max(_about(s, asked, forms) for s in (one.state, door.rows.state))
            reading = _said(_reading(one, ElementUse(one.name)))
            yield (
                [Act(VerbCall("tap", (_in_item(door, value),))), reading],
                merit + about - _STEP * (1 + door.steps),
                door.rows.state,
            )


def _fit(one: Element, asked: list[str], forms: DocumentForms) -> float | None:
    """How much of what is asked a column or label says; None where it says nothing of it."""
    if one.value_type == "secret" or one.role in ("heading", "button", "tab"):
        return None
    label = set(terms_of(column_of(one) if one.many else one.label))
    if not label or (one.many and one.role not in ("cell", "gridcell", "link")):
        return None
    shared = forms.weights.shared(label, asked)
    if not shared:
        return None
    strange = forms.weights.of(label) - shared
    # What is about the list as a whole tells nothing of its parts.
    own = label - set(forms.path_terms(one.state))
    if own and not forms.weights.shared(own, asked):
        return None
    return 1.5 * shared - _STRANGE * strange


def _is_read(one: Element) -> bool:
    return one.value_type not in ("none", "secret", "file") or one.role in (
        "status",
        "alert",
        "cell",
    )


def _reading(one: Element, term: Expression) -> Expression:
    if one.value_type in ("none",):
        return VerbCall("get_text", (term,))
    if one.value_type == "switch":
        return VerbCall("get_attributes", (term, TextLiteral("checked")))
    return VerbCall("get_attributes", (term, TextLiteral("value")))


def _said(term: Expression) -> Statement:
    return Act(VerbCall("answer", (term,)))


def _in_item(door: ItemDoor, value: str) -> Expression:
    item = VerbCall("find", (ElementUse(door.rows.name), TextLiteral(value)))
    if door.door is None or door.door is door.rows:
        return item
    return VerbCall("inside", (item, ElementUse(door.door.name)))
