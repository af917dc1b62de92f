"""Keep the process of an engine going: when it dies, or stands still for long, it is started again.

What it was asked while it died fails; what is asked while it starts waits, within a bound. Starts
follow each other ever more slowly where no life does any work, and are bounded in a minute in any
case, so that a model that cannot be loaded does not take the machine.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from adwright.core.child_process import Refusal, WorkerProcess
from adwright.core.errors import AdwrightError, ConfigError, ResourceError
from adwright.lm.engine.base import TokenEngine
from adwright.lm.engine.generation import Cancellation, Health

_log = logging.getLogger("adwright.lm")
_LOOK_SECONDS = 1.0
#: How long a process that broke a connection may take to be gone.
_GONE_SECONDS = 2.0


@dataclass(frozen=True)
class RestartBounds:
    """Seconds, and a number of starts.

    wait: a request waits for a start. open: a start may take. first, longest: between two starts
    where the life between them did no work, from the second such on. window, starts: so many starts
    in so many seconds. quiet: without an answer to a question for a sign of life, it is stuck; as
    it is without any token for `tokens` while there is work. kill: then it is ended, and
    started again.
    """

    wait: float = 10.0
    open: float = 300.0
    first: float = 0.25
    longest: float = 30.0
    window: float = 60.0
    starts: int = 40
    quiet: float = 10.0
    tokens: float = 60.0
    kill: float = 60.0


_DEFAULT = RestartBounds()


class Supervisor:
    """Holds the life that answers now.

    name: of what runs in the process, for people. start: begins a life. refusal: as
    `WorkerProcess.ready`. joined: called with a life that is ready, before anyone gets it; an error
    ends it. ping: ask a life for a sign; whether it has come, or else who hears it calls `heard`.

    Raises, of its first life, what `start` and `refusal` do.
    """

    def __init__(
        self,
        name: str,
        start: Callable[[], WorkerProcess],
        *,
        refusal: Refusal,
        ping: Callable[[WorkerProcess], bool],
        joined: Callable[[WorkerProcess], None] | None = None,
        bounds: RestartBounds = _DEFAULT,
    ) -> None:
        self._name, self._start, self._refusal, self._ping = name, start, refusal, ping
        self._joined, self._bounds, self._owner = joined, bounds, os.getpid()
        self._told = threading.Condition()
        self._closed = threading.Event()
        self._starts: deque[float] = deque()
        self._failures = 0
        self._worked = False
        self._next = 0.0
        self._heard = self._moved = time.monotonic()
        self._ready = False
        self._life = self._begin()
        self._open(self._life)
        self._thread = threading.Thread(target=self._run, name="adwright-supervisor", daemon=True)
        self._thread.start()
        # Before the end of the program kills the life, or that would be started again.
        atexit.register(self.close)

    @property
    def current(self) -> WorkerProcess:
        """The last life, whether it is there or not."""
        return self._life

    def life(self) -> WorkerProcess:
        """The life that answers; waits for a start, within the bound.

        Raises ResourceError once it is closed, or where none answers in time.
        """
        until = time.monotonic() + self._bounds.wait
        with self._told:
            while not self._closed.is_set():
                if self._ready and self._life.alive:
                    return self._life
                left = until - time.monotonic()
                if left <= 0 or self._next > until:
                    raise ResourceError(
                        f"the process of {self._name} is being started again",
                        where=self._name,
                        hint="ask again later",
                    )
                self._told.wait(min(left, _LOOK_SECONDS))
        raise self._ended()

    def heard(self) -> None:
        """The life has given a sign."""
        self._heard = time.monotonic()

    def moved(self) -> None:
        """A request has begun where there was none, or has got on."""
        self._heard = self._moved = time.monotonic()

    def worked(self) -> None:
        """The life has done some work, so that its death is no reason to wait before the next."""
        self.moved()
        self._worked = True

    def health(self, *, working: bool) -> Health:
        """How the process is. working: whether there is a request for it."""
        if self._closed.is_set():
            return "dead"
        if not self._ready or not self._life.alive:
            return "starting" if self._failures < 3 else "dead"
        now = time.monotonic()
        silent = now - self._heard > self._bounds.quiet
        idle = working and now - self._moved > self._bounds.tokens
        return "stuck" if silent or idle else "ready"

    def broken(self, life: WorkerProcess) -> ResourceError:
        """Find out why a connection to this life broke."""
        if self._closed.is_set():
            return self._ended()
        if not life.gone_within(_GONE_SECONDS):
            return ResourceError(
                f"{self._name} broke the connection", where=self._name, hint="ask again"
            )
        return ResourceError(
            f"the process of {self._name} {life.ending}",
            where=self._name,
            hint="ask again: it is started again; where it was killed for memory, give it less",
        )

    def _ended(self) -> ResourceError:
        return ResourceError("the model was closed", where=self._name, hint="open it again")

    def close(self) -> None:
        """End the process, at once and whatever it computes; any number of times."""
        if os.getpid() != self._owner:
            return
        atexit.unregister(self.close)
        self._closed.set()
        with self._told:
            self._told.notify_all()
        while self._thread.is_alive():
            self._life.end()  # again and again, for one that has been started meanwhile
            self._thread.join(0.05)
        self._life.end()

    def _run(self) -> None:
        while not self._closed.is_set():
            if self._life.gone_within(_LOOK_SECONDS):
                self._again()
            else:
                self._look()

    def _look(self) -> None:
        if self._ping(self._life):
            self.heard()
        if time.monotonic() - self._heard > self._bounds.kill:
            _log.error("the process of %s stands still; it is ended", self._name)
            self._life.kill()

    def _again(self) -> None:
        """Start lives until one is ready, or it is closed."""
        with self._told:
            self._ready = False
        if self._closed.is_set():
            return
        _log.error("the process of %s %s; it is started again", self._name, self._life.ending)
        self._failures = 0 if self._worked else self._failures + 1
        while not self._pause():
            self._life.end()
            try:
                # Kept at once, so that `close` can end it while it opens its model.
                self._life = self._begin()
                self._open(self._life)
            except (AdwrightError, OSError) as error:
                self._failures += 1
                if not self._closed.is_set():
                    _log.error("the process of %s cannot be started: %s", self._name, error)
            else:
                return
        self._life.end()

    def _begin(self) -> WorkerProcess:
        self._starts.append(time.monotonic())
        return self._start()

    def _open(self, life: WorkerProcess) -> None:
        try:
            life.ready(self._bounds.open, self._refusal)
            if self._joined is not None:
                self._joined(life)
        except BaseException:
            life.end()
            raise
        with self._told:
            self._worked, self._ready = False, True
            self.moved()
            self._told.notify_all()

    def _pause(self) -> bool:
        """Wait until the next start may begin; whether it was closed meanwhile."""
        now, bounds = time.monotonic(), self._bounds
        while self._starts and self._starts[0] < now - bounds.window:
            self._starts.popleft()
        wait = 0.0
        if self._failures > 1:
            wait = min(bounds.longest, bounds.first * 2.0 ** min(self._failures - 2, 20))
        if len(self._starts) >= bounds.starts:
            wait = max(wait, self._starts[0] + bounds.window - now)
        with self._told:
            self._next = now + wait
            self._told.notify_all()
        closed = self._closed.wait(wait)
        self._next = 0.0
        return closed


# --------------------------------------------------------------------------------------------------
# An engine whose model lies in a process, and in a second one of scores or embeddings, which is
# opened when it is first asked for.

_SECOND_LOOK_SECONDS = 0.05


T = TypeVar("T")


class EngineRequest(Generic[T]):
    """What comes for a request, in order, from whoever reads the connection."""

    def __init__(self) -> None:
        self.arrived: SimpleQueue[T | Exception] = SimpleQueue()

    def next(self, seconds: float | None) -> T | None:
        """The next, or None where none came within so many seconds; None waits for it. Raises what
        went wrong."""
        try:
            found = self.arrived.get(timeout=seconds)
        except Empty:
            return None
        if isinstance(found, Exception):
            raise found
        return found

    def up_to(self, is_last: Callable[[T], bool]) -> Iterator[T]:
        """All up to the last."""
        while True:
            found = self.next(None)
            if found is not None:
                yield found
                if is_last(found):
                    return


class EngineProcess:
    """The process of an engine, which is started again when it dies."""

    _lives: Supervisor

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._lives.current.pid

    @property
    def running(self) -> int:
        """Requests that are computed or wait."""
        raise NotImplementedError

    def health(self) -> Health:
        """How the process is."""
        return self._lives.health(working=bool(self.running))

    def close(self) -> None:
        """End the process, at once and whatever it computes; any number of times."""
        self._lives.close()


C = TypeVar("C", bound=EngineProcess)
P = TypeVar("P", bound=EngineProcess)


class Second(Generic[C]):
    """Opens by `opens`, in a thread of its own: who waits for it can be cancelled, and closing it
    does not wait."""

    def __init__(self, opens: Callable[[], C]) -> None:
        self._opens = opens
        self._lock = threading.Lock()
        self._opening: Future[C] | None = None
        self._closed = False

    @property
    def opened(self) -> C | None:
        """It, once it is open."""
        future = self._opening
        if future is None or not future.done() or future.exception() is not None:
            return None
        return future.result()

    def get(self, cancel: Cancellation | None, cancelled: Callable[[], ResourceError]) -> C:
        """It, open. Raises ConfigError where it is closed, what `cancelled` makes where the call
        is, and what `opens` raises; the next call tries that again."""
        with self._lock:
            if self._closed:
                raise ConfigError("the model is closed", where="model", hint="open it again")
            future = self._opening
            if future is None or (future.done() and future.exception() is not None):
                future = self._opening = Future()
                threading.Thread(target=self._open, args=(future,), daemon=True).start()
        while True:
            try:
                return future.result(_SECOND_LOOK_SECONDS)
            except NotYet:
                if cancel is not None and cancel.cancelled:
                    raise cancelled() from None

    def close(self) -> None:
        """Close it, or what comes of its opening; any number of times."""
        with self._lock:
            self._closed = True
        opened = self.opened
        if opened is not None:
            opened.close()

    def _open(self, future: Future[C]) -> None:
        try:
            opened = self._opens()
        except Exception as error:
            future.set_exception(error)
            return
        future.set_result(opened)
        with self._lock:
            closed = self._closed
        if closed:
            opened.close()


class ProcessEngine(TokenEngine, Generic[P]):
    """An engine on one or two processes. Its `__init__` sets `_process` and `_second`."""

    _process: P
    _second: Second[P]
    _closed = False

    @property
    def processes(self) -> tuple[P, ...]:
        """The process that answers, and the second one where it is open."""
        second = self._second.opened
        return (self._process,) if second is None else (self._process, second)

    def health(self) -> Health:
        """How its processes are; the first that is not ready decides."""
        told = (one.health() for one in self.processes)
        return next((one for one in told if one != "ready"), "ready")

    def close(self) -> None:
        """End the processes, whatever they compute; awaited answers raise ResourceError."""
        self._closed = True
        self._process.close()
        self._second.close()

    def _require_open(self) -> None:
        if self._closed:
            raise ConfigError("the model is closed", where=self.info.engine, hint="open it again")
