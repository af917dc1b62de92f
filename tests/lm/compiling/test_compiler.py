"""?"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer

from adwright.core.child_process import JsonLines, WorkerProcess
from adwright.core.errors import ConfigError, ResourceError
from adwright.lm.compiling.bounds import (
    ConstraintBounds,
    check_gbnf,
    check_schema,
    longest_chain,
    parser_limits,
    require_at_most,
    schema_states,
)
from adwright.lm.compiling.compiler import CompileLimits, Compiler, refused, shared_compiler
from adwright.lm.compiling.rehearsal import STACK_BYTES, compile_text, render_chats


def test_a_bound_is_named_with_what_was_found() -> None:
    require_at_most("rules", 5, 5)
    with pytest.raises(ConfigError, match="has 6 rules, at most 5 are taken"):
        require_at_most("rules", 6, 5)


def test_ordinary_ones_are_far_from_the_bounds() -> None:
    bounds = ConstraintBounds()
    assert bounds.text_bytes >= 100_000
    assert bounds.parts >= 500
    assert bounds.depth >= 64


@pytest.mark.parametrize(
    ("leads_to", "length"),
    [
        ({}, 1),
        ({"a": ["b"], "b": ["c"]}, 3),
        ({"a": ["c", "b"], "b": ["c"], "c": ["d"]}, 4),
        ({"a": ["a"]}, 1),
        ({"a": ["b"], "b": ["a", "c"]}, 3),
        ({"b": ["c"]}, 1),
    ],
)
def test_the_longest_way(leads_to: dict[str, list[str]], length: int) -> None:
    assert longest_chain(leads_to, "a") == length


def test_a_way_may_be_longer_than_python_recurses() -> None:
    assert longest_chain({str(at): [str(at + 1)] for at in range(50_000)}, "0") == 50_001


SMALL = ConstraintBounds(
    parts=3, depth=3, chain=2, literal=10, repetition=20, expanded=100, states=30
)
ORDINARY = r"""
# an advertisement
root ::= "{" ws "\"text\":" ws string "}" ws
string ::= "\"" ([^"\\] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4})){1,90} "\""
ws ::= [ \t\n]*
"""


def test_an_ordinary_one_passes() -> None:
    check_gbnf(ORDINARY, ConstraintBounds())


@pytest.mark.parametrize(
    ("grammar", "told"),
    [
        ("", "the grammar is empty"),
        (" \n", "the grammar is empty"),
        ("a ::= [a]\na ::= [b]", r"a rule stands twice in the grammar \[rule a\]"),
        ("".join(f"r{at} ::= [a]\n" for at in range(4)), "has 4 rules, at most 3"),
        ("root ::= ((([a])))", "has 4 levels of nesting, at most 3"),
        ("root ::= a\na ::= b\nb ::= [b]", "has 3 rules in a row, at most 2"),
        ('root ::= "' + "a" * 9 + '"', "has 11 characters in one string"),
        ("root ::= [" + "a" * 9 + "]", "has 11 characters in one string"),
        ("root ::= [a]{3,21}", "has 21 repetitions of one item, at most 20"),
        ("root ::= [a]{ 1 , " + "9" * 6000 + "}", "has 999999999 repetitions"),
        ('root ::= ("abc"{20}){2}', "has 101 symbols with all repetitions, at most 100"),
        ("root ::= ([a]{2}[b]){11}", "has 33 counted characters, at most 30"),
        ("root ::= ([a]{10}){4}", "has 40 counted characters"),
    ],
)
def test_each_bound(grammar: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check_gbnf(grammar, SMALL)


def test_what_is_quoted_or_a_comment_counts_once() -> None:
    check_gbnf('root ::= "((((" [(((] # (((( {999}\n', SMALL)
    check_gbnf('root ::= "\\"{99}" | "a"', SMALL)


@pytest.mark.parametrize("text", ['"\\"', "[\\[", "{ ", ") ", "a ", "# ", '"a" '])
def test_broken_ones_take_no_time(text: str) -> None:
    """What does not end would be read again from each of its characters."""
    began = time.monotonic()
    with suppress(ConfigError):
        check_gbnf("root ::= " + text * 60_000, ConstraintBounds())
    assert time.monotonic() - began < 20


SCHEMA_BOUNDS_SMALL = ConstraintBounds(parts=5, depth=6, chain=2, literal=10, states=20)


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


def chained(links: int, *, key: str = "$defs") -> dict[str, Any]:
    found: dict[str, Any] = {
        f"d{at}": {"$ref": f"#/{key}/d{at + 1}"} if at < links else {} for at in range(links + 1)
    }
    return {key: found, "$ref": f"#/{key}/d0"}


def test_schema_bounds_an_ordinary_one_passes() -> None:
    schema = {
        "type": "object",
        "properties": {"headline": {"type": "string", "maxLength": 90}, "price": {"minimum": 0}},
        "required": ["headline"],
    }
    check_schema(schema, ConstraintBounds(states=200))


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"a": [{}, {}, {}, {}, {}]}, "has 6 objects, at most 5"),
        ({"properties": {"a": {}, "b": {}, "c": {}, "d": {}}}, "has 6 objects"),
        ({"const": "a" * 11}, "has 11 characters in one string, at most 10"),
        ({"a" * 11: {}}, "has 11 characters in one string"),
        ({"enum": [[[[[[]]]]]]}, "has 7 levels of nesting, at most 6"),
        ({"maxLength": 21}, "has 21 counted characters, at most 20"),
        ({"items": {"pattern": "a{6}"}}, "has 24 counted characters"),
    ],
)
def test_schema_bounds_each_bound(schema: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check_schema(schema, SCHEMA_BOUNDS_SMALL)


@pytest.mark.parametrize("links", [1_000, 100_000])
def test_chains_and_depth_cannot_harm(links: int) -> None:
    loose = ConstraintBounds(parts=10**7, chain=100, depth=64)
    for key in ("$defs", "definitions"):
        with pytest.raises(ConfigError, match="references in a row, at most 100"):
            check_schema(chained(links, key=key), loose)
    with pytest.raises(ConfigError, match="65 levels of nesting"):
        check_schema(nested(links), loose)


def test_data_are_no_parts() -> None:
    check_schema({"enum": [{} for _ in range(20)], "default": {"$ref": "#"}}, SCHEMA_BOUNDS_SMALL)
    check_schema({"$ref": "#", "examples": [{"pattern": "a{9}"}]}, SCHEMA_BOUNDS_SMALL)


@pytest.mark.parametrize(
    ("part", "states"),
    [
        ({}, 0),
        ({"maxLength": 90}, 90),
        ({"minLength": 10**30}, 128),
        ({"maxLength": "many", "pattern": 7}, 0),
        ({"minItems": 2}, 10),
        ({"maxItems": 10**9, "minItems": 1}, 10),
        ({"pattern": "^[a-z].*\\d$"}, 3),
        ({"pattern": "a{2,10}b{3}"}, 52),
        ({"patternProperties": {"^.": {}}}, 1),
        ({"patternProperties": ["^."]}, 0),
    ],
)
def test_states(part: dict[str, Any], states: int) -> None:
    assert schema_states(part) == states


pytest.importorskip("llguidance", reason="the extra lm is not installed")


OBJECT = '{"type": "object"}'
#: Counts for a minute.
SLOW = "{% for i in range(99999) %}" * 3 + "{% endfor %}" * 3


def hidden_chain(links: int) -> str:
    """References that lead on and on."""
    rest = "".join(f',"d{at}":{{"items":{{"$ref":"#/d{at + 1}"}}}}' for at in range(links))
    return f'{{"$ref":"#/d0"{rest},"d{links}":{{}}}}'


@pytest.fixture
def compiler() -> Iterator[Compiler]:
    with closing(Compiler()) as made:
        yield made


def test_what_was_compiled_is_remembered(compiler: Compiler) -> None:
    assert compiler.pid is None
    form = compiler.compile("schema", OBJECT)
    first = compiler.pid
    assert first is not None
    with pytest.raises(ConfigError, match="Expected"):
        compiler.compile("gbnf", "root ::= (")
    assert compiler.pid == first
    compiler.close()
    assert compiler.compile("schema", OBJECT) == form
    with pytest.raises(ConfigError, match="Expected"):
        compiler.compile("gbnf", "root ::= (")
    assert compiler.pid is None


def test_only_so_many_are_remembered() -> None:
    with closing(Compiler(CompileLimits(remembered=2))) as compiler:
        for text in (OBJECT, '{"type":"string"}', '{"type":"null"}'):
            compiler.compile("schema", text)
        compiler.close()
        compiler.compile("schema", '{"type":"string"}')
        assert compiler.pid is None
        compiler.compile("schema", OBJECT)
        assert compiler.pid is not None


def test_a_crash_is_the_fault_of_the_text(compiler: Compiler) -> None:
    compiler.compile("schema", OBJECT)
    before = compiler.pid
    with pytest.raises(ConfigError, match="ended by SIG"):
        compiler.compile("schema", hidden_chain(5000))
    compiler.compile("schema", '{"type":"string"}')
    assert compiler.pid != before


def test_too_much_computing_is_too(compiler: Compiler) -> None:
    for _ in range(2):
        with pytest.raises(ConfigError, match="more than 1 s of computing"):
            compiler.compile("template", SLOW)
        assert compiler.pid is None


def test_a_process_that_was_killed_is_started_again(compiler: Compiler) -> None:
    compiler.compile("schema", OBJECT)
    assert compiler.pid is not None
    os.kill(compiler.pid, signal.SIGKILL)
    with suppress(ResourceError):  # where it was asked before it was gone
        compiler.compile("schema", '{"type":"string"}')
    assert compiler.compile("schema", '{"type":"null"}')


def test_who_goes_ends_the_work() -> None:
    with closing(Compiler(CompileLimits(seconds=30, wait_seconds=60))) as compiler:
        compiler.compile("schema", OBJECT)
        gone, told = threading.Event(), []

        def ask() -> None:
            try:
                compiler.compile("template", SLOW, cancelled=gone.is_set)
            except ResourceError as error:
                told.append(error.what)

        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(0.2)
        gone.set()
        thread.join(20)
        assert told == ["the compilation was cancelled"]
        assert compiler.pid is None


def test_one_does_not_wait_for_ever() -> None:
    limits = CompileLimits(seconds=30, wait_seconds=1.0)
    with closing(Compiler(limits)) as compiler:
        with pytest.raises(ResourceError, match="too much is being compiled"):
            compiler.compile("template", SLOW)
        assert compiler.pid is None
    full = Compiler(CompileLimits(waiting=-1))
    with pytest.raises(ResourceError, match="too much is being compiled"):
        full.compile("schema", OBJECT)


def test_many_ask_at_once(compiler: Compiler) -> None:
    found = []
    texts = [f'{{"type":"string","minLength":{at % 5}}}' for at in range(20)]
    threads = [
        threading.Thread(target=lambda text=text: found.append(compiler.compile("schema", text)))
        for text in texts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 20
    assert len(set(found)) == 5


def test_models_share_one() -> None:
    assert shared_compiler() is shared_compiler()


def test_the_reason_is_one_line() -> None:
    assert refused("\n first \n second").what.endswith("used: first")
    assert refused("").what.endswith("used: it is empty")


pytest.importorskip("llguidance", reason="the extra lm is not installed")


def test_a_grammar_that_explodes_is_refused() -> None:
    assert parser_limits().max_lexer_states == 20_000
    terms = "".join(f"R{at}: R{at + 1} R{at + 1}\n" for at in range(40)) + 'R40: "a"\n'
    form = LLMatcher.grammar_from_lark(f"start: R0\n{terms}")
    matcher = LLMatcher(LLTokenizer("byte"), form, log_level=0, limits=parser_limits())
    assert "too big" in matcher.get_error()


pytest.importorskip("llguidance", reason="the extra lm is not installed")


TURNS = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"


@contextmanager
def process(*, seconds: int = 1) -> Iterator[tuple[JsonLines, WorkerProcess]]:
    told = {"seconds": seconds, "memory_bytes": 1 << 30}
    started = WorkerProcess("adwright.lm.compiling.rehearsal", told)
    try:
        started.ready(30, lambda told, log: ResourceError(told))
        with closing(JsonLines(started.connect())) as lines:
            yield lines, started
    finally:
        started.end()


def asked(lines: JsonLines, kind: str, text: str) -> dict[str, str]:
    lines.say({"kind": kind, "text": text})
    answer: dict[str, str] = lines.next()
    return answer


def test_it_answers_until_its_connection_ends() -> None:
    with process() as (lines, started):
        form = asked(lines, "schema", '{"type": "object"}')["form"]
        assert form == compile_text("schema", '{"type": "object"}')
        assert "no kind other" in asked(lines, "other", "")["error"]
        assert "form" in asked(lines, "gbnf", 'root ::= "a"')
        assert asked(lines, "template", TURNS) == {"form": ""}
        lines.shut()
        assert started.gone_within(30)
        assert started.code == 0


def test_the_kernel_ends_one_that_computes_for_too_long() -> None:
    with process() as (lines, started):
        loops = "{% for i in range(99999) %}" * 3 + "{% endfor %}" * 3
        with pytest.raises(EOFError):
            asked(lines, "template", loops)
        assert started.gone_within(30)
        assert started.code == -signal.SIGPROF


def test_it_has_little_memory_and_stack() -> None:
    with process(seconds=10) as (lines, _):
        assert asked(lines, "template", "{{ 'a' * 10**10 }}")["error"] == "MemoryError"
    assert STACK_BYTES == 1 << 20


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("schema", '{"type": "nothing"}'),
        ("schema", '{"$ref": "#"}'),
        ("gbnf", "root ::= other"),
        ("gbnf", "root ::= ("),
    ],
)
def test_why_it_cannot_be_used(kind: str, text: str) -> None:
    with pytest.raises(Exception, match=r"nothing|other|Expected|NoExtension"):
        compile_text(kind, text)  # type: ignore[arg-type]


def test_words_of_one_form_alone() -> None:
    for text in ('root ::= ""', 'root ::= "a"', "root ::= [a-z]+"):
        assert compile_text("gbnf", text)


def test_a_template_may_refuse_but_not_swell() -> None:
    render_chats(TURNS)
    render_chats("{{ raise_exception('no') }}")
    render_chats("{% if %}")
    with pytest.raises(ValueError, match="a chat of 1 short turns has over"):
        render_chats("{% for i in range(99999) %}" + "a" * 100 + "{% endfor %}")
    each = "{% for m in messages %}{% for n in messages %}tea, {% endfor %}{% endfor %}"
    with pytest.raises(ValueError, match="a chat of 1001 short turns"):
        render_chats(each)
