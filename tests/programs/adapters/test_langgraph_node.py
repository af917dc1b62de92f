"""?"""

from __future__ import annotations

import asyncio
import operator
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ConfigError, ProgramError
from adwright.lm.engine.generation import GenerationConfig, Message
from adwright.programs.frontend.flow import (
    ChatCall,
    Input,
    Output,
    chat_program,
    program_node,
    semantic_function,
)
from adwright.programs.graph import build_graph
from adwright.programs.program import THROUGHPUT, Program, SemanticCall, WantedOutput
from adwright.programs.runner import Session
from tests.support.programs.dispatching import dispatcher_of
from tests.support.programs.echo_engine import EchoEngine
from tests.support.programs.scripted_engine import ScriptedEngine
from tests.support.service.program_apps import chat_prompt


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


TEXT = st.text("ab{}:\n ", max_size=12)


def made(*contents: str, **changes: object) -> ChatCall:
    turns = [Message("user", one) for one in contents]
    return chat_program(
        turns,
        lambda told: chat_prompt(told, {}),
        GenerationConfig(seed=4),
        model="m",
        **changes,  # type: ignore[arg-type]
    )


def read(call: ChatCall, **texts: str) -> tuple[str, ...]:
    """The segments of the prompt, where these variables have these texts."""
    part = call.part.joined(Program(values=texts))
    (chain, *_) = build_graph(part).chains
    return chain.segments({**call.part.values, **texts})


@given(st.lists(TEXT, min_size=1, max_size=6))
def test_the_prompt_is_that_of_the_template_cut_behind_turns(contents: list[str]) -> None:
    call = made(*contents)
    whole = chat_prompt([Message("user", one) for one in contents], {})
    assert "".join(read(call)) == whole


def test_chats_that_begin_alike_have_borders_in_common() -> None:
    one, other = read(made("rules", "a question")), read(made("rules", "another"))
    assert one[0] == other[0] == "user: rules"
    assert one[1] != other[1]


def test_a_long_chat_is_cut_in_its_last_turns() -> None:
    segments = read(made(*(f"turn {n}" for n in range(500))))
    assert len(segments) == 65
    assert segments[0].endswith("turn 436")


def test_inputs_are_read_where_they_stand() -> None:
    call = made("Is {{a}} like {{b}}, {{c}}, {{ a }}?", inputs={"a": "first", "b": "second"})
    assert "".join(read(call, first="tea", second="{{a}}")) == (
        "user: Is tea like {{a}}, {{c}}, {{ a }}?\nassistant:"
    )
    assert {"first", "second"} <= {*call.prompt}


def test_answers() -> None:
    call = made("a", output="ad", objective=THROUGHPUT)
    assert call.outputs == ("ad",)
    (wanted,) = call.part.outputs
    assert (wanted.variable, wanted.objective) == ("ad", THROUGHPUT)
    several = made("a", n=3)
    seeds = [one.settings["answer"].seed for one in several.part.calls]
    assert (seeds, len({*several.outputs})) == ([4, 5, 6], 3)
    assert made("a").outputs != made("a").outputs


@pytest.mark.parametrize("content", ["", "{{", "{{{", "}}{{x:output}}"])
def test_braces_are_text(content: str) -> None:
    assert "".join(read(made(content))) == f"user: {content}\nassistant:"
