from __future__ import annotations

import asyncio
import operator
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import pytest

from adwright.core.errors import ConfigError, ProgramError
from adwright.programs.frontend.flow import Input, Output, program_node, semantic_function
from adwright.programs.program import THROUGHPUT, Program, SemanticCall, WantedOutput
from adwright.programs.runner import Session
from tests.support.programs.dispatching import dispatcher_of
from tests.support.programs.echo_engine import EchoEngine
from tests.support.programs.scripted_engine import ScriptedEngine


@semantic_function()
def write_ad(product: Input, ad: Output) -> None:
    """Write an ad for {{product}}: {{ad:output}}"""


TEAM = Program(
    calls=(
        SemanticCall("brand", "Is {{ad}} like {{house}}? {{view:output}}"),
        SemanticCall("editor", "{{view}} Better: {{final:output}}"),
    ),
    values={"house": "us"},
    outputs=(WantedOutput("final"), WantedOutput("view", THROUGHPUT)),
)


def ran(node: Any, state: Any) -> dict[str, str]:
    found: dict[str, str] = asyncio.run(node(state))
    return found


def test_a_function_reads_and_writes_the_state() -> None:
    node = program_node(write_ad, lambda: Session(EchoEngine()))
    assert ran(node, {"product": "tea", "n": 1}) == {"ad": "[Write an ad for tea: ]"}


def test_keys_may_have_other_names_and_states_attributes() -> None:
    @dataclass
    class State:
        item: str

    node = program_node(
        write_ad, lambda: Session(EchoEngine()), reads={"product": "item"}, writes={"ad": "text"}
    )
    assert ran(node, State("tea")) == {"text": "[Write an ad for tea: ]"}


def test_a_program_is_filled_with_what_it_waits_for() -> None:
    engine = EchoEngine()
    node = program_node(TEAM, lambda: Session(engine), writes={"final": "best"})
    view = "[Is tea like us? ]"
    assert ran(node, {"ad": "tea"}) == {"best": f"[{view} Better: ]", "view": view}
    assert engine.asked["editor"].deduced.objective.kind == "latency"
    again = program_node(TEAM, lambda: Session(engine), objective=THROUGHPUT, reads={"house": "h"})
    assert ran(again, {"ad": "tea", "h": "them"})["view"] == "[Is tea like them? ]"
    assert engine.asked["editor"].deduced.objective.kind == "throughput"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reads": {"prodct": "p"}}, "no such variable: 'prodct'.*did you mean product"),
        ({"writes": {"text": "p"}}, "no such variable: 'text'.*they are ad"),
    ],
)
def test_names_that_are_not_there_are_refused(changes: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        program_node(write_ad, lambda: Session(EchoEngine()), **changes)


def test_a_program_that_asks_for_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing is asked for"):
        program_node(Program(values={"a": "b"}), lambda: Session(EchoEngine()))


def test_states_without_the_text_are_refused() -> None:
    node = program_node(write_ad, lambda: Session(EchoEngine()))
    with pytest.raises(ConfigError, match=r"the state has no such key.*'product'"):
        ran(node, {})
    with pytest.raises(ConfigError, match="it is a text that is read, and no int"):
        ran(node, {"product": 3})


def test_a_failure_is_the_nodes() -> None:
    node = program_node(write_ad, lambda: Session(EchoEngine(broken="write_ad")))
    with pytest.raises(ProgramError, match="write_ad is broken"):
        ran(node, {"product": "tea"})


def test_a_state_graph_runs_on_a_dispatcher() -> None:
    graphs = pytest.importorskip("langgraph.graph", reason="langgraph is not installed")

    class State(TypedDict, total=False):
        product: str
        ad: str
        best: str
        notes: Annotated[list[str], operator.add]

    async def main() -> tuple[dict[str, Any], int]:
        async with dispatcher_of({"e0": ScriptedEngine()}) as dispatcher:
            with dispatcher.for_program("agent", "shop") as chains:

                def opened() -> Session:
                    return Session(chains)

                judge = Program(
                    calls=(SemanticCall("judge", "Judge {{ad}}: {{view:output}}"),),
                    outputs=(WantedOutput("view"),),
                )
                graph = graphs.StateGraph(State)
                graph.add_node("write", program_node(write_ad, opened))
                graph.add_node("judge", program_node(judge, opened, writes={"view": "best"}))
                graph.add_edge(graphs.START, "write")
                graph.add_edge("write", "judge")
                graph.add_edge("judge", graphs.END)
                compiled = graph.compile()
                found = await asyncio.gather(
                    *(compiled.ainvoke({"product": one}) for one in ("tea", "coffee"))
                )
                return found[0], sum(one.kind == "set" for one in chains.trace.events)

    found, calls = asyncio.run(main())
    assert found["best"] == "[Judge [Write an ad for tea: ]: ]"
    assert calls == 4
