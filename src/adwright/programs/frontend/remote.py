"""A program that runs in a service elsewhere: the same `Runtime` as a session here.

    remote = RemoteProgram("http://127.0.0.1:8002", key="...")
    flow = Flow(remote)
    ad = write_ad(flow, "green tea")
    print(await ad.get())
    await remote.close()

Nothing but the standard library is needed. What is sent twice, because an answer was lost or the
service was busy, is done once (`Idempotency-Key`).
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from typing import Any, Self
from urllib.error import HTTPError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import Request, urlopen

from adwright.core.config import to_jsonable
from adwright.core.errors import ConfigError, ProgramError, ResourceError
from adwright.programs.program import LATENCY, Objective, Program

#: Seconds that one request waits for a text, and that its connection may be silent beyond that.
_WAIT, _SILENT = 30.0, 60.0
_TRIES, _LONGEST_PAUSE = 5, 30.0
_SHOWN = 500


class RemoteProgram:
    """One program of a service. url: of the service. key: that it asks for. on_disconnect: what
    becomes of the program where this client goes away while it waits.

    Raises ConfigError where the service refuses something, ProgramError where a variable has no
    text, ResourceError where the service is not there, or too busy for long.
    """

    def __init__(self, url: str, *, key: str = "", on_disconnect: str = "detach") -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            hint = "write http://HOST:PORT"
            raise ConfigError("the address of a service is a URL", where=url[:_SHOWN], hint=hint)
        self._url = url.rstrip("/").removesuffix("/v1")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._on_disconnect = on_disconnect
        self.program_id = ""

    def submit(self, program: Program) -> None:
        """Add a program. Blocks for a round trip."""
        body = _plain(program)
        if self.program_id:
            self._send("POST", "/calls", body)
        else:
            found = self._send("POST", "", {**body, "on_disconnect": self._on_disconnect})
            self.program_id = found["id"]

    def set(self, name: str, text: str) -> None:
        """Set an awaited variable. Blocks for a round trip."""
        self._send("PUT", f"/variables/{quote(name)}", {"text": text})

    def cancel(self, name: str) -> None:
        """Cancel a variable. Blocks for a round trip."""
        self._send("DELETE", f"/variables/{quote(name)}")

    async def get(self, name: str, objective: Objective = LATENCY) -> str:
        """Ask for a variable and wait for it."""
        path = f"/variables/{quote(name)}?{_query(objective, wait=_WAIT)}"
        while True:
            found = await asyncio.to_thread(self._send, "GET", path)
            if found["state"] == "set":
                return str(found["text"])
            if found["failure"] is not None:
                raise _failed(name, found["failure"])

    async def stream(self, name: str, objective: Objective = LATENCY) -> AsyncGenerator[str, None]:
        """Ask for a variable and read it as it is written. Raises ProgramError too where the text
        is begun anew."""
        path = f"/variables/{quote(name)}/stream?{_query(objective)}"
        response = await asyncio.to_thread(self._open, "GET", path)
        try:
            events = _events(response)
            while (event := await asyncio.to_thread(next, events, None)) is not None:
                match event:
                    case ("piece", told):
                        yield str(told["text"])
                    case ("done", _):
                        return
                    case ("failed", told):
                        raise _failed(name, told)
                    case _:
                        what, hint = "the text was begun anew", "read again"
                        raise ProgramError(what, where=f"variable {name}", hint=hint)
            raise ResourceError("the stream broke off", where=self._url, hint="read again")
        finally:
            response.close()

    async def status(self) -> dict[str, Any]:
        """All of the program as it is now, as GET /v1/programs/ID tells it."""
        return await asyncio.to_thread(self._send, "GET", "")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Cancel what runs, and have the service forget the program."""
        if self.program_id:
            await asyncio.to_thread(self._send, "DELETE", "")
            self.program_id = ""

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        with _telling(self._url), self._open(method, path, body) as response:
            return json.load(response)

    def _open(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> HTTPResponse:
        place = f"{self._url}/v1/programs"
        place += f"/{self.program_id}" if self.program_id else ""
        headers = {**self._headers, "Idempotency-Key": uuid.uuid4().hex}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        request = Request(place + path, data=data, headers=headers, method=method)
        for tried in range(1, _TRIES + 1):
            try:
                with _telling(self._url):
                    response: HTTPResponse = urlopen(request, timeout=_WAIT + _SILENT)
                    return response
            except HTTPError as error:
                pause = _pause(error) if tried < _TRIES else None
                if pause is None:
                    raise _refused(error, self._url) from None
                time.sleep(pause)
            except ResourceError:
                if tried == _TRIES:
                    raise
                time.sleep(tried * 0.2)
        raise ResourceError("the service does not answer", where=self._url)


@contextmanager
def _telling(url: str) -> Iterator[None]:
    """Say in plain words that the service is not there."""
    try:
        yield
    except HTTPError:
        raise
    except (OSError, HTTPException, ValueError) as error:
        hint = "is it running, and is this its address? `adwright programs serve` starts one"
        told = f"the service cannot be reached: {error}"[:_SHOWN]
        raise ResourceError(told, where=url, hint=hint) from error


def _pause(error: HTTPError) -> float | None:
    """Seconds after which the same is asked for again; None where that would be of no use."""
    if error.code not in (429, 503):
        return None
    told = error.headers.get("Retry-After", "1")
    return min(float(told) if told.isdigit() else 1.0, _LONGEST_PAUSE)


def _refused(error: HTTPError, url: str) -> ConfigError | ResourceError:
    try:
        told = json.load(error)["error"]
        what, hint = str(told["message"])[:_SHOWN], ""
    except (OSError, ValueError, LookupError, TypeError):
        what, hint = f"the service answered {error.code}", "is this its address?"
    kind = ResourceError if error.code == 429 or error.code >= 500 else ConfigError
    return kind(what, where=url, hint=hint)


def _failed(name: str, failure: Mapping[str, Any]) -> ProgramError:
    origin = str(failure["origin"])
    begun = "" if origin == name else f", from {origin}"
    return ProgramError(str(failure["what"]), where=f"variable {name}{begun}")


def _events(response: HTTPResponse) -> Iterator[tuple[str, Any]]:
    """The server-sent events of a stream."""
    kind = ""
    with _telling("stream"):
        for raw in response:
            line = raw.decode("utf-8").rstrip("\r\n")
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield kind, json.loads(line.removeprefix("data: "))


def _query(objective: Objective, **more: float) -> str:
    told: dict[str, Any] = {"objective": objective.kind, **more}
    if objective.seconds is not None:
        told["seconds"] = objective.seconds
    return urlencode(told)


def _plain(program: Program) -> dict[str, Any]:
    """The program as the service takes it: without what is as by default."""
    told: dict[str, Any] = to_jsonable(program)
    return {name: value for name, value in told.items() if value}
