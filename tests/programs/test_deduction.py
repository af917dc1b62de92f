"""Deduction: by hand on small graphs, and against every way through random ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.deduction import Deduction, deduce, needed_nodes
from adwright.programs.graph import Chain, Graph, build_graph
from adwright.programs.program import (
    LATENCY,
    THROUGHPUT,
    NativeStep,
    Objective,
    Program,
    SemanticCall,
)
from adwright.programs.steps import Join
from tests.support.programs.random_programs import Drawn, drawn_programs


def call(name: str, reads: str = "", tokens: int = 10) -> SemanticCall:
    """A call that writes the variable of its own name."""
    inputs = " ".join(f"{{{{{one}}}}}" for one in reads.split())
    output = GenerationConfig(max_tokens=tokens)
    return SemanticCall(name, f"{name} {inputs} {{{{{name}:output}}}}", settings={name: output})


def join(name: str, reads: str) -> NativeStep:
    return NativeStep(f"{name}_step", Join(), tuple(reads.split()), (name,))


def asked_of(
    graph: Graph, wanted: Mapping[str, Objective], known: frozenset[str] = frozenset()
) -> Deduction:
    """Deduced where each output is asked for by one objective."""
    return deduce(graph, {name: [one] for name, one in wanted.items()}, known)


MAP_REDUCE = build_graph(
    Program(
        calls=(*(call(f"m{at}", tokens=30 + at) for at in range(3)), call("r", "all", 68)),
        steps=(join("all", "m0 m1 m2"),),
    )
)


def test_chains_that_feed_one_reader_through_a_step_are_a_group() -> None:
    found = asked_of(MAP_REDUCE, {"r": LATENCY})
    assert found.groups == {"r.r": ("m0.m0", "m1.m1", "m2.m2")}
    assert {one.objective for one in found.chains.values()} == {LATENCY}
    assert found.chains["r.r"].group is None
    assert [(one.depth, one.critical_tokens) for one in found.chains.values()] == [
        *((2, 98), (2, 99), (2, 100)),
        (1, 68),
    ]


def test_what_feeds_an_output_through_a_step_is_a_group() -> None:
    found = asked_of(MAP_REDUCE, {"all": THROUGHPUT})
    assert found.groups == {"all": ("m0.m0", "m1.m1", "m2.m2")}
    assert found.chains["m0.m0"].depth == 1
    assert found.get_objective("r") is None


def test_a_deadline_is_divided_by_what_is_written() -> None:
    found = asked_of(MAP_REDUCE, {"r": Objective("deadline", 10.0)})
    # The longest way writes 32 tokens, then 68: all that feed the reader have to end by then.
    share = Objective("deadline", 10.0 * 32 / 100)
    assert [one.objective for one in found.chains.values()] == [
        *(share, share, share),
        Objective("deadline", 10.0),
    ]
    assert found.get_objective("all") == found.get_objective("m1") == share


def test_get_objective_speaks_each_readers_words() -> None:
    found = asked_of(MAP_REDUCE, {"r": Objective("tpot", 0.1)})
    assert found.get_objective("r") == Objective("tpot", 0.1)
    assert found.get_objective("m0") == LATENCY
    found = asked_of(MAP_REDUCE, {"r": Objective("ttft", 1.0)})
    assert found.get_objective("m0") == Objective("deadline", 0.32)


TEAM = build_graph(
    Program(
        calls=(
            call("brief"),
            *(call(f"v{at}", "brief") for at in range(4)),
            *(call(f"review{at}", "all") for at in range(3)),
            call("editor", "all review0 review1 review2"),
            call("report", "review0"),
        ),
        steps=(join("all", "v0 v1 v2 v3"),),
    )
)


def test_a_group_holds_what_does_not_wait_for_each_other() -> None:
    """The editor reads variants and reviews, but the reviews are made of the variants."""
    found = asked_of(TEAM, {"editor": LATENCY})
    assert found.groups["editor.editor"] == (
        "review0.review0",
        "review1.review1",
        "review2.review2",
    )
    variants = {found.chains[f"v{at}.v{at}"].group for at in range(4)}
    assert len(variants) == 1 < len(found.chains)
    assert found.chains["brief.brief"].depth == 4
    assert found.chains["brief.brief"].critical_tokens == 40
    assert found.chains["brief.brief"].group is None
    assert "report.report" not in found.chains


@pytest.mark.parametrize("first", [True, False])
def test_of_several_readers_the_strictest_wins(first: bool) -> None:
    wanted = {"editor": THROUGHPUT, "report": Objective("deadline", 6.0)}
    if not first:
        wanted = dict(reversed(wanted.items()))
    found = asked_of(TEAM, wanted)
    assert found.chains["review1.review1"].objective == THROUGHPUT
    assert found.chains["review0.review0"].objective == Objective("deadline", 6.0 * 3 / 4)
    assert found.chains["brief.brief"].objective.kind == "deadline"
    assert found.chains["brief.brief"].objective.seconds == pytest.approx(6.0 / 4)


def test_a_kind_that_is_less_strict_may_ask_more_of_what_comes_before() -> None:
    graph = build_graph(Program(calls=(call("a"), call("b", "a"), call("c", "b"))))
    found = deduce(graph, {"c": [Objective("deadline", 60.0), Objective("ttft", 3.0), LATENCY]})
    assert found.get_objective("c") == Objective("deadline", 60.0)
    assert found.get_objective("b") == Objective("deadline", 3.0 * 2 / 3)
    found = asked_of(graph, {"c": Objective("deadline", 60.0), "b": Objective("ttft", 1.0)})
    assert found.get_objective("b") == Objective("deadline", 40.0)
    assert found.get_objective("a") == Objective("deadline", 0.5)


def test_who_feeds_several_is_grouped_with_those_of_the_strictest() -> None:
    graph = build_graph(
        Program(
            calls=(
                *(call(name) for name in ("a", "b", "c")),
                call("slow", "a b"),
                call("fast", "b c"),
            )
        )
    )
    found = asked_of(graph, {"slow": THROUGHPUT, "fast": LATENCY})
    assert found.groups == {"fast.fast": ("b.b", "c.c")}
    found = asked_of(graph, {"slow": LATENCY, "fast": THROUGHPUT})
    assert found.groups == {"slow.slow": ("a.a", "b.b")}


def test_the_parts_of_one_call_are_no_group() -> None:
    template = "a {{x:output}} b {{y:output}}"
    graph = build_graph(Program(calls=(SemanticCall("two", template), call("end", "x y"))))
    found = asked_of(graph, {"end": LATENCY})
    assert found.groups == {}
    assert [one.depth for one in found.chains.values()] == [3, 2, 1]


def test_what_is_known_is_asked_for_nothing() -> None:
    found = asked_of(TEAM, {"editor": Objective("deadline", 5.0)}, frozenset({"all"}))
    assert set(found.chains) == {*(f"review{at}.review{at}" for at in range(3)), "editor.editor"}
    assert found.get_objective("review0") == Objective("deadline", 2.5)
    assert found.get_objective("all") is None
    assert asked_of(TEAM, {"editor": LATENCY}, frozenset({"editor"})).chains == {}


def test_a_deadline_before_steps_on_given_texts_is_no_empty_one() -> None:
    graph = build_graph(
        Program(calls=(call("a", "both"),), steps=(join("both", "x y"),), values={"x": "", "y": ""})
    )
    assert asked_of(graph, {"a": Objective("deadline", 3.0)}).get_objective("both") == Objective(
        "deadline", 3.0
    )


def test_parrot_fault_4_grouping_is_not_quadratic() -> None:
    """A thousand chains and a thousand readers of all of them; it was quadratic in each tick."""
    calls = [call(f"m{at}") for at in range(500)]
    reads = [call(f"r{at}", "all") for at in range(499)]
    step = join("all", " ".join(one.name for one in calls))
    graph = build_graph(Program(calls=(*calls, *reads), steps=(step,)))
    found = asked_of(graph, {one.name: LATENCY for one in reads})
    assert [len(each) for each in found.groups.values()] == [500]


def ways(graph: Graph, node_id: str, wanted: set[str]) -> Iterator[tuple[str, ...]]:
    """Every way from a node to the end of one whose output is wanted."""
    for variable in graph.nodes[node_id].outputs:
        if variable in wanted:
            yield (node_id,)
        for reader in graph.readers.get(variable, ()):
            for way in ways(graph, reader, wanted):
                yield (node_id, *way)


def up(graph: Graph, node_id: str) -> Iterator[tuple[str, ...]]:
    """Every way to a node, from one that reads nothing that is made."""
    before = [one for each in graph.nodes[node_id].inputs if (one := graph.producers.get(each))]
    if not before:
        yield (node_id,)
    for one in before:
        for way in up(graph, one):
            yield (*way, node_id)


def tokens(graph: Graph, way: tuple[str, ...]) -> int:
    nodes = [graph.nodes[one] for one in way]
    return sum(one.settings.max_tokens for one in nodes if isinstance(one, Chain))


def asked_along(graph: Graph, way: tuple[str, ...], objective: Objective) -> Objective:
    """What an objective of the way's end asks of its beginning, step by step."""
    for node_id in reversed(way[1:]):
        node = graph.nodes[node_id]
        if isinstance(node, Chain):
            above = max(tokens(graph, one) for one in up(graph, node_id))
            objective = objective.of_producers(1 - node.settings.max_tokens / above or 1.0)
    return objective


