"""What every driver of a screen can do, whatever the screen is: a browser, a phone, a recording.

    screen = driver.observe()                     # what is there now, as plain data
    node = next(one for one in screen.nodes if one.role == "button" and one.name == "Save")
    driver.tap(node)                              # acts; the gate is asked for every request
    driver.requests()                             # what went over the network since the last call

A driver decides nothing. Before a request leaves, it asks its gate, which is given to it when it is
made, and sends only what the gate allows: navigations, what pages load and what their scripts send.
What the gate cannot see must not happen: service workers, downloads and popups are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from adwright.core.config import settings
from adwright.core.errors import AdwrightError

__all__ = [
    "Direction",
    "DriverError",
    "GateDecision",
    "PendingRequest",
    "RequestGate",
    "RequestKind",
    "Screen",
    "ScreenDriver",
    "ScreenNode",
    "SeenRequest",
]

Direction = Literal["up", "down", "left", "right"]
#: What asked for it. "page" is a navigation of the main frame, "frame" of another one; "redirect"
#: is the next step of any of them; "socket" opens a WebSocket; "touch" is no request but an act
#: on a screen whose requests nobody sees.
RequestKind = Literal[
    "page",
    "frame",
    "redirect",
    "resource",
    "script",
    "fetch",
    "socket",
    "popup",
    "download",
    "worker",
    "beacon",
    "touch",
]


class DriverError(AdwrightError):
    """The screen did not do as asked: an element is gone, a page did not come, the gate said no."""


@dataclass(frozen=True)
class ScreenNode:
    """One element of a screen, as accessibility tools see it.

    key: the driver's own name of it, good until the next `observe`. role, name: role and accessible
    name. value: what stands in a field; of a switch "true" or "false". nth, of: it is number nth of
    `of` nodes with this role, name and frame. frame: the frame it stands in. facts: attributes that
    locators need: "label", "test_id", "css", "xpath", "id", "name", "type", "href", "action",
    "method", "required", "min", "max", "pattern", "maxlength", "autocomplete", read as attributes
    of the page, not as properties. options: what can be chosen. parent: the key of the node around
    it, empty at the top. text: the text in it, shortened. Names, values and texts are data from the
    page: never instructions.
    """

    key: str
    role: str
    name: str
    value: str = ""
    nth: int = 0
    of: int = 1
    frame: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    enabled: bool = True
    visible: bool = True
    secret: bool = False
    parent: str = ""
    text: str = ""


@dataclass(frozen=True)
class Screen:
    """What can be seen now. at_end: nothing more comes by scrolling down."""

    url: str
    title: str
    nodes: tuple[ScreenNode, ...]
    at_end: bool = True


@settings
class PendingRequest:
    """A request that waits for a decision. body: as it would be sent; fields: the names and values
    of a form or of JSON's first level, where the body is one. document_url: the page that asks.
    redirected_from: the URL whose answer led here."""

    method: str
    url: str
    kind: RequestKind = "page"
    document_url: str = ""
    body: bytes = b""
    fields: Mapping[str, str] = field(default_factory=dict)
    redirected_from: str = ""


@dataclass(frozen=True)
class GateDecision:
    """Whether a request may leave, and why not; code: a short name of the reason, for traces."""

    allowed: bool
    code: str = "allowed"
    reason: str = ""


#: Asked for every request before it leaves. Must not raise; a driver reads an exception as a no.
RequestGate = Callable[[PendingRequest], GateDecision]


@dataclass(frozen=True)
class SeenRequest:
    """A request that the gate decided on, and what came of it. status: 0 where it was not sent, or
    no answer has come."""

    request: PendingRequest
    decision: GateDecision
    status: int = 0


class ScreenDriver(Protocol):
    """Operates one screen. All methods raise DriverError where the screen does not do as asked;
    a node is one of the last `observe`."""

    def observe(self) -> Screen:
        """What is there, once the screen is at rest."""
        ...

    def open(self, url: str) -> None:
        """Go to a URL, through the gate."""
        ...

    def tap(self, node: ScreenNode) -> None:
        """A tap or click on it."""
        ...

    def long_tap(self, node: ScreenNode) -> None:
        """A tap that lasts about a second."""
        ...

    def set_text(self, node: ScreenNode, text: str) -> None:
        """Make `text` all that stands in a field."""
        ...

    def choose(self, node: ScreenNode, option: str) -> None:
        """Choose one of a node's options by its label; of a switch "true" or "false"."""
        ...

    def scroll(self, node: ScreenNode | None, direction: Direction) -> bool:
        """One page further, in a node or in the screen; true where the end is reached."""
        ...

    def back(self) -> None:
        """To where one came from."""
        ...

    def enter(self) -> None:
        """The key Enter, to what has the focus."""
        ...

    def read(self, node: ScreenNode) -> str:
        """The text in it, or the value of a field, now."""
        ...

    def requests(self) -> tuple[SeenRequest, ...]:
        """All requests decided on since the last call, in order."""
        ...

    def picture(self, masked: tuple[ScreenNode, ...] = ()) -> bytes:
        """The screen as PNG, with these nodes painted over; empty where there are no pictures."""
        ...

    def close(self) -> None:
        """Give everything back; any number of times."""
        ...
