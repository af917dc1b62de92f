"""Sessions: random programs mean what the interpreter says, and each promise by itself."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.core.errors import ConfigError
from adwright.programs.build import build_graph
from adwright.programs.program import Program
from adwright.programs.runner import Session
from adwright.programs.variable import Failure
from tests.support.programs.fake_engine import DrawnEngine
from tests.support.programs.fake_model import answer
from tests.support.programs.interpreter import Interpreter, Meaning
from tests.support.programs.random_programs import Drawn, drawn_programs


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
        if at == len(names) or (rng.random() < 0.5 and stands(whole.joined(part))):
            parts.append(part)
            whole, part = whole.joined(part), Program()
    return parts


def stands(program: Program) -> bool:
    try:
        build_graph(program)
    except ConfigError:
        return False
    return True


async def run(
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


@settings(max_examples=120)
@given(drawn_programs(), st.integers(0, 2**32), st.none() | st.integers(1, 3), st.booleans())
def test_any_program_means_what_it_says(
    drawn: Drawn, seed: int, in_flight: int | None, at_once: bool
) -> None:
    """Set at once or in parts, whatever is cancelled, fails or comes from outside."""
    interpreter = Interpreter(drawn.program, answer, drawn.outside, drawn.cancelled)
    engine = DrawnEngine(seed)
    unasked = replace(drawn.program, outputs=())
    parts = [unasked] if at_once else parts_of(unasked, random.Random(seed))
    if at_once and not drawn.cancelled:
        parts = [drawn.program]
    else:
        parts = [*parts, Program(outputs=drawn.program.outputs)]
    found = asyncio.run(run(drawn, engine, in_flight, parts))
    for name, came in found.items():
        assert fits(came, interpreter.meaning(name)), (name, came, interpreter.meaning(name))
    assert engine.begun.keys() <= {*interpreter.asked}, "what nobody needs was run"
    assert all(count == 1 for count in engine.begun.values())
    assert in_flight is None or engine.most <= in_flight
