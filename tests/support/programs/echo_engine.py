"""An engine for tests whose answers show what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from adwright.programs.runner import AskedChain


class EchoEngine:
    """Writes its prompt in brackets once it is let; `broken` calls fail, `deaf` ones do not heed
    that they were cancelled."""

    def __init__(self, *, broken: str = "", deaf: str = "", held: str = "") -> None:
        self.broken, self.deaf = broken.split(), deaf.split()
        self.held = {one: asyncio.Event() for one in held.split()}
        self.begun: list[str] = []
        self.cancelled: list[str] = []
        self.asked: dict[str, AskedChain] = {}

    async def generate(self, asked: AskedChain, say: Callable[[str], None]) -> str:
        name = asked.chain.call.name
        self.begun.append(name)
        self.asked[name] = asked
        say("[")
        try:
            if name in self.held:
                await self.held[name].wait()
        except asyncio.CancelledError:
            self.cancelled.append(name)
            if name in self.deaf:
                return "[late]"
            raise
        if name in self.broken:
            raise OSError(f"{name} is broken")
        return f"[{asked.prompt}]"
