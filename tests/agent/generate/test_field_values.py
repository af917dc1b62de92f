"""Values of a task in the fields of a form."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adwright.agent.generate.field_values import DocumentForms, FilledForm, fill_form, label_of
from adwright.agent.generate.task import read_intent, read_task
from adwright.agent.language.script import Script, print_script
from tests.support.agent.shop_document import shop_document

DOCUMENT = shop_document()
FORMS = DocumentForms(DOCUMENT)
FIELDS = FORMS.scope(DOCUMENT.by_name["offer_edit__save"])


def filled(
    text: str, *, picked: str | None = None, named: frozenset[str] = frozenset()
) -> FilledForm:
    intent = read_intent(read_task(text))
    return fill_form(intent, FIELDS, FORMS.weights, picked=picked, named=named)


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Set the discount to 25", "set_text($offer_edit__share, 25)\n"),
        ("The discount should be 12.5", "set_text($offer_edit__share, 12.5)\n"),
        ('Rename it to "Summer"', 'set_text($offer_edit__name, "Summer")\n'),
        ('Set its status to "closed"', 'choose($offer_edit__status, "Closed")\n'),
        ("Make it not active", "choose($offer_edit__active, false)\n"),
        ("Make it active", "choose($offer_edit__active, true)\n"),
        ('Set "Active" to off', "choose($offer_edit__active, false)\n"),
    ],
)
def test_a_value_goes_where_its_label_is(text: str, script: str) -> None:
    assert print_script(Script(filled(text).acts)) == script


def test_each_value_goes_into_one_field() -> None:
    found = filled('Name "Summer", discount 5')
    assert (len(found.acts), found.used) == (2, {"Summer", "5"})


def test_the_item_is_not_typed() -> None:
    assert "Spring" not in filled('Set the name of "Spring" to "Summer"', picked="Spring").used


def test_a_value_that_does_not_fit_is_left() -> None:
    assert filled("Set the discount to 900").acts == ()
    assert filled('Set the status to "Lost"').acts == ()


def test_the_name_of_what_is_made() -> None:
    text = 'Create the offer "Summer"'
    assert filled(text).acts == ()
    found = filled(text, named=frozenset(("offer",)))
    assert print_script(Script(found.acts)) == 'set_text($offer_edit__name, "Summer")\n'


def test_what_is_still_open() -> None:
    assert filled("Set the discount to 25").open == 1
    assert filled('Set the name to "Tea" and the discount to 25').open == 0


def test_what_a_field_is_called() -> None:
    assert label_of(DOCUMENT.by_name["offer_edit__share"]) == "Discount"


def test_values_are_given_to_fields_so_that_all_labels_count_the_most() -> None:
    found = filled('Of the "Summer" name, the discount is 5 and the status "closed"')
    assert print_script(Script(found.acts)) == (
        'set_text($offer_edit__name, "Summer")\nset_text($offer_edit__share, 5)\n'
        'choose($offer_edit__status, "Closed")\n'
    )


def test_the_value_that_no_label_stands_before_is_the_name_of_what_is_made() -> None:
    text = 'Here is "Summer". Make it an offer with 5 as the discount'
    found = filled(text, named=frozenset(("offer",)))
    assert found.used == {"Summer", "5"}
    assert filled(text).used == {"5"}


def test_a_field_that_is_seen_twice_is_filled_once() -> None:
    share = next(one for one in FIELDS if one.name == "offer_edit__share")
    twin = replace(share, name="offer_edit_2__share", state="offer_edit_2")
    intent = read_intent(read_task("The discount is 5, so enter 5, not 7, as the discount"))
    found = fill_form(intent, (share, twin), FORMS.weights, picked=None)
    assert [print_script(Script((one,))) for one in found.acts] == [
        "set_text($offer_edit__share, 5)\n"
    ]
