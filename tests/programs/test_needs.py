"""Needs: what is needed after any asking, leaving and settling is what a walk over all finds."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.programs.deduction import needed_nodes
from adwright.programs.graph import Needs, build_graph
from adwright.programs.program import NativeStep, Program, SemanticCall
from adwright.programs.steps import Join
from tests.support.programs.random_programs import Drawn, drawn_programs

SHARED = build_graph(
    Program(
        calls=(
            SemanticCall("a", "a {{a:output}}"),
            SemanticCall("b", "b {{a}} {{b:output}}"),
            SemanticCall("c", "c {{a}} {{c:output}}"),
        )
    )
)


def test_what_two_need_lives_as_long_as_one_of_them_does() -> None:
    needs = Needs(SHARED)
    assert needs.ask("b") == ["b.b", "a.a"]
    assert needs.ask("c") == ["c.c"]
    assert needs.leave("b") == ["b.b"]
    assert needs.needed == {"c.c", "a.a"}
    assert needs.leave("c") == ["c.c", "a.a"]


def test_what_is_settled_needs_nothing_any_more() -> None:
    needs = Needs(SHARED)
    needs.ask("b")
    assert needs.settle("a") == ["a.a"]
    assert needs.needed == {"b.b"}
    assert needs.settle("b") == ["b.b"]
    assert needs.ask("b") == []


def test_who_asks_twice_has_to_leave_twice() -> None:
    needs = Needs(SHARED)
    needs.ask("a")
    assert needs.ask("a") == []
    assert needs.leave("a") == []
    assert needs.leave("a") == ["a.a"]


def test_a_step_is_needed_for_any_of_its_outputs() -> None:
    step = NativeStep("s", Join(), ("x",), ("y",))
    needs = Needs(build_graph(Program(steps=(step,), values={"x": "text"})))
    assert needs.ask("y") == ["s"]
    assert needs.ask("x") == []
    assert needs.settle("y") == ["s"]


@settings(max_examples=60)
@given(drawn_programs(), st.data())
def test_it_is_what_a_walk_over_everything_finds(drawn: Drawn, data: st.DataObject) -> None:
    graph = build_graph(drawn.program)
    needs, asked, settled = Needs(graph), Counter[str](), set[str]()
    for _ in range(data.draw(st.integers(1, 12))):
        variable = data.draw(st.sampled_from(graph.variables))
        before = set(needs.needed)
        match data.draw(st.sampled_from(("ask", "ask", "leave", "settle"))):
            case "ask":
                asked[variable] += 1
                changed = needs.ask(variable)
            case "leave" if asked[variable]:
                asked[variable] -= 1
                changed = needs.leave(variable)
            case _:
                settled.add(variable)
                changed = needs.settle(variable)
        assert needs.needed == needed_nodes(graph, +asked, settled)
        assert {*changed} == before ^ needs.needed
