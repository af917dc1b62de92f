"""Explanations: the table and the picture say what was deduced."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.frontend.explain import Arrow, Box, draw, explain, predict_placement
from adwright.programs.frontend.flow import PROGRAMS, program_text, read_program
from adwright.programs.graph import build_graph, misplaced_texts
from adwright.programs.program import (
    LATENCY,
    NativeStep,
    Objective,
    Program,
    SemanticCall,
    WantedOutput,
)
from adwright.programs.steps import Join, Numbered

SVG = "{http://www.w3.org/2000/svg}"


def placed(boxes: list[Box], arrows: list[Arrow]) -> dict[str, tuple[float, float, float, float]]:
    """Left, top, right, bottom of each box, as drawn."""
    tree = ElementTree.fromstring(draw(boxes, arrows))
    rects = list(tree.iter(f"{SVG}rect"))[1:]
    found = {}
    for box, rect in zip(boxes, rects, strict=True):
        x, y, width, height = (float(rect.get(one, "")) for one in ("x", "y", "width", "height"))
        found[box.box_id] = (x, y, x + width, y + height)
        assert x >= 0
        assert x + width <= float(tree.get("width", "")) + 1
        assert y + height <= float(tree.get("height", ""))
    return found


@given(st.integers(0, 8), st.data())
def test_boxes_stand_below_what_they_read_from_and_beside_each_other(
    count: int, data: st.DataObject
) -> None:
    kinds = st.sampled_from(("chain", "step", "value", "idle"))
    boxes = [
        Box(f"b{at}", ("x" * data.draw(st.integers(0, 60)), "y"), data.draw(kinds))
        for at in range(count)
    ]
    pairs = list(combinations(range(count), 2))
    chosen = data.draw(st.lists(st.sampled_from(pairs), max_size=12)) if pairs else []
    arrows = [Arrow(f"b{one}", f"b{other}", "<v>") for one, other in chosen]
    found = placed(boxes, arrows)
    assert all(found[one.start][3] < found[one.end][1] for one in arrows)
    for one, other in combinations(found.values(), 2):
        beside = one[2] < other[0] or other[2] < one[0]
        assert beside or one[3] < other[1] or other[3] < one[1]
    assert draw(boxes, arrows) == draw(boxes, arrows)


def test_groups_have_colours_and_kinds_have_forms() -> None:
    boxes = [
        Box("a", ("a",), group="g"),
        Box("b", ("b",), group="g"),
        Box("c", ("c",), group="h"),
        Box("d", ("d",), "idle"),
        Box("e", ("e",), "step"),
        Box("f", ("f",), "value"),
    ]
    tree = ElementTree.fromstring(draw(boxes, []))
    a, b, c, d, e, f = list(tree.iter(f"{SVG}rect"))[1:]
    assert a.get("stroke") == b.get("stroke") != c.get("stroke")
    assert d.get("stroke-dasharray")
    assert e.get("rx") != a.get("rx")
    assert f.get("stroke") == "none"


def test_texts_are_escaped_and_cut() -> None:
    svg = draw([Box("a", ("<script>&", "x" * 100))], [])
    assert "&lt;script&gt;&amp;" in svg
    assert "x" * 37 + "..." in svg
    with pytest.raises(ConfigError, match="'cloud'"):
        Box("a", ("a",), "cloud")  # type: ignore[arg-type]


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


def team(variants: int, rules: str = "") -> Program:
    """Several writers whose texts are joined, an editor who reads them, and one nobody needs."""
    settings = {"ad": GenerationConfig(max_tokens=200)}
    names = tuple(f"ad{n}" for n in range(variants))
    writers = tuple(
        SemanticCall(one, f"{rules}{one}: {{{{ad:output}}}}", {"ad": one}, settings)
        for one in names
    )
    editor = SemanticCall("editor", "{{all}} {{word}} {{best:output}}")
    idle = SemanticCall("idle", "a{{b:output}}")
    return Program(
        calls=(*writers, editor, idle),
        steps=(NativeStep("join", Join(), names, ("all",)),),
        awaited=("word",),
        outputs=(WantedOutput("best", LATENCY),),
    )


def test_each_chain_that_is_needed_has_an_engine() -> None:
    program = team(3)
    found = predict_placement(program)
    assert found == dict.fromkeys(["ad0.ad", "ad1.ad", "ad2.ad", "editor.best"], "e0")
    lines = {one.node_id: one.predicted for one in explain(program, predicted=found).nodes}
    assert lines == {**found, "join": "", "idle.b": ""}


def test_a_large_group_is_spread_and_the_same_each_time() -> None:
    program = team(24)
    found = predict_placement(program, engines=3)
    assert {*found.values()} == {"e0", "e1", "e2"}
    assert predict_placement(program, engines=3) == found


def test_bounds() -> None:
    assert predict_placement(Program(calls=(SemanticCall("a", "b{{c:output}}"),))) == {}
    with pytest.raises(ConfigError):
        predict_placement(team(1), engines=0)
    empty = Program(
        values={"e": ""},
        calls=(SemanticCall("a", "{{e}}{{c:output}}"),),
        outputs=(WantedOutput("c"),),
    )
    assert predict_placement(empty) == {"a.c": "e0"}


CALL = {"name": "writer", "template": "An ad for {{product}}: {{ad:output}}"}


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_programs_of_the_package(name: str) -> None:
    program = read_program(name)
    assert build_graph(program).program is program
    assert program.outputs
    assert misplaced_texts(program.calls) == {}
    assert json.loads(program_text(name))["calls"]


def test_the_team() -> None:
    program = read_program("creative-team", {"product": "black tea"})
    assert program.values["product"] == "black tea"
    assert (len(program.calls), len(program.steps)) == (9, 3)


def written(tmp_path: Path, program: Any) -> Path:
    file = tmp_path / "program.json"
    file.write_text(program if isinstance(program, str) else json.dumps(program))
    return file


def test_values_are_given_awaited_or_missing(tmp_path: Path) -> None:
    second = {"name": "second", "template": "{{word}} {{other}} {{more:output}}"}
    file = written(
        tmp_path, {"calls": [CALL, second], "awaited": ["word"], "values": {"other": "a"}}
    )
    program = read_program(file, {"product": "tea", "word": "b"})
    assert program.values == {"other": "a", "product": "tea", "word": "b"}
    assert program.awaited == ()
    with pytest.raises(ConfigError, match=r"no value of 'produkt'.*did you mean product\?"):
        read_program(file, {"produkt": "tea"})
    with pytest.raises(ConfigError, match="no value of 'ad'"):
        read_program(file, {"ad": "tea"})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ([], "is a JSON object"),
        ({"call": []}, "did you mean calls"),
        ({"calls": [{"name": "a"}]}, "calls.0.template"),
        ({"calls": [{**CALL, "template": "{{"}]}, "is no placeholder"),
    ],
)
def test_what_is_no_program(tmp_path: Path, content: Any, words: str) -> None:
    file = written(tmp_path, content)
    with pytest.raises(ConfigError) as told:
        read_program(file)
    assert words in str(told.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="creative-team"):
        read_program(tmp_path / "none.json")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_program(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_program(tmp_path / "binary")
