"""Recording an app while it is used, and playing it again."""

from __future__ import annotations

from pathlib import Path

import pytest

from adwright.agent.drivers.android.device import PhoneAct, PhoneDevice
from adwright.agent.drivers.android.phone_driver import PhoneDriver
from adwright.agent.drivers.android.recorded import TRANSITIONS, VIEWS, RecordedDevice
from adwright.agent.drivers.android.recorder import RecordingDevice
from adwright.agent.drivers.protocol import DriverError, GateDecision, Screen
from adwright.core.errors import ResourceError
from tests.support.agent.phone_app import APP, ShopPhone
from tests.support.agent.site.browsing import node_of


def used(device: PhoneDevice) -> list[Screen]:
    """The shop, used the same way."""
    driver = PhoneDriver(device, lambda _: GateDecision(True))
    seen = []
    driver.open(APP)
    seen.append(driver.observe())
    driver.scroll(None, "down")
    driver.tap(node_of(driver.observe(), "button", "New offer"))
    screen = driver.observe()
    (pin,) = (one for one in screen.nodes if one.secret)
    driver.set_text(pin, "1234")
    driver.set_text(node_of(screen, "textbox", "Name"), "Oak")
    driver.set_text(node_of(screen, "textbox", "Name"), "Oak lamp")
    driver.choose(node_of(screen, "checkbox", "Active"), "true")
    seen.append(driver.observe())
    driver.tap(node_of(driver.observe(), "button", "Save"))
    seen.append(driver.observe())
    driver.close()
    return seen


def test_what_was_recorded_plays_the_same(tmp_path: Path) -> None:
    phone = ShopPhone()
    first = used(RecordingDevice(phone, tmp_path / "shop"))
    assert phone.closed
    assert used(RecordedDevice(tmp_path / "shop")) == first
    kept = "".join(one.read_text() for one in (tmp_path / "shop").rglob("*.*"))
    assert "1234" not in kept
    assert "Oak lamp" in kept
    # A play of a play is the same recording.
    used(RecordingDevice(RecordedDevice(tmp_path / "shop"), tmp_path / "again"))
    for name in (TRANSITIONS, f"{VIEWS}/0001.xml"):
        one, other = (tmp_path / folder / name for folder in ("shop", "again"))
        assert one.read_bytes() == other.read_bytes()


def test_an_act_leads_to_what_has_come_to_rest(tmp_path: Path) -> None:
    phone = ShopPhone()
    device = RecordingDevice(phone, tmp_path / "shop")
    device.do(PhoneAct("start", text=APP))
    first = device.dump()
    phone.offers.append("Late")
    assert device.dump() != first
    device.do(PhoneAct("back"))
    device.close()
    player = RecordedDevice(tmp_path / "shop")
    player.do(PhoneAct("start", text=APP))
    assert b"Late" in player.dump()
    assert (device.sees_requests, device.picture(), device.requests()) == (False, b"", ())
    assert device.address("a") == "android-app://a/"


def test_acts_that_nobody_looks_at_are_recorded_too(tmp_path: Path) -> None:
    device = RecordingDevice(ShopPhone(), tmp_path)
    device.do(PhoneAct("start", text=APP))
    device.do(PhoneAct("swipe", text="down"))
    device.do(PhoneAct("swipe", text="down"))
    device.do(PhoneAct("swipe", text="down"))
    device.close()
    player = RecordedDevice(tmp_path)
    for act in ("start", "swipe", "swipe"):
        player.do(PhoneAct(act, text=APP if act == "start" else "down"))  # type: ignore[arg-type]
    assert player.seen == ["", "0001", "0002", "0002"]
    assert len((tmp_path / TRANSITIONS).read_text().splitlines()) == 3


def test_a_folder_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    for folder in (tmp_path, tmp_path / "mine"):
        with pytest.raises(ResourceError):
            RecordingDevice(ShopPhone(), folder)
    assert (tmp_path / "mine").read_text() == "mine"


def test_what_is_no_tree_is_not_recorded(tmp_path: Path) -> None:
    device = RecordingDevice(ShopPhone(), tmp_path)
    with pytest.raises(DriverError, match="no view tree"):
        device.dump()
    assert list(tmp_path.iterdir()) == []
