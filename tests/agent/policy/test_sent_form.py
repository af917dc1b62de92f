"""What a form may send."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adwright.agent.drivers.protocol import PendingRequest, Screen, ScreenNode
from adwright.agent.policy.gate import SentForm, left_behind, sent_form

HERE = "https://shop.example/offers/7/"
SHAPES = ("POST /offers/{}/",)
FORM = {"form": "/html/form"}
FACTS = FORM | {"tag": "button", "action": HERE, "method": "POST"}
LIST = {"name": "status", "tag": "select"}
SAVE = ScreenNode("9", "button", "Save", facts=FACTS)
FIELDS = (
    ScreenNode("1", "textbox", "Name", "Spring  sale", facts=FORM | {"name": "name"}),
    ScreenNode("2", "spinbutton", "Share", "25", facts=FORM | {"name": "share"}),
    ScreenNode("3", "combobox", "Status", "Open", facts=FORM | LIST | {"chosen": "2"}),
    ScreenNode("4", "textbox", "Tag", "a", facts=FORM | {"name": "tag"}),
    ScreenNode("5", "textbox", "Tag", "b", facts=FORM | {"name": "tag"}),
    ScreenNode("6", "textbox", "Key", "", secret=True, facts=FORM | {"name": "key"}),
    ScreenNode("7", "listbox", "Shelf", "A, B", facts=FORM | {"name": "shelf", "multiple": ""}),
    ScreenNode("8", "textbox", "Search", "tea", facts={"name": "q", "form": "/html/form[2]"}),
)
SCREEN = Screen(HERE, "Spring", (*FIELDS, SAVE))


def request(url: str = HERE, **fields: str) -> PendingRequest:
    return PendingRequest("POST", url, fields=fields)


def test_what_stands_there_is_sent() -> None:
    form = sent_form(SCREEN, SAVE, ("q",))
    assert form == SentForm(
        "POST", HERE, {"name": "Spring  sale", "share": "25", "status": "2", "q": "tea"}
    )
    assert "q" not in sent_form(SCREEN, SAVE, ()).fields
    sent = request(
        name="Spring\r\nsale", share="25.00", status="2", tag="a, b", shelf="1, 2", token="x"
    )
    assert form.why_not(sent, SHAPES) == ""
    assert form.why_not(request(), SHAPES) == ""


@pytest.mark.parametrize(
    ("name", "value"), [("share", "90"), ("share", "25, 0.01"), ("name", "Sold"), ("status", "3")]
)
def test_a_value_that_nobody_typed_is_told(name: str, value: str) -> None:
    why = sent_form(SCREEN, SAVE, ()).why_not(request(**{name: value}), SHAPES)
    assert name in why
    assert value in why


def test_a_form_is_of_one_record() -> None:
    form = sent_form(SCREEN, SAVE, ())
    for other in (f"{HERE}?next=1", HERE.replace("7", "8")):
        assert "its form goes to" in form.why_not(request(other), SHAPES)
    # A script that sends something else of what the document knows.
    shapes = (*SHAPES, "POST /offers/{}/status/")
    assert form.why_not(request(f"{HERE}status/"), shapes) == ""


@pytest.mark.parametrize(
    "node",
    [
        replace(SAVE, facts=FACTS | {"type": "button"}),
        replace(SAVE, facts=FACTS | {"tag": "a"}),
        replace(SAVE, facts=FACTS | {"method": "GET"}),
        replace(SAVE, facts={"tag": "button"}),
    ],
    ids=["script", "link", "search", "no form"],
)
def test_what_sends_no_form_has_no_address(node: ScreenNode) -> None:
    form = sent_form(SCREEN, node, ("share",))
    assert (form.method, form.address) == ("", "")
    assert form.why_not(request(HERE.replace("7", "8"), share="25"), SHAPES) == ""
    assert form.why_not(request(share="90"), SHAPES) != ""


def test_a_button_leaves_the_fields_of_other_forms_behind() -> None:
    filled = {"offer__name": "/html/form", "offer__note": "/html/form[2]"}
    assert left_behind(filled, SAVE) == "offer__note"
    assert left_behind({"offer__name": "/html/form", "offer__q": ""}, SAVE) == ""
    for other in ({"type": "button"}, {"method": "GET"}, {"form": ""}):
        assert left_behind(filled, replace(SAVE, facts=FACTS | other)) == ""
