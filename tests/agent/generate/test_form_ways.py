"""Forms of a document, and the ways to them."""

from __future__ import annotations

from dataclasses import replace

from adwright.agent.document.elements import Locator, column_of
from adwright.agent.generate.field_values import DocumentForms
from tests.support.agent.shop_document import shop_document

DOCUMENT = shop_document()
FORMS = DocumentForms(DOCUMENT)


def test_the_fields_of_a_form() -> None:
    names = [one.name for one in FORMS.scope(DOCUMENT.by_name["mail__send"])]
    assert names == ["mail__to", "mail__text"]


def test_fields_of_another_form_are_left_out() -> None:
    def in_form(name: str, form: int) -> Locator:
        return Locator("xpath", f"/html[1]/form[{form}]/{name}")

    moved = {"mail__to": 1, "mail__text": 2, "mail__send": 2}
    elements = tuple(
        replace(one, locators=(in_form(one.role, moved[one.name]),)) if one.name in moved else one
        for one in DOCUMENT.elements
    )
    forms = DocumentForms(replace(DOCUMENT, elements=elements))
    send = forms.document.by_name["mail__send"]
    assert [one.name for one in forms.scope(send)] == ["mail__text"]


def test_doors_lead_through_items() -> None:
    (edit,) = FORMS.doors("offer_edit")
    assert (edit.rows.name, edit.door and edit.door.name, edit.steps) == (
        "offers__rows",
        "offers__edit",
        0,
    )
    assert [one.steps for one in FORMS.doors("offer_delete")] == [1]
    assert FORMS.doors("mail") == ()


def test_words_of_states() -> None:
    assert FORMS.path_terms("offer_delete") == {"offer", "delet"}
    assert "edit" in FORMS.terms("offer_edit")
    assert {"offer", "mail", "budget"} <= FORMS.kinds
    assert FORMS.is_of_item("offer_edit")
    assert not FORMS.is_of_item("offers")


def test_columns_stand_in_descriptions() -> None:
    rows = DOCUMENT.by_name["offers__rows"]
    assert column_of(replace(rows, description="one of a list, column Total tax")) == "Total tax"
    assert column_of(rows) == ""


def test_a_list_that_goes_on() -> None:
    home = DOCUMENT.by_name["offers__home"]
    following = replace(home, name="offers__next", label="next", target="offers")
    paged = DocumentForms(replace(DOCUMENT, elements=(*DOCUMENT.elements, following)))
    assert (FORMS.is_paged("offers"), paged.is_paged("offers")) == (False, True)
