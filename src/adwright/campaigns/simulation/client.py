"""Clients of a service: the two calls that a simulation makes.

    client = HttpClient("http://127.0.0.1:8000", key)
    shown = client.decide(requests)
    client.send_events(events)

Everything that is sent has an id, so anything may be sent again: a request that was decided
gets the same answer, an event counts once. `HttpClient` relies on that. Where the service sheds
load (429), cannot write (503) or does not answer at all, it waits, as long as the service asks
for and a little longer each time, and sends the same again, a limited number of times.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from adwright.core.errors import AdwrightError, ConfigError, ResourceError
from adwright.delivery.decision import Request
from adwright.delivery.policy.slate_policy import ABSplit

__all__ = ["Client", "HttpClient", "Patience", "Shown", "SplitClient"]

T = TypeVar("T")
#: Most events of one call; the service takes a thousand.
_EVENTS = 500
_TRY_AGAIN = (429, 502, 503, 504)
_TIMEOUT = 30.0
#: Spreads waits between 0 and 1 without a generator: multiples of the golden ratio.
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class Shown:
    """What the service decided for one request: the slate, best place first."""

    request_id: str
    policy_id: str
    stage: str
    item_ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.item_ids)


class Client(Protocol):
    """A service that decides and stores."""

    def decide(self, requests: Sequence[Request]) -> list[Shown]:
        """The decisions, in the order of the requests; they and their impressions are stored."""
        ...

    def send_events(self, events: Sequence[Mapping[str, Any]]) -> int:
        """Store events, rows in EVENT_SCHEMA columns; how many of them are new. They are
        durable when this returns."""
        ...


@dataclass(frozen=True)
class SplitClient:
    """Two clients as one: the users of each arm are sent to their own client, for example to two
    tenants of one service that run different models."""

    a: Client
    b: Client
    split: ABSplit

    def decide(self, requests: Sequence[Request]) -> list[Shown]:
        """The decisions, in the order of the requests."""
        found = {
            shown.request_id: shown
            for client, some in self._by_arm(requests, [each.user_id for each in requests])
            for shown in client.decide(some)
        }
        return [found[request.request_id] for request in requests]

    def send_events(self, events: Sequence[Mapping[str, Any]]) -> int:
        """Store events; how many of them are new."""
        parts = self._by_arm(events, [event["user_id"] for event in events])
        return sum(client.send_events(some) for client, some in parts)

    def _by_arm(self, things: Sequence[T], users: Sequence[str]) -> list[tuple[Client, list[T]]]:
        pairs = list(zip(things, map(self.split.arm, users), strict=True))
        parts = [
            (client, [thing for thing, met in pairs if met == arm])
            for client, arm in ((self.a, "A"), (self.b, "B"))
        ]
        return [(client, some) for client, some in parts if some]


@dataclass(frozen=True)
class Patience:
    """How often and after which waits a call is sent again. attempts: of one call, the first
    included. longest: seconds of one wait, at most. first: seconds of the first wait where the
    service names none; it doubles."""

    attempts: int = 12
    longest: float = 10.0
    first: float = 0.1

    def __post_init__(self) -> None:
        if self.attempts < 1 or not 0 < self.first <= self.longest:
            raise ConfigError(
                "patience is at least 1 attempt, and waits are above 0 and not above the longest",
                where=f"attempts {self.attempts}, first {self.first}, longest {self.longest}",
            )

    def wait(self, attempt: int, asked: float | None, spread: float) -> float:
        """Seconds to wait after attempt 0, 1, ...: what was asked for, else doubling; up to
        half as much again by `spread` in [0, 1), so that callers do not come back together."""
        base = self.first * 2**attempt if asked is None else asked
        return min(self.longest, base * (1 + spread / 2))


class HttpClient:
    """Sends requests to a running service over kept connections. Close it, or use it in a `with`.

    url: http or https, with the path under which the service lies, if any. key: of the tenant.
    connections: requests in flight. deadline_ms: time for a decision; long by default, since a
    simulation wants the models' own answer rather than an early one. sleep: replaced in tests.
    Raises ConfigError for a URL that is none.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        connections: int = 8,
        deadline_ms: float = 2000.0,
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                "this is not the address of a service",
                where=url,
                hint="write http://host:port or https://host",
            )
        if not key.isascii() or not key.isprintable():
            raise ConfigError("the key is not plain text", hint="check what was passed")
        self.url = url
        self.retries = 0
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._path = parts.path.rstrip("/")
        self._headers = {"X-API-Key": key, "Content-Type": "application/json"}
        self._deadline = deadline_ms
        self._patience = Patience() if patience is None else patience
        self._sleep = sleep
        self._pool = ThreadPoolExecutor(connections, "adwright-client")
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._open: list[http.client.HTTPConnection] = []

    def __enter__(self) -> HttpClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Finish what is being sent, drop the rest, close all connections."""
        self._pool.shutdown(cancel_futures=True)
        for connection in self._open:
            connection.close()

    def decide(self, requests: Sequence[Request]) -> list[Shown]:
        """The decisions, in the order of the requests.

        Raises ConfigError where the service refuses a request, ResourceError where it does not
        answer for too long.
        """
        return list(self._pool.map(self._decide, requests))

    def send_events(self, events: Sequence[Mapping[str, Any]]) -> int:
        """Store events; how many of them are new. Raises as `decide`."""
        rows = [_wire(event) for event in events]
        bodies = [{"events": rows[at : at + _EVENTS]} for at in range(0, len(rows), _EVENTS)]
        answers = self._pool.map(lambda body: self._post("/v1/events", body), bodies)
        return sum(int(answer["accepted"]) for answer in answers)

    def _decide(self, request: Request) -> Shown:
        body: dict[str, Any] = {
            "request_id": request.request_id,
            "user_id": request.user_id,
            "time": request.time.isoformat(),
            "k": request.k,
            "context": dict(request.context),
            "exclude": sorted(request.exclude),
            "deadline_ms": self._deadline,
        }
        if request.candidates is not None:
            body["candidates"] = list(request.candidates)
        answer = self._post("/v1/decide", body)
        items = tuple(place["item_id"] for place in answer["items"])
        return Shown(request.request_id, answer["policy_id"], answer["stage"], items)

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        sent = json.dumps(body, allow_nan=False).encode()
        reason = ""
        for attempt in range(self._patience.attempts):
            asked = None
            try:
                status, wait, text = self._once(path, sent)
            except (OSError, http.client.HTTPException) as error:
                self._drop()
                reason = f"{type(error).__name__}: {error}"
            else:
                if status == 200:
                    return json.loads(text)
                if status not in _TRY_AGAIN:
                    raise _refusal(path, status, text)
                asked, reason = wait, f"status {status}"
            if attempt + 1 < self._patience.attempts:
                with self._lock:
                    self.retries += 1
                    spread = self.retries * _GOLDEN % 1
                self._sleep(self._patience.wait(attempt, asked, spread))
        raise ResourceError(
            f"the service did not take a request in {self._patience.attempts} attempts: {reason}",
            where=f"{self.url}{path}",
            hint="look at its log; what was sent so far is stored, and may be sent again",
        )

    def _once(self, path: str, body: bytes) -> tuple[int, float | None, bytes]:
        """(status, seconds to wait if the service names them, body)."""
        connection = self._connection()
        connection.request("POST", self._path + path, body, self._headers)
        response = connection.getresponse()
        text = response.read()
        wait = response.headers.get("Retry-After", "")
        return response.status, float(wait) if wait.isdigit() else None, text

    def _connection(self) -> http.client.HTTPConnection:
        """That of this thread."""
        found: http.client.HTTPConnection | None = getattr(self._mine, "connection", None)
        if found is None:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            found = kind(self._host or "", self._port, timeout=_TIMEOUT)
            self._mine.connection = found
            with self._lock:
                self._open.append(found)
        return found

    def _drop(self) -> None:
        # The object opens a new connection at its next request.
        self._connection().close()


def _wire(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event as JSON: no nulls, the context as an object."""
    row = {name: value for name, value in event.items() if value is not None}
    row["time"] = row["time"].isoformat()
    if "context" in row:
        row["context"] = json.loads(row["context"])
    return row


def _refusal(path: str, status: int, text: bytes) -> AdwrightError:
    try:
        error = json.loads(text)["error"]
        what, hint = str(error["message"]), str(error.get("hint", ""))
    except (ValueError, KeyError, TypeError):
        what, hint = "an answer that is none of the service's", "check the address"
    return ConfigError(f"the service refused: {what}", where=f"{path}, status {status}", hint=hint)
