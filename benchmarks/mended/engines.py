"""Several LM servers of which some fail, before and after (7 minutes before, 3 after).

PYTHONPATH=TREE/src python -m benchmarks.mended.engines --state before
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack, closing
from pathlib import Path

import httpx

from adwright.lm.engine.http import HttpConfig, HttpModel
from adwright.programs.dispatch.dispatcher import ChainDispatcher
from adwright.programs.dispatch.terms import DispatchTerms
from adwright.programs.engines.openai_http import OpenAIEngine, OpenAIEngineConfig
from adwright.programs.program import LATENCY, Program, SemanticCall, WantedOutput
from adwright.programs.runner import Session
from adwright.programs.scheduling.engine import EngineCapabilities, ReadyChain
from adwright.programs.scheduling.engine_state import EngineState
from adwright.programs.scheduling.scheduler import ProgramScheduler, Start
from benchmarks.mended import run
from benchmarks.programs._sim_curves import CURVES
from benchmarks.programs.chaos import KEYS, chaos, figures, programs_service
from benchmarks.programs.scheduler import measured
from tests.support.programs.faulty_server import Fault, FaultyServer, faulty_servers

_SECRET = "the-password"


def measure() -> Mapping[str, float | int | str]:
    """All of it."""
    logging.disable(logging.CRITICAL)
    found = figures(asyncio.run(chaos(4)))
    faults: tuple[Fault, ...] = ("500", "429", "404")
    alone = {fault: asyncio.run(_one_at_a_time(fault)) for fault in faults}
    named, ready = asyncio.run(_named())
    return {
        "programs that finish, of 96, while 1 to 3 of 4 servers fail in 8 ways": found[
            "chaos_finished"
        ],
        "99 of 100 of those take at most, seconds": found["chaos_p99"],
        "the same while no server fails, seconds": found["chaos_p99_quiet"],
        **{
            f"programs that finish, of 10, one at a time, 1 of 2 servers answers {fault}": number
            for fault, number in alone.items()
        },
        "short chains that start, of 30, behind one that only a dead engine takes": _short_ones(),
        "`programs serve --engine-url --name`: programs that finish, of 1": named,
        "/readyz before a server that knows no model: status": ready,
        "places of 3 that show the password of an engine's address": asyncio.run(_shown()),
        "us of the scheduler per decision, 10,000 chains, 16 engines": measured(0, 1500)[
            "us_per_decision"
        ],
        "brothers of these faults, of 8 found, that are left": _left(),
    }


def _left() -> int:
    """Beside what is above: fills of a failing engine begun again and again; a stream of no answer
    that ended the opening of the service; retries that held their row; grammars of the agent;
    max_tokens of newer models, in programs and elsewhere; passwords in logs of httpx, in what
    `programs serve` prints and in --dry-run. Left: servers that are slow without failing."""
    return 1 if hasattr(OpenAIEngine, "probe") else 8


async def _one_at_a_time(fault: Fault) -> int:
    servers = [FaultyServer(), FaultyServer()]
    servers[0].fault = fault
    done = 0
    async with AsyncExitStack() as stack:
        engines = {}
        for at, url in enumerate(await stack.enter_async_context(faulty_servers(*servers))):
            engine = OpenAIEngine(OpenAIEngineConfig(url, "m"))
            engines[f"e{at}"] = await stack.enter_async_context(engine)
        terms = DispatchTerms(one_domain=True, canary=None)
        told = ChainDispatcher(engines, lambda text: len(text) // 4, terms=terms)
        dispatcher = await stack.enter_async_context(told)
        for at in range(10):
            call = SemanticCall("c", f"question {at}: {{{{o:output}}}}")
            with dispatcher.for_program(f"p{at}", "t") as chains:
                async with Session(chains) as session:
                    chains.watch(session)
                    session.submit(Program(calls=(call,), outputs=(WantedOutput("o"),)))
                    try:
                        done += await session.get("o") == "fine"
                    except Exception as error:
                        print(error)
    return done


def _short_ones() -> int:
    def state(name: str, context: int) -> EngineState:
        can = EngineCapabilities(("m",), prefix_cache=False, context_length=context)
        return EngineState(name, can, CURVES["openvino"])

    def chain(name: str, tokens: int, arrived: float) -> ReadyChain:
        told = (name, name, "t", "m", None, (hash(name),), (tokens,), 10, LATENCY, None, 0, 10)
        return ReadyChain(*told, arrived)

    scheduler = ProgramScheduler([state("small", 1024), state("big", 8192)])
    scheduler.engine_died("big", 0.0)
    scheduler.ready(chain("long", 3000, 0.0), 0.0)
    scheduler.decide(0.0)
    started = 0
    for at in range(30):
        now = 60.0 + 10.0 * at
        scheduler.ready(chain(f"s{at}", 100, now), now)
        for one in scheduler.decide(now):
            if isinstance(one, Start):
                started += 1
                scheduler.done(one.chain.chain_id, one.engine_id, now + 1.0)
    return started


async def _named() -> tuple[int, str]:
    server = FaultyServer()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        urls = await stack.enter_async_context(faulty_servers(server))
        service = programs_service(folder, urls, ["--name", "house"])
        address = await stack.enter_async_context(service)
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=60))
        call = {"name": "c", "template": "Tea: {{o:output}}"}
        body = {"calls": [call], "outputs": [{"variable": "o"}], "wait": True}
        headers = {"Authorization": f"Bearer {KEYS['shop']}"}
        told = await client.post(f"{address}/programs", json=body, headers=headers)
        server.fault = "404"
        await asyncio.sleep(12)
        ready = await client.get(address.removesuffix("/v1") + "/readyz")
        return int(told.json().get("state") == "done"), str(ready.status_code)


async def _shown() -> int:
    url = f"http://shop:{_SECRET}@127.0.0.1:9/v1"
    told = []
    with closing(HttpModel.open(HttpConfig(url, "m", retries=0))) as model:
        try:
            model.generate(["tea"])
        except Exception as error:
            told.append(str(error))
    async with OpenAIEngine(OpenAIEngineConfig(url, "m")) as engine:
        told.append(engine.name)
        try:
            await engine.stats()
        except Exception as error:
            told.append(str(error))
    return sum(_SECRET in one for one in told)


if __name__ == "__main__":
    run("engines", measure)
