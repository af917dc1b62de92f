"""adwright agent check-phone."""

from __future__ import annotations

from pathlib import Path

from tests.support.commands import call


def test_what_does_not_work_is_told(tmp_path: Path) -> None:
    program = tmp_path / "adb"
    program.write_text('#!/bin/sh\necho "$@" >> "$0.asked"\nexit 1\n', "utf-8")
    program.chmod(0o755)
    said = call("agent", "phone", "emulator-5554", "--adb", program, "--port", 5999, code=1)
    assert "FAIL connection" in said
    assert "cannot be driven as it is" in said
    asked = (tmp_path / "adb.asked").read_text("utf-8")
    assert "5999" in asked
    assert "emulator-5554" in asked


def test_a_serial_is_one() -> None:
    assert "no serial of a device" in call("agent", "phone", "a; reboot", code=2)
