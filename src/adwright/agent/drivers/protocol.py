"""What every driver of a screen can do, whatever the screen is: a browser, a recording.

    screen = driver.observe()                     # what is there now, as plain data
    node = next(one for one in screen.nodes if one.role == "button" and one.name == "Save")
    driver.tap(node)                              # acts; the gate is asked for every request
    driver.requests()                             # what went over the network since the last call

A driver decides nothing. Before a request leaves, it asks its gate, which is given to it when it is
made, and sends only what the gate allows: navigations, what pages load and what their scripts send.
What the gate cannot see must not happen: service workers, downloads and popups are refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from typing import Literal, Protocol
from urllib.parse import parse_qsl

from adwright.core.config import settings
from adwright.core.errors import AdwrightError

Direction = Literal["up", "down", "left", "right"]
#: What asked for it. "page" is a navigation of the main frame, "frame" of another one; "redirect"
#: is the next step of any of them; "socket" opens a WebSocket;
#: "dialog" is no request: a script asks yes or no.
# fmt: off
RequestKind = Literal[
    "page", "frame", "redirect", "resource", "script", "fetch", "socket", "popup", "download",
    "worker", "beacon", "dialog",
]
# fmt: on


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


# --------------------------------------------------------------------------------------------------
# Pages that are read without being shown, which is how one asks whether they have changed.


@dataclass(frozen=True)
class FetchedPage:
    """An answer. url: that of the last step, after redirects. headers: names in small letters."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes


class FetchingDriver(ScreenDriver, Protocol):
    """A driver that can also read a page without showing it."""

    def fetch(self, url: str, headers: Mapping[str, str] | None = None) -> FetchedPage:
        """The answer to a GET with the session's cookies, through the gate.

        Raises DriverError where the gate refuses a step of it, or nobody answers.
        """
        ...


# --------------------------------------------------------------------------------------------------
# What waits to be sent, in the words that the gate reads: its kind, and the fields of its body.
#
# A driver's own library says "xhr" or "ping"; a gate decides on `PendingRequest`. Nothing here
# knows a browser, so that the rules have a table of tests.

#: Of a body that is looked into; of longer ones the gate gets the bytes alone.
_MOST_BYTES = 1 << 20
_KINDS: dict[str, RequestKind] = {
    "xhr": "fetch",
    "fetch": "fetch",
    "eventsource": "fetch",
    "script": "script",
    "ping": "beacon",
    "beacon": "beacon",
    "cspviolationreport": "beacon",
    "websocket": "socket",
}


def kind_of(resource: str, *, navigates: bool, is_main: bool) -> RequestKind:
    """What asked: `resource` is the browser's own word, "xhr" for example.

    navigates: the answer becomes a document; is_main: of the main frame. What is not known is a
    "resource", which a page loads.
    """
    if navigates:
        return "page" if is_main else "frame"
    return _KINDS.get(resource.lower(), "resource")


def body_fields(body: bytes, content_type: str) -> dict[str, str]:
    """The names and values of a form, or of the first level of a JSON object; else nothing.

    Values of JSON that are no text are written as JSON. Of a name that stands twice the values are
    joined by a comma. A file of a multipart form is "file NAME, N bytes".
    """
    if not body or len(body) > _MOST_BYTES:
        return {}
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
    elif kind == "multipart/form-data":
        pairs = _multipart(body, content_type)
    elif kind == "application/json" or kind.endswith("+json"):
        pairs = _json(body)
    else:
        return {}
    found: dict[str, str] = {}
    for name, value in pairs:
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _json(body: bytes) -> list[tuple[str, str]]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return []
    if not isinstance(value, dict):
        return []
    return [(key, one if isinstance(one, str) else json.dumps(one)) for key, one in value.items()]


def _multipart(body: bytes, content_type: str) -> list[tuple[str, str]]:
    head = f"Content-Type: {content_type}\r\n\r\n".encode("utf-8", "replace")
    message = BytesParser(policy=HTTP).parsebytes(head + body)
    pairs = []
    for part in message.iter_parts() if message.is_multipart() else ():
        name = part.get_param("name", header="content-disposition")
        data = part.get_payload(decode=True)
        content = data if isinstance(data, bytes) else b""
        if name is None:
            continue
        file = part.get_filename()
        text = content.decode("utf-8", "replace").rstrip("\r\n")
        pairs.append((str(name), f"file {file}, {len(content)} bytes" if file else text))
    return pairs
