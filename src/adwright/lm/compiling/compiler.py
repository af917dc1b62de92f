"""Compile what strangers send in a process that may die, and remember what came of it.

    form = shared_compiler().compile("schema", '{"type": "object"}')

One text is compiled at a time, for at most a second of computing; what was compiled or refused
before is known by its hash. The process starts with the first text, in about a fifth of a second,
stays, and is started again after it had to be ended.
"""

from __future__ import annotations

import functools
import hashlib
import signal
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from adwright.core.child_process import JsonLines, WorkerProcess
from adwright.core.errors import ConfigError, ResourceError
from adwright.lm.compiling.rehearsal import Kind

_WORKER = "adwright.lm.compiling.rehearsal"
_WHERE = "json_schema, grammar"
_LOOK_SECONDS = 0.02


@dataclass(frozen=True)
class CompileLimits:
    """What compiling may take.

    seconds: of computing, for one text; more is the text's fault. wait_seconds: from asking to the
    answer, the texts of others before it included; more is the machine's. waiting: texts that may
    wait. memory_bytes: of address space of the process. remembered: results that are kept.
    """

    seconds: int = 1
    wait_seconds: float = 10.0
    waiting: int = 32
    memory_bytes: int = 1 << 30
    remembered: int = 256


@dataclass(frozen=True)
class _Result:
    """A result: what it compiles to, or why it does not."""

    form: str = ""
    why: str = ""


def _never() -> bool:
    return False


class Compiler:
    """Compiles texts in a process of its own, for any number of threads."""

    def __init__(self, limits: CompileLimits | None = None) -> None:
        self._limits = CompileLimits() if limits is None else limits
        self._known: OrderedDict[bytes, _Result] = OrderedDict()
        self._waiting = 0
        self._lock = threading.Lock()  # over the two above
        self._turn = threading.Lock()  # over the process
        self._child: _Child | None = None

    @property
    def pid(self) -> int | None:
        """Id of the process, None where there is none."""
        child = self._child
        return None if child is None else child.process.pid

    def compile(self, kind: Kind, text: str, *, cancelled: Callable[[], bool] = _never) -> str:
        """What `text` compiles to; "" for a chat template. cancelled: asked while it waits.

        Raises ConfigError where it cannot be compiled, or not within the limits; ResourceError
        where others are before it for too long, the process cannot be started or was killed, or
        it was cancelled.
        """
        digest = hashlib.sha256(f"{kind} {text}".encode("utf-8", "surrogatepass")).digest()
        known = self._remembered(digest)
        if known is None:
            known = self._in_turn(digest, kind, text, cancelled)
        if known.why:
            raise refused(known.why)
        return known.form

    def close(self) -> None:
        """End the process; the next text starts another one."""
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def _remembered(self, digest: bytes) -> _Result | None:
        with self._lock:
            if digest not in self._known:
                return None
            self._known.move_to_end(digest)
            return self._known[digest]

    def _in_turn(
        self, digest: bytes, kind: Kind, text: str, cancelled: Callable[[], bool]
    ) -> _Result:
        until = time.monotonic() + self._limits.wait_seconds
        with self._lock:
            if self._waiting > self._limits.waiting:
                raise _too_many()
            self._waiting += 1
        try:
            while not self._turn.acquire(timeout=_LOOK_SECONDS):
                _go_on(until, cancelled)
            try:
                known = self._remembered(digest)  # perhaps by who was before
                if known is None:
                    known = self._ask(kind, text, until, cancelled)
                    self._remember(digest, known)
                return known
            finally:
                self._turn.release()
        finally:
            with self._lock:
                self._waiting -= 1

    def _remember(self, digest: bytes, known: _Result) -> None:
        with self._lock:
            self._known[digest] = known
            while len(self._known) > self._limits.remembered:
                self._known.popitem(last=False)

    def _ask(self, kind: Kind, text: str, until: float, cancelled: Callable[[], bool]) -> _Result:
        child = self._child
        if child is None or not child.process.alive:
            self.close()
            child = self._child = _Child(self._limits)
        try:
            child.lines.say({"kind": kind, "text": text})
            while not child.lines.waits(_LOOK_SECONDS):
                _go_on(until, cancelled)
            told = child.lines.next()
        except (EOFError, OSError) as error:
            self.close()
            return _died(child.process.code, self._limits.seconds, error)
        except BaseException:
            self.close()  # it may be at work for long
            raise
        return _Result(told.get("form", ""), told.get("error", ""))


class _Child:
    """The process, and the connection to it."""

    def __init__(self, limits: CompileLimits) -> None:
        told = {"seconds": limits.seconds, "memory_bytes": limits.memory_bytes}
        self.process = WorkerProcess(_WORKER, told)
        try:
            self.process.ready(limits.wait_seconds, _not_begun)
            self.lines = JsonLines(self.process.connect())
        except BaseException:
            self.process.end()
            raise
        self.end = weakref.finalize(self, _ended, self.process, self.lines)


@functools.cache
def shared_compiler() -> Compiler:
    """The compiler of this process: its models share it, and with it the memory of results."""
    return Compiler()


def refused(why: str) -> ConfigError:
    """Make the error that says why a schema or grammar cannot be used."""
    lines = [line.strip() for line in why.splitlines() if line.strip()]
    return ConfigError(
        f"the schema or grammar cannot be used: {lines[0] if lines else 'it is empty'}",
        where=_WHERE,
        hint="correct it",
    )


def _go_on(until: float, cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise ResourceError("the compilation was cancelled", where=_WHERE, hint="ask again")
    if time.monotonic() > until:
        raise _too_many()


def _too_many() -> ResourceError:
    return ResourceError("too much is being compiled", where=_WHERE, hint="ask again")


def _died(code: int | None, seconds: int, error: Exception) -> _Result:
    """What the end of the process says about the text."""
    if code == -signal.SIGPROF:
        return _Result(why=f"it takes more than {seconds} s of computing to compile")
    if code is None or code >= 0 or code in (-signal.SIGKILL, -signal.SIGTERM):
        raise ResourceError(
            f"the process that compiles ended with {code}", where=_WHERE, hint="ask again"
        ) from error
    return _Result(why=f"its compiler ended by {signal.Signals(-code).name}: make it less deep")


def _not_begun(told: str, log: Path) -> ResourceError:
    return ResourceError(
        f"the process that compiles did not begin: {told}", where=_WHERE, hint="ask again"
    )


def _ended(process: WorkerProcess, lines: JsonLines) -> None:
    """Kill the process and wait for it; one that died before keeps the code that it died with."""
    process.end()
    lines.close()
