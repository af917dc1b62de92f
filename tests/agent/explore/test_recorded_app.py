"""A recorded app becomes the draft of a document, and a person's changes make it run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adwright.agent.document.elements import AppDocument, AppEdge
from adwright.agent.document.text_format import document_text, parse_document
from adwright.agent.drivers.android.phone_driver import PhoneDriver
from adwright.agent.drivers.android.recorded import TRANSITIONS, RecordedDevice
from adwright.agent.drivers.android.recorder import RecordingDevice
from adwright.agent.drivers.protocol import GateDecision
from adwright.agent.explore.recorded_app import recorded_document
from adwright.agent.language.problems import ScriptError
from adwright.agent.language.values import ElementHandle
from adwright.agent.policy.gate import GateRules, PolicyGate
from adwright.agent.policy.origins import OriginRules
from adwright.agent.run.screen_world import ScreenWorld
from adwright.agent.run.trace import RunTrace
from adwright.core.errors import DataError
from tests.support.agent.phone_app import APP, ShopPhone
from tests.support.agent.site.browsing import node_of


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A person makes an offer."""
    device = RecordingDevice(ShopPhone(), tmp_path / "shop")
    driver = PhoneDriver(device, lambda _: GateDecision(True))
    driver.open(APP)
    driver.tap(node_of(driver.observe(), "button", "New offer"))
    screen = driver.observe()
    driver.set_text(node_of(screen, "textbox", "Name"), "Oak lamp")
    driver.tap(node_of(driver.observe(), "button", "Save"))
    driver.close()
    return tmp_path / "shop"


def test_a_recording_becomes_a_draft(recording: Path) -> None:
    document = recorded_document(recording, "shop", version="7")
    assert (document.app, document.version) == ("shop", "7")
    assert document.origins == ("android-app://com.shop.ads",)
    assert [one.name for one in document.states] == ["spring", "screen", "saved"]
    assert [one.url_template for one in document.states] == ["", "", ""]
    assert document.start == "spring"
    effects = {one.name: one.effect for one in document.elements}
    assert effects == {
        "spring__listitem": "read",
        "spring__delete": "destructive",
        "spring__new_offer": "unknown",
        "screen__name": "draft",
        "screen__pin": "draft",
        "screen__active": "draft",
        "screen__save": "unknown",
        "screen__delete_offer": "destructive",
        "saved__said": "read",
    }
    by_name = document.by_name
    assert by_name["screen__pin"].value_type == "secret"
    assert by_name["screen__save"].requests == ("TAP /save",)
    assert by_name["screen__name"].requests == ()
    assert document.edges == (
        AppEdge("spring", "spring__new_offer", "screen"),
        AppEdge("screen", "screen__save", "saved"),
    )
    assert by_name["screen__save"].target == "saved"
    assert parse_document(document_text(document)) == document


def finished(document: AppDocument) -> AppDocument:
    """As a person leaves it who knows the app."""
    known = {"spring__new_offer": "navigate", "screen__save": "commit"}
    elements = (
        replace(one, effect=known.get(one.name, one.effect))  # type: ignore[arg-type]
        for one in document.elements
    )
    return replace(document, elements=tuple(elements))


def world(document: AppDocument, recording: Path) -> tuple[ScreenWorld, PolicyGate, RecordedDevice]:
    gate = PolicyGate(GateRules(OriginRules(document.origins)), document)
    device = RecordedDevice(recording)
    made = ScreenWorld(document, PhoneDriver(device, gate.decide), gate, RunTrace())
    return made, gate, device


def test_it_runs_on_the_player_when_a_person_has_finished_it(recording: Path) -> None:
    document = finished(recorded_document(recording, "shop"))
    place, gate, device = world(document, recording)
    place.go_home()
    place.act("tap", ElementHandle("spring__new_offer"), None)
    place.act("set_text", ElementHandle("screen__name"), "Oak lamp")
    place.act("tap", ElementHandle("screen__save"), None)
    assert place.text(ElementHandle("saved__said")) == "Saved"
    assert [one.url for one in gate.written] == [f"{APP}save"]
    assert device.seen[-1] == "0004"
    assert place.is_at_start() is False


def test_a_draft_is_refused_what_nobody_has_judged(recording: Path) -> None:
    place, gate, device = world(recorded_document(recording, "shop"), recording)
    place.go_home()
    with pytest.raises(ScriptError, match="is unknown"):
        place.act("tap", ElementHandle("spring__new_offer"), None)
    assert (gate.written, device.seen[-1]) == ([], "0001")


def test_a_broken_recording_is_named(recording: Path) -> None:
    (recording / TRANSITIONS).write_text("{}\n")
    with pytest.raises(DataError, match="its keys are none"):
        recorded_document(recording, "shop")
