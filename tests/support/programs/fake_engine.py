"""An engine for tests: it ends its chains in an order that is drawn, and counts what it does."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

from adwright.programs.runner import AskedChain
from tests.support.programs.fake_model import answer

T = TypeVar("T")


class DrawnEngine:
    """Answers as the fake model does. seed: of the order in which chains end, and of the pieces in
    which they are streamed. most: chains it ever had at a time."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._gates: dict[str, asyncio.Future[None]] = {}
        self.begun: Counter[str] = Counter()
        self.cancelled: Counter[str] = Counter()
        self.asked: dict[str, AskedChain] = {}
        self.most = 0

    async def generate(self, asked: AskedChain, say: Callable[[str], None]) -> str:
        """Wait for its turn once a piece."""
        chain_id = asked.chain.node_id
        assert chain_id not in self._gates, "a chain runs twice at a time"
        self.begun[chain_id] += 1
        self.asked[chain_id] = asked
        try:
            call = asked.chain.call
            await self._turn(chain_id)
            text = answer(call.model, call.adapter, asked.prompt, asked.chain.settings)
            said = 0
            while said < len(text) and self._random.random() < 0.7:
                cut = self._random.randint(said, len(text))
                say(text[said:cut])
                said = cut
                await self._turn(chain_id)
            return text
        except asyncio.CancelledError:
            self.cancelled[chain_id] += 1
            raise

    @property
    def at_work(self) -> tuple[str, ...]:
        """The chains that wait for a turn."""
        return tuple(self._gates)

    async def _turn(self, chain_id: str) -> None:
        gate = asyncio.get_running_loop().create_future()
        self._gates[chain_id] = gate
        self.most = max(self.most, len(self._gates))
        try:
            await gate
        finally:
            del self._gates[chain_id]

    def let_go_on(self, chain_id: str | None = None) -> None:
        """Give a chain its turn; by default one that is drawn."""
        open_ones = [name for name, gate in self._gates.items() if not gate.done()]
        if chain_id is None and open_ones:
            chain_id = self._random.choice(open_ones)
        if chain_id is not None:
            self._gates[chain_id].set_result(None)

    async def drive(self, work: Awaitable[T]) -> T:
        """Give turns until `work` is done."""
        task = asyncio.ensure_future(work)
        while not task.done():
            for _ in range(self._random.randint(1, 4)):
                await asyncio.sleep(0)
            self.let_go_on()
        return task.result()

    async def settle_down(self) -> None:
        """Let everything happen that needs no turn."""
        for _ in range(20):
            await asyncio.sleep(0)
