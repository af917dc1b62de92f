"""The graph: chains behind every output, and the edges of variables."""

from __future__ import annotations

from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.graph import Chain, VariableText, build_graph
from adwright.programs.program import NativeStep, Program, SemanticCall
from adwright.programs.steps import ConstantText, Join

TEAM = Program(
    calls=(
        SemanticCall(
            "writer",
            "Ad for {{product}}: {{ad:output}}\n"
            "The law says {{law}}. Better: {{better:output}} end",
            {"ad": "draft"},
            {"better": GenerationConfig(max_tokens=9)},
        ),
        SemanticCall("judge", "Judge {{draft}}, {{draft}}: {{verdict:output}}"),
    ),
    steps=(NativeStep("pair", Join(), ("draft", "verdict", "draft"), ("law",)),),
    values={"product": "tea"},
)


def chain(node_id: str) -> Chain:
    found = build_graph(TEAM).nodes[node_id]
    assert isinstance(found, Chain)
    return found


def test_a_call_is_cut_behind_every_output() -> None:
    first, second = chain("writer.ad"), chain("writer.better")
    assert first.own == (ConstantText("Ad for "), VariableText("product"), ConstantText(": "))
    assert first.after is None
    assert second.own == (
        ConstantText("\nThe law says "),
        VariableText("law"),
        ConstantText(". Better: "),
    )
    assert (second.after, second.settings.max_tokens) == ("writer.ad", 9)


def test_parrot_fault_3_a_call_with_several_outputs_goes_on_at_the_right_node() -> None:
    """The next chain of a request began at the wrong node there."""
    second = chain("writer.better")
    texts = {"product": "tea", "draft": "DRAFT", "law": "LAW"}
    assert second.segments(texts) == (
        *("Ad for ", "tea", ": ", "DRAFT", "\nThe law says ", "LAW", ". Better: "),
    )
    assert second.prompt[: len(chain("writer.ad").prompt)] == chain("writer.ad").prompt
    assert second.inputs == ("draft", "law")
    assert second.fed_by == ("law",)
    assert second.reads == ("product", "draft", "law")


def test_nodes_stand_behind_what_they_read_also_between_the_parts_of_a_call() -> None:
    graph = build_graph(TEAM)
    assert list(graph.nodes) == ["writer.ad", "judge.verdict", "pair", "writer.better"]
    assert [one.node_id for one in graph.chains] == ["writer.ad", "judge.verdict", "writer.better"]


def test_get_producer_and_get_consumers() -> None:
    graph = build_graph(TEAM)
    assert graph.get_producer("draft") == chain("writer.ad")
    assert graph.get_producer("law") == TEAM.steps[0]
    assert graph.get_producer("product") is graph.get_producer("none") is None
    readers = [one.node_id for one in graph.get_consumers("draft")]
    assert readers == ["writer.better", "judge.verdict", "pair"]
    assert graph.get_consumers("better") == ()
    assert graph.variables == ("product", "draft", "better", "verdict", "law")


def test_two_calls_may_have_one_template() -> None:
    template = "Variant {{number}}: {{ad:output}}"
    program = Program(
        calls=tuple(
            SemanticCall(f"v{at}", template, {"number": f"n{at}", "ad": f"ad{at}"})
            for at in range(3)
        ),
        values={f"n{at}": str(at) for at in range(3)},
    )
    graph = build_graph(program)
    assert [one.output for one in graph.chains] == ["ad0", "ad1", "ad2"]
