from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import pytest

pytest.importorskip("llguidance", reason="the extra lm is not installed")

from adwright.lm.compiling.rehearsal import STACK_BYTES, compile_text, render_chats

TURNS = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"


@contextmanager
def process(
    *, parent: int, seconds: int = 1
) -> Iterator[tuple[Connection, subprocess.Popen[bytes]]]:
    ours, theirs = Pipe()
    numbers = (theirs.fileno(), parent, seconds, 1 << 30)
    command = [sys.executable, "-P", "-m", "adwright.lm.compiling.rehearsal", *map(str, numbers)]
    started = subprocess.Popen(command, pass_fds=[theirs.fileno()])
    theirs.close()
    try:
        yield ours, started
    finally:
        ours.close()
        started.kill()
        started.wait()


def asked(socket: Connection, kind: str, text: str) -> dict[str, str]:
    socket.send_bytes(json.dumps([kind, text]).encode())
    assert socket.poll(30)
    answer: dict[str, str] = json.loads(socket.recv_bytes())
    return answer


def test_it_answers_until_its_socket_ends() -> None:
    with process(parent=os.getpid()) as (socket, started):
        form = asked(socket, "schema", '{"type": "object"}')["form"]
        assert form == compile_text("schema", '{"type": "object"}')
        assert "no kind other" in asked(socket, "other", "")["error"]
        assert "form" in asked(socket, "gbnf", 'root ::= "a"')
        assert asked(socket, "template", TURNS) == {"form": ""}
        socket.close()
        assert started.wait(30) == 0


def test_it_ends_where_its_parent_is_another() -> None:
    with process(parent=1) as (_, started):
        assert started.wait(60) == 0


def test_the_kernel_ends_one_that_computes_for_too_long() -> None:
    with process(parent=os.getpid()) as (socket, started):
        loops = "{% for i in range(99999) %}" * 3 + "{% endfor %}" * 3
        socket.send_bytes(json.dumps(["template", loops]).encode())
        with pytest.raises(EOFError):
            socket.recv_bytes()
        assert started.wait(30) == -signal.SIGPROF


def test_it_has_little_memory_and_stack() -> None:
    with process(parent=os.getpid(), seconds=10) as (socket, _):
        assert asked(socket, "template", "{{ 'a' * 10**10 }}")["error"] == "MemoryError"
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
