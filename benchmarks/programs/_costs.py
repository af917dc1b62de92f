"""What a call costs through us, and the memory of W5. Part of programs.py.

python -m benchmarks.programs._costs overhead       # 2 CPU-minutes
python -m benchmarks.programs._costs memory         # 5 CPU-minutes
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from random import Random
from statistics import mean, median
from typing import NamedTuple

from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.torch_engine.config import TorchConfig
from adwright.programs.dispatch.dispatcher import ChainDispatcher
from adwright.programs.dispatch.terms import DispatchTerms
from adwright.programs.engines.paged_engine import PagedEngine, PagedEngineConfig
from adwright.programs.program import Program, SemanticCall, WantedOutput
from adwright.programs.runner import run_program
from adwright.service.programs.engine_room import text_of_model
from benchmarks.common.result import Figure
from benchmarks.programs._cells import Bench, keep_part, open_bench
from benchmarks.programs._engine_clock import ClockedEngine, EngineClock
from benchmarks.programs._spread import SeedMean
from benchmarks.programs._systems import run_programs
from benchmarks.programs._texts import CatalogueTexts
from benchmarks.programs._workloads import WORKLOADS

CALLS = 40
OVERHEAD = (
    " Overhead: one chat of 100 tokens and 32 more, to the engine directly and as a program of one "
    "call through the dispatcher, in turns; by the CPU-seconds that our own process has more, over "
    "all of a direct call, of both processes, since the engine is asked for the same; both: with "
    "those of the engine; wall: by the median of the seconds that pass."
)
MEMORY = (
    " w5_kv_share: w5 on our paged engine, in bfloat16 on one thread; the most tokens of keys and "
    "values that it held at a look each 20 ms, prefixes that nobody reads any more among them, "
    "over those of B2 on an engine that shares none, and of B1 there (latency)."
)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure one of the two, and keep what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("overhead", "memory"))
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args(argv)
    if chosen.what == "overhead":
        figures = asyncio.run(_opened(chosen.calls))
        keep_part("overhead", figures, OVERHEAD)
    else:
        figures = asyncio.run(_memory(chosen.seeds))
        keep_part("w5_memory", figures, MEMORY)
    print(figures)


async def _opened(calls: int) -> dict[str, Figure]:
    async with open_bench(1) as bench:
        return await overhead(bench, calls)


async def overhead(bench: Bench, calls: int) -> dict[str, Figure]:
    """What a call costs through us, on an engine that is open."""
    settings = GenerationConfig(max_tokens=32, ignore_eos=True)
    call = SemanticCall("call", "{{text}}{{out:output}}", {}, {"out": settings})
    draw, engine, clock = Random(0), bench.engines["e0"], bench.clock
    made = ChainDispatcher(bench.engines, bench.tokens, terms=DispatchTerms(one_domain=True))
    async with made as dispatcher:

        async def one(at: int, *, through_us: bool) -> _Spent:
            text = f"{at} {through_us} {bench.texts.text(100, draw)}"
            own, engines, began = time.process_time(), clock.cpu(), time.perf_counter()
            if through_us:
                wanted = (WantedOutput("out"),)
                program = Program((call,), values={"text": text}, outputs=wanted)
                with dispatcher.for_program(f"p{at}", "shop") as chains:
                    await run_program(program, chains)
            else:
                asked = engine.generate(f"d{at}", text, max_tokens=32, settings=settings)
                "".join([report.text async for report in asked])
            wall = time.perf_counter() - began
            return _Spent(time.process_time() - own, clock.cpu() - engines, wall)

        found: dict[bool, list[_Spent]] = {True: [], False: []}
        for at in range(calls + 1):
            for through_us in draw.sample((True, False), 2):
                found[through_us].append(await one(at, through_us=through_us))
    ours, direct = found[True][1:], found[False][1:]
    base = mean(each.own + each.engine for each in direct)
    pairs = zip(ours, direct, strict=True)
    less = SeedMean.of([100 * (one.own - other.own) / base for one, other in pairs])
    both = mean(each.own + each.engine for each in ours)
    walls = [median(each.wall for each in kind) for kind in (ours, direct)]
    return {
        "overhead_single_call_percent": less.value,
        "overhead_single_call_percent_ci": [less.low, less.high],
        "overhead_single_call_both_percent": round(100 * (both / base - 1), 2),
        "overhead_single_call_wall_percent": round(100 * (walls[0] / walls[1] - 1), 2),
        "overhead_single_call_ms": round(10 * less.value * base, 3),
        "overhead_single_call_pairs": calls,
    }


class _Spent(NamedTuple):
    """CPU-seconds of our process and of the engine's, and seconds that passed."""

    own: float
    engine: float
    wall: float


async def _memory(seeds: int) -> dict[str, Figure]:
    systems = {"ours": True, "B3": True, "B2": False, "B1": False}
    peaks: dict[str, list[float]] = {name: [] for name in systems}
    count = text_of_model(TorchConfig().model, engine="torch").count
    texts = CatalogueTexts(count)
    for shares in (True, False):
        torch = TorchConfig(threads=1, dtype="bfloat16")
        for seed in range(seeds):
            for name in (name for name, each in systems.items() if each == shares):
                # Another process for each, so that none begins with what another has left.
                config = PagedEngineConfig(torch, share_prefixes=shares)
                async with PagedEngine(config) as engine:
                    peak = await _peak(engine, name, seed, texts)
                peaks[name].append(peak)
                print(name, seed, peak, flush=True)
    made: dict[str, Figure] = {}
    for name, key in (("B2", ""), ("B1", "_latency"), ("B3", "_b3")):
        shares_of = [a / b for a, b in zip(peaks["ours"], peaks[name], strict=True)]
        made[f"w5_kv_share{key}"] = round(mean(shares_of), 4)
    made |= {f"w5_kv_tokens_{name.lower()}": mean(each) for name, each in peaks.items()}
    return made


async def _peak(engine: PagedEngine, name: str, seed: int, texts: CatalogueTexts) -> float:
    clock = EngineClock([engine.pid or 0])
    peak = 0

    async def look() -> None:
        nonlocal peak
        while True:
            peak = max(peak, (await engine.stats()).kv_tokens)
            await asyncio.sleep(0.02)

    task = asyncio.create_task(look())
    engines = {"e0": ClockedEngine(engine, clock)}
    programs = WORKLOADS["w5"](texts, seed, f"{seed:04x}")
    await run_programs(programs, name, engines, clock, tokens=texts.count, curve=None)
    task.cancel()
    return peak


if __name__ == "__main__":
    main()
