"""A request for a decision while it is pending, and the way of its answer to the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from adwright.delivery.decision import Deadline, Request
from adwright.web.errors import ApiError

__all__ = ["Answers", "DecisionJob", "unavailable"]


@dataclass(eq=False)
class DecisionJob:
    """A request for a decision.

    soft: by when the model must be done, so that the decision can still be written. answer: what
    the caller waits for.
    """

    tenant: str
    request: Request
    soft: Deadline
    answer: asyncio.Future[Any]
    reason: str = ""
    timer: asyncio.TimerHandle | None = None
    _claimed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def claimed(self) -> bool:
        """Whether a decision was made already."""
        return self._claimed

    def claim(self) -> bool:
        """True for the first caller, who alone may decide; the others drop what they have.

        The model and the rescue run side by side; only one of their decisions may be written.
        """
        with self._lock:
            first, self._claimed = not self._claimed, True
        return first


def unavailable(what: str) -> ApiError:
    """503: the store does not take it, or not in time."""
    return ApiError(
        503,
        what,
        hint="send it again with the same ids: what was stored already counts once",
        headers={"Retry-After": "1"},
    )


class Answers:
    """Carries results from other threads to the futures of the event loop, many at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def deliver(self, results: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
        """Set each future's result, or its exception where the result is one."""
        try:
            self._loop.call_soon_threadsafe(_settle, results)
        except RuntimeError:
            # The loop is closed: no caller waits any more.
            return


def _settle(results: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, result in results:
        if future.done():
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
