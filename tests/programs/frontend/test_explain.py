"""Explanations: the table and the picture say what was deduced."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ConfigError, ProgramError, ResourceError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.frontend.explain import Arrow, Box, draw, explain, predict_placement
from adwright.programs.frontend.flow import (
    PROGRAMS,
    Flow,
    Input,
    Output,
    TextFuture,
    program_text,
    read_program,
    semantic_function,
)
from adwright.programs.frontend.remote import RemoteProgram
from adwright.programs.graph import build_graph, misplaced_texts
from adwright.programs.program import (
    LATENCY,
    THROUGHPUT,
    NativeStep,
    Objective,
    Program,
    SemanticCall,
    WantedOutput,
)
from adwright.programs.runner import Session
from adwright.programs.steps import Join, Numbered, TextLines
from adwright.web.server import on_loopback
from tests.support.looped import in_a_loop
from tests.support.programs.echo_engine import EchoEngine
from tests.support.service.program_apps import ScriptedRouter, program_app
from tests.support.service.small_shop import wait_until

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
        *("all", "first", "now", "now", "product", "product", "second")
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


FLOW_CALL = SemanticCall("ask", "Ask {{x}}: {{y:output}}")


class Recorder:
    """A runtime that writes down what it is asked."""

    def __init__(self) -> None:
        self.submitted: list[Program] = []
        self.told: list[tuple[str, str]] = []

    def submit(self, program: Program) -> None:
        self.submitted.append(program)

    def set(self, name: str, text: str) -> None:
        self.told.append((name, text))

    async def get(self, name: str, objective: Objective = LATENCY) -> str:
        self.told.append((name, str(objective)))
        return name

    async def stream(self, name: str, objective: Objective = LATENCY) -> AsyncIterator[str]:
        self.told.append((name, str(objective)))
        yield name


def test_names_are_free_ones() -> None:
    flow = Flow(Recorder())
    names = [flow.value("t", name).name for name in ("a", "a_2", "a", "a", "b", "a_2")]
    assert names == ["a", "a_2", "a_3", "a_4", "b", "a_2_2"]
    long = [flow.value("t", "n" * 90).name for _ in range(2)]
    assert build_graph(flow.program).variables == (*names, *long)


def test_a_call_is_bound_to_texts_and_futures() -> None:
    flow = Flow(Recorder())
    (one,) = flow.call(FLOW_CALL, {"x": "text"}, ("y",))
    (two,) = flow.call(FLOW_CALL, {"x": one}, ("y",))
    joined, *_ = flow.step(Join(), [one, two, "end"])
    lines = flow.step(TextLines(), [joined], outputs=2)
    assert flow.program.values == {"ask_x": "text", "join_text": "end"}
    assert [call.bindings for call in flow.program.calls] == [
        {"x": "ask_x", "y": "y"},
        {"x": "y", "y": "y_2"},
    ]
    assert flow.program.steps[0].inputs == ("y", "y_2", "join_text")
    assert [one.name for one in lines] == ["lines_made", "lines_made_2"]
    assert build_graph(flow.program)


@in_a_loop
async def test_all_that_was_added_is_submitted_once_with_what_is_asked_for() -> None:
    runtime = Recorder()
    flow = Flow(runtime)
    (one,) = flow.call(FLOW_CALL, {"x": "text"}, ("y",))
    one.want(THROUGHPUT)
    assert runtime.submitted == []
    assert await one.get(Objective("ttft", 1.0)) == "y"
    assert [piece async for piece in one.stream()] == ["y"]
    tool = flow.awaited("tool")
    tool.set("42")
    (first, second) = runtime.submitted
    assert first.joined(second) == flow.program
    assert (first.outputs[0].objective, second.awaited) == (THROUGHPUT, ("tool",))
    assert runtime.told == [("y", "ttft 1 s"), ("y", "latency"), ("tool", "42")]


def test_a_future_of_another_flow_is_refused() -> None:
    one, other = Flow(Recorder()), Flow(Recorder())
    with pytest.raises(ConfigError, match="belongs to another flow"):
        one.call(FLOW_CALL, {"x": other.value("t")}, ("y",))


@in_a_loop
async def test_a_session_is_a_runtime() -> None:
    async with Session(EchoEngine()) as session:
        flow = Flow(session)
        tool = flow.awaited("tool")
        (answer,) = flow.call(FLOW_CALL, {"x": tool}, ("y",))
        reader = asyncio.ensure_future(answer.get())
        await asyncio.sleep(0)
        tool.set("42")
        assert await reader == "[Ask 42: ]"
        assert "".join([piece async for piece in answer.stream()]) == "[Ask 42: ]"


@semantic_function(settings={"ad": GenerationConfig(max_tokens=60)}, model="small", adapter="house")
def write_ad(product: Input, tone: Input, ad: Output) -> None:
    """Write an ad for {{product}}.
    Be {{tone}}: {{ad:output}}
    """


@semantic_function()
def judge(ads: Input, best: Output, why: Output) -> None:
    """Of {{ads}} the best is {{best:output}}, because {{why:output}}"""


def flow_of(engine: EchoEngine) -> Flow:
    return Flow(Session(engine))


def test_a_docstring_is_the_template_of_a_call() -> None:
    call = write_ad.call
    assert call.template == "Write an ad for {{product}}.\nBe {{tone}}: {{ad:output}}"
    assert (call.name, call.model, call.adapter) == ("write_ad", "small", "house")
    assert call.settings["ad"].max_tokens == 60
    assert (write_ad.inputs, write_ad.outputs) == (("product", "tone"), ("ad",))


@in_a_loop
async def test_calling_runs_nothing_and_get_runs_what_is_needed() -> None:
    engine = EchoEngine()
    flow = flow_of(engine)
    product = flow.value("tea")
    ads = [write_ad(flow, product, tone=tone) for tone in ("warm", "bold")]
    (listed,) = flow.step(Numbered(), ads)
    best, why = judge(flow, listed)
    idle = write_ad(flow, "milk", "dry")
    assert engine.begun == []
    first, second = (f"[Write an ad for tea.\nBe {tone}: ]" for tone in ("warm", "bold"))
    told = f"Of 1. {first}\n2. {second} the best is "
    assert await best.get(THROUGHPUT) == f"[{told}]"
    assert await why.get() == f"[{told}[{told}], because ]"
    assert engine.begun == ["write_ad", "write_ad_2", "judge", "judge"]
    assert engine.asked["write_ad"].deduced.objective == THROUGHPUT
    assert engine.asked["judge"].deduced.objective == LATENCY
    assert isinstance(idle, TextFuture)


def test_parrot_fault_7_no_code_goes_to_the_runtime() -> None:
    """The body is never run, and the program is plain data."""

    @semantic_function()
    def loud(x: Input, y: Output) -> None:
        """Say {{x}}: {{y:output}}"""
        raise AssertionError("the body is run")

    flow = flow_of(EchoEngine())
    loud(flow, "it")
    (call,) = flow.program.calls
    assert call.template == "Say {{x}}: {{y:output}}"


@pytest.mark.parametrize(
    ("texts", "named", "what"),
    [
        (("a",), {}, "tone is missing"),
        (("a", "b", "c"), {}, "it takes 2 inputs, not 3"),
        (("a",), {"product": "b", "tone": "c"}, "product cannot be given here"),
        (("a", "b"), {"ad": "c"}, "ad cannot be given here"),
    ],
)
def test_a_call_with_other_inputs_is_refused(
    texts: tuple[str, ...], named: dict[str, str], what: str
) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        write_ad(flow_of(EchoEngine()), *texts, **named)
    assert (caught.value.where, caught.value.hint) == ("write_ad()", "its inputs are product, tone")


def test_parameters_and_placeholders_must_agree() -> None:
    def missing(x: Input, z: Input, y: Output) -> None:
        """{{x}} {{y:output}}"""

    def unknown(x: Input, y: Output) -> None:
        """{{x}} {{w}} {{y:output}}"""

    def swapped(x: Output, y: Output) -> None:
        """{{x}} {{y:output}}"""

    def untyped(x: str, y: Output) -> None:
        """{{x}} {{y:output}}"""

    def bare(x: Input) -> None:
        pass

    for function, what in (
        (missing, "the parameter z stands nowhere"),
        (unknown, "the placeholder w is no parameter"),
        (swapped, "the placeholder x is no parameter"),
        (untyped, "the parameter x is neither Input nor Output"),
        (bare, "the template has no output"),
    ):
        with pytest.raises(ConfigError, match=what):
            semantic_function()(function)


@pytest.fixture
def router() -> ScriptedRouter:
    return ScriptedRouter(held="slow", broken="bad")


@pytest.fixture
def url(router: ScriptedRouter) -> Iterator[str]:
    with on_loopback(program_app(router, keys={"shop": "key"})) as url:
        yield url


@in_a_loop
async def test_a_flow_runs_elsewhere(url: str) -> None:
    remote = RemoteProgram(f"{url}/v1", key="key")
    flow = Flow(remote)
    word = flow.awaited("word")
    call = SemanticCall("ad", "An ad for {{what}}: {{text:output}}")
    (ad,) = flow.call(call, {"what": word}, ["text"])
    (both,) = flow.step(Join(" and "), [ad, "tea"])
    word.set("cups")
    assert await ad.get(Objective("ttft", 2.0)) == "[An ad for cups: ]"
    assert await both.get() == "[An ad for cups: ] and tea"
    assert "".join([one async for one in both.stream()]) == "[An ad for cups: ] and tea"
    found = await remote.status()
    assert (found["id"], found["state"]) == (remote.program_id, "done")
    await remote.close()
    await remote.close()
    assert remote.program_id == ""


@in_a_loop
async def test_what_fails_and_what_is_refused(url: str, router: ScriptedRouter) -> None:
    remote = RemoteProgram(url, key="key", on_disconnect="cancel")
    calls = (SemanticCall("bad", "a{{x:output}}"), SemanticCall("slow", "b{{y:output}}"))
    remote.submit(Program(calls=calls))
    with pytest.raises(ProgramError, match=r"bad is broken.*variable x, from bad\.x"):
        await remote.get("x")
    with pytest.raises(ProgramError, match="bad is broken"):
        assert [one async for one in remote.stream("x")] == []
    waits = asyncio.create_task(remote.get("y"))
    await asyncio.sleep(0.05)
    remote.cancel("y")
    with pytest.raises(ProgramError, match="it was cancelled"):
        await waits
    with pytest.raises(ConfigError, match=r"calls\.0: nobody sets z"):
        remote.submit(Program(calls=(SemanticCall("c", "{{z}}{{w:output}}"),)))
    with pytest.raises(ConfigError, match="no variable of this name"):
        await remote.get("none")
    with pytest.raises(ConfigError, match="key is missing"):
        RemoteProgram(url).submit(Program(calls=calls))

    wait_until(lambda: router.cancelled == ["slow"])


def test_a_service_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="is a URL"):
        RemoteProgram("localhost:8002")
    with pytest.raises(ResourceError, match="cannot be reached"):
        RemoteProgram("http://127.0.0.1:9").submit(Program(awaited=("a",)))


class _Busy(BaseHTTPRequestHandler):
    """Too busy once, then a program."""

    keys: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.keys.append(self.headers["Idempotency-Key"])
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"id": "prog_1"}'
        if len(self.keys) == 1:
            self.send_response(429)
            self.send_header("Retry-After", "0")
            body = b"busy"
        else:
            self.send_response(201)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_what_is_sent_again_is_the_same_request() -> None:
    with HTTPServer(("127.0.0.1", 0), _Busy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        remote = RemoteProgram(f"http://127.0.0.1:{server.server_address[1]}")
        remote.submit(Program(awaited=("a",)))
        server.shutdown()
        thread.join()
    assert remote.program_id == "prog_1"
    assert len(_Busy.keys) == 2
    assert len(set(_Busy.keys)) == 1
