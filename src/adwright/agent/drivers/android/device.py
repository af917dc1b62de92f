"""What every phone can do, be it real, recorded or emulated: show its views, and be touched.

    device.dump()                                          # XML, as UIAutomator writes it
    device.do(PhoneAct("tap", node=view.path, x=540, y=320))

A `PhoneDriver` makes a `ScreenDriver` of it, and asks the gate. `RecordingDevice` is a device
around another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from adwright.agent.drivers.protocol import SeenRequest
from adwright.core.config import check_literals

__all__ = ["ActKind", "PhoneAct", "PhoneDevice", "app_address"]

#: "start" opens an address; "clear" empties the field that has the focus, "type" types into it.
ActKind = Literal["start", "tap", "long_tap", "swipe", "clear", "type", "enter", "back"]


@dataclass(frozen=True)
class PhoneAct:
    """One act. node: the path of the view that is meant. x, y: where the finger comes down, and
    to_x, to_y: where a swipe ends, in pixels. text: what is typed or opened, or the direction of a
    swipe. count: characters that a "clear" has to take away. secret: `text` is one."""

    kind: ActKind
    node: str = ""
    x: int = 0
    y: int = 0
    to_x: int = 0
    to_y: int = 0
    text: str = ""
    count: int = 0
    secret: bool = False

    def __post_init__(self) -> None:
        check_literals(self)


class PhoneDevice(Protocol):
    """All methods raise DriverError where the phone does not do as asked."""

    @property
    def sees_requests(self) -> bool:
        """Whether it asks a gate for each request itself. Else nobody knows what an app sends, and
        the driver asks before each touch."""
        ...

    def dump(self) -> bytes:
        """The views on the screen, once it is at rest, as UIAutomator writes them."""
        ...

    def do(self, act: PhoneAct) -> None:
        """Do it; what came of it the next `dump` shows."""
        ...

    def address(self, package: str) -> str:
        """The URL of what is shown; `package` is the app that its views name."""
        ...

    def picture(self) -> bytes:
        """The screen as PNG; empty where there are no pictures."""
        ...

    def requests(self) -> tuple[SeenRequest, ...]:
        """Requests decided on since the last call, where it sees them."""
        ...

    def close(self) -> None:
        """Give everything back; any number of times."""
        ...


def app_address(package: str) -> str:
    """The URL that stands for an app: "android-app://com.shop.ads/"."""
    return f"android-app://{package}/"
