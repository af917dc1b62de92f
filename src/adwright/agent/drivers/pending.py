"""What waits to be sent, in the words that the gate reads: its kind, and the fields of its body.

A driver's own library says "xhr" or "ping"; a gate decides on `PendingRequest`. Nothing here knows
a browser, so that the rules have a table of tests.
"""

from __future__ import annotations

import json
from email.parser import BytesParser
from email.policy import HTTP
from urllib.parse import parse_qsl

from adwright.agent.drivers.protocol import RequestKind

__all__ = ["body_fields", "kind_of"]

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
