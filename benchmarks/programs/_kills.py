"""Engines that are killed under load: what becomes of the programs. Part of programs.py.

python -m benchmarks.programs._kills       # 5 CPU-minutes
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.native_engines.openvino_model import OpenVinoConfig
from adwright.programs.dispatch.dispatcher import ChainDispatcher
from adwright.programs.dispatch.keeper import KeeperBounds
from adwright.programs.dispatch.terms import DispatchTerms
from adwright.programs.engines.model_engine import ModelEngine, openvino_engine
from adwright.programs.program import Program, SemanticCall, WantedOutput
from adwright.programs.runner import Session
from benchmarks.lm._kill import descendants, rss_mb
from benchmarks.programs._cells import keep_part
from tests.support.lm.tiny_gguf import save_tiny_gguf

KILLS, AT_ONCE = 50, 12
PROTOCOL = (
    f" Kills: two engines (OpenVINO on a random model of 60,000 weights), {AT_ONCE} programs at a "
    "time of three calls and one that reads them, begun anew until the engines' processes were "
    "ended with SIGKILL {kills} times, each while it had something to do. Finished: all of a "
    "program's variables have a text, set once. Memory is compared with what it was after five "
    "kills; rows: requests that engines hold in the end."
)


def main(argv: Sequence[str] | None = None) -> None:
    """Kill, and keep what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=KILLS)
    chosen = parser.parse_args(argv)
    figures = asyncio.run(_killed(chosen.kills))
    print(figures)
    keep_part("kills", figures, PROTOCOL.replace("{kills}", str(chosen.kills)))


async def _killed(kills: int) -> dict[str, float]:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        model = str(save_tiny_gguf(Path(folder) / "tiny.gguf"))
        engines = {}
        for name in ("e0", "e1"):
            engine = openvino_engine(OpenVinoConfig(model, threads=1), name="tiny")
            engines[name] = await stack.enter_async_context(engine)
        count = engines["e0"].model.tokens.count
        # Lives are short here: a start waits no longer than a second for the one before.
        keeper = KeeperBounds(first=0.1, longest=1.0)
        terms = DispatchTerms(one_domain=True, keeper=keeper)
        dispatcher = await stack.enter_async_context(ChainDispatcher(engines, count, terms=terms))
        load = _Load(dispatcher)
        workers = [asyncio.create_task(load.work()) for _ in range(AT_ONCE)]
        draw, done, before = Random(0), 0, (0.0, 0)
        while done < kills:
            at = f"e{done % 2}"
            await _busy(dispatcher, engines[at], at)
            await asyncio.sleep(draw.uniform(0.3, 1.5))
            pid = _pid(engines[at])
            if pid is not None and dispatcher.stats.running[at]:
                os.kill(pid, signal.SIGKILL)
                done += 1
                if done == min(5, kills):
                    before = rss_mb(os.getpid()), _files()
                print(f"kill {done}: {load.finished} of {load.begun} programs", flush=True)
                while dispatcher.stats.deaths[at] < (done + 1) // 2:
                    await asyncio.sleep(0.02)
        load.over = True
        await asyncio.gather(*workers)
        held = [await _calm(engine) for engine in engines.values()]
        return {
            "engine_kills": done,
            "programs_begun": load.begun,
            "programs_finished_share": load.finished / load.begun,
            "kills_deaths_seen": sum(dispatcher.stats.deaths.values()),
            "kills_rows_left": sum(held),
            "kills_chains_left": dispatcher.stats.chains,
            "kills_tokens_left": dispatcher.stats.waiting_tokens,
            "kills_processes": len(descendants(os.getpid())),
            "kills_rss_ratio": round(rss_mb(os.getpid()) / before[0], 3),
            "kills_open_files_growth": _files() - before[1],
        }


class _Load:
    """Programs, one after the other in each worker. over: no further ones."""

    def __init__(self, dispatcher: ChainDispatcher) -> None:
        self._dispatcher = dispatcher
        self.begun = self.finished = 0
        self.over = False

    async def work(self) -> None:
        while not self.over:
            number, self.begun = self.begun, self.begun + 1
            program = _program(number % 20)
            with self._dispatcher.for_program(f"p{number}", "shop") as engine:
                async with Session(engine) as session:
                    engine.watch(session)
                    session.submit(program)
                    made = [call.bindings["out"] for call in program.calls]
                    variables = [session.variable(name) for name in made]
                    await asyncio.gather(*(one.get() for one in variables), return_exceptions=True)
            if all(one.state == "set" for one in variables):
                self.finished += 1


def _program(number: int) -> Program:
    def call(name: str, template: str, tokens: int) -> SemanticCall:
        settings = {"out": GenerationConfig(max_tokens=tokens, ignore_eos=True)}
        return SemanticCall(name, template + "{{out:output}}", {"out": name}, settings)

    calls = [call(f"m{at}", f"the best tea {number} {at}", 24) for at in range(3)]
    calls.append(call("all", "of {{m0}} {{m1}} {{m2}} the best", 16))
    return Program(tuple(calls), outputs=(WantedOutput("all"),))


async def _busy(dispatcher: ChainDispatcher, engine: ModelEngine, at: str) -> None:
    while not (engine.alive and dispatcher.stats.alive[at] and dispatcher.stats.running[at]):
        await asyncio.sleep(0.02)


async def _calm(engine: ModelEngine) -> int:
    """Requests that it holds; it may be just starting."""
    while not engine.alive:
        await asyncio.sleep(0.1)
    return (await engine.stats()).running


def _pid(engine: ModelEngine) -> int | None:
    processes = engine.model.processes if engine.alive else ()  # type: ignore[attr-defined]
    return processes[0].pid if processes else None


def _files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


if __name__ == "__main__":
    main()