@settings(max_examples=60)
@given(drawn_programs(most=7), st.data())
def test_it_is_what_every_way_through_the_graph_says(drawn: Drawn, data: st.DataObject) -> None:
    graph = build_graph(drawn.program)
    wanted = {one.variable: one.objective for one in drawn.program.outputs}
    found = asked_of(graph, wanted)
    chains = {one.node_id for one in graph.chains}
    assert found.chains.keys() == needed_nodes(graph, wanted) & chains
    for chain_id, deduced in found.chains.items():
        all_ways = list(ways(graph, chain_id, {*wanted}))
        assert deduced.depth == max(sum(one in chains for one in way) for way in all_ways)
        assert deduced.critical_tokens == max(tokens(graph, way) for way in all_ways)
        asked = [
            asked_along(graph, way, wanted[output])
            for way in all_ways
            for output in graph.nodes[way[-1]].outputs
            if output in wanted
        ]
        strictest = min(asked, key=lambda one: one.strictness)
        assert deduced.objective.kind == strictest.kind
        assert deduced.objective.seconds == pytest.approx(strictest.seconds)
    for members in found.groups.values():
        assert len(members) > 1
        before = {one: {each for way in up(graph, one) for each in way[:-1]} for one in members}
        assert all(one not in before[other] for one in members for other in members)
