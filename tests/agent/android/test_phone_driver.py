"""Acting on a phone: through the gate, at the right place, and never on what has moved."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from adwright.agent.android.phone_driver import PhoneDriver
from adwright.agent.drivers.protocol import (
    DriverError,
    GateDecision,
    PendingRequest,
    RequestGate,
    ScreenNode,
)
from adwright.agent.language.problems import ScriptError
from adwright.agent.language.values import ElementHandle
from adwright.agent.policy.confirmation import PendingChange
from adwright.agent.policy.gate import GateRules, PolicyGate
from adwright.agent.policy.origins import OriginRules
from adwright.agent.run.screen_world import ScreenWorld
from adwright.agent.run.trace import RunTrace
from adwright.core.clock import FixedClock
from tests.support.agent.phone_app import APP, ShopPhone, phone_document
from tests.support.agent.site.browsing import node_of

ORIGIN = APP.rstrip("/")


def allow(request: PendingRequest) -> GateDecision:
    return GateDecision(True)


def on_form(gate: RequestGate = allow) -> tuple[PhoneDriver, ShopPhone]:
    phone = ShopPhone()
    phone.screen = "edit"
    return PhoneDriver(phone, gate), phone


def test_fields_take_values() -> None:
    driver, phone = on_form()
    phone.typed = {"offer_name": "Old", "pin": "0000"}
    screen = driver.observe()
    assert screen.url == APP
    driver.set_text(node_of(screen, "textbox", "Name"), "Oak lamp")
    driver.choose(node_of(screen, "checkbox", "Active"), "true")
    driver.choose(node_of(screen, "checkbox", "Active"), "true")
    (pin,) = (one for one in screen.nodes if one.secret)
    driver.set_text(pin, "1234")
    assert (phone.typed, phone.active) == ({"offer_name": "Oak lamp", "pin": "1234"}, True)
    assert [one.secret for one in phone.acts if one.kind == "type"] == [False, True]
    assert [one.count for one in phone.acts if one.kind == "clear"] == [3, 4]
    after = driver.observe()
    assert driver.read(node_of(after, "textbox", "Name")) == "Oak lamp"
    assert driver.read(node_of(after, "button", "Save")) == "Save"
    assert driver.read(pin) == ""
    driver.set_text(node_of(after, "textbox", "Name"), "")
    assert phone.typed["offer_name"] == ""
    driver.close()
    assert phone.closed


def test_taps_scrolls_and_keys() -> None:
    phone = ShopPhone()
    driver = PhoneDriver(phone, allow)
    driver.open(APP)
    screen = driver.observe()
    (listed,) = (one for one in screen.nodes if one.role == "list")
    assert not driver.scroll(None, "down")
    assert not driver.scroll(node_of(driver.observe(), "list", listed.name), "up")
    driver.observe()
    assert driver.scroll(listed, "right")
    assert driver.scroll(node_of(screen, "button", "New offer"), "right")
    swipes = [one.text for one in phone.acts if one.kind == "swipe"]
    assert swipes == ["down", "up", "right"]
    with pytest.raises(DriverError, match="to the side"):
        driver.scroll(None, "left")
    spring = next(one for one in screen.nodes if one.role == "listitem")
    driver.long_tap(spring)
    assert (phone.acts[-1].kind, phone.screen) == ("long_tap", "edit")
    assert driver.scroll(None, "down")
    driver.back()
    assert phone.screen == "list"
    driver.tap(node_of(driver.observe(), "button", "New offer"))
    driver.enter()
    assert phone.screen == "saved"


def test_the_gate_is_asked_with_what_is_touched() -> None:
    asked: list[PendingRequest] = []

    def gate(request: PendingRequest) -> GateDecision:
        asked.append(request)
        return GateDecision(request.method != "TAP", "no", "not today")

    driver, phone = on_form(gate)
    screen = driver.observe()
    driver.set_text(node_of(screen, "textbox", "Name"), "Oak")
    phone.active = True
    with pytest.raises(DriverError, match="the gate refuses: not today"):
        driver.tap(node_of(driver.observe(), "button", "Save"))
    driver.enter()
    assert [(one.method, one.url, one.kind) for one in asked] == [
        ("TYPE", f"{APP}offer_name", "touch"),
        ("TAP", f"{APP}save", "touch"),
        ("ENTER", APP, "touch"),
    ]
    assert [dict(one.fields) for one in asked] == [
        {"offer_name": "Oak", "touch": "type on textbox 'Name'"},
        {"offer_name": "Oak", "active": "on", "touch": "tap on button 'Save'"},
        {"offer_name": "Oak", "active": "on", "touch": "the key Enter"},
    ]
    assert [one.decision.allowed for one in driver.requests()] == [True, False, True]
    assert driver.requests() == ()
    assert phone.offers[-1] == "Oak"


def test_no_secret_reaches_the_gate() -> None:
    asked: list[PendingRequest] = []

    def gate(request: PendingRequest) -> GateDecision:
        asked.append(request)
        return GateDecision(True)

    driver, _ = on_form(gate)
    (pin,) = (one for one in driver.observe().nodes if one.secret)
    driver.set_text(pin, "hush")
    assert len(asked) == 1
    assert "hush" not in str(asked)


def test_a_gate_that_fails_says_no() -> None:
    def broken(request: PendingRequest) -> GateDecision:
        raise RuntimeError("gone")

    phone = ShopPhone()
    driver = PhoneDriver(phone, broken)
    with pytest.raises(DriverError, match="the gate failed: gone"):
        driver.open(APP)
    phone.screen = "edit"
    with pytest.raises(DriverError, match="the gate failed"):
        driver.tap(node_of(driver.observe(), "button", "Save"))
    with pytest.raises(DriverError, match="the gate failed"):
        driver.back()
    assert phone.acts == []


def test_what_has_moved_is_not_touched() -> None:
    driver, phone = on_form()
    screen = driver.observe()
    phone.turned = True
    for name in ("Save", "Delete offer"):
        with pytest.raises(DriverError, match="is not on the screen"):
            driver.tap(node_of(screen, "button", name))
    again = driver.observe()
    save = node_of(again, "button", "Save")
    with pytest.raises(DriverError, match="has moved"):
        driver.tap(replace(save, facts={**save.facts, "bounds": "0,0,1,1"}))
    phone.screen = "saved"
    with pytest.raises(DriverError, match="is not on the screen"):
        driver.tap(save)
    assert phone.acts == []


def test_a_screen_that_changes_while_a_person_is_asked_is_not_touched() -> None:
    clock, phone = FixedClock(), ShopPhone()
    phone.screen = "edit"
    changes: list[Callable[[], None]] = []

    def asks(request: PendingRequest) -> GateDecision:
        clock.advance(60)
        changes.pop()()
        return GateDecision(True)

    driver = PhoneDriver(phone, asks, clock=clock)
    save = node_of(driver.observe(), "button", "Save")
    for change, words in (
        (lambda: setattr(phone, "turned", True), "is not on the screen"),
        (lambda: phone.typed.update(offer_name="Other"), "has changed while the gate was asked"),
    ):
        phone.turned = False
        changes.append(change)
        with pytest.raises(DriverError, match=words):
            driver.tap(save)
    assert phone.acts == []
    phone.turned = False
    changes.append(lambda: None)
    driver.tap(save)
    assert phone.screen == "saved"


def test_what_cannot_be_done_is_said() -> None:
    driver, phone = on_form()
    screen = driver.observe()
    save, name = node_of(screen, "button", "Save"), node_of(screen, "textbox", "Name")
    with pytest.raises(DriverError, match="switched off"):
        driver.tap(replace(save, enabled=False))
    with pytest.raises(DriverError, match="takes no text"):
        driver.set_text(save, "a")
    with pytest.raises(DriverError, match="is no switch"):
        driver.choose(name, "true")
    with pytest.raises(DriverError, match="is no switch"):
        driver.choose(node_of(screen, "checkbox", "Active"), "maybe")
    with pytest.raises(DriverError, match="is not on the screen"):
        driver.read(ScreenNode("gone", "button", "Gone"))
    phone.screen = "off"
    with pytest.raises(DriverError, match="no view tree"):
        driver.observe()
    assert phone.acts == []


def test_a_field_that_changes_what_is_typed_is_told() -> None:
    class Corrects(ShopPhone):
        def dump(self) -> bytes:
            return super().dump().replace(b"teh", b"the")

    phone = Corrects()
    phone.screen = "edit"
    driver = PhoneDriver(phone, allow)
    with pytest.raises(DriverError, match="shows 'the', not what was typed"):
        driver.set_text(node_of(driver.observe(), "textbox", "Name"), "teh")


def test_secrets_are_on_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    image = pytest.importorskip("PIL.Image")

    found = io.BytesIO()
    image.new("RGB", (1000, 2000), "white").save(found, "PNG")

    class Pictured(ShopPhone):
        def picture(self) -> bytes:
            return found.getvalue()

    phone = Pictured()
    driver = PhoneDriver(phone, allow)
    phone.screen = "saved"
    driver.observe()
    assert driver.picture() == phone.picture()
    phone.screen = "edit"
    screen = driver.observe()
    shown = image.open(io.BytesIO(driver.picture((node_of(screen, "button", "Save"),))))
    points = [(500, 50), (500, 150), (0, 100), (999, 199), (500, 450), (500, 550)]
    assert [shown.getpixel(one) == (255, 0, 255) for one in points] == [
        *(False, True, True, True, True, False)
    ]
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert driver.picture() == b""


# --- a script on a phone, through the gate of a run -------------------------------------


class Person:
    """Says always the same, and remembers what it was asked."""

    def __init__(self, answer: bool) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def __call__(self, change: PendingChange) -> bool:
        self.asked.append(change.sentence())
        return self.answer


def world(
    *, dry: bool = False, answer: bool = True, origin: str = ORIGIN
) -> tuple[ScreenWorld, ShopPhone, PolicyGate, Person]:
    person, phone = Person(answer), ShopPhone()
    document = replace(phone_document(), origins=(origin,))
    rules = GateRules(OriginRules((origin,)), dry=dry)
    gate = PolicyGate(rules, document, confirm=person)
    made = ScreenWorld(document, PhoneDriver(phone, gate.decide), gate, RunTrace())
    return made, phone, gate, person


def test_a_documented_commit_is_done_and_kept() -> None:
    place, phone, gate, person = world()
    place.go_home()
    place.act("tap", ElementHandle("list__new"), None)
    place.act("set_text", ElementHandle("edit__name"), "Oak lamp")
    place.act("tap", ElementHandle("edit__save"), None)
    assert place.text(ElementHandle("saved__said")) == "Saved"
    assert phone.offers == ["Spring", "Autumn", "Winter", "Oak lamp"]
    (change,) = gate.written
    assert (change.method, change.url, change.effect) == ("TAP", f"{APP}save", "commit")
    assert person.asked == []


def test_a_destructive_tap_is_asked_about_before_it_is_done() -> None:
    for answer, left in ((True, ["Spring", "Autumn"]), (False, ["Spring", "Autumn", "Winter"])):
        place, phone, gate, person = world(answer=answer)
        place.go_home()
        place.act("tap", ElementHandle("list__new"), None)
        if answer:
            place.act("tap", ElementHandle("edit__delete"), None)
        else:
            with pytest.raises(ScriptError, match="not confirmed"):
                place.act("tap", ElementHandle("edit__delete"), None)
        (asked,) = person.asked
        assert asked.startswith("destructive: TAP /delete; 1 of this run; ")
        assert "tap on button 'Delete offer'" in asked
        assert phone.offers == left
        assert len(gate.written) == answer


def test_in_a_dry_run_nothing_that_writes_is_touched() -> None:
    place, phone, gate, _ = world(dry=True)
    place.go_home()
    place.act("tap", ElementHandle("list__new"), None)
    place.act("set_text", ElementHandle("edit__name"), "Oak")
    place.act("tap", ElementHandle("edit__save"), None)
    (change,) = gate.would_send
    assert {one.name: one.new for one in change.fields}["offer_name"] == "Oak"
    assert (phone.offers, phone.screen) == (["Spring", "Autumn", "Winter"], "edit")


def test_a_touch_out_of_turn_and_another_app_are_refused() -> None:
    place, phone, gate, _ = world()
    place.go_home()
    driver = PhoneDriver(phone, gate.decide)
    with pytest.raises(DriverError, match="the script does not act"):
        driver.tap(node_of(driver.observe(), "button", "New offer"))
    assert gate.stray is not None
    other, phone, _, _ = world(origin="android-app://com.other.app")
    phone.screen = "list"
    with pytest.raises(ScriptError):
        other.act("tap", ElementHandle("list__new"), None)
    assert not [one for one in phone.acts if one.kind == "tap"]
