"""A page that asks whether to do what was sent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adwright.agent.drivers.protocol import (
    GateDecision,
    PendingRequest,
    Screen,
    ScreenNode,
    SeenRequest,
)
from adwright.agent.run.confirming import confirming_button, first_sent, repeated, sent_fields
from tests.support.agent.shop_document import ORIGIN, shop_document

SAVE = shop_document().by_name["offer_edit__save"]
SENT = PendingRequest("POST", f"{ORIGIN}/offers/7/", fields={"share": "25", "token": "x"})
FORM = {"action": "/offers/7/", "method": "post", "form": "/f"}
BUTTON = ScreenNode("1", "button", "Confirm", facts=FORM)
FIELD = ScreenNode("2", "textbox", "Why", facts={"form": "/f", "name": "why"})


def screen(*nodes: ScreenNode) -> Screen:
    return Screen(SENT.url, "Sure?", nodes)


def test_one_button_to_the_same_address_confirms() -> None:
    away = replace(BUTTON, key="3", facts={**FORM, "action": "/logout/"})
    assert confirming_button(screen(BUTTON, away), SAVE, SENT) == BUTTON


@pytest.mark.parametrize(
    "nodes",
    [
        (),
        (BUTTON, replace(BUTTON, key="2", name="Cancel")),
        (BUTTON, FIELD),
        (replace(BUTTON, enabled=False),),
        (replace(BUTTON, visible=False),),
        (replace(BUTTON, name="Delete it"),),
        (replace(BUTTON, facts={**FORM, "method": "get"}),),
        (replace(BUTTON, facts={**FORM, "action": "/offers/8/"}),),
        (replace(BUTTON, facts={**FORM, "action": "http://other.test/offers/7/"}),),
    ],
)
def test_nothing_else_does(nodes: tuple[ScreenNode, ...]) -> None:
    assert confirming_button(screen(*nodes), SAVE, SENT) is None


def test_only_an_answer_that_leads_nowhere_can_ask() -> None:
    yes, get = GateDecision(allowed=True), PendingRequest("GET", SENT.url)
    loaded = SeenRequest(get, yes, 200)
    assert first_sent([loaded, SeenRequest(SENT, yes, 200)]) == SENT
    assert first_sent([SeenRequest(SENT, yes, 303), loaded]) is None
    assert first_sent([SeenRequest(SENT, GateDecision(False), 200)]) is None
    assert first_sent([loaded]) is None


def test_what_the_page_showed_must_be_repeated() -> None:
    assert repeated(SENT, {"share": "10"}) == {"share": "25"}
    on = ScreenNode("4", "checkbox", "Active", "true", facts={"name": "active"})
    off = replace(on, value="false", facts={"name": "off"})
    secret = replace(FIELD, secret=True)
    shown = sent_fields([replace(FIELD, value="so"), on, off, secret, BUTTON])
    assert shown == {"why": "so", "active": "on"}
