from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

pytest.importorskip("llguidance", reason="the extra lm is not installed")

from adwright.core.child_process import JsonLines, WorkerProcess
from adwright.core.errors import ResourceError
from adwright.lm.compiling.rehearsal import STACK_BYTES, compile_text, render_chats

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
