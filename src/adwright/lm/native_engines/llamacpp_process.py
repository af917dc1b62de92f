"""Send llama.cpp's process requests, and start it again when it dies.

The events of a `CompletionRequest` are read by threads, so that its caller can look at a
cancellation in between; dropping it closes its connection, and llama.cpp then ends it within a
step.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from adwright.core.child_process import WorkerProcess
from adwright.core.errors import AdwrightError, ConfigError, ResourceError
from adwright.lm.engine.language_model import Health
from adwright.lm.native_engines.supervisor import RestartBounds, Supervisor

__all__ = ["CompletionRequest", "Event", "Process"]

#: What llama.cpp tells of one step of an answer, or the whole answer of another kind.
Event = dict[str, Any]

_WORKER = "adwright.lm.native_engines.llamacpp_worker"
#: What is asked in passing, such as the tokens of a text, is answered within so many seconds.
_ASK_SECONDS = 15.0
_PING_SECONDS = 1.0
_WHERE = "xllamacpp"
_DEFAULT = RestartBounds()
_COMPLETION = "/completion"


@dataclass(eq=False)
class CompletionRequest:
    """A request that is being computed. Iterate over its events; `drop` cancels it."""

    body: Mapping[str, Any]
    path: str = _COMPLETION
    arrived: SimpleQueue[Event | Exception] = field(default_factory=SimpleQueue)
    dropped: bool = False
    connection: _Connection | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __iter__(self) -> Iterator[Event]:
        """Its events up to the last. Raises what went wrong."""
        while True:
            event = self.next(None)
            if event is not None:
                yield event
                if event["stop"]:
                    return

    def next(self, seconds: float | None) -> Event | None:
        """The next event, or None where none came within so many seconds; None waits for it."""
        try:
            event = self.arrived.get(timeout=seconds)
        except Empty:
            return None
        if isinstance(event, Exception):
            raise event
        return event

    def drop(self) -> None:
        """Cancel the request."""
        with self.lock:
            self.dropped = True
            if self.connection is not None:
                self.connection.cut()


class Process:
    """llama.cpp on one model, in a process of its own.

    settings: those of the worker but `socket` and `parent`. At most `running` requests are
    computed at a time, more wait. Where the process dies, every request in it raises a
    ResourceError that says how it died, and the process is started again within `bounds`; what is
    asked meanwhile waits for it.

    Raises ConfigError where llama.cpp cannot open the model, ResourceError where the process
    cannot be started.
    """

    def __init__(self, settings: Mapping[str, Any], bounds: RestartBounds = _DEFAULT) -> None:
        self._closed = False
        self._lives = Supervisor(
            "llama.cpp",
            lambda: WorkerProcess(_WORKER, settings),
            refusal=lambda told, log: _refused(str(settings["model"]), told, log),
            ping=_answers,
            bounds=bounds,
        )
        self._queue: SimpleQueue[CompletionRequest | None] = SimpleQueue()
        self._live: set[CompletionRequest] = set()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, name="adwright-xllamacpp", daemon=True)
            for _ in range(settings["running"])
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._lives.current.pid

    @property
    def folder(self) -> Path:
        """The folder of its socket and its log, removed at its end."""
        return self._lives.current.folder

    @property
    def running(self) -> int:
        """Requests that are computed or wait."""
        return len(self._live)

    def health(self) -> Health:
        """How the process is."""
        return self._lives.health(working=bool(self._live))

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON at `path`, with `body` a POST. Raises as a request does."""
        life = self._lives.life()
        connection = _Connection(life.socket, _ASK_SECONDS)
        try:
            connection.send_json(path, body)
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._lives.broken(life) from error
        finally:
            connection.close()
        return _content(response.status, text)

    def submit(self, body: Mapping[str, Any], path: str = _COMPLETION) -> CompletionRequest:
        """Ask for the events of a completion, or for the one of another path. Raises
        ResourceError once it is closed.

        Its request raises ConfigError where llama.cpp refuses the request, ResourceError where it
        fails at it, or the process is gone.
        """
        streamed = {"stream": True} if path == _COMPLETION else {}
        request = CompletionRequest(dict(body) | streamed, path)
        with self._lock:
            if self._closed:
                raise _closed()
            if not self._live:
                self._lives.moved()
            self._live.add(request)
            self._queue.put(request)
        return request

    def close(self) -> None:
        """End the process, at once and whatever it computes; any number of times."""
        with self._lock:
            first, self._closed = not self._closed, True
        if not first:
            return
        self._lives.close()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        for request in list(self._live):
            request.arrived.put(_closed())

    def _run(self) -> None:
        while (request := self._queue.get()) is not None:
            try:
                self._read(request)
            except AdwrightError as error:
                request.arrived.put(_closed() if self._closed else error)
            finally:
                with self._lock:
                    self._live.discard(request)
                if request.connection is not None:
                    request.connection.close()

    def _read(self, request: CompletionRequest) -> None:
        """Pass on the events of a request until its last."""
        if request.dropped:
            return
        life = self._lives.life()
        try:
            with request.lock:
                if request.dropped:
                    return
                connection = request.connection = _Connection(life.socket)
                connection.connect()
            connection.send_json(request.path, request.body)
            self._pass_on(request, connection.getresponse())
        except (OSError, http.client.HTTPException, ValueError) as error:
            if not request.dropped:  # then nobody waits for why
                raise self._lives.broken(life) from error

    def _pass_on(self, request: CompletionRequest, response: http.client.HTTPResponse) -> None:
        if request.path != _COMPLETION or response.status != http.HTTPStatus.OK:
            found = _content(response.status, response.read())
            self._lives.worked()
            request.arrived.put({"stop": True, **found})
            return
        while line := response.readline():
            name, _, text = line.partition(b": ")
            if name == b"data":
                event = json.loads(text)
                _check(event)
                self._lives.worked()
                request.arrived.put(event)
                if event["stop"]:
                    return
            elif name == b"error":
                _check({"error": json.loads(text)})
        raise http.client.IncompleteRead(b"")


