"""Chains that wait: what they begin with, and how many have to end before them."""

from __future__ import annotations

from hypothesis import given, settings

from adwright.programs.deduction import needed_nodes, upcoming_chains
from adwright.programs.graph import Chain, Graph, build_graph
from adwright.programs.program import NativeStep, Program, SemanticCall
from adwright.programs.steps import Join
from tests.support.programs.random_programs import Drawn, drawn_programs

GRAPH = build_graph(
    Program(
        calls=(
            SemanticCall("a", "read {{given}} {{a:output}}"),
            SemanticCall("b", "{{given}} of {{joined}}: {{b:output}} then {{a}} {{c:output}}"),
            SemanticCall("d", "{{later}} {{d:output}}"),
        ),
        steps=(NativeStep("s", Join(), ("a", "given"), ("joined",)),),
        values={"given": "G"},
        awaited=("later",),
    )
)


def told(texts: dict[str, str]) -> list[tuple[str, tuple[str, ...], int]]:
    needed = needed_nodes(GRAPH, ["c", "d"], texts.keys())
    found = upcoming_chains(GRAPH, needed, texts)
    return [(one.chain.node_id, one.segments, one.steps) for one in found]


def test_what_waits_is_told_with_what_is_known_of_it() -> None:
    assert told({"given": "G"}) == [
        ("d.d", (), 0),
        ("b.b", ("G", " of "), 1),
        ("b.c", ("G", " of "), 2),
    ]
    assert told({"given": "G", "a": "A", "joined": "AG", "later": "L"}) == [
        ("b.c", ("G", " of ", "AG", ": "), 1),
    ]


def test_what_is_ready_or_not_needed_is_not_told() -> None:
    everything = {"given": "G", "a": "A", "joined": "AG", "b": "B", "later": "L"}
    assert told(everything) == []
    assert upcoming_chains(GRAPH, set(), {}) == ()


def longest(graph: Graph, variable: str) -> int:
    """Chains that have to end before a variable is there."""
    node = graph.get_producer(variable)
    if node is None:
        return 0
    before = max((longest(graph, one) for one in node.inputs), default=0)
    return before + isinstance(node, Chain)


@settings(max_examples=40)
@given(drawn_programs(most=8))
def test_steps_are_the_longest_way_before(drawn: Drawn) -> None:
    graph = build_graph(drawn.program)
    for one in upcoming_chains(graph, graph.nodes, {}):
        assert one.steps == max(longest(graph, name) for name in one.chain.inputs)
