"""A screen as the world of a script."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adwright.agent.drivers.protocol import ScreenNode
from adwright.agent.language.problems import ScriptError
from adwright.agent.language.values import ElementHandle
from adwright.agent.policy.gate import GateRules, PolicyGate
from adwright.agent.policy.origins import OriginRules
from adwright.agent.run.screen_world import ScreenWorld, WorldSettings
from adwright.agent.run.trace import RunTrace
from tests.support.agent.shop_app import ShopApp
from tests.support.agent.shop_document import ORIGIN, shop_document
from tests.support.agent.shop_driver import ShopDriver

DOCUMENT = shop_document()


def world(app: ShopApp | None = None, settings: WorldSettings | None = None) -> ScreenWorld:
    gate = PolicyGate(GateRules(OriginRules((ORIGIN,))), DOCUMENT)
    driver = ShopDriver(app or ShopApp(), gate.decide)
    made = ScreenWorld(DOCUMENT, driver, gate, RunTrace(), settings)
    made.go_home()
    return made


def test_reading_goes_where_the_element_is() -> None:
    place = world()
    assert place.text(ElementHandle("budget__total")) == "100.00"
    rows = place.items("offers__rows")
    assert [one.seen for one in rows] == ["Spring 10% Open", "Autumn 20% Open"]
    inner = ElementHandle("offers__edit", within=rows[1])
    assert place.attribute(inner, "label") == "Edit"
    assert place.attribute(inner, "enabled") is True
    assert place.attribute(inner, "visible") is True
    place.act("tap", inner, None)
    assert place.attribute(ElementHandle("offer_edit__name"), "value") == "Autumn"
    assert place.attribute(ElementHandle("offer_edit__active"), "checked") is True
    assert place.attribute(ElementHandle("offer_edit__active"), "selected") is False
    with pytest.raises(ScriptError):
        place.attribute(ElementHandle("offer_edit__active"), "__class__")


def test_a_secret_is_not_read() -> None:
    place = world()
    place.act("set_text", ElementHandle("sign_in__password"), "typed")
    assert place.attribute(ElementHandle("sign_in__password"), "value") == ""
    assert place.text(ElementHandle("sign_in__password")) == ""


def test_scrolling_needs_a_direction() -> None:
    place = world()
    assert place.act("scroll", None, "down") is True
    assert place.act("scroll", ElementHandle("home__mail"), "up") is True
    with pytest.raises(ScriptError):
        place.act("scroll", None, "inwards")


def test_a_page_that_is_not_the_start_is_told() -> None:
    app = ShopApp(labels={name: "x" for name in ("Offers", "Mail", "Budget", "Sign in")})
    app.test_ids = {f"home-{one}": "x" for one in ("offers", "mail", "budget", "sign-in")}
    with pytest.raises(ScriptError, match="not in the document") as caught:
        world(app)
    assert caught.value.code == "wrong_state"


def test_what_is_switched_off_is_not_tapped() -> None:
    class Off(ShopApp):
        def page(self, path: str) -> list[ScreenNode]:
            return [replace(one, enabled=one.name != "Mail") for one in super().page(path)]

    with pytest.raises(ScriptError, match="switched off"):
        world(Off()).act("tap", ElementHandle("home__mail"), None)


def test_links_are_healed_where_it_is_allowed() -> None:
    def moved() -> ShopApp:
        return ShopApp(labels={"Mail": "MAIL"}, test_ids={"home-mail": "x"})

    with pytest.raises(ScriptError):
        world(moved()).act("tap", ElementHandle("home__mail"), None)
    place = world(moved(), WorldSettings(heal=True))
    place.act("tap", ElementHandle("home__mail"), None)
    assert [one.after.name for one in place.healed] == ["home__mail"]
    place.act("set_text", ElementHandle("mail__to"), "a")
    assert place.text(ElementHandle("mail__to")) == "a"


def test_a_write_is_healed_only_where_it_is_checked() -> None:
    def moved() -> ShopApp:
        return ShopApp(labels={"Save": "SAVE"}, test_ids={"offer_edit-save": "x"})

    save = ElementHandle("offer_edit__save")
    for settings, heals in ((WorldSettings(heal=True), False), (WorldSettings(True, True), True)):
        app = moved()
        place = world(app, settings)
        place.act("set_text", ElementHandle("offer_edit__name"), "New")
        if heals:
            place.act("tap", save, None)
        else:
            with pytest.raises(ScriptError):
                place.act("tap", save, None)
        assert bool(app.writes) == heals


def test_a_form_that_comes_back_is_not_saved() -> None:
    save = replace(DOCUMENT.by_name["offer_edit__save"], target=None)
    elements = tuple(save if one.name == save.name else one for one in DOCUMENT.elements)
    document = replace(DOCUMENT, elements=elements)
    gate = PolicyGate(GateRules(OriginRules((ORIGIN,))), document)
    for name, fails in (("", True), ("Summer", False)):
        driver = ShopDriver(ShopApp(), gate.decide)
        place = ScreenWorld(document, driver, gate, RunTrace())
        place.go_home()
        place.act("set_text", ElementHandle("offer_edit__name"), name)
        if fails:
            with pytest.raises(ScriptError, match="came back"):
                place.act("tap", ElementHandle("offer_edit__save"), None)
        else:
            place.act("tap", ElementHandle("offer_edit__save"), None)


def test_a_link_that_leads_elsewhere_stops_the_run() -> None:
    place = world(ShopApp(actions={"Mail": "/budget/"}))
    with pytest.raises(ScriptError, match="led to budget") as caught:
        place.act("tap", ElementHandle("home__mail"), None)
    assert caught.value.code == "effect"
