"""Odd requests to the service: keys, JSON, fields, raw HTTP, and other tenants' things.

Each must be refused in the documented shape, or by the parser of HTTP; none may be answered 500,
hang, be taken for two requests, or reach what is another tenant's.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection
from typing import Any

from tests.attacks.attack import Area, Attack
from tests.attacks.service.running import ATTACKER, HONEST, Running, running

NOW = "2024-06-01T18:30:00Z"
DECIDE = {"request_id": "r1", "user_id": "u1", "time": NOW}
EVENT = {"event_id": "e1", "time": NOW, "request_id": "r1", "user_id": "u1", "kind": "click"}
EVENTS = {"events": [{**EVENT, "item_id": "item-1"}]}
CAMPAIGN = {"campaign_id": "c1", "start": NOW, "type": "t"}
ENDPOINTS: dict[str, tuple[str, str, Any]] = {
    "decide": ("POST", "/v1/decide", DECIDE),
    "events": ("POST", "/v1/events", EVENTS),
    "similar": ("GET", "/v1/items/item-1/similar", None),
    "campaigns": ("GET", "/v1/campaigns", None),
    "a campaign": ("POST", "/v1/campaigns", CAMPAIGN),
    "models": ("GET", "/v1/models", None),
    "stops": ("GET", "/v1/stops", None),
}


def ask(
    service: Running, method: str, path: str, body: Any = None, headers: Mapping[str, Any] = {}
) -> tuple[int, Any]:
    """Status and content of one answer; body: bytes as they are, or what becomes JSON."""
    connection = HTTPConnection("127.0.0.1", service.port, timeout=20)
    kind = {"Content-Type": "application/json"}
    try:
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body)
        connection.request(method, path, sent, {**kind, **headers})
        answer = connection.getresponse()
        raw = answer.read()
        kind_of = answer.getheader("content-type") or ""
        return answer.status, json.loads(raw) if "json" in kind_of else raw.decode()
    finally:
        connection.close()


def key(service: Running, tenant: str = ATTACKER) -> dict[str, str]:
    """The header of a tenant."""
    return {"X-API-Key": service.keys[tenant]}


def refused(answer: tuple[int, Any], *statuses: int) -> None:
    """It is one of these, in the shape of every error, and repeats no secret."""
    status, said = answer
    assert status in statuses, answer
    assert set(said["error"]) == {"code", "message", "hint", "details"}, answer


# --- keys ---------------------------------------------------------------------------------------

KEYS: dict[str, Callable[[str, str], Any]] = {
    "no key": lambda _mine, _theirs: None,
    "an empty key": lambda _mine, _theirs: "",
    "half a key": lambda mine, _theirs: mine[: len(mine) // 2],
    "a key and more": lambda mine, _theirs: mine + "x",
    "a key in capitals": lambda mine, _theirs: mine.swapcase(),
    "one's id with another's secret": lambda mine, theirs: mine[:20] + theirs[20:],
    "two keys in one header": lambda mine, theirs: f"{mine}, {theirs}",
    "a word of SQL": lambda _mine, _theirs: "' OR '1'='1",
    "a key beyond ASCII": lambda _mine, _theirs: "ké\xff".encode("latin-1"),
    "a key of 20 kB": lambda _mine, _theirs: "k" * 20_000,
}


def wrong_key(make: Callable[[str, str], Any], endpoint: str, service: Running) -> None:
    """A key that is none opens nothing."""
    method, path, body = ENDPOINTS[endpoint]
    sent = make(service.keys[ATTACKER], service.keys[HONEST])
    refused(ask(service, method, path, body, {} if sent is None else {"X-API-Key": sent}), 401)


# --- bodies -------------------------------------------------------------------------------------

BODIES: dict[str, bytes] = {
    "nothing": b"",
    "a null": b"null",
    "a number": b"1",
    "a text": b'"x"',
    "a list": b"[]",
    "an object that does not end": b'{"request_id": "r"',
    "a comma too many": b'{"request_id":"r","user_id":"u",}',
    "NaN": b'{"request_id":"r","user_id":"u","deadline_ms":NaN}',
    "minus infinity": b'{"request_id":"r","user_id":"u","deadline_ms":-Infinity}',
    "half of a surrogate pair": b'{"request_id":"\\ud800","user_id":"u"}',
    "a mark of byte order": b'\xef\xbb\xbf{"request_id":"r","user_id":"u"}',
    "UTF-16": json.dumps(DECIDE).encode("utf-16"),
    "bytes that are no UTF-8": b'{"request_id":"\xff","user_id":"u"}',
    "a NUL": b'{"request_id":"a\\u0000","user_id":"u"}',
    "a comment": b'{"request_id":"r","user_id":"u"}//',
    "100,000 lists in one another": b"[" * 100_000,
    "100,000 objects in one another": b'{"a":' * 100_000,
    "a number of 5,000 digits": b'{"request_id":' + b"9" * 5_000 + b"}",
    "single quotes": b"{'request_id': 'r', 'user_id': 'u'}",
    "a pickle": b"\x80\x04K\x01.",
}


def odd_body(body: bytes, path: str, service: Running) -> None:
    """A body that is no JSON, or JSON of something else."""
    refused(ask(service, "POST", path, body, key(service)), 400, 422)


def long_body(length: int, service: Running) -> None:
    """A body above the limit is refused by its head, and need not be sent to the end."""
    connection = HTTPConnection("127.0.0.1", service.port, timeout=20)
    try:
        connection.putrequest("POST", "/v1/events")
        for name, value in {**key(service), "Content-Length": str(length)}.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        refused((answer.status, json.loads(answer.read())), 413)
    finally:
        connection.close()


FIELDS: dict[str, dict[str, Any]] = {
    "an id of 501 characters": {"user_id": "u" * 501},
    "an id of 501 emoji": {"user_id": "\U0001f600" * 501},
    "a blank id": {"user_id": "  "},
    "an id with a line break": {"user_id": "a\nb"},
    "an id that means nothing": {"user_id": "nan"},
    "an id that is a number": {"user_id": 1},
    "an id that is a list": {"user_id": ["u"]},
    "no places": {"k": 0},
    "101 places": {"k": 101},
    "places as text": {"k": "10"},
    "places as truth": {"k": True},
    "half a place": {"k": 1.5},
    "2^70 places": {"k": 2**70},
    "no time to answer": {"deadline_ms": 0},
    "time below zero": {"deadline_ms": -1},
    "a deadline of 1e300": {"deadline_ms": 1e300},
    "a time without a zone": {"time": "2024-06-01T18:30:00"},
    "a time in seconds": {"time": 1717266600},
    "the year 1969": {"time": "1969-12-31T23:59:59Z"},
    "the year 9999": {"time": "9999-12-31T23:59:59-12:00"},
    "the 30th of February": {"time": "2024-02-30T00:00:00Z"},
    "a context in a context": {"context": {"a": {"b": 1}}},
    "a context of 33 keys": {"context": {f"k{n}": 1 for n in range(33)}},
    "a key of the service's own": {"context": {"_seed": 1}},
    "a candidate twice": {"candidates": ["a", "a"]},
    "5,001 exclusions": {"exclude": [f"i{n}" for n in range(5_001)]},
    "a field that does not exist": {"tenant": HONEST},
    "a field of Python's": {"__class__": "x"},
}


def wrong_field(change: dict[str, Any], service: Running) -> None:
    """One field of a decision is wrong."""
    refused(ask(service, "POST", "/v1/decide", {**DECIDE, **change}, key(service)), 422)


# --- raw HTTP -----------------------------------------------------------------------------------

HOST = "Host: localhost\r\n"
SMUGGLED = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
#: Answers that say no; a parser that takes the first of two requests answers that one alone.
RAW: dict[str, str] = {
    "a length and chunks": f"POST /v1/decide HTTP/1.1\r\n{HOST}Content-Length: 5\r\n"
    f"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}",
    "chunks and a length": f"POST /v1/decide HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n"
    f"Content-Length: 5\r\n\r\n0\r\n\r\n{SMUGGLED}",
    "two lengths": f"POST /v1/decide HTTP/1.1\r\n{HOST}Content-Length: 0\r\n"
    f"Content-Length: 44\r\n\r\n{SMUGGLED}",
    "two lengths in one": f"POST /v1/decide HTTP/1.1\r\n{HOST}Content-Length: 0, 44\r\n\r\n"
    f"{SMUGGLED}",
    "a length with a sign": f"POST /v1/decide HTTP/1.1\r\n{HOST}Content-Length: +4\r\n\r\nabcd",
    "a length below zero": f"POST /v1/decide HTTP/1.1\r\n{HOST}Content-Length: -1\r\n\r\n",
    "a length of 20 digits": f"POST /v1/decide HTTP/1.1\r\n{HOST}Content-Length: {'9' * 20}\r\n"
    "\r\n",
    "a length of 5,000 digits": f"POST /v1/decide HTTP/1.1\r\n{HOST}"
    f"Content-Length: {'9' * 5000}\r\n\r\n",
    "a length in hex": f"POST /v1/decide HTTP/1.1\r\n{HOST}Content-Length: 0x4\r\n\r\nabcd",
    "chunked twice": f"POST /v1/decide HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked, chunked\r\n"
    f"\r\n0\r\n\r\n{SMUGGLED}",
    "an encoding that does not exist": f"POST /v1/decide HTTP/1.1\r\n{HOST}"
    f"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{SMUGGLED}",
    "chunked with a tab": f"POST /v1/decide HTTP/1.1\r\n{HOST}Transfer-Encoding:\tchunked\t\x0b\r\n"
    f"\r\n0\r\n\r\n{SMUGGLED}",
    "a space before the colon": f"POST /v1/decide HTTP/1.1\r\n{HOST}Content-Length : 44\r\n\r\n"
    f"{SMUGGLED}",
    "a header that goes on in the next line": f"GET /v1/models HTTP/1.1\r\n{HOST}X: a\r\n b\r\n"
    "\r\n",
    "a NUL in a header": f"GET /v1/models HTTP/1.1\r\n{HOST}X: a\0b\r\n\r\n",
    "a name without a header": f"GET /v1/models HTTP/1.1\r\n{HOST}: a\r\n\r\n",
    "a chunk of 2^64": f"POST /v1/decide HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n"
    "10000000000000000\r\nab\r\n",
    "a chunk of letters": f"POST /v1/decide HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n"
    "zz\r\nab\r\n",
    "HTTP/2 at once": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2 by upgrade": f"GET /v1/models HTTP/1.1\r\n{HOST}Connection: Upgrade, HTTP2-Settings\r\n"
    "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    "a web socket": f"GET /v1/models HTTP/1.1\r\n{HOST}Connection: Upgrade\r\n"
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    "HTTP/0.9": "GET /v1/models\r\n\r\n",
    "HTTP/3.7": f"GET /v1/models HTTP/3.7\r\n{HOST}\r\n",
    "a method that does not exist": f"BREW /v1/models HTTP/1.1\r\n{HOST}\r\n",
    "a method in small letters": f"get /v1/models HTTP/1.1\r\n{HOST}\r\n",
    "CONNECT": f"CONNECT localhost:22 HTTP/1.1\r\n{HOST}\r\n",
    "TRACE": f"TRACE /v1/models HTTP/1.1\r\n{HOST}\r\n",
    "a path out of the tree": f"GET /v1/../../../etc/passwd HTTP/1.1\r\n{HOST}\r\n",
    "the same in percents": f"GET /v1/%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n{HOST}\r\n",
    "a path with a NUL": f"GET /v1/items/%00/similar HTTP/1.1\r\n{HOST}\r\n",
    "a path with half a percent": f"GET /v1/items/%f/similar HTTP/1.1\r\n{HOST}\r\n",
    "two slashes": f"GET //v1/models HTTP/1.1\r\n{HOST}\r\n",
    "an address of elsewhere": f"GET http://evil.example/v1/models HTTP/1.1\r\n{HOST}\r\n",
    "a space in the path": f"GET /v1/models x HTTP/1.1\r\n{HOST}\r\n",
    "TLS": "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n",
    "a slash too many": f"GET /v1/models/ HTTP/1.1\r\n{HOST}\r\n",
    "a slash too many after a POST": f"POST /v1/decide/ HTTP/1.1\r\n{HOST}"
    "Content-Length: 0\r\n\r\n",
    "another method by a header": f"GET /v1/decide HTTP/1.1\r\n{HOST}X-HTTP-Method-Override: POST"
    "\r\n\r\n",
}


def raw(text: str, service: Running) -> None:
    """What is sent byte by byte gets one answer that says no, and the service lives on."""
    came = b""
    with socket.create_connection(("127.0.0.1", service.port), 20) as door:
        door.sendall(text.encode("latin-1"))
        door.settimeout(1.0)
        with suppress(TimeoutError, ConnectionResetError):
            while more := door.recv(65536):
                came += more
    assert not came or came.startswith(b"HTTP/1.1 4"), came[:300]
    assert came.count(b"HTTP/1.1 ") <= 1, came
    assert b"adwright_requests" not in came, "a second request came through"
    assert b"ocation:" not in came, came
    assert ask(service, "GET", "/healthz")[0] == 200


# --- other tenants ------------------------------------------------------------------------------


def same_request(service: Running) -> None:
    """The same request_id is each tenant's own."""
    body = {**DECIDE, "request_id": "crossing"}
    ours = ask(service, "POST", "/v1/decide", {**body, "k": 3}, key(service))
    theirs = ask(service, "POST", "/v1/decide", {**body, "k": 2}, key(service, HONEST))
    assert (ours[0], theirs[0]) == (200, 200), (ours, theirs)
    assert (len(ours[1]["items"]), len(theirs[1]["items"])) == (3, 2)