class _Connection(http.client.HTTPConnection):
    """HTTP over a socket file. seconds: that an answer may take, None for no bound."""

    def __init__(self, path: str, seconds: float | None = None) -> None:
        super().__init__("localhost")
        self._path = path
        self._raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._raw.settimeout(seconds)

    def connect(self) -> None:
        self.sock = self._raw
        self._raw.connect(self._path)

    def send_json(self, path: str, body: Mapping[str, Any] | None) -> None:
        headers = {"Content-Type": "application/json"}
        if body is None:
            self.request("GET", path, headers=headers)
        else:
            self.request("POST", path, json.dumps(body).encode(), headers)

    def cut(self) -> None:
        """Shut the connection down, which wakes the thread that reads it."""
        with suppress(OSError):  # it has ended by itself
            self._raw.shutdown(socket.SHUT_RDWR)


def _closed() -> ResourceError:
    return ResourceError("the model was closed", where=_WHERE, hint="open it again")


def _answers(life: WorkerProcess) -> bool:
    """Whether its server answers at all; it does so while it computes, too."""
    connection = _Connection(life.socket, _PING_SECONDS)
    try:
        connection.send_json("/health", None)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _refused(model: str, told: str, log: Path) -> ConfigError:
    return ConfigError(
        f"llama.cpp cannot open the model: {_logged(log) or told}",
        where=model,
        hint="name a GGUF file that llama.cpp knows, and adapters of the same base",
    )


def _logged(log: Path) -> str:
    """What llama.cpp said went wrong: of an adapter, or else the first thing."""
    lines = [
        line.split(" E ", 1)[1]
        for line in log.read_text("utf-8", "replace").splitlines()
        if " E " in line
    ]
    found = next((line for line in lines if " lora " in line), next(iter(lines), ""))
    return found.partition(": ")[2].strip() or found.strip()


def _content(status: int, text: bytes) -> Any:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ResourceError(
            f"llama.cpp answered {status} without JSON", where=_WHERE, hint="ask again"
        ) from error
    if status != http.HTTPStatus.OK:
        _check(found)
        raise ResourceError(f"llama.cpp answered {status}", where=_WHERE, hint="ask again")
    return found


def _check(found: Any) -> None:
    """Raise what llama.cpp says went wrong."""
    error = found.get("error") if isinstance(found, dict) else None
    if error is None:
        return
    code, message = int(error.get("code", 500)), str(error.get("message", "")).strip()
    if code < http.HTTPStatus.INTERNAL_SERVER_ERROR:
        raise ConfigError(f"llama.cpp refuses it: {message}", where=_WHERE, hint="correct it")
    raise ResourceError(
        f"llama.cpp failed: {message}",
        where=_WHERE,
        hint="send less at once, or raise cache_tokens",
    )
