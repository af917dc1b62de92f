"""An engine whose model lies in a process, and in a second one of scores or embeddings, which is
opened when it is first asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Generic, Protocol, TypeVar

from adwright.core.errors import ConfigError, ResourceError
from adwright.lm.engine.base import TokenEngine
from adwright.lm.engine.generation import Cancellation, Health

_LOOK_SECONDS = 0.05


class _Closes(Protocol):
    def close(self) -> None:
        """End it."""


class _Runs(_Closes, Protocol):
    def health(self) -> Health:
        """How it is."""


C = TypeVar("C", bound=_Closes)
P = TypeVar("P", bound=_Runs)


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
                return future.result(_LOOK_SECONDS)
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
