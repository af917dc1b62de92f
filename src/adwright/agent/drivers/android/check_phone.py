"""Whether a phone can be driven: looks at all that a run needs, and touches nothing.

    report = check_phone(AdbSettings("emulator-5554"))
    report.works
    report.text()             # a line each: what works, what does not, and what to do about it

This is how one tries a real phone, on which adwright has not been run yet: it conforms to ADB 34
and to recorded UIAutomator trees.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from adwright.agent.drivers.android.adb import AdbDevice, AdbSettings
from adwright.agent.drivers.android.phone_screen import screen_of
from adwright.agent.drivers.android.ui_tree import read_ui_tree
from adwright.agent.drivers.protocol import DriverError
from adwright.core.errors import AdwrightError

__all__ = ["PhoneCheck", "PhoneReport", "check_phone"]

#: A text that does harm in a shell where it is not quoted.
_NASTY = "a b; echo 'c' $(echo d) `echo e` \"$HOME\" \\ * > /dev/null & #"


@dataclass(frozen=True)
class PhoneCheck:
    """One thing that was looked at. said: what the phone answered, or what is wrong with it."""

    name: str
    works: bool
    said: str


@dataclass(frozen=True)
class PhoneReport:
    """All that was looked at."""

    serial: str
    checks: tuple[PhoneCheck, ...]

    @property
    def works(self) -> bool:
        """Whether all of it works."""
        return all(one.works for one in self.checks)

    def text(self) -> str:
        """A line each."""
        lines = [f"{'ok  ' if one.works else 'FAIL'} {one.name}: {one.said}" for one in self.checks]
        end = "can be driven" if self.works else "cannot be driven as it is"
        return "\n".join([*lines, f"{self.serial} {end}"])


def check_phone(settings: AdbSettings) -> PhoneReport:
    """Walk through what a run needs: connection, shell, views, picture, commands.

    No app is opened and nothing is touched; one file is written on the phone, and deleted. What
    does not work is in the report, never raised.
    """
    try:
        device = AdbDevice(settings)
    except AdwrightError as error:
        return PhoneReport(settings.serial, (PhoneCheck("connection", False, str(error)),))
    looks: tuple[tuple[str, Callable[[AdbDevice], str]], ...] = (
        ("phone", _model),
        ("quoting", _quoting),
        ("status", _status),
        ("screen", _screen_size),
        ("views", _views),
        ("picture", _picture),
        ("commands", _commands),
        ("keyboard", _keyboard),
    )
    checks = [PhoneCheck("connection", True, f"adb reaches {settings.serial}")]
    for name, look in looks:
        try:
            checks.append(PhoneCheck(name, True, look(device)))
        except AdwrightError as error:
            checks.append(PhoneCheck(name, False, str(error)))
    return PhoneReport(settings.serial, tuple(checks))


def _model(device: AdbDevice) -> str:
    names = ("ro.product.model", "ro.build.version.release", "ro.build.version.sdk")
    model, release, sdk = (device.shell("getprop", one).strip() for one in names)
    return f"{model or 'no name'}, Android {release or '?'} (API {sdk or '?'})"


def _quoting(device: AdbDevice) -> str:
    said = device.shell("printf", "%s", _NASTY)
    if said != _NASTY:
        raise DriverError("the phone's shell changes what is quoted", where=said[:80])
    return "texts reach the phone as they are"


def _status(device: AdbDevice) -> str:
    """Without it, a command that fails looks like one that went well."""
    try:
        device.shell("false")
    except DriverError:
        return "commands that fail say so"
    raise DriverError(
        "a command that fails looks like one that went well",
        hint="this is so before Android 7: use a newer phone",
    )


def _screen_size(device: AdbDevice) -> str:
    said = device.shell("wm", "size")
    found = re.findall(r"(?<!\d)(\d+)x(\d+)", said)
    if not found:
        raise DriverError("the size of the screen is not told", where=said[:80])
    width, height = found[-1]  # an override stands after the physical size
    return f"{width} x {height} pixels"


def _views(device: AdbDevice) -> str:
    tree = read_ui_tree(device.views())
    nodes = [one for one in screen_of(tree, "").nodes if one.visible]
    return f"{len(tree.views)} of {tree.package or 'no app'}, {len(nodes)} of them mean something"


def _picture(device: AdbDevice) -> str:
    return f"{len(device.picture()):,} bytes of PNG"


def _commands(device: AdbDevice) -> str:
    for name in ("input", "am"):
        device.shell("which", name)
    return "input and am are there"


def _keyboard(device: AdbDevice) -> str:
    if "mInputShown=" not in device.shell("dumpsys", "input_method", checked=False):
        raise DriverError(
            "the phone does not tell whether its keyboard is open",
            hint="close it by hand after a text: it may lie over what is touched next",
        )
    return "it is told whether it is open"
