"""Runs on threads of their own that stop at each change until somebody says yes or no to it.

    runs = HeldRuns(most=2, patience=300.0)
    run = runs.start("acme", "run-1", work)      # work(run) asks by run.ask, and returns what came
    run.view().pending, run.view().key           # the change that waits, and its hash
    run.answer(key, yes=True)                    # False where that is not what waits
    runs.close(10.0)

A yes is to one change: it names its hash, of the request as it would be sent and of what stood
there before, so that nobody says yes to what has become another one. Nothing is sent before it. A
change that nobody answers in time is refused, and so is all that waits when the process ends. Of an
owner one run is under way at a time, and what waits for an answer keeps no other owner from a run.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

from adwright.agent.policy.confirmation import PendingChange
from adwright.core.config import settings, to_jsonable
from adwright.core.errors import AdwrightError
from adwright.core.hashing import content_hash

__all__ = ["HeldRun", "HeldRuns", "HeldState", "HeldView", "RunsBusyError", "change_key"]

#: "unknown": the run was killed as it sent a change, of which nobody saw the answer.
HeldState = Literal["running", "waiting", "ended", "unknown"]
#: Ended runs that are remembered; their folders stay.
_REMEMBERED = 200
#: Runs that may wait for a yes, for each that may be under way: each keeps a screen open.
_WAITING = 4
_LOOK_SECONDS = 0.25
_log = logging.getLogger("adwright.agent")


class RunsBusyError(AdwrightError):
    """No further run can begin now. own: because the owner has one under way."""

    def __init__(self, what: str, *, own: bool, hint: str) -> None:
        super().__init__(what, hint=hint)
        self.own = own


@settings
class HeldView:
    """A run at one moment. pending, key: what waits for a yes, and its hash. told: what the run has
    said of itself so far; outcome: what its work returned; error: why it could not be done."""

    state: HeldState
    pending: PendingChange | None = None
    key: str = ""
    told: Any = None
    outcome: Any = None
    error: str = ""


def change_key(run_id: str, change: PendingChange) -> str:
    """The hash of a change of a run: of all that a person is shown, and its number in the run."""
    return content_hash({"run": run_id, "change": to_jsonable(change)})


class HeldRun:
    """One run. patience: seconds that a change waits for an answer."""

    def __init__(self, run_id: str, owner: str, patience: float, told: Any = None) -> None:
        self.run_id = run_id
        self.owner = owner
        self._patience = patience
        self._condition = threading.Condition()
        self._view = HeldView("running", told=told)
        self._answer: bool | None = None
        self._closed = False

    def view(self) -> HeldView:
        """How it stands now."""
        with self._condition:
            return self._view

    def tell(self, told: Any) -> None:
        """Say something of the run to who looks at it; called by its work."""
        with self._condition:
            self._view = HeldView("running", told=told)

    def ask(self, change: PendingChange, *, goes_on: Callable[[], bool] = lambda: True) -> bool:
        """Wait for an answer to this change; a `Confirmer`, called by its work. goes_on: whether
        somebody would still take a yes."""
        with self._condition:
            if self._closed:
                return False
            told, key = self._view.told, change_key(self.run_id, change)
            self._view = HeldView("waiting", change, key, told)
            self._answer = None
            ends = time.monotonic() + self._patience
            while self._answer is None and goes_on() and (left := ends - time.monotonic()) > 0:
                self._condition.wait(min(left, _LOOK_SECONDS))
            said = bool(self._answer)
            self._view = HeldView("running", told=told)
            return said

    def answer(self, key: str, *, yes: bool) -> bool:
        """Say yes or no to the change with this hash. Whether that was the one that waits."""
        with self._condition:
            waits = self._view.state == "waiting" and self._answer is None
            if not waits or key != self._view.key:
                return False
            self._answer = yes
            self._condition.notify_all()
            return True

    def end(self, outcome: Any, error: str = "") -> None:
        """It has ended."""
        with self._condition:
            told = self._view.told
            self._view = HeldView("ended", told=told, outcome=outcome, error=error)

    def close(self) -> None:
        """No to what waits, and to whatever it asks from now on."""
        with self._condition:
            self._closed = True
            self._answer = False
            self._condition.notify_all()


class HeldRuns:
    """The runs of a process. most: at work at a time, of all owners; of those that wait for a yes
    there may be four times as many besides."""

    def __init__(self, *, most: int, patience: float) -> None:
        self._most = most
        self._patience = patience
        self._lock = threading.RLock()
        self._runs: dict[str, HeldRun] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._closed = False

    def start(
        self, owner: str, run_id: str, work: Callable[[HeldRun], Any], *, told: Any = None
    ) -> HeldRun:
        """Begin a run. told: what there is to say of it from the start.

        Raises RunsBusyError where the owner has one, or there are too many.
        """
        run = HeldRun(run_id, owner, self._patience, told)
        with self._lock:
            self.require_room(owner)
            self._runs[run_id] = run
            thread = threading.Thread(
                target=self._work, args=(run, work), name=f"adwright-agent-{run_id}", daemon=True
            )
            self._threads[run_id] = thread
            self._forget()
        thread.start()
        return run

    def find(self, owner: str, run_id: str) -> HeldRun | None:
        """A run of an owner; None where there is none, or it ended long ago."""
        with self._lock:
            run = self._runs.get(run_id)
        return run if run is not None and run.owner == owner else None

    def close(self, seconds: float) -> None:
        """Refuse what waits, begin nothing more, and wait so long for the runs to end."""
        with self._lock:
            self._closed = True
            runs, threads = list(self._runs.values()), list(self._threads.values())
        for run in runs:
            run.close()
        ends = time.monotonic() + seconds
        for thread in threads:
            thread.join(max(0.0, ends - time.monotonic()))

    def require_room(self, owner: str) -> None:
        """Raise RunsBusyError where a run of the owner cannot begin now."""
        with self._lock:
            if self._closed:
                hint = "send it again to the next one"
                raise RunsBusyError("the service ends", own=False, hint=hint)
            under_way = [self._runs[one] for one in self._threads]
            if any(one.owner == owner for one in under_way):
                hint = "confirm or refuse what waits, or let it end"
                raise RunsBusyError("another run is under way", own=True, hint=hint)
            waiting = sum(one.view().state == "waiting" for one in under_way)
            hint = "send it again in a while"
            if len(under_way) - waiting >= self._most:
                raise RunsBusyError("too many runs are under way", own=False, hint=hint)
            if waiting >= _WAITING * self._most:
                raise RunsBusyError("too many changes wait for a yes", own=False, hint=hint)

    def _forget(self) -> None:
        ended = [one for one in self._runs if one not in self._threads]
        for one in ended[: max(0, len(ended) - _REMEMBERED)]:
            del self._runs[one]

    def _work(self, run: HeldRun, work: Callable[[HeldRun], Any]) -> None:
        outcome, error = None, ""
        try:
            outcome = work(run)
        except AdwrightError as problem:
            error = problem.what
        except Exception:
            _log.exception("the run %s failed", run.run_id)
            error = "the run failed by a fault of the service"
        with self._lock:
            del self._threads[run.run_id]
        run.end(outcome, error)