def same_event(service: Running) -> None:
    """The same event_id counts once for each tenant."""
    for tenant in (ATTACKER, HONEST):
        body = {"events": [{**EVENTS["events"][0], "event_id": "crossing"}]}
        answer = ask(service, "POST", "/v1/events", body, key(service, tenant))
        assert answer == (200, {"accepted": 1, "duplicates": 0, "conflicts": 0}), answer


def same_campaign(service: Running) -> None:
    """A campaign of the same id replaces one's own alone, and none is listed to another."""
    mine = {**CAMPAIGN, "campaign_id": "crossing", "type": "mine"}
    for tenant, kind in ((HONEST, "theirs"), (ATTACKER, "mine")):
        sent = ask(service, "POST", "/v1/campaigns", {**mine, "type": kind}, key(service, tenant))
        assert sent[0] == 200, sent
    _, listed = ask(service, "GET", "/v1/campaigns?limit=1000", None, key(service, HONEST))
    kinds = {each["type"] for each in listed["campaigns"] if each["campaign_id"] == "crossing"}
    assert kinds == {"theirs"}


#: Ways to say that one is another; none has a meaning.
CLAIMS: dict[str, dict[str, str]] = {
    "a header X-Tenant": {"X-Tenant": HONEST},
    "a header X-Forwarded-User": {"X-Forwarded-User": HONEST},
    "a header Authorization": {"Authorization": f"Bearer {HONEST}"},
    "a cookie": {"Cookie": f"tenant={HONEST}"},
    "a forwarded path": {"X-Original-URL": "/metrics", "X-Rewrite-URL": "/metrics"},
}


