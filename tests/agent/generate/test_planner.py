"""Plans without a model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adwright.agent.document.elements import Element, Locator
from adwright.agent.generate.planner import plan_scripts
from adwright.agent.language.script import print_script
from adwright.agent.language.statements import CheckRules
from tests.support.agent.shop_document import shop_document

DOCUMENT = shop_document()


@pytest.mark.parametrize(
    ("task", "script"),
    [
        (
            'Set the discount of "Spring" to 25',
            'tap(inside(find($offers__rows, "Spring"), $offers__edit))\n'
            "set_text($offer_edit__share, 25)\ntap($offer_edit__save)\n",
        ),
        (
            "Set the discount of the offer Spring to 12.5 and its status to Closed",
            'tap(inside(find($offers__rows, "Spring"), $offers__edit))\n'
            "set_text($offer_edit__share, 12.5)\n"
            'choose($offer_edit__status, "Closed")\ntap($offer_edit__save)\n',
        ),
        (
            'Create a new offer with name "Summer" and discount 5',
            'set_text($offer_edit__name, "Summer")\nset_text($offer_edit__share, 5)\n'
            "tap($offer_edit__save)\n",
        ),
        (
            'Delete the offer "Autumn"',
            'tap(inside(find($offers__rows, "Autumn"), $offers__edit))\n'
            "tap($offer_delete__confirm)\n",
        ),
        (
            'Send a mail to "ann@shop.example" with text "It is done"',
            'set_text($mail__to, "ann@shop.example")\nset_text($mail__text, "It is done")\n'
            "tap($mail__send)\n",
        ),
        (
            "Launch the budget with amount 50",
            "set_text($budget__amount, 50)\ntap($budget__launch)\n",
        ),
        (
            'Deactivate the offer "Spring"',
            'tap(inside(find($offers__rows, "Spring"), $offers__edit))\n'
            "choose($offer_edit__active, false)\ntap($offer_edit__save)\n",
        ),
        ("How many offers are there?", "answer(len($offers__rows))\n"),
        ("What is the total of the budget?", "answer(get_text($budget__total))\n"),
    ],
)
def test_the_best_plan_does_the_task(task: str, script: str) -> None:
    plans = plan_scripts(task, DOCUMENT)
    assert plans
    assert print_script(plans[0].script.script) == script


#: What deletes the offer, and what deletes a part of it or takes it out of something.
DELETIONS = (
    *('Remove "Autumn" from the offers', 'Please remove the offer "Autumn" from the shop'),
    *('"Autumn" has to go', 'Get rid of "Autumn"', 'Find the offer "Autumn" and delete it'),
    *('The offer "Autumn" is out of date, delete it', 'Erase the entry "Autumn"'),
    *('Take the offer "Autumn" off our list for good', "Could you delete the offer Autumn?"),
    *('Nobody asks for it any more; remove "Autumn" altogether', 'Discard the offer "Autumn".'),
)
PARTS = (
    *('Remove the discount from the offer "Spring".', 'Delete the name of the offer "Spring"'),
    *('Remove "Spring" from the homepage', 'Take the offer "Spring" off the homepage for good'),
    *('Remove "Spring"\'s discount', 'Delete the offer\'s discount, "Spring"'),
    *('From the offer "Spring", remove the discount', 'Erase the discount on "Spring"'),
    *('The discount of "Spring" has to go', 'Get rid of the status of "Spring"'),
    *('The discount for the offer "Spring" should be removed', 'Discard the discount in "Spring"'),
    *('Take "Spring" out of the newsletter permanently', 'Delete the mail about "Spring"'),
    *('Remove the picture "a.png" from the offer "Spring"', 'Delete "Spring" from "Autumn"'),
    *('Wipe the discount that the offer "Spring" has', "Scrap the discount for Spring"),
    *('Delete everything in the discount field of "Spring"', 'Purge the notes under "Spring"'),
    *('Do away with the limit for "Spring"', 'Throw out the second line of "Spring"'),
)


@pytest.mark.parametrize("task", DELETIONS)
def test_an_item_that_is_to_go_is_deleted(task: str) -> None:
    best = plan_scripts(task, DOCUMENT)[0]
    assert best.is_whole
    assert "offer_delete__confirm" in best.script.elements


@pytest.mark.parametrize("task", PARTS)
def test_who_removes_a_part_of_an_item_does_not_delete_it(task: str) -> None:
    for plan in plan_scripts(task, DOCUMENT):
        assert "offer_delete__confirm" not in plan.script.elements


def test_a_flag_that_is_to_be_removed_is_unticked() -> None:
    best = plan_scripts('Remove the active flag from the offer "Spring"', DOCUMENT)[0]
    assert "choose($offer_edit__active, false)" in print_script(best.script.script)


@pytest.mark.parametrize("task", ["Dance", "Please be so kind", "Set the colour to blue"])
def test_what_does_not_fit_has_no_plan(task: str) -> None:
    assert plan_scripts(task, DOCUMENT) == ()


def test_a_plan_passes_the_rules() -> None:
    task = 'Send a mail to "ann@shop.example" with text "It is done"'
    forbidden = CheckRules(forbidden=("message",))
    assert all(
        "mail__send" not in one.script.elements for one in plan_scripts(task, DOCUMENT, forbidden)
    )


def test_plans_are_few_and_ordered() -> None:
    plans = plan_scripts('Set the name of "Spring" to "Summer" and discount to 5', DOCUMENT)
    assert 1 <= len(plans) <= 5
    merits = [one.merit for one in plans]
    assert merits == sorted(merits, reverse=True)


def test_rows_are_those_around_the_link() -> None:
    def at(path: str, name: str) -> Element:
        element = DOCUMENT.by_name[name]
        return replace(element, locators=(*element.locators, Locator("xpath", path, of=0)))

    head = replace(at("/table/thead/tr", "offers__rows"), name="offers__head")
    changed = {
        "offers__rows": at("/table/tbody/tr", "offers__rows"),
        "offers__edit": at("/table/tbody/tr/td/a", "offers__edit"),
    }
    elements = tuple(changed.get(one.name, one) for one in DOCUMENT.elements)
    document = replace(DOCUMENT, elements=(head, *elements))
    plans = plan_scripts('Delete the offer "Autumn"', document)
    assert "find($offers__rows" in print_script(plans[0].script.script)


def test_nobody_is_signed_out_by_a_task_that_does_not_say_so() -> None:
    save = DOCUMENT.by_name["offer_edit__save"]
    out = replace(save, name="offer_edit__log_out", label="Log out")
    document = replace(DOCUMENT, elements=(*DOCUMENT.elements, out))
    plans = plan_scripts('Take "Autumn" out of the offers for good', document)
    assert not any(out.name in one.script.elements for one in plans)
    plans = plan_scripts('Edit "Autumn" and log out', document)
    assert any(out.name in one.script.elements for one in plans)
