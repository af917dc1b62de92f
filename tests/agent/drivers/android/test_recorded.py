"""The player of recorded apps: what was recorded, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adwright.agent.drivers.android.device import PhoneAct
from adwright.agent.drivers.android.phone_driver import PhoneDriver
from adwright.agent.drivers.android.recorded import (
    TRANSITIONS,
    VIEWS,
    RecordedDevice,
    Transition,
    read_transitions,
)
from adwright.agent.drivers.protocol import DriverError, GateDecision
from adwright.core.errors import DataError, FileUnreadableError
from tests.support.agent.phone_app import APP, button, drawn, node, view_of
from tests.support.agent.site.browsing import node_of

HOME = drawn(button("Offers", 0, "offers"), button("Budget", 200, "budget"))
OFFERS = drawn(node("TextView", (0, 0, 1000, 100), text="3 offers", id="said"))
BUDGET = drawn(
    node("EditText", (0, 0, 1000, 100), id="pin", password="true"), button("Ok", 200, "ok")
)


def line(before: str, act: str, node_id: str, after: str, text: str | None = "") -> str:
    trees = {"home": HOME, "offers": OFFERS, "budget": BUDGET}
    path = view_of(trees[before], node_id).path if node_id else ""
    return json.dumps({"from": before, "act": act, "node": path, "text": text, "to": after})


LINES = (
    line("", "start", "", "home", APP),
    line("home", "tap", "offers", "offers"),
    line("offers", "back", "", "home"),
    line("home", "tap", "budget", "budget"),
    line("budget", "tap", "pin", "budget"),
    line("budget", "type", "pin", "budget", None),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / VIEWS).mkdir()
    for name, data in (("home", HOME), ("offers", OFFERS), ("budget", BUDGET)):
        (tmp_path / VIEWS / f"{name}.xml").write_bytes(data)
    (tmp_path / TRANSITIONS).write_text("\n".join(LINES) + "\n")
    return tmp_path


def driver_of(device: RecordedDevice) -> PhoneDriver:
    return PhoneDriver(device, lambda _: GateDecision(True))


def test_a_recorded_app_is_walked_through(folder: Path) -> None:
    device = RecordedDevice(folder)
    driver = driver_of(device)
    with pytest.raises(DriverError, match="no app is open"):
        driver.observe()
    driver.open(APP)
    driver.tap(node_of(driver.observe(), "button", "Offers"))
    screen = driver.observe()
    assert (screen.url, driver.read(screen.nodes[0])) == (APP, "3 offers")
    driver.back()
    driver.tap(node_of(driver.observe(), "button", "Budget"))
    (pin,) = (one for one in driver.observe().nodes if one.secret)
    driver.set_text(pin, "whatever")
    assert device.seen == ["", "home", "offers", "home", "budget", "budget", "budget"]
    assert (driver.picture(), device.requests()) == (b"", ())
    driver.close()


@pytest.mark.parametrize(
    "act",
    [
        PhoneAct("back"),
        PhoneAct("tap", "/hierarchy/no[1]"),
        PhoneAct("long_tap", view_of(HOME, "offers").path),
        PhoneAct("type", view_of(HOME, "offers").path, text="a"),
        PhoneAct("start", text="android-app://com.other.app/"),
    ],
    ids=lambda one: one.kind,
)
def test_what_was_not_recorded_is_never_guessed(folder: Path, act: PhoneAct) -> None:
    device = RecordedDevice(folder)
    device.do(PhoneAct("start", text=APP))
    with pytest.raises(DriverError, match=r"was not recorded .*nothing is guessed"):
        device.do(act)
    assert device.dump() == HOME


def test_two_outcomes_are_not_chosen_from(folder: Path) -> None:
    with (folder / TRANSITIONS).open("a") as stream:
        stream.write(line("home", "tap", "offers", "budget") + "\n")
    device = RecordedDevice(folder)
    device.do(PhoneAct("start", text=APP))
    with pytest.raises(DriverError, match="two outcomes"):
        device.do(PhoneAct("tap", view_of(HOME, "offers").path))
    device.do(PhoneAct("tap", view_of(HOME, "budget").path))
    assert device.dump() == BUDGET


def test_a_secret_stands_only_for_a_secret(folder: Path) -> None:
    told = Transition("a", "type", "n", "b", None)
    assert told.is_of("a", PhoneAct("type", "n", text="x", secret=True))
    assert not told.is_of("a", PhoneAct("type", "n", text="x"))
    assert read_transitions(folder / TRANSITIONS)[-1].text is None


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{", "no transition"),
        ("[1]", "no transition"),
        ("[" * 5000, "no transition"),
        ('{"from": "home", "act": "tap", "node": ""}', "its keys are act, from, node"),
        ('{"from": "home", "act": "push", "node": "", "to": "home"}', "act"),
        ('{"from": "../x", "act": "tap", "node": "", "to": "home"}', "no name of a tree"),
        ('{"from": "home", "act": "tap", "node": 3, "to": "home"}', "node"),
        ('{"from": "home", "act": "tap", "node": "", "to": "home", "wait": 1}', "wait"),
    ],
)
def test_a_broken_line_is_named(folder: Path, row: str, words: str) -> None:
    (folder / TRANSITIONS).write_text(f"{LINES[0]}\n\n{row}\n")
    with pytest.raises(DataError, match=words) as caught:
        RecordedDevice(folder)
    assert (caught.value.row, caught.value.file) == (2, str(folder / TRANSITIONS))


def test_a_broken_folder_is_named(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (folder / VIEWS / "offers.xml").write_text("<html/>")
    with pytest.raises(FileUnreadableError, match=r"offers\.xml"):
        RecordedDevice(folder)
    (folder / VIEWS / "offers.xml").unlink()
    with pytest.raises(FileUnreadableError, match="cannot be read"):
        RecordedDevice(folder)
    (folder / VIEWS / "offers.xml").symlink_to("/etc/passwd")
    with pytest.raises(FileUnreadableError, match="no regular file"):
        RecordedDevice(folder)
    (folder / TRANSITIONS).write_text("\n")
    with pytest.raises(DataError, match="is empty"):
        RecordedDevice(folder)
    with pytest.raises(FileUnreadableError, match=r"a recording is a folder"):
        RecordedDevice(tmp_path_factory.mktemp("other"))
