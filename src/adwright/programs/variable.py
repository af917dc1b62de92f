"""Variables of a program that runs: texts that are there later, and are set once.

    pending ──> set        it has its text
            ──> failed     what should make it, or something before that, failed
            ──> cancelled  somebody cancelled it

A variable belongs to one event loop. Nothing here looks at a clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Literal

from adwright.core.config import settings
from adwright.core.errors import ProgramError

__all__ = ["Failure", "FailureKind", "Variable", "VariableState"]

VariableState = Literal["pending", "set", "failed", "cancelled"]
FailureKind = Literal["call", "output", "step", "outside", "cancelled"]


@settings
class Failure:
    """Why there is no text. It is passed on as it is to all that would have been made of it.

    kind: a call that failed; an output that is not as it must be; a step; who should have set it
        from outside; or that it was cancelled.
    origin: the chain, step or variable in which it began. what: in words.
    """

    kind: FailureKind
    origin: str
    what: str


class Variable:
    """One variable. Readers wait with `get` or `stream`; whoever makes it calls the others."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.failure: Failure | None = None
        self._text: str | None = None
        self._said: list[str] = []
        self._length = 0
        #: How often what was said was taken back.
        self._takes = 0
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def state(self) -> VariableState:
        """Pending, set, failed or cancelled."""
        if self._text is not None:
            return "set"
        if self.failure is None:
            return "pending"
        own = self.failure.kind == "cancelled" and self.failure.origin == self.name
        return "cancelled" if own else "failed"

    @property
    def is_settled(self) -> bool:
        """Whether nothing more happens to it."""
        return self._text is not None or self.failure is not None

    @property
    def text(self) -> str:
        """Its text. Raises ProgramError where it has none, naming what failed; or not yet."""
        if self._text is not None:
            return self._text
        if self.failure is None:
            raise ProgramError(
                "it has no text yet", where=f"variable {self.name}", hint="wait with get()"
            )
        origin = self.failure.origin
        begun = "" if origin == self.name else f", from {origin}"
        raise ProgramError(self.failure.what, where=f"variable {self.name}{begun}")

    @property
    def said(self) -> str:
        """What is known of the text by now."""
        return "".join(self._said) if self._text is None else self._text

    @property
    def characters(self) -> int:
        """How long that is."""
        return self._length if self._text is None else len(self._text)

    @property
    def waiters(self) -> int:
        """How many wait for it or read it as it grows."""
        return len(self._waiters)

    def set(self, text: str) -> None:
        """Give it its text, of which all that was said is the beginning.

        Raises ProgramError where it is settled already, or another text was begun.
        """
        self._require_pending()
        if not text.startswith(self.said):
            raise ProgramError(
                "what was streamed is not the beginning of the text", where=f"variable {self.name}"
            )
        self._text = text
        self._said.clear()
        self._wake()

    def fail(self, failure: Failure) -> None:
        """Say that there will be no text, and why. Raises ProgramError where it is settled."""
        self._require_pending()
        self.failure = failure
        self._said.clear()
        self._length = 0
        self._wake()

    def add(self, piece: str) -> None:
        """Say how the text goes on. Raises ProgramError where it is settled."""
        self._require_pending()
        if piece:
            self._said.append(piece)
            self._length += len(piece)
            self._wake()

    def take_back(self) -> None:
        """Nothing was said: the text is begun anew, perhaps another one. Who has read a part of
        it gets an error."""
        self._require_pending()
        if self._said:
            self._said.clear()
            self._length = 0
            self._takes += 1
            self._wake()

    async def get(self) -> str:
        """Wait for the text. Raises ProgramError as `text`."""
        while not self.is_settled:
            await self._changed()
        return self.text

    async def stream(self) -> AsyncGenerator[str, None]:
        """The text piece by piece as it is written; the pieces make the text.

        Raises ProgramError as `text`, behind what was written before that; or where what was read
        was taken back.
        """
        characters, pieces, takes = 0, 0, self._takes
        while self._text is None and self.failure is None:
            if takes != self._takes:
                if characters:
                    raise ProgramError(
                        "the text was begun anew", where=f"variable {self.name}", hint="read again"
                    )
                pieces, takes = 0, self._takes
            if pieces == len(self._said):
                await self._changed()
                continue
            piece = self._said[pieces]
            pieces, characters = pieces + 1, characters + len(piece)
            yield piece
        if rest := self.text[characters:]:
            yield rest

    async def _changed(self) -> None:
        """Wait until something was said or settled."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _require_pending(self) -> None:
        if self.is_settled:
            raise ProgramError(
                f"it is {self.state} already, and a variable is settled once",
                where=f"variable {self.name}",
            )
