"""Whether a script is one for the task."""

from __future__ import annotations

from decimal import Decimal

import pytest

from adwright.agent.generate.task import read_intent, read_task
from adwright.agent.generate.writing import task_numbers, why_unfit
from adwright.agent.language.script import read_script
from adwright.agent.language.statements import check_script
from tests.support.agent.shop_document import shop_document

DOCUMENT = shop_document()
OPEN = 'tap(inside(find($offers__rows, "Spring"), $offers__edit))\n'
SAVE = "tap($offer_edit__save)\n"
SHARE = f"{OPEN}set_text($offer_edit__share, 25)\n{SAVE}"
GONE = f"{OPEN}tap($offer_edit__delete)\ntap($offer_delete__confirm)\n"
READ = 'answer(get_text(find($offers__rows, "Spring")))\n'


def said(task: str, script: str) -> list[str]:
    checked = check_script(read_script(script), DOCUMENT)
    return [one.what for one in why_unfit(read_intent(read_task(task)), checked, DOCUMENT)]


def test_numbers_of_a_task_are_those_in_figures() -> None:
    found = task_numbers(read_task("Set 1,200.50 and 25% of item-7, on 2026-03-01"))
    assert found == tuple(map(Decimal, ("1200.50", "25", "2026")))
    assert task_numbers(read_task("Set it to 12,50")) == (Decimal("12.5"),)
    assert task_numbers(read_task('Set the share of "Spring 5" to zero')) == ()


def test_what_cannot_stand_in_a_script_is_not_asked_of_it() -> None:
    choose = f"{OPEN}choose($offer_edit__active, false)\n{SAVE}"
    assert said('Set "Active" of "Spring" to "off"', choose) == []
    assert said("How many offers have a discount over 10?", "answer(len($offers__rows))\n") == []
    assert said('Set the discount of "Spring" to 1,250.50', OPEN + SAVE) == [
        "the task's '1,250.50' is not used"
    ]


@pytest.mark.parametrize(
    ("task", "problems"),
    [
        ('Set the discount of "Spring" to 25', []),
        ('Set the discount of "Spring" to a great many', []),
        (
            'Set the discount of "Spring" to 250',
            ["25 is no number of the task", "the task's '250' is not used"],
        ),
        ('Set the discount of "Autumn" to 25', ["the task's 'Autumn' is not used"]),
        # The label of an element is no value, and a word in capitals may be none.
        ('Set "Discount" of "Spring" at Easter to 25', []),
    ],
)
def test_values_are_those_of_the_task_and_all_of_them(task: str, problems: list[str]) -> None:
    assert said(task, SHARE) == problems


def test_a_question_is_answered_and_nothing_is_written_for_it() -> None:
    assert said('What is the discount of "Spring"?', READ) == []
    assert said('What is the discount of "Spring"?', OPEN) == [
        "the task is a question, and nothing is answered"
    ]
    assert said('What is the discount of "Spring"?', READ + GONE) == [
        "the task is a question, and the script writes"
    ]


def test_what_is_to_be_deleted_is_not_read_instead() -> None:
    assert said('Delete the offer "Spring"', GONE) == []
    assert said('Delete the offer "Spring"', READ) == ["nothing is sent"]


def test_places_are_told() -> None:
    checked = check_script(read_script(SHARE), DOCUMENT)
    task = read_intent(read_task('Set the discount of "Spring" to 17'))
    assert [one.line for one in why_unfit(task, checked, DOCUMENT)] == [2, 1]
