"""Plans for tasks that say what to do on a page, act by act: 'Select "Tea" and press Submit'.

    for body, merit, is_whole in act_plans(intent, forms):
        ...                       # choose($page__tea, true), tap($page__submit)

Each part of a task has a verb and what it is done to: a value that is the name of an element, words
of its label, its place among its kind, or an item of a list. What is typed goes into the field that
the part names, or into the only one that is left. A plan is whole where each part has its act.
"""

from __future__ import annotations

from collections.abc import Iterator

from adwright.agent.generate.acts.best_item import read_best
from adwright.agent.generate.acts.item_acts import ItemActs
from adwright.agent.generate.acts.task_parts import ActPart, read_parts
from adwright.agent.generate.form_ways import DocumentForms
from adwright.agent.generate.task_intent import TaskIntent
from adwright.agent.generate.task_terms import terms_of
from adwright.agent.language.tree import Statement

__all__ = ["act_plans"]

#: What a part loses for which there is no act. Our choice.
_MISSING = 2.0


def act_plans(
    intent: TaskIntent, forms: DocumentForms
) -> Iterator[tuple[list[Statement], float, bool]]:
    """One plan for each page that has elements for some of the parts."""
    parts = read_parts(intent.task.text)
    if all(one.kind in ("do", "look") and not read_best(one.rest) for one in parts):
        return
    seen: set[str] = set()
    for state in forms.document.states:
        path = forms.path(state.name)
        if path in seen:
            continue
        seen.add(path)
        plan = ItemActs(intent, forms, state.name)
        missing = sum(not _is_done(plan, part) for part in parts)
        plan.send_rest()
        if plan.body:
            yield plan.body, plan.merit - _MISSING * missing, not missing


def _is_done(plan: ItemActs, part: ActPart) -> bool:
    """Whether a part has its act now, or needs none."""
    if part.kind == "look" or not (terms_of(part.rest) or part.values):
        return True
    return plan.add(part)
