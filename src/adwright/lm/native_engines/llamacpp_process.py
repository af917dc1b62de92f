"""Start the process that llama.cpp runs in, send it requests, and notice when it dies.

Requests go over a socket file in a folder that only its owner can open. The events of a
`CompletionRequest` are read by threads, so that its caller can look at a cancellation in between;
dropping it closes its connection, and llama.cpp then ends it within a step.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any, cast

from adwright.core.errors import AdwrightError, ConfigError, ResourceError

__all__ = ["CompletionRequest", "Event", "Process"]

#: What llama.cpp tells of one step of an answer.
Event = dict[str, Any]

_WORKER = "adwright.lm.native_engines.llamacpp_worker"
#: A socket's path may have 107 bytes.
_LONGEST = 90
#: How long a process that broke a connection may take to be gone.
_GONE_SECONDS = 2.0
_WHERE = "xllamacpp"


@dataclass(eq=False)
class CompletionRequest:
    """A request that is being computed. Iterate over its events; `drop` cancels it."""

    body: Mapping[str, Any]
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
    computed at a time, more wait. Where the process dies, every request that waits for it, and
    every later one, raises a ResourceError that says how it died; nothing of it is left then.
    folder: of its socket and its log, removed at its end.

    Raises ConfigError where llama.cpp cannot open the model, ResourceError where the process
    cannot be started.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.folder = _folder()
        self._socket = str(self.folder / "s.sock")
        self._closed = False
        try:
            self._process = self._start(settings)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        # Where nobody closes it, the end of the program does.
        self._end = weakref.finalize(self, _ended, self._process, self.folder, os.getpid())
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
        return self._process.pid

    @property
    def running(self) -> int:
        """Requests that are computed or wait."""
        return len(self._live)

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON at `path`, with `body` a POST. Raises as a request does."""
        connection = _Connection(self._socket)
        try:
            connection.send_json(path, body)
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._broken() from error
        finally:
            connection.close()
        return _content(response.status, text)

    def submit(self, body: Mapping[str, Any]) -> CompletionRequest:
        """Ask for the events of a completion. Raises ConfigError once it is closed.

        Its request raises ConfigError where llama.cpp refuses the request, ResourceError where it
        fails at it, or the process is gone.
        """
        request = CompletionRequest(dict(body) | {"stream": True})
        with self._lock:
            if self._closed:
                raise ConfigError("the model is closed", where=_WHERE, hint="open it again")
            self._live.add(request)
            self._queue.put(request)
        return request

    def close(self) -> None:
        """End the process, at once and whatever it computes; any number of times."""
        with self._lock:
            first, self._closed = not self._closed, True
        if not first:
            return
        self._end()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        for request in list(self._live):
            request.arrived.put(self._broken())

    def _start(self, settings: Mapping[str, Any]) -> subprocess.Popen[str]:
        log = self.folder / "log"
        with log.open("w") as errors:
            try:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", _WORKER],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    # An interrupt from the keyboard is for the parent, which then closes this.
                    start_new_session=True,
                )
            except OSError as error:
                raise ResourceError(
                    f"no process can be started: {error}", where=_WHERE, hint="end others first"
                ) from error
        asked = dict(settings) | {"socket": self._socket, "parent": os.getpid()}
        stdin, stdout = cast(IO[str], process.stdin), cast(IO[str], process.stdout)
        line = ""
        try:
            stdin.write(json.dumps(asked) + "\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:  # it died as it started
            pass
        except BaseException:
            _ended(process, self.folder, os.getpid())
            raise
        if "address" not in (json.loads(line) if line else {}):
            logged = _logged(log)
            _ended(process, self.folder, os.getpid())
            told = json.loads(line)["error"] if line else _how(process.returncode)
            raise ConfigError(
                f"llama.cpp cannot open the model: {logged or told}",
                where=str(settings["model"]),
                hint="name a GGUF file that llama.cpp knows, and adapters of the same base",
            )
        return process

    def _run(self) -> None:
        while (request := self._queue.get()) is not None:
            try:
                self._read(request)
            except AdwrightError as error:
                request.arrived.put(error)
            except (OSError, http.client.HTTPException, ValueError) as error:
                if not request.dropped:  # then nobody waits for why
                    broken = self._broken()
                    broken.__cause__ = error
                    request.arrived.put(broken)
            finally:
                with self._lock:
                    self._live.discard(request)
                if request.connection is not None:
                    request.connection.close()

    def _read(self, request: CompletionRequest) -> None:
        """Pass on the events of a request until its last."""
        with request.lock:
            if request.dropped:
                return
            connection = request.connection = _Connection(self._socket)
            connection.connect()
        connection.send_json("/completion", request.body)
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            _content(response.status, response.read())
        while line := response.readline():
            name, _, text = line.partition(b": ")
            if name == b"data":
                event = json.loads(text)
                _check(event)
                request.arrived.put(event)
                if event["stop"]:
                    return
            elif name == b"error":
                _check({"error": json.loads(text)})
        raise http.client.IncompleteRead(b"")

    def _broken(self) -> ResourceError:
        """Find out why a connection broke."""
        if self._closed:
            return ResourceError("the model was closed", where=_WHERE, hint="open it again")
        try:
            self._process.wait(_GONE_SECONDS)
        except subprocess.TimeoutExpired:
            return ResourceError("llama.cpp broke the connection", where=_WHERE, hint="ask again")
        self._end()
        return ResourceError(
            f"the process of llama.cpp {_how(self._process.returncode)}",
            where=_WHERE,
            hint="open the model again; where it was killed for memory, lower cache_tokens",
        )


class _Connection(http.client.HTTPConnection):
    """HTTP over a socket file."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path
        self._raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

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


def _folder() -> Path:
    found = Path(tempfile.mkdtemp(prefix="adwright-"))
    if len(os.fsencode(found)) > _LONGEST:
        found.rmdir()
        found = Path(tempfile.mkdtemp(prefix="adwright-", dir="/tmp"))
    return found


def _ended(process: subprocess.Popen[str], folder: Path, owner: int) -> None:
    """Kill the process and remove its folder. Its weights are mapped from their file, and it writes
    nothing, so it may be killed in the middle of a step."""
    if os.getpid() != owner:  # a fork of the owner comes to its end
        return
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()
    shutil.rmtree(folder, ignore_errors=True)


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


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
