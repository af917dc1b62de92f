"""The adapter, against the real adbd in a network of its own, and texts against a shell."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adwright.agent.android.adb import (
    AdbDevice,
    AdbSettings,
    shell_command,
    typing_chunks,
)
from adwright.agent.android.phone_driver import PhoneAct, PhoneDriver
from adwright.agent.drivers.protocol import DriverError, GateDecision
from adwright.core.errors import ConfigError, ResourceError
from tests.support.agent.phone_machine import PhoneMachine, phone_machine
from tests.support.agent.site.browsing import node_of

APP = "android-app://com.shop.ads/"
NASTY = "a b 'c' \"d\" $(touch /tmp/x) `id` \\ ; & | < > * ? ~ # ! {e,f} [g]"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PhoneMachine]:
    with phone_machine(tmp_path_factory.mktemp("phone")) as machine:
        yield machine


@pytest.fixture
def phone(machine: PhoneMachine) -> PhoneMachine:
    machine.reset()
    return machine


def inputs(machine: PhoneMachine) -> list[list[str]]:
    return [json.loads(one) for one in (machine.folder / "inputs").read_text().splitlines()]


def test_an_app_is_used_over_the_wire(phone: PhoneMachine) -> None:
    driver = PhoneDriver(AdbDevice(phone.settings), lambda _: GateDecision(True))
    driver.open(f"{APP}.OffersActivity")
    assert "am: com.shop.ads/.OffersActivity\n" in (phone.folder / "log").read_text()
    screen = driver.observe()
    assert [(one.role, one.name) for one in screen.nodes] == [
        ("text", "New offer"),
        ("textbox", "offer name"),
        ("button", "Save"),
    ]
    field = node_of(screen, "textbox", "offer name")
    driver.set_text(field, "20% sale %s")
    driver.set_text(field, "Tea")
    driver.tap(node_of(driver.observe(), "button", "Save"))
    (said,) = driver.observe().nodes
    assert (said.name, driver.read(said)) == ("Saved Tea", "Saved Tea")
    assert inputs(phone)[:6] == [
        ["tap", "500", "250"],
        ["text", "20%"],
        ["text", "%ssale%s%"],
        ["text", "s"],
        ["keyevent", "111"],
        ["tap", "500", "250"],
    ]
    assert inputs(phone)[6:8] == [["keyevent", "123"], ["keyevent", *["67"] * 11]]
    assert driver.picture().startswith(b"\x89PNG")
    assert not (phone.folder / "adwright-view.xml").exists()
    assert len(driver.requests()) == 4


def test_fingers_and_keys(phone: PhoneMachine) -> None:
    device = AdbDevice(replace(phone.settings, package="com.shop.ads"))
    device.do(PhoneAct("long_tap", x=7, y=8))
    device.do(PhoneAct("swipe", x=1, y=2, to_x=3, to_y=4))
    device.do(PhoneAct("clear", count=230))
    device.do(PhoneAct("enter"))
    device.do(PhoneAct("back"))
    sent = inputs(phone)
    assert sent[:3] == [
        ["swipe", "7", "8", "7", "8", "1000"],
        ["swipe", "1", "2", "3", "4", "400"],
        ["keyevent", "123"],
    ]
    assert [len(one) - 1 for one in sent[3:6]] == [100, 100, 30]
    assert sent[6:] == [["keyevent", "66"], ["keyevent", "4"]]
    device.do(PhoneAct("start", text="https://shop.example/offers?a=1&b=$(id)"))
    device.do(PhoneAct("start", text=APP))
    log = (phone.folder / "log").read_text()
    assert "am: -d\nam: https://shop.example/offers?a=1&b=$(id)\nam: -p\n" in log
    assert log.endswith("am: android.intent.category.LAUNCHER\nam: com.shop.ads\n")
    assert device.address("a.b") == "android-app://a.b/"
    device.close()


def test_the_screen_is_waited_for_and_an_old_one_never_shown(phone: PhoneMachine) -> None:
    device = AdbDevice(phone.settings)
    trouble, log = phone.folder / "trouble", phone.folder / "log"
    (phone.folder / "adwright-view.xml").write_text("<hierarchy/>")
    trouble.write_text("ERROR: could not get idle state.\n" * 2)
    assert b"New offer" in device.dump()
    assert len(log.read_text().splitlines()) == 3
    (phone.folder / "adwright-view.xml").write_text("<hierarchy/>")
    trouble.write_text("ERROR: null root node returned by UiTestAutomationBridge.\n" * 3)
    with pytest.raises(DriverError, match=r"null root node.*the screen is locked"):
        device.dump()
    hurried = AdbDevice(replace(phone.settings, dumps=1))
    trouble.write_text("ERROR: could not get idle state.\n" * 2)
    with pytest.raises(DriverError, match="moves all the time"):
        hurried.dump()


def test_a_keyboard_is_closed_before_one_looks(phone: PhoneMachine) -> None:
    device = AdbDevice(phone.settings)
    for state, keys in (("true", ["111"]), ("stuck", ["111", "4"]), ("false", [])):
        phone.reset()
        (phone.folder / "keyboard").write_text(state)
        device.dump()
        assert [one[1] for one in inputs(phone)] == keys
        assert (phone.folder / "keyboard").read_text() == "false"
    (phone.folder / "keyboard").write_text("true")
    device.views()
    assert (phone.folder / "keyboard").read_text() == "true"


def test_any_text_reaches_the_phone_as_one_argument(phone: PhoneMachine) -> None:
    device = AdbDevice(phone.settings)
    words = [NASTY, "", "-n", "%s", "é\u202e雪", "line\nbreak\ttab", "A=b", "'" * 9]
    said = device.shell("printf", r"%s\0", *words)
    assert said.split("\0")[:-1] == words
    with pytest.raises(DriverError, match="NUL"):
        device.shell("echo", "a\0b")


def test_what_goes_wrong_on_the_phone_is_told(phone: PhoneMachine) -> None:
    device = AdbDevice(phone.settings)
    with pytest.raises(DriverError, match="status 7"):
        device.shell("sh", "-c", "exit 7")
    with pytest.raises(DriverError, match="unable to resolve Intent"):
        device.do(PhoneAct("start", text="android-app://com.other.app/"))
    for address in (
        *("file:///etc/passwd", "https://shop.example/", "intent:#Intent;end", "", "android-app:"),
        *("android-app://com.shop.ads;id/", f"{APP}a/b", "android-app://nopackage/", f"{APP}$(id)"),
    ):
        with pytest.raises(DriverError):
            device.do(PhoneAct("start", text=address))
    with pytest.raises(DriverError, match="cannot type 'é'"):
        device.do(PhoneAct("type", text="café"))
    (phone.folder / "picture.png").rename(phone.folder / "away.png")
    try:
        with pytest.raises(DriverError, match="picture"):
            device.picture()
    finally:
        (phone.folder / "away.png").rename(phone.folder / "picture.png")
    assert inputs(phone) == []
    with pytest.raises(DriverError) as caught:
        device.shell("sh", "-c", "exit 1", "hush")
    assert "hush" not in str(caught.value)
    slow = AdbDevice(replace(phone.settings, seconds=0.3))
    with pytest.raises(DriverError, match=r"does not answer within 0\.3 seconds"):
        slow.shell("sleep", "1")


def test_a_phone_that_is_not_there_is_told(phone: PhoneMachine) -> None:
    with pytest.raises(ResourceError, match=r"not found.*`adb devices` lists"):
        AdbDevice(replace(phone.settings, serial="R5CT0001"))
    with pytest.raises(ResourceError, match="no adb on this machine"):
        AdbDevice(AdbSettings("emulator-5554", program="/nowhere/adb"))


def test_a_phone_that_has_not_allowed_it_is_told(tmp_path: Path) -> None:
    program = tmp_path / "adb"
    for said, words in (
        ("echo error: device unauthorized. >&2; exit 1", "allow debugging by this computer"),
        ("echo error: device offline >&2; exit 1", "connect anew"),
        ("echo recovery", "not ready: 'recovery'"),
    ):
        program.write_text(f"#!/bin/sh\n{said}\n")
        program.chmod(0o755)
        with pytest.raises(ResourceError, match=words):
            AdbDevice(AdbSettings("R5CT", program=str(program)))
    program.chmod(0o644)
    with pytest.raises(ResourceError, match="adb does not start"):
        AdbDevice(AdbSettings("R5CT", program=str(program)))


@pytest.mark.parametrize("serial", ["", "-s", "a b", "a;b", "a\n", "$(id)", "x" * 200])
def test_a_serial_is_a_serial(serial: str) -> None:
    with pytest.raises(ConfigError, match="no serial"):
        AdbSettings(serial)
    for good in ("emulator-5554", "192.168.1.7:5555", "[fe80::1%eth0]:5555", "R58M_1"):
        assert AdbSettings(good).serial == good
    with pytest.raises(ConfigError, match="no package"):
        AdbSettings("a", package="a; b")
    with pytest.raises(ConfigError):
        AdbSettings("a", dumps=0)


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


@settings(max_examples=8, deadline=None)
@example([NASTY, "$(exit 3)", "';exit 4;'", "\\", "\n", "-e", "%s"])
@given(st.lists(WORDS, min_size=20, max_size=40))
def test_no_text_breaks_out_of_its_quotes(words: list[str]) -> None:
    command = shell_command("printf", r"%s\0", *words)
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=True)
    assert done.stdout.decode("utf-8").split("\0")[:-1] == words
    assert done.stderr == b""


def android_types(word: str) -> str:
    """What `input text` types: InputShellCommand.sendText, letter by letter."""
    found: list[str] = []
    escaped = False
    for letter in word:
        if escaped and letter == "s":
            found[-1] = " "
        else:
            found.append(letter)
        escaped = letter == "%"
    return "".join(found)


ASCII = st.text(st.sampled_from([*"% s%sab'\"$\\~!"]), max_size=20)


@settings(max_examples=200, deadline=None)
@example("%s %%s s% ")
@given(ASCII)
def test_what_is_typed_is_the_text(text: str) -> None:
    chunks = typing_chunks(text)
    assert "".join(map(android_types, chunks)) == text
    assert "" not in chunks
    assert all(" " not in one for one in chunks)


@pytest.mark.parametrize("text", ["é", "a\nb", "\t", "\x7f", "雪", "\0"])
def test_what_input_cannot_type_is_refused(text: str) -> None:
    with pytest.raises(DriverError, match="cannot type"):
        typing_chunks(text)
