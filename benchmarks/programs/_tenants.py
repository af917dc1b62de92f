"""Whether a tenant can tell by the time what another has asked. Part of programs.py.

python -m benchmarks.programs._tenants       # 2 CPU-minutes
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from random import Random
from statistics import mean

from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.torch_engine.config import TorchConfig
from adwright.programs.dispatch.dispatcher import ChainDispatcher
from adwright.programs.engines.paged_engine import PagedEngine, PagedEngineConfig
from adwright.programs.program import Program, SemanticCall, WantedOutput
from adwright.programs.runner import run_program
from adwright.service.programs.engine_room import text_of_model
from benchmarks.programs._cells import keep_part
from benchmarks.programs._engine_clock import cpu_seconds
from benchmarks.programs._texts import CatalogueTexts

PROMPTS, TOKENS = 120, 100
#: Of pages: so that all prompts are held until the end.
_POOL = 1 << 30
PROTOCOL = (
    " Timing: our paged engine, SmolLM2-135M in bfloat16 on one thread. One tenant asks for "
    "prompts of 100 tokens; another one then asks for each of these and for as many that nobody "
    "asked, in random order, with answers of one token. timing_auc: how well the one is told from "
    "the other by the CPU-seconds of the engine, in which there is no noise of other work; wall: "
    "by what passes; own: the same for prompts that he asks again, where it must be possible."
)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and keep what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=PROMPTS)
    chosen = parser.parse_args(argv)
    figures = asyncio.run(_measured(chosen.prompts))
    print(figures)
    keep_part("timing", figures, PROTOCOL)


async def _measured(prompts: int) -> dict[str, float]:
    config = PagedEngineConfig(TorchConfig(threads=1, dtype="bfloat16"), pool_bytes=_POOL)
    count = text_of_model(config.torch.model, engine="torch").count
    draw, texts = Random(0), CatalogueTexts(count)
    asked = [f"{at:03} {texts.text(TOKENS, draw)}" for at in range(2 * prompts)]
    draw.shuffle(asked)
    async with PagedEngine(config) as engine, ChainDispatcher({"e0": engine}, count) as dispatcher:
        numbers = iter(range(10**9))

        async def seconds(tenant: str, text: str) -> tuple[float, float]:
            settings = {"out": GenerationConfig(max_tokens=1, ignore_eos=True)}
            call = SemanticCall("call", "{{text}}{{out:output}}", {}, settings)
            wanted = (WantedOutput("out"),)
            program = Program((call,), values={"text": text}, outputs=wanted)
            pid = engine.pid or 0
            cpu, began = cpu_seconds(pid), time.perf_counter()
            with dispatcher.for_program(f"p{next(numbers)}", tenant) as chains:
                await run_program(program, chains)
            wall = time.perf_counter() - began
            await asyncio.sleep(0.01)  # what the engine has left to do after the answer
            return cpu_seconds(pid) - cpu, wall

        for text in asked[:prompts]:
            await seconds("writer", text)
        found: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
        own = []
        for at in draw.sample(range(2 * prompts), 2 * prompts):
            found[at < prompts].append(await seconds("reader", asked[at]))
            if at % 4 == 0:
                own.append(await seconds("reader", asked[at]))
    hits, misses = found[True], found[False]
    return {
        "tenant_timing_auc": _auc([c for c, _ in hits], [c for c, _ in misses]),
        "tenant_timing_auc_wall": _auc([w for _, w in hits], [w for _, w in misses]),
        "tenant_timing_auc_own": _auc([c for c, _ in own], [c for c, _ in misses]),
        "tenant_timing_prompts": prompts,
        "tenant_timing_miss_cpu_seconds": round(mean(cpu for cpu, _ in misses), 4),
    }


def _auc(fast: Sequence[float], slow: Sequence[float]) -> float:
    """How well the one is told from the other: 0.5 is chance, 1 surely."""
    pairs = [(one > other) + (one == other) / 2 for one in slow for other in fast]
    return round(sum(pairs) / len(pairs), 4)


if __name__ == "__main__":
    main()
