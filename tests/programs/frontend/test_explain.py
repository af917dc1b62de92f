"""Explanations: the table and the picture say what was deduced."""

from __future__ import annotations

from xml.etree import ElementTree

from adwright.programs.frontend.explain import explain
from adwright.programs.program import NativeStep, Objective, Program, SemanticCall, WantedOutput
from adwright.programs.steps import Numbered

RULES = "Follow the rules of the house, all of them, at any time, in each and every ad. "
AD = "Now: {{now}}. " + RULES + "Write for {{product}}: {{ad:output}}"
TEAM = Program(
    calls=(
        SemanticCall("one", AD, {"ad": "first"}),
        SemanticCall("two", AD, {"ad": "second"}),
        SemanticCall("editor", "Choose from {{all}}: {{best:output}}"),
        SemanticCall("idle", "Not <asked>: {{nothing:output}}"),
    ),
    steps=(NativeStep("list", Numbered(), ("first", "second"), ("all",)),),
    values={"product": "tea", "now": "noon"},
    outputs=(WantedOutput("best", Objective("deadline", 4.0)),),
)


def test_the_table_says_what_each_node_is_asked_for() -> None:
    found = explain(TEAM, predicted={"one.ad": "cpu0"}, placed={"one.ad": "cpu1"})
    head, *rows = found.text.splitlines()
    assert head.split("  ")[0] == "node"
    assert "ran on" in head
    cells = {row.split()[0]: row for row in rows}
    assert "deadline 2 s" in cells["one.ad"]
    assert "editor.best" in cells["one.ad"]
    assert cells["one.ad"].endswith("cpu0          cpu1")
    assert "deadline 4 s" in cells["editor.best"]
    assert "deadline 2 s" in cells["list"]
    assert "not needed" in cells["idle.nothing"]
    assert [row for row in rows if row.startswith("call one, line 1: {{now}} changes")]


def test_columns_that_say_nothing_are_left_out() -> None:
    head = explain(Program(calls=(SemanticCall("a", "x {{y:output}}"),))).text.splitlines()[0]
    assert head.split("  ")[0] == "node"
    assert "group" not in head
    assert "ran on" not in head


def test_the_caller_says_which_variables_change() -> None:
    text = "{{shopper}} " + RULES + "{{ad:output}}"
    program = Program(calls=(SemanticCall("a", text, {"shopper": "who"}),), values={"who": "x"})
    assert explain(program).misplaced == {}
    assert set(explain(program, changing=["who"]).misplaced) == {"a"}


def test_numbers_are_those_of_the_deduction() -> None:
    found = {one.node_id: one for one in explain(TEAM).nodes}
    assert (found["one.ad"].depth, found["one.ad"].critical_tokens) == (2, 256)
    assert found["one.ad"].prompt_tokens > 20
    assert (found["list"].is_step, found["list"].reads) == (True, ("first", "second"))


def test_the_picture_shows_every_node_and_edge() -> None:
    svg = explain(TEAM, predicted={"one.ad": "cpu0"}).svg
    tree = ElementTree.fromstring(svg)
    texts = [one.text for one in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert {"one.ad", "two.ad", "list", "editor.best", "idle.nothing", "product"} <= {*texts}
    assert "on cpu0" in texts
    assert "deadline 4 s, wanted" in texts
    titles = [one.text for one in tree.iter("{http://www.w3.org/2000/svg}title")]
    assert sorted(filter(None, titles)) == [
        *("all", "first", "now", "now", "product", "product", "second"),
    ]


def test_a_page_holds_the_table_and_the_picture() -> None:
    program = Program(
        values={"now": "12:00"},
        calls=(SemanticCall("writer", "At {{now}}: " + "rules & more " * 9 + "{{ad:output}}"),),
        outputs=(WantedOutput("ad"),),
    )
    page = explain(program).page("Tea <shop>")
    assert "<h1>Tea &lt;shop&gt;</h1>" in page
    assert "1 calls of a model; ad is asked for" in page
    assert '<td data-name="node">writer.ad</td>' in page
    assert "<svg" in page
    assert "{{now}} changes from call to call" in page
