"""Run a drawn program in a session, whole or in parts, and compare with what it means."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from adwright.core.errors import ConfigError, ProgramError
from adwright.programs.graph import build_graph
from adwright.programs.program import Program
from adwright.programs.runner import Failure, Session
from tests.support.programs.fake_engine import DrawnEngine
from tests.support.programs.interpreter import Meaning
from tests.support.programs.random_programs import Drawn


def fits(found: str | Failure, meaning: Meaning) -> bool:
    """Whether a session came to what the interpreter says, by one of the causes that it names."""
    if isinstance(found, str):
        return found == meaning.text
    if found.kind == "output":
        found = replace(found, what="")
    return meaning.text is None and found in meaning.causes


def parts_of(program: Program, rng: random.Random) -> list[Program]:
    """The program in some parts, each of which reads only what it holds or what came before."""
    names = list(dict.fromkeys(node_id.split(".")[0] for node_id in build_graph(program).nodes))
    parts = [Program(values=program.values, awaited=program.awaited)]
    whole, part = parts[0], Program()
    for at, name in enumerate(names, start=1):
        calls = tuple(one for one in program.calls if one.name == name)
        steps = tuple(one for one in program.steps if one.name == name)
        part = part.joined(Program(calls=calls, steps=steps))
        if at == len(names) or (rng.random() < 0.5 and _stands(whole.joined(part))):
            parts.append(part)
            whole, part = whole.joined(part), Program()
    return parts


def _stands(program: Program) -> bool:
    try:
        build_graph(program)
    except ConfigError:
        return False
    return True


async def come_to(
    drawn: Drawn, engine: DrawnEngine, in_flight: int | None, parts: list[Program]
) -> Mapping[str, str | Failure]:
    """What each output comes to, after the parts were submitted, the last with what is wanted."""
    names = [one.variable for one in drawn.program.outputs]
    async with Session(engine, in_flight=in_flight) as session:
        for part in parts[:-1]:
            session.submit(part)
        for name in drawn.cancelled & {*session.graph.variables}:
            session.cancel(name)
        session.submit(parts[-1])
        outside = dict(drawn.outside)
        for name in outside.keys() - drawn.cancelled:
            if outside[name] is None:
                session.fail(name, "nobody came")
            else:
                session.set(name, outside[name] or "")
        waited = asyncio.gather(
            *(session.variable(one).get() for one in names), return_exceptions=True
        )
        await engine.drive(waited)
        variables = [session.variable(one) for one in names]
        found = {one.name: one.failure or one.text for one in variables}
        await engine.settle_down()
        assert session.running == engine.at_work == ()
    return found


async def through_disorder(
    drawn: Drawn, engine: DrawnEngine, rng: random.Random
) -> tuple[Mapping[str, str | Failure], set[str]]:
    """What each variable comes to, and which were cancelled, when readers come and go, values from
    outside come some time, and variables are cancelled, while chains end in any order."""
    cancelled: set[str] = set()
    readers: list[asyncio.Future[str]] = []
    async with Session(engine, in_flight=rng.choice((None, 1, 2))) as session:
        session.submit(replace(drawn.program, outputs=()))
        names = session.graph.variables
        outside = list(drawn.outside)
        for _ in range(rng.randint(5, 60)):
            match rng.randrange(12):
                case 0 | 1 | 2:
                    readers.append(asyncio.ensure_future(session.get(rng.choice(names))))
                case 3 | 4 if readers:
                    readers.pop(rng.randrange(len(readers))).cancel()
                case 5 if outside:
                    _set(session, drawn, outside.pop())
                case 6 if not session.variable(name := rng.choice(names)).is_settled:
                    session.cancel(name)
                    cancelled.add(name)
                case _:
                    engine.let_go_on()
            for _ in range(rng.randrange(3)):
                await asyncio.sleep(0)
        for name in outside:
            _set(session, drawn, name)
        readers += [asyncio.ensure_future(session.get(name)) for name in names]
        await engine.drive(asyncio.gather(*readers, return_exceptions=True))
        await engine.settle_down()
        assert session.running == engine.at_work == ()
        variables = [session.variable(one) for one in names]
        return {one.name: one.failure or one.text for one in variables}, cancelled


def _set(session: Session, drawn: Drawn, name: str) -> None:
    """Where it was cancelled meanwhile, an error says so."""
    with suppress(ProgramError):
        text = drawn.outside[name]
        if text is None:
            session.fail(name, "nobody came")
        else:
            session.set(name, text)