def claim(headers: dict[str, str], service: Running) -> None:
    """Who says that he is another gets his own."""
    own = {**CAMPAIGN, "campaign_id": "claimed", "type": "own"}
    assert ask(service, "POST", "/v1/campaigns", own, key(service, HONEST))[0] == 200
    status, said = ask(service, "GET", "/v1/campaigns", None, {**key(service), **headers})
    assert status == 200
    assert "claimed" not in {each["campaign_id"] for each in said["campaigns"]}


def key_in_the_query(service: Running) -> None:
    """A key counts in its header alone."""
    path = f"/v1/models?X-API-Key={service.keys[ATTACKER]}"
    refused(ask(service, "GET", path), 401)


def told(path: str, service: Running) -> None:
    """What is open to all names no tenant, key or id."""
    _, said = ask(service, "GET", path)
    text = json.dumps(said)
    for secret in (ATTACKER, HONEST, *service.keys.values(), "crossing"):
        assert secret not in text, (path, secret)


def crossing() -> list[Attack]:
    """The attacks on the border between tenants."""
    runs: dict[str, Callable[[Running], None]] = {
        "another's request_id": same_request,
        "another's event_id": same_event,
        "another's campaign": same_campaign,
        "a key in the query": key_in_the_query,
        **{f"another by {name}": partial(claim, sent) for name, sent in CLAIMS.items()},
        **{f"names in {path}": partial(told, path) for path in ("/metrics", "/readyz", "/healthz")},
    }
    return [Attack(name, run, quick=True) for name, run in runs.items()]


def attacks() -> list[Attack]:
    """All of them."""
    made = [
        Attack(f"{what} at {where}", partial(wrong_key, make, where))
        for what, make in KEYS.items()
        for where in ENDPOINTS
    ]
    made += [
        Attack(f"{what} to {path}", partial(odd_body, body, path))
        for what, body in BODIES.items()
        for path in ("/v1/decide", "/v1/events", "/v1/campaigns")
    ]
    made += [Attack(f"a body of {n} bytes", partial(long_body, n)) for n in (1048577, 9999999)]
    made += [Attack(name, partial(wrong_field, sent)) for name, sent in FIELDS.items()]
    made += [Attack(name, partial(raw, text), quick=name in QUICK) for name, text in RAW.items()]
    return [*made, *crossing()]


QUICK = {"a length and chunks", "two lengths", "a slash too many", "a length of 5,000 digits"}
AREAS = [Area("service: odd requests", attacks(), shared=running, memory=0)]
