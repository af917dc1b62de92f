from __future__ import annotations

import asyncio
import time

from adwright.core.clock import SystemClock
from adwright.service.decide.decider import Pulse


def test_a_loop_that_was_blocked_is_late_and_is_forgiven() -> None:
    async def main() -> None:
        pulse = Pulse(SystemClock())
        assert pulse.lag == 0
        pulse.start()
        await asyncio.sleep(0.03)
        time.sleep(0.3)  # somebody blocks the loop
        await asyncio.sleep(0.02)
        late = pulse.lag
        assert 0.2 < late < 5
        ends = time.monotonic() + 10
        while pulse.lag > late / 2:
            assert time.monotonic() < ends
            await asyncio.sleep(0.01)
        pulse.stop()
        await asyncio.sleep(0.03)
        after = pulse.lag
        time.sleep(0.1)
        await asyncio.sleep(0.03)
        assert pulse.lag == after, "it measures no more"
        pulse.stop()

    asyncio.run(main())


def test_what_is_to_be_looked_at_is_looked_at_at_each_beat() -> None:
    async def main() -> None:
        beats: list[float] = []
        pulse = Pulse(SystemClock(), beats.append)
        pulse.start()
        ends = time.monotonic() + 10
        while len(beats) < 3:
            assert time.monotonic() < ends
            await asyncio.sleep(0.01)
        pulse.stop()

    asyncio.run(main())
