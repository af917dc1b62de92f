"""Looking whether a phone can be driven."""

from __future__ import annotations

from pathlib import Path

import pytest

from adwright.agent.drivers.phone_check import AdbSettings, PhoneCheck, PhoneReport, check_phone

VIEWS = '<hierarchy><node package="com.shop.ads" text="Save" /></hierarchy>'
#: An `adb` that runs what it is asked to on this machine, in the place of a phone.
LOCAL = """#!/bin/sh
shift 4
case "$1" in
  get-state) echo device ;;
  shell|exec-out) cd {folder}; PATH="{folder}:$PATH" exec sh -c "$2" ;;
esac
"""
PROGRAMS = {
    "getprop": "echo 14",
    "wm": "echo Physical size: 1080x2400",
    "uiautomator": 'cp view.xml "$2"; echo "UI hierchary dumped to: $2"',
    "screencap": "printf '\\211PNG\\r\\n\\032\\n'",
    "input": "echo input >> touched",
    "am": "echo am >> touched",
    "dumpsys": "echo mInputShown=false",
}


def scripted(folder: Path, **other: str) -> AdbSettings:
    for name, body in (PROGRAMS | other).items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    (folder / "view.xml").write_text(VIEWS)
    (folder / "adb").write_text(LOCAL.format(folder=folder))
    (folder / "adb").chmod(0o755)
    return AdbSettings("R5CT", program=str(folder / "adb"), folder=str(folder))


def test_a_phone_that_works_is_looked_at_and_not_touched(tmp_path: Path) -> None:
    report = check_phone(scripted(tmp_path))
    assert report.works, report.text()
    names = ("connection", "phone", "quoting", "status", "screen", "views", "picture")
    assert tuple(one.name for one in report.checks) == (*names, "commands", "keyboard")
    lines = report.text().splitlines()
    assert "ok   screen: 1080 x 2400 pixels" in lines
    assert "ok   views: 1 of com.shop.ads" in lines
    assert lines[-1] == "R5CT can be driven"
    assert not (tmp_path / "touched").exists()
    assert not (tmp_path / "adwright-view.xml").exists()


@pytest.mark.parametrize(
    ("name", "body", "check"),
    [
        ("wm", "echo no", "screen"),
        ("uiautomator", "echo ERROR: null root node", "views"),
        ("screencap", "echo no", "picture"),
        ("dumpsys", "true", "keyboard"),
        ("getprop", "exit 1", "phone"),
        ("false", "true", "status"),
        ("printf", "echo other", "quoting"),
        ("which", "exit 1", "commands"),
    ],
)
def test_what_does_not_work_is_named(tmp_path: Path, name: str, body: str, check: str) -> None:
    settings = scripted(tmp_path, **{name: body})
    if name in ("false", "printf"):
        # Parts of the shell itself.
        adb = tmp_path / "adb"
        adb.write_text(adb.read_text().replace('"$2"', f'"command {tmp_path}/$2"'))
    report = check_phone(settings)
    failed = {one.name for one in report.checks if not one.works}
    assert check in failed
    assert name in ("false", "printf") or failed == {check}
    assert f"FAIL {check}: " in report.text()
    assert report.text().endswith("R5CT cannot be driven as it is")


def test_without_a_phone_there_is_one_line(tmp_path: Path) -> None:
    report = check_phone(AdbSettings("R5CT", program=str(tmp_path / "adb")))
    (only,) = report.checks
    assert (only.name, only.works) == ("connection", False)
    assert "install Android's platform tools" in only.said
    assert PhoneReport("a", (PhoneCheck("b", True, "c"),)).works
