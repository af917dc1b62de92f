"""A phone behind the stock `adb` client: views, fingers, keys and pictures.

    device = AdbDevice(AdbSettings("emulator-5554"))       # ResourceError where it is not there
    device.dump()
    device.do(PhoneAct("tap", x=540, y=320))

The client is started without a shell of this machine; a command is a text for the phone's shell, in
which every argument is quoted, see `shell_command`. It conforms to ADB 34 and to recorded
UIAutomator trees, and has not yet been run on a device. What a phone cannot do is said: `input`
types ASCII alone, and no line breaks; and while it types, who is signed in on this machine can see
the text among the arguments of programs.

Whether a phone can be driven: looks at all that a run needs, and touches nothing.

    report = check_phone(AdbSettings("emulator-5554"))
    report.works
    report.text()             # a line each: what works, what does not, and what to do about it

This is how one tries a real phone, on which adwright has not been run yet: it conforms to ADB 34
and to recorded UIAutomator trees.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from adwright.agent.android.phone_driver import PhoneAct, app_address
from adwright.agent.android.views import MOST_BYTES, read_ui_tree, screen_of
from adwright.agent.drivers.protocol import DriverError
from adwright.core.config import Count, settings
from adwright.core.errors import AdwrightError, ConfigError, ResourceError

_SERIAL = re.compile(r"[A-Za-z0-9_\[][A-Za-z0-9._:\[\]%-]{0,127}")
_PACKAGE = re.compile(r"[A-Za-z]\w*(?:\.[A-Za-z]\w*)+", re.ASCII)
_ACTIVITY = re.compile(r"\.?[A-Za-z_][\w.$]*", re.ASCII)
_FILE = "adwright-view.xml"
_KEYS = {"back": 4, "enter": 66, "delete": 67, "escape": 111, "end": 123}
_LONG_TAP_MS, _SWIPE_MS = 1000, 400
_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_PICTURE = 64 << 20
#: So many keys at once.
_MOST_KEYS = 100
_HINTS = (
    ("unauthorized", "unlock the phone, and allow debugging by this computer"),
    ("offline", "plug it in again, or connect anew"),
    ("not found", "`adb devices` lists what is there"),
    ("INJECT_EVENTS", "allow 'USB debugging (Security settings)' in the developer options"),
    ("idle state", "something on the screen moves all the time; wait, or stop it"),
    ("null root node", "the screen is locked, dark, or shows what apps may not read"),
)


@settings
class AdbSettings:
    """serial: of the device, as `adb devices` lists it. program: of the client. port: of its
    server. seconds: for one command. dumps: how often views are asked for until the screen is at
    rest. package: the app that links are opened in. folder: of the phone, where its shell may
    write. Raises ConfigError for what is no serial."""

    serial: str
    program: str = "adb"
    port: Count = 5037
    seconds: float = 30.0
    dumps: Count = 3
    package: str = ""
    folder: str = "/data/local/tmp"

    def __post_init__(self) -> None:
        if not _SERIAL.fullmatch(self.serial):
            raise ConfigError(
                f"{self.serial!r} is no serial of a device",
                where="AdbSettings.serial",
                hint="`adb devices` lists them, as in emulator-5554 or 192.168.1.7:5555",
            )
        if self.package and not _PACKAGE.fullmatch(self.package):
            raise ConfigError(f"{self.package!r} is no package", where="AdbSettings.package")


class AdbDevice:
    """A `PhoneDevice`. Raises ResourceError without a client, or where the phone is not ready."""

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

    def dump(self) -> bytes:
        """See `PhoneDevice`; a keyboard that is open is closed first.

        It lies over the app, and no tree shows it: a finger would hit its keys.
        """
        for key in ("escape", "back"):
            if "mInputShown=true" not in self.shell("dumpsys", "input_method", checked=False):
                break
            self._input("keyevent", _KEYS[key])
        return self.views()

    def views(self) -> bytes:
        """The views, without touching anything; what was written on the phone is deleted there."""
        said, file = "", f"{self.settings.folder}/{_FILE}"
        for _ in range(self.settings.dumps):
            # An old file must never be taken for a new one: a dump that fails may say so, and that
            # all is well.
            self.shell("rm", "-f", file)
            said = self.shell("uiautomator", "dump", file, checked=False)
            if "dumped to" in said and "ERROR" not in said:
                data = self._client(["exec-out", shell_command("cat", file)])
                with suppress(DriverError):
                    self.shell("rm", "-f", file)
                if len(data) > MOST_BYTES or data.lstrip().startswith(b"<"):
                    return data
                said = data[:200].decode("utf-8", "replace")
        raise _failed("the views cannot be read", said, self.settings.serial)

    def do(self, act: PhoneAct) -> None:
        """See `PhoneDevice`."""
        match act.kind:
            case "start":
                self._start(act.text)
            case "tap":
                self._input("tap", act.x, act.y)
            case "long_tap":
                self._input("swipe", act.x, act.y, act.x, act.y, _LONG_TAP_MS)
            case "swipe":
                self._input("swipe", act.x, act.y, act.to_x, act.to_y, _SWIPE_MS)
            case "clear":
                self._input("keyevent", _KEYS["end"])
                for start in range(0, act.count, _MOST_KEYS):
                    keys = min(_MOST_KEYS, act.count - start)
                    self._input("keyevent", *[_KEYS["delete"]] * keys)
            case "type":
                for chunk in typing_chunks(act.text):
                    self._input("text", chunk)
            case "enter" | "back":
                self._input("keyevent", _KEYS[act.kind])

    def address(self, package: str) -> str:
        """See `PhoneDevice`."""
        return app_address(package)

    def picture(self) -> bytes:
        """See `PhoneDevice`."""
        data = self._client(["exec-out", shell_command("screencap", "-p")], most=_MOST_PICTURE)
        if not data.startswith(_PNG):
            said = data[:200].decode("utf-8", "replace")
            raise _failed("there is no picture", said, self.settings.serial)
        return data

    def close(self) -> None:
        """Nothing is held."""

    def shell(self, *words: str, checked: bool = True) -> str:
        """What a command on the phone writes, errors included.

        checked: raise DriverError where it fails. Raises DriverError where the phone does not
        answer in time."""
        said = self._client(["shell", shell_command(*words)], checked=checked, errors=True)
        return said.decode("utf-8", "replace")

    def _start(self, address: str) -> None:
        parts = urlsplit(address)
        words = ["am", "start", "-W"]
        if parts.scheme == "android-app":
            package, activity = parts.netloc, parts.path.strip("/")
            if not _PACKAGE.fullmatch(package) or (activity and not _ACTIVITY.fullmatch(activity)):
                raise DriverError("this is no app", where=address[:200], hint=_START_HINT)
            words += ["-a", "android.intent.action.MAIN", "-c", "android.intent.category.LAUNCHER"]
            words += ["-n", f"{package}/{activity}"] if activity else [package]
        elif parts.scheme in ("http", "https") and self.settings.package:
            words += ["-a", "android.intent.action.VIEW", "-d", address]
            words += ["-p", self.settings.package]
        else:
            raise DriverError(
                "this is not opened on a phone", where=address[:200], hint=_START_HINT
            )
        said = self.shell(*words, checked=False)
        if re.search(r"^Error\b|Exception", said, re.MULTILINE) or "Status: timeout" in said:
            raise _failed("the app does not start", said, address[:200])

    def _input(self, *words: str | int) -> None:
        said = self.shell("input", *map(str, words))
        if "Exception" in said or said.startswith("Error"):
            raise _failed(f"`input {words[0]}` does not work", said, self.settings.serial)

    def _client(
        self,
        words: Sequence[str],
        *,
        checked: bool = True,
        errors: bool = False,
        most: int = 2 * MOST_BYTES,
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
        if len(done.stdout) > most:
            raise DriverError(f"the phone answers with more than {most >> 20} MB")
        if checked and done.returncode != 0:
            what = f"adb failed with status {done.returncode}"
            # What was sent is not told: it may be a secret that is typed.
            said = said or done.stdout[:400].decode("utf-8", "replace")
            raise _failed(what, said, settings.serial)
        return done.stdout + (b"\n" + done.stderr if errors and done.stderr else b"")


def shell_command(*words: str) -> str:
    """One text for a POSIX shell, such as the phone's, in which each word is one argument.

    Raises DriverError for a NUL, which no shell can pass on.
    """
    if any("\0" in one for one in words):
        raise DriverError("a NUL cannot be sent to a phone", hint="leave it out")
    return shlex.join(words)


def typing_chunks(text: str) -> list[str]:
    """`text` as words for `input text`, to be typed one after the other.

    There "%s" is a blank; that of a text that holds "%s" itself is cut in two. Raises DriverError
    for what `input` cannot type: all but printable ASCII.
    """
    wrong = next((one for one in text if not " " <= one <= "~"), None)
    if wrong is not None:
        raise DriverError(
            f"a phone's `input` cannot type {wrong!r}",
            hint="it types letters, digits and signs of ASCII, in one line",
        )
    parts = re.findall(r"[^%]*%|[^%]+", text)
    return [one.replace(" ", "%s") for one in parts]


_START_HINT = "write android-app://PACKAGE/ or android-app://PACKAGE/ACTIVITY, or name a package"


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
