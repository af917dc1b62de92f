"""A page that asks whether to do what was sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest

from adwright.agent.drivers.protocol import (
    GateDecision,
    PendingRequest,
    Screen,
    ScreenNode,
    SeenRequest,
)
from adwright.agent.language.script import read_script
from adwright.agent.language.statements import check_script
from adwright.agent.policy.gate import GateRules
from adwright.agent.policy.origins import OriginRules
from adwright.agent.run.macros import Postconditions
from adwright.agent.run.runner import RunPolicy, RunReport, run_on_screen
from adwright.agent.run.screen_world import confirming_button, first_sent, repeated, sent_fields
from adwright.core.clock import FixedClock
from tests.support.agent.shop_app import Answer, ShopApp
from tests.support.agent.shop_document import ORIGIN, shop_document
from tests.support.agent.shop_driver import ShopDriver

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


# --- in a run ----------------------------------------------------------------------------

EDIT = """
tap(inside(find($offers__rows, "Spring"), $offers__edit))
set_text($offer_edit__share, 25)
tap($offer_edit__save)
"""
CHECK = """
tap(inside(find($offers__rows, "Spring"), $offers__edit))
expect(number(get_attributes($offer_edit__share, "value")) == 25)
"""


class Asking(ShopApp):
    """Saving an offer is asked about; the page may say something else than was sent."""

    asked: dict[str, str] | None = None
    says: Mapping[str, str] = MappingProxyType({})

    def post(self, path: str, fields: Mapping[str, str]) -> Answer:
        if path.startswith("/offers/") and "sure" not in fields:
            self.asked = {**fields, **self.says, "sure": "yes"}
            return Answer(200, path)
        self.asked = None
        return super().post(path, fields)

    def page(self, path: str) -> list[ScreenNode]:
        if self.asked is None:
            return super().page(path)
        hidden = [
            ScreenNode(name, "hidden", "", value, facts={"name": name}, visible=False)
            for name, value in self.asked.items()
        ]
        facts = {"action": path, "method": "post", "form": "/f"}
        return [*hidden, ScreenNode("sure", "button", "Yes", facts=facts)]


def run(app: Asking, *, heal: bool) -> RunReport:
    document = shop_document()
    return run_on_screen(
        check_script(read_script(EDIT), document),
        document,
        lambda gate: ShopDriver(app, gate),
        RunPolicy(GateRules(OriginRules((ORIGIN,))), confirm=lambda change: True, heal=heal),
        {},
        clock=FixedClock(),
        postconditions=Postconditions(("POST /offers/{}/",), read_script(CHECK)),
    )


def test_a_page_that_asks_to_confirm_is_answered_once() -> None:
    app = Asking()
    report = run(app, heal=True)
    assert (report.verdict, app.offers[7].share) == ("verified", "25")
    assert [one.note for one in report.steps if one.how == "healed"] == ["a page asks to confirm"]
    app = Asking()
    app.says = {"share": "99"}
    report = run(app, heal=True)
    assert report.verdict == "stopped"
    assert report.problem is not None
    assert "else than was sent" in report.problem.what
    assert app.writes == []
    app = Asking()
    report = run(app, heal=False)
    assert (report.verdict, app.writes) == ("stopped", [])
