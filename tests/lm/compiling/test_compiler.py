"""?"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest
from llguidance import LLMatcher, LLTokenizer

from adwright.core.child_process import JsonLines, WorkerProcess
from adwright.core.errors import ConfigError, ResourceError
from adwright.lm.compiling.bounds import parser_limits
from adwright.lm.compiling.compiler import CompileLimits, Compiler, refused, shared_compiler
from adwright.lm.compiling.rehearsal import STACK_BYTES, compile_text, render_chats

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
