"""The item with the most or the least."""

from __future__ import annotations

import pytest

from adwright.agent.generate.acts import ActTargets, best_act, read_best
from adwright.agent.generate.field_values import DocumentForms
from adwright.agent.language.script import Script, print_script
from tests.support.agent.act_pages import ROOMS, forms, part


def plan(words: str, page: DocumentForms) -> str:
    best = read_best(words)
    assert best is not None
    found = best_act(best, words, ActTargets(page, "page"), page)
    return print_script(Script(tuple(found or ())))


@pytest.mark.parametrize(
    ("words", "compared", "sign"),
    [("the cheapest room", "take", "<"), ("the room with the longest time", "free", ">")],
)
def test_numbers_of_items_are_compared_when_the_script_runs(
    words: str, compared: str, sign: str
) -> None:
    def number(item: str) -> str:
        return f"number(get_text(inside({item}, $page__{compared})))"

    assert plan(words, ROOMS) == (
        "best = $page__rows[0]\nfor row in $page__rows:\n"
        f"    if {number('row')} {sign} {number('best')}:\n        best = row\n"
        "tap(inside(best, $page__take))\n"
    )


def test_of_cards_that_stand_alone_their_names_are_compared() -> None:
    cards = forms(*(part(f"page__c{n}", "generic", n) for n in ("7", "12", "3")))
    assert plan("the highest card", cards) == "tap($page__c12)\n"


def test_what_compares_nothing() -> None:
    assert read_best("the second room") is None
