"""Whether a phone answers all that driving it would take; nothing on it is opened or touched.

    report = check_phone(AdbSettings("emulator-5554"))
    report.works
    report.text()             # a line each: what works, what does not, and what to do about it

adwright drives no phone yet: no document of an app on one can be made. This tells beforehand
whether yours could be driven, behind the stock client of ADB 34. The client is started without a
shell of this machine; a command is a text for the phone's shell, in which every argument is quoted.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from adwright.agent.drivers.protocol import DriverError
from adwright.core.config import Count, settings
from adwright.core.errors import AdwrightError, ConfigError, ResourceError

_SERIAL = re.compile(r"[A-Za-z0-9_\[][A-Za-z0-9._:\[\]%-]{0,127}")
_FILE = "adwright-view.xml"
_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_BYTES = 64 << 20
#: So often the views are asked for until the screen is at rest.
_DUMPS = 3
_HINTS = (
    ("unauthorized", "unlock the phone, and allow debugging by this computer"),
    ("offline", "plug it in again, or connect anew"),
    ("not found", "`adb devices` lists what is there"),
    ("idle state", "something on the screen moves all the time; wait, or stop it"),
    ("null root node", "the screen is locked, dark, or shows what apps may not read"),
)


@settings
class AdbSettings:
    """serial: of the device, as `adb devices` lists it. program: of the client. port: of its
    server. seconds: for one command. folder: of the phone, where its shell may write. Raises
    ConfigError for what is no serial."""

    serial: str
    program: str = "adb"
    port: Count = 5037
    seconds: float = 30.0
    folder: str = "/data/local/tmp"

    def __post_init__(self) -> None:
        if not _SERIAL.fullmatch(self.serial):
            raise ConfigError(
                f"{self.serial!r} is no serial of a device",
                where="AdbSettings.serial",
                hint="`adb devices` lists them, as in emulator-5554 or 192.168.1.7:5555",
            )


class _Phone:
    """Raises ResourceError without a client, or where the phone is not ready."""

    def __init__(self, settings: AdbSettings) -> None:
        self.settings = settings
        try:
            state = self._client(["get-state"]).decode("utf-8", "replace").strip()
        except DriverError as error:
            raise ResourceError(error.what, where=error.where, hint=error.hint) from error
        if state != "device":
            raise ResourceError(
                f"the phone is not ready: {state[:80]!r}",
                where=settings.serial,
                hint="start it as usual, and allow debugging",
            )

    def views(self) -> bytes:
        """The views as UIAutomator writes them; what was written on the phone is deleted there."""
        said, file = "", f"{self.settings.folder}/{_FILE}"
        for _ in range(_DUMPS):
            # An old file must never be taken for a new one: a dump that fails may say so, and that
            # all is well.
            self.shell("rm", "-f", file)
            said = self.shell("uiautomator", "dump", file, checked=False)
            if "dumped to" in said and "ERROR" not in said:
                data = self._client(["exec-out", shlex.join(("cat", file))])
                with suppress(DriverError):
                    self.shell("rm", "-f", file)
                if data.lstrip().startswith(b"<"):
                    return data
                said = data[:200].decode("utf-8", "replace")
        raise _failed("the views cannot be read", said, self.settings.serial)

    def picture(self) -> bytes:
        """The screen as PNG."""
        data = self._client(["exec-out", "screencap -p"])
        if not data.startswith(_PNG):
            said = data[:200].decode("utf-8", "replace")
            raise _failed("there is no picture", said, self.settings.serial)
        return data

    def shell(self, *words: str, checked: bool = True) -> str:
        """What a command on the phone writes, errors included. checked: raise DriverError where it
        fails. Raises DriverError where the phone does not answer in time."""
        said = self._client(["shell", shlex.join(words)], checked=checked, errors=True)
        return said.decode("utf-8", "replace")

    def _client(
        self,
        words: Sequence[str],
        *,
        checked: bool = True,
        errors: bool = False,
    ) -> bytes:
        """What the client writes. errors: also what it writes as errors, after the rest."""
        settings = self.settings
        command = [settings.program, "-P", str(settings.port), "-s", settings.serial, *words]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=settings.seconds,
                check=False,
            )
        except FileNotFoundError as error:
            raise ResourceError(
                "there is no adb on this machine",
                where=settings.program,
                hint="install Android's platform tools: apt install adb",
            ) from error
        except OSError as error:
            raise ResourceError(f"adb does not start: {error}", where=settings.program) from error
        except subprocess.TimeoutExpired as error:
            raise DriverError(
                f"the phone does not answer within {settings.seconds:g} seconds",
                where=settings.serial,
                hint="look at the phone; AdbSettings.seconds says how long one waits",
            ) from error
        said = done.stderr.decode("utf-8", "replace")
        if len(done.stdout) > _MOST_BYTES:
            raise DriverError(f"the phone answers with more than {_MOST_BYTES >> 20} MB")
        if checked and done.returncode != 0:
            what = f"adb failed with status {done.returncode}"
            said = said or done.stdout[:400].decode("utf-8", "replace")
            raise _failed(what, said, settings.serial)
        return done.stdout + (b"\n" + done.stderr if errors and done.stderr else b"")


def _failed(what: str, said: str, where: str) -> DriverError:
    """What the phone said, in one line, and what to do about it."""
    lines = [one.strip() for one in said.splitlines() if one.strip()]
    telling = next((one for one in lines if re.search(r"error|exception", one, re.I)), "")
    hint = next((hint for sign, hint in _HINTS if sign in said), "")
    shown = (telling or (lines[0] if lines else ""))[:200]
    return DriverError(f"{what}: {shown}" if shown else what, where=where[:200], hint=hint)


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
        device = _Phone(settings)
    except AdwrightError as error:
        return PhoneReport(settings.serial, (PhoneCheck("connection", False, str(error)),))
    looks: tuple[tuple[str, Callable[[_Phone], str]], ...] = (
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


def _model(device: _Phone) -> str:
    names = ("ro.product.model", "ro.build.version.release", "ro.build.version.sdk")
    model, release, sdk = (device.shell("getprop", one).strip() for one in names)
    return f"{model or 'no name'}, Android {release or '?'} (API {sdk or '?'})"


def _quoting(device: _Phone) -> str:
    said = device.shell("printf", "%s", _NASTY)
    if said != _NASTY:
        raise DriverError("the phone's shell changes what is quoted", where=said[:80])
    return "texts reach the phone as they are"


def _status(device: _Phone) -> str:
    """Without it, a command that fails looks like one that went well."""
    try:
        device.shell("false")
    except DriverError:
        return "commands that fail say so"
    raise DriverError(
        "a command that fails looks like one that went well",
        hint="this is so before Android 7: use a newer phone",
    )


def _screen_size(device: _Phone) -> str:
    said = device.shell("wm", "size")
    found = re.findall(r"(?<!\d)(\d+)x(\d+)", said)
    if not found:
        raise DriverError("the size of the screen is not told", where=said[:80])
    width, height = found[-1]  # an override stands after the physical size
    return f"{width} x {height} pixels"


def _views(device: _Phone) -> str:
    data = device.views().decode("utf-8", "replace")
    package = re.search(r'package="([\w.]+)"', data)
    return f"{data.count('<node ')} of {package[1] if package else 'no app'}"


def _picture(device: _Phone) -> str:
    return f"{len(device.picture()):,} bytes of PNG"


def _commands(device: _Phone) -> str:
    for name in ("input", "am"):
        device.shell("which", name)
    return "input and am are there"


def _keyboard(device: _Phone) -> str:
    if "mInputShown=" not in device.shell("dumpsys", "input_method", checked=False):
        raise DriverError(
            "the phone does not tell whether its keyboard is open",
            hint="close it by hand after a text: it may lie over what is touched next",
        )
    return "it is told whether it is open"
