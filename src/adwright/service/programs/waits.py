"""Wait for texts as long as somebody is there to be told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import asdict
from typing import Any

from fastapi import Request

from adwright.core.errors import ProgramError
from adwright.programs.program import Objective
from adwright.programs.runner import Session
from adwright.service.lm.work import Gone, closed

#: Seconds after which a stream says that it still lives, so that nobody between cuts it off.
_STILL = 15.0
_STILL_HERE = b": still here\n\n"


async def waited(work: Awaitable[object], request: Request, seconds: float) -> bool:
    """Wait for `work`, which is cancelled where it is not done in time: whether it was.

    Raises Gone where the connection is closed before.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.create_task(closed(request))
    try:
        done, _ = await asyncio.wait(
            {task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        if task in done:
            return True
        if gone in done:
            raise Gone
        return False
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
        with suppress(asyncio.CancelledError, ProgramError):
            await task


async def settled(session: Session, names: tuple[str, ...]) -> None:
    """Return when each of these variables has its text or will have none."""
    variables = [session.variable(name) for name in names]
    await asyncio.gather(*(one.get() for one in variables), return_exceptions=True)


async def text_events(
    session: Session, name: str, objective: Objective
) -> AsyncGenerator[bytes, None]:
    """The server-sent events of a variable: `piece` with each piece of its text, `restart` where
    what was said is taken back, at the end `done` or `failed`."""
    variable = session.variable(name)
    async with _wanting(session, name, objective):
        while True:
            pieces = variable.stream()
            try:
                async with aclosing(pieces), aclosing(_alive(pieces)) as alive:
                    async for each in alive:
                        yield _STILL_HERE if each is None else event("piece", {"text": each})
            except ProgramError:
                if variable.failure is None:
                    yield event("restart", {})
                    continue
            break
    if variable.failure is None:
        yield event("done", {"characters": variable.characters})
    else:
        yield event("failed", asdict(variable.failure))


def event(kind: str, fields: Mapping[str, Any]) -> bytes:
    """A server-sent event."""
    return f"event: {kind}\ndata: {json.dumps(fields, separators=(',', ':'))}\n\n".encode()


@asynccontextmanager
async def _wanting(session: Session, name: str, objective: Objective) -> AsyncIterator[None]:
    """Ask for a variable all the while: who stopped asking between two readings of it would end
    what makes it."""
    task = asyncio.create_task(session.get(name, objective))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, ProgramError):
            await task


async def _alive(pieces: AsyncGenerator[str, None]) -> AsyncGenerator[str | None, None]:
    """The pieces, and None for each while in which there is none."""
    while True:
        next_one = asyncio.ensure_future(anext(pieces, None))
        try:
            while not (await asyncio.wait({next_one}, timeout=_STILL))[0]:
                yield None
        finally:
            if not next_one.done():
                next_one.cancel()
                with suppress(asyncio.CancelledError):
                    await next_one
        piece = next_one.result()
        if piece is None:
            return
        yield piece
