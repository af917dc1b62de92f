"""Plans that answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adwright.agent.document.elements import AppDocument
from adwright.agent.generate.field_values import DocumentForms
from adwright.agent.generate.planner import question_plans
from adwright.agent.generate.task import read_intent, read_task
from adwright.agent.language.script import Script, print_script
from tests.support.agent.shop_document import shop_document

SHOP = shop_document()
_TOTAL = replace(
    SHOP.by_name["offers__rows"],
    name="offers__total",
    role="cell",
    description="one of a list, column Total",
)
DOCUMENT = replace(SHOP, elements=(*SHOP.elements, _TOTAL))


def best(text: str, document: AppDocument = DOCUMENT) -> str:
    intent = read_intent(read_task(text))
    plans = [one for one in question_plans(intent, DocumentForms(document)) if one[2]]
    if not plans:
        return ""
    return print_script(Script(tuple(max(plans, key=lambda one: one[1])[0])))


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("How many offers are there?", "answer(len($offers__rows))\n"),
        (
            'What is the total of the offer "Spring"?',
            'answer(get_text(inside(find($offers__rows, "Spring"), $offers__total)))\n',
        ),
        (
            'Which discount does the offer "Spring" have?',
            'tap(inside(find($offers__rows, "Spring"), $offers__edit))\n'
            'answer(get_attributes($offer_edit__share, "value"))\n',
        ),
        ("What is the total of the budget?", "answer(get_text($budget__total))\n"),
        ('What is the total of the mail "Spring"?', ""),
        ('What is the weight of "Spring"?', ""),
    ],
)
def test_the_best_answer(text: str, script: str) -> None:
    assert best(text) == script


def test_a_page_of_a_longer_list_is_not_counted() -> None:
    following = replace(
        SHOP.by_name["offers__home"], name="offers__next", label="next", target="offers"
    )
    paged = replace(DOCUMENT, elements=(*DOCUMENT.elements, following))
    assert best("How many offers are there?", paged) == ""
