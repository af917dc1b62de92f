"""The graph: chains behind every output, and the edges of variables."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.deduction import (
    Deduction,
    PrefixSeed,
    deduce,
    needed_nodes,
    text_prefixes,
    upcoming_chains,
)
from adwright.programs.graph import (
    Chain,
    Graph,
    Needs,
    ProgramLimits,
    VariableText,
    about_tokens,
    build_graph,
    check_text,
    check_tokens,
    prompt_tokens,
    require_within,
)
from adwright.programs.program import (
    LATENCY,
    THROUGHPUT,
    NativeStep,
    Objective,
    Program,
    SemanticCall,
    WantedOutput,
)
from adwright.programs.steps import ConstantText, Join, Trim
from tests.support.programs.random_programs import Drawn, drawn_programs

WRITER = SemanticCall("writer", "Ad for {{product}}: {{ad:output}}")
GIVEN = {"product": "tea"}


def call(template: str, **further: Any) -> Program:
    return Program(calls=(SemanticCall("writer", template, **further),), values=GIVEN)


def schema(**parts: Any) -> dict[str, GenerationConfig]:
    return {"ad": GenerationConfig(json_schema=parts)}


@pytest.mark.parametrize(
    ("program", "what", "where", "hint"),
    [
        (
            Program(calls=(WRITER,)),
            "nobody sets product",
            "call writer, variable product",
            "give it in values",
        ),
        (
            Program(calls=(replace(WRITER, bindings={"product": "prodct"}),), values=GIVEN),
            "nobody sets prodct",
            "call writer",
            "did you mean product?",
        ),
        (
            Program(calls=(WRITER, replace(WRITER, name="other")), values=GIVEN),
            "it is set twice: writer.ad makes it, and other.ad makes it",
            "variable ad",
            "set once",
        ),
        (
            Program(calls=(WRITER,), values=GIVEN | {"ad": "x"}),
            "it is set twice: it is given, and writer.ad makes it",
            "variable ad",
            "set once",
        ),
        (
            Program(values=GIVEN, awaited=("product",)),
            "it is set twice: it is given, and it is awaited",
            "variable product",
            "set once",
        ),
        (Program(awaited=("a", "a")), "two have the name a", "variable a", "rename"),
        (
            Program(calls=(WRITER, WRITER), values=GIVEN),
            "two have the name writer",
            "call or step writer",
            "rename",
        ),
        (
            Program(calls=(replace(WRITER, name="a b"),), values=GIVEN),
            "'a b' cannot be the name",
            "call or step a b",
            "take a letter",
        ),
        (Program(values={"1": "x"}), "'1' cannot be the name", "variable 1", "take a letter"),
        (Program(values={"a": "\ud800"}), "half a character", "variable a", "UTF-8"),
        (call("{{x"), "is no placeholder", "call writer, template, line 1", "write {{name}}"),
        (call("{{ad:output}}"), "nothing stands before", "call writer", "begin the template"),
        (
            call("a {{product}} {{ad:output}}", bindings={"produkt": "x"}),
            "a binding for 'produkt'",
            "call writer",
            "did you mean product?",
        ),
        (
            call("a {{product}} {{ad:output}}", settings={"product": GenerationConfig()}),
            "a setting for 'product'",
            "call writer",
            "it has ad",
        ),
        (
            call("a {{ad:output}}", settings=schema(type="strin")),
            "the schema cannot be used",
            "call writer, output ad",
            "correct it",
        ),
        (
            call("a {{ad:output}}", settings={"ad": GenerationConfig(regex="a" * 200_000)}),
            "200000 bytes",
            "call writer, output ad",
            "smaller",
        ),
        (
            Program(steps=(NativeStep("s", Trim(), ("a", "b"), ("c",)),)),
            "takes one input, not 2",
            "step s",
            "change inputs",
        ),
        (
            Program(values=GIVEN, outputs=(WantedOutput("produkt"),)),
            "nobody sets produkt",
            "outputs.0",
            "did you mean product?",
        ),
        (
            call("a {{ad}} {{ad:output}}"),
            "they wait for each other: writer.ad -> writer.ad",
            "call writer",
            "break the ring",
        ),
    ],
)
def test_a_refusal_names_the_place_and_what_to_do(
    program: Program, what: str, where: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        build_graph(program)
    assert what in caught.value.what
    assert where in caught.value.where
    assert hint in caught.value.hint


def test_a_cycle_is_named_from_end_to_end() -> None:
    program = Program(
        calls=(
            SemanticCall("free", "x {{y:output}}"),
            SemanticCall("a", "{{c}} {{a:output}}"),
            SemanticCall("b", "{{a}} {{b:output}}"),
        ),
        steps=(
            NativeStep("s", Join(), ("b", "y"), ("c",)),
            NativeStep("e", Join(), ("c",), ("d",)),
        ),
    )
    with pytest.raises(ConfigError, match=r"a.a -> b.b -> s -> a.a|b.b -> s -> a.a -> b.b|s -> a"):
        build_graph(program)


LONG = Program(
    calls=tuple(
        SemanticCall(f"c{at}", f"{{{{x{at}}}}} {{{{x{at + 1}:output}}}}") for at in range(5)
    ),
    steps=tuple(NativeStep(f"s{at}", Join(), ("x0",), (f"y{at}",)) for at in range(5)),
    values={"x0": "t" * 400},
    awaited=("later",),
)


@pytest.mark.parametrize(
    ("name", "most", "where"),
    [
        ("calls", 5, "program"),
        ("steps", 5, "program"),
        ("nodes", 10, "program"),
        ("variables", 2, "program"),
        ("edges", 10, "program"),
        ("fan_out", 6, "variable x0"),
        ("depth", 5, "node c4.x5"),
        ("template_characters", 20, "call c0, template"),
        ("text_characters", 400, "variable x0"),
        ("context_tokens", 128 + 1 + 128, "chain c1.x2"),
        ("total_tokens", 101 + 4 * 129 + 5 * 128, "program"),
    ],
)
def test_every_limit_holds_and_no_more_than_that(name: str, most: int, where: str) -> None:
    assert build_graph(LONG, ProgramLimits(**{name: most}))
    with pytest.raises(ConfigError, match=rf"at most {most - 1:,} are taken") as caught:
        build_graph(LONG, ProgramLimits(**{name: most - 1}))
    assert caught.value.where == where


def test_a_text_is_checked_by_itself() -> None:
    check_text("a", "fine", ProgramLimits(text_characters=4))
    with pytest.raises(ConfigError, match="5 characters"):
        check_text("a", "wrong", ProgramLimits(text_characters=4))


def test_a_large_graph_is_built_in_a_moment() -> None:
    """Also one in which the last call has a thousand outputs, each behind the one before."""
    many = "".join(f" {{{{x{at}}}}} {{{{y{at}:output}}}}" for at in range(150))
    program = Program(
        calls=(
            SemanticCall("last", f"read{many}"),
            *(SemanticCall(f"c{at}", f"a {{{{x{at}:output}}}}") for at in range(900)),
        )
    )
    assert len(build_graph(program).nodes) == 1050


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


PROGRAM = Program(
    calls=(
        SemanticCall(
            "a",
            "12345678{{given}}{{x:output}}1234{{later}}{{joined}}{{y:output}}",
            settings={"x": GenerationConfig(max_tokens=10), "y": GenerationConfig(max_tokens=20)},
        ),
    ),
    steps=(NativeStep("s", Join(), ("x", "given"), ("joined",)),),
    values={"given": "123456"},
    awaited=("later",),
)


def test_each_chain_reads_what_those_before_it_may_have_written() -> None:
    limits = ProgramLimits(awaited_tokens=1000)
    found = prompt_tokens(build_graph(PROGRAM), limits)
    first = 2 + 2
    assert found == {"a.x": first, "a.y": first + 10 + 1 + 1000 + (10 + 1 + 2 + 1)}


def test_tokens_are_bounded_one_by_one_and_together() -> None:
    graph = build_graph(PROGRAM)
    check_tokens(graph, ProgramLimits(awaited_tokens=10))
    with pytest.raises(ConfigError, match=r"59 tokens.*chain a.y"):
        check_tokens(graph, ProgramLimits(awaited_tokens=10, context_tokens=58))
    with pytest.raises(ConfigError, match=r"73 tokens.*program"):
        check_tokens(graph, ProgramLimits(awaited_tokens=10, total_tokens=72))


def test_what_doubles_with_each_step_is_only_a_large_number() -> None:
    steps = [NativeStep("s0", Join(), ("x", "x"), ("y0",))]
    steps += [
        NativeStep(f"s{at}", Join(), (f"y{at - 1}", f"y{at - 1}"), (f"y{at}",))
        for at in range(1, 150)
    ]
    program = Program(
        calls=(SemanticCall("a", "{{y149}} {{z:output}}"),),
        steps=tuple(steps),
        values={"x": "text"},
    )
    with pytest.raises(ConfigError, match="tokens to read and write"):
        build_graph(program)


def test_what_is_within_passes() -> None:
    require_within("calls", 3, 3)
    with pytest.raises(ConfigError, match=r"it has 4 calls, at most 3 are taken \[program\]"):
        require_within("calls", 4, 3)


def test_a_token_is_about_four_characters() -> None:
    assert [about_tokens("x" * n) for n in (0, 1, 4, 5)] == [0, 1, 1, 2]


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


SEED = PrefixSeed("shop", "smollm2")
SEGMENTS = st.lists(st.text(alphabet="ab", max_size=3), max_size=5)


@given(SEGMENTS, SEGMENTS)
def test_two_prompts_share_what_they_begin_with_and_no_more(
    one: list[str], other: list[str]
) -> None:
    found, against = text_prefixes(one, len, SEED), text_prefixes(other, len, SEED)
    first, second = "".join(one), "".join(other)
    borders = {len("".join(one[: at + 1])) for at in range(len(one))} - {0}
    borders &= {len("".join(other[: at + 1])) for at in range(len(other))}
    shared = [at for at in borders if first[:at] == second[:at]]
    assert len({*found.hashes} & {*against.hashes}) == len(shared)


@given(SEGMENTS)
def test_borders_ascend_to_the_whole_prompt(segments: list[str]) -> None:
    found = text_prefixes(segments, len, SEED)
    assert list(found.tokens) == sorted(set(found.tokens))
    assert found.tokens[-1:] == ((len("".join(segments)),) if "".join(segments) else ())
    assert len(found.hashes) == len(found.tokens)
    assert text_prefixes(["".join(segments)], len, SEED).hashes == found.hashes[-1:]


def test_a_hash_is_what_its_formula_says() -> None:
    found = text_prefixes(["a", "", "bc"], len, SEED)
    whole = hashlib.blake2b(SEED.key() + b"abc", digest_size=16, person=b"text").digest()
    assert found.hashes[-1] == int.from_bytes(whole)
    assert found.tokens == (1, 3)


@pytest.mark.parametrize(
    "other",
    [
        replace(SEED, domain="other shop"),
        replace(SEED, model="another"),
        replace(SEED, adapter="house"),
        replace(SEED, adapter=""),
        replace(SEED, version="2"),
        replace(SEED, public=True),
        PrefixSeed("shops", "mollm2"),
    ],
)
def test_parrot_fault_8_nothing_is_shared_across_tenants_models_and_adapters(
    other: PrefixSeed,
) -> None:
    """There a prefix was matched by its first characters, with no tenant in the key."""
    segments = ["You are the assistant of a shop. ", "tea"]
    found, against = (text_prefixes(segments, len, one) for one in (SEED, other))
    assert not {*found.hashes} & {*against.hashes}


def test_a_text_without_a_token_is_part_of_what_is_shared_and_no_border() -> None:
    found = text_prefixes(["a", " ", "b"], lambda text: len(text.strip()), SEED)
    other = text_prefixes(["a", "b"], len, SEED)
    assert (found.tokens, found.hashes[0]) == ((1, 2), other.hashes[0])
    assert found.hashes[1] != other.hashes[1]


def test_parrot_fault_8_texts_that_only_begin_alike_are_told_apart() -> None:
    rules = "You are the assistant of a shop that sells tea and "
    one, other = (text_prefixes([rules + what, "x"], len, SEED) for what in ("cups.", "pots."))
    assert not {*one.hashes} & {*other.hashes}


def deduction_call(name: str, reads: str = "", tokens: int = 10) -> SemanticCall:
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
        calls=(
            *(deduction_call(f"m{at}", tokens=30 + at) for at in range(3)),
            deduction_call("r", "all", 68),
        ),
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


DEDUCTION_TEAM = build_graph(
    Program(
        calls=(
            deduction_call("brief"),
            *(deduction_call(f"v{at}", "brief") for at in range(4)),
            *(deduction_call(f"review{at}", "all") for at in range(3)),
            deduction_call("editor", "all review0 review1 review2"),
            deduction_call("report", "review0"),
        ),
        steps=(join("all", "v0 v1 v2 v3"),),
    )
)


def test_a_group_holds_what_does_not_wait_for_each_other() -> None:
    """The editor reads variants and reviews, but the reviews are made of the variants."""
    found = asked_of(DEDUCTION_TEAM, {"editor": LATENCY})
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
    found = asked_of(DEDUCTION_TEAM, wanted)
    assert found.chains["review1.review1"].objective == THROUGHPUT
    assert found.chains["review0.review0"].objective == Objective("deadline", 6.0 * 3 / 4)
    assert found.chains["brief.brief"].objective.kind == "deadline"
    assert found.chains["brief.brief"].objective.seconds == pytest.approx(6.0 / 4)


def test_a_kind_that_is_less_strict_may_ask_more_of_what_comes_before() -> None:
    graph = build_graph(
        Program(calls=(deduction_call("a"), deduction_call("b", "a"), deduction_call("c", "b")))
    )
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
                *(deduction_call(name) for name in ("a", "b", "c")),
                deduction_call("slow", "a b"),
                deduction_call("fast", "b c"),
            )
        )
    )
    found = asked_of(graph, {"slow": THROUGHPUT, "fast": LATENCY})
    assert found.groups == {"fast.fast": ("b.b", "c.c")}
    found = asked_of(graph, {"slow": LATENCY, "fast": THROUGHPUT})
    assert found.groups == {"slow.slow": ("a.a", "b.b")}


def test_the_parts_of_one_call_are_no_group() -> None:
    template = "a {{x:output}} b {{y:output}}"
    graph = build_graph(
        Program(calls=(SemanticCall("two", template), deduction_call("end", "x y")))
    )
    found = asked_of(graph, {"end": LATENCY})
    assert found.groups == {}
    assert [one.depth for one in found.chains.values()] == [3, 2, 1]


def test_what_is_known_is_asked_for_nothing() -> None:
    found = asked_of(DEDUCTION_TEAM, {"editor": Objective("deadline", 5.0)}, frozenset({"all"}))
    assert set(found.chains) == {*(f"review{at}.review{at}" for at in range(3)), "editor.editor"}
    assert found.get_objective("review0") == Objective("deadline", 2.5)
    assert found.get_objective("all") is None
    assert asked_of(DEDUCTION_TEAM, {"editor": LATENCY}, frozenset({"editor"})).chains == {}


def test_a_deadline_before_steps_on_given_texts_is_no_empty_one() -> None:
    graph = build_graph(
        Program(
            calls=(deduction_call("a", "both"),),
            steps=(join("both", "x y"),),
            values={"x": "", "y": ""},
        )
    )
    assert asked_of(graph, {"a": Objective("deadline", 3.0)}).get_objective("both") == Objective(
        "deadline", 3.0
    )


def test_parrot_fault_4_grouping_is_not_quadratic() -> None:
    """A thousand chains and a thousand readers of all of them; it was quadratic in each tick."""
    calls = [deduction_call(f"m{at}") for at in range(500)]
    reads = [deduction_call(f"r{at}", "all") for at in range(499)]
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
        ("b.c", ("G", " of ", "AG", ": "), 1)
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
