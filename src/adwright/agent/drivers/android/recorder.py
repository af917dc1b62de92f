"""Records an app while it is used through any phone, for `RecordedDevice` to play.

    device = RecordingDevice(AdbDevice(settings), Path("recordings/shop"))
    driver = PhoneDriver(device, gate.decide)
    ...                                  # whatever is done now is recorded
    driver.close()                       # writes the last act, too

What stood on the screen is in the recording, texts of people included: look at it before it is
given away. Texts of password fields are kept as dots, and a secret that is typed is not kept.
"""

from __future__ import annotations

import json
from pathlib import Path

from adwright.agent.drivers.android.device import PhoneAct, PhoneDevice
from adwright.agent.drivers.android.recorded import TRANSITIONS, VIEWS
from adwright.agent.drivers.android.ui_tree import read_ui_tree, write_ui_tree
from adwright.agent.drivers.protocol import DriverError, SeenRequest
from adwright.core.atomic import atomic_write_bytes, atomic_write_text, check_free
from adwright.core.errors import DataError, ResourceError

__all__ = ["RecordingDevice"]


class RecordingDevice:
    """A `PhoneDevice` around another one. An act leads to the tree that is there when the next act
    is done: what loads by and by is recorded as it was then.

    Raises ResourceError where the folder holds something already, or cannot be written.
    """

    def __init__(self, device: PhoneDevice, folder: str | Path) -> None:
        self._folder = Path(folder)
        check_free(self._folder, overwrite=True)
        if self._folder.is_dir() and any(self._folder.iterdir()):
            raise ResourceError(
                "the folder is not empty",
                where=str(folder),
                hint="record into a new one, and join recordings by hand",
            )
        self._device = device
        self._names: dict[bytes, str] = {}
        self._lines: list[str] = []
        self._seen = b""
        self._waiting: tuple[str, PhoneAct] | None = None

    @property
    def sees_requests(self) -> bool:
        """As the device within."""
        return self._device.sees_requests

    def dump(self) -> bytes:
        """The views of the device."""
        data = self._device.dump()
        try:
            self._seen = write_ui_tree(read_ui_tree(data))
        except DataError as error:
            raise DriverError(error.what, where=error.where, hint=error.hint) from error
        return data

    def do(self, act: PhoneAct) -> None:
        """The act, and what came of the one before."""
        self._settle()
        before = self._name(self._seen) if self._seen else ""
        self._seen = b""
        self._device.do(act)
        self._waiting = before, act

    def address(self, package: str) -> str:
        """That of the device."""
        return self._device.address(package)

    def picture(self) -> bytes:
        """That of the device; pictures are not recorded."""
        return self._device.picture()

    def requests(self) -> tuple[SeenRequest, ...]:
        """Those of the device; requests are not recorded."""
        return self._device.requests()

    def close(self) -> None:
        """Write the last act, and close the device within."""
        try:
            self._settle()
        finally:
            self._device.close()

    def _settle(self) -> None:
        """Write the act that waits, with the tree that it led to."""
        if self._waiting is None:
            return
        if not self._seen:
            self.dump()
        (before, act), self._waiting = self._waiting, None
        line = json.dumps(
            {
                "from": before,
                "act": act.kind,
                "node": act.node,
                "text": None if act.secret else act.text,
                "to": self._name(self._seen),
            }
        )
        if line not in self._lines:
            self._lines.append(line)
            atomic_write_text(self._folder / TRANSITIONS, "\n".join(self._lines) + "\n")

    def _name(self, tree: bytes) -> str:
        """The name of a tree, which is written when it is met first."""
        if tree not in self._names:
            name = self._names[tree] = f"{len(self._names) + 1:04}"
            atomic_write_bytes(self._folder / VIEWS / f"{name}.xml", tree)
        return self._names[tree]
