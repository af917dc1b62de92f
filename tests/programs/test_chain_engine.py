"""What an engine is asked: a prompt in segments, and what is wanted of its answer."""

from __future__ import annotations

import asyncio

from adwright.programs.deduction import Deduced
from adwright.programs.program import THROUGHPUT, Program, SemanticCall, WantedOutput
from adwright.programs.runner import AskedChain, ChainEngine, run_program
from tests.support.programs.echo_engine import EchoEngine

PROGRAM = Program(
    calls=(SemanticCall("a", "for {{x}}: {{y:output}}"),),
    values={"x": "tea"},
    outputs=(WantedOutput("y", THROUGHPUT),),
)


def test_a_chain_comes_with_its_prompt_and_what_is_wanted_of_it() -> None:
    engine = EchoEngine()
    runs: ChainEngine = engine
    assert asyncio.run(run_program(PROGRAM, runs)) == {"y": "[for tea: ]"}
    asked = engine.asked["a"]
    assert isinstance(asked, AskedChain)
    assert (asked.segments, asked.prompt) == (("for ", "tea", ": "), "for tea: ")
    assert asked.deduced == Deduced(THROUGHPUT, None, 1, 128)
