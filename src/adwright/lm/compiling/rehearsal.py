"""The process that compiles what strangers send, before the server does:
`python -P -m adwright.lm.compiling.rehearsal`.

It reads kinds and texts from its connection and answers with what compiles, or with why not; at its
end it ends. Compilers recurse on the stack of their thread: here it is the smallest
that any thread of a server has, so that what lives here lives there. A compiler that dies takes
this process alone along.

The kernel ends it where one text takes more than so many seconds of computing, whatever holds
Python's lock by then, and refuses it more than so many bytes of memory.
"""

from __future__ import annotations

import functools
import resource
import signal
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, get_args

from adwright.core.child_process import JsonLines, take_up
from adwright.lm.compiling.bounds import parser_limits

if TYPE_CHECKING:
    from llguidance import LLTokenizer

#: What a text is: a JSON schema, a grammar in GBNF or in llguidance's own notation, a regular
#: expression, or a chat template in Jinja.
Kind = Literal["schema", "gbnf", "lark", "regex", "template"]
#: Threads have 2 MiB at least on Linux with glibc, and usually 8.
STACK_BYTES = 1 << 20
#: Turns of a long chat, as many as a request may have, and the most characters that a template may
#: make of one.
_TURNS = 1000
_MOST_CHARACTERS = 1 << 22


def compile_text(kind: Kind, text: str) -> str:
    """What llguidance reads for a schema or grammar; it builds a matcher, which takes two steps.

    Raises ValueError that says why it cannot be used; converters raise errors of other kinds too.
    """
    from llguidance import LLMatcher

    match kind:
        case "schema":
            form = LLMatcher.grammar_from_json_schema(
                text, overrides={"whitespace_flexible": False}
            )
        case "regex":
            form = LLMatcher.grammar_from_regex(text)
        case "lark":
            form = LLMatcher.grammar_from_lark(text)
        case _:
            from llguidance.gbnf_to_lark import gbnf_to_lark

            form = LLMatcher.grammar_from_lark(gbnf_to_lark(text))
    matcher = LLMatcher(_byte_tokens(), form, log_level=0, limits=parser_limits())
    for _ in range(2):
        mask = matcher.compute_bitmask()
        if matcher.is_error():
            raise ValueError(matcher.get_error())
        allowed = next((at for at in range(8 * len(mask)) if mask[at // 8] >> at % 8 & 1), None)
        if matcher.is_stopped() or allowed is None:
            break
        matcher.consume_token(allowed)
    return form


def render_chats(template: str) -> None:
    """Render a short and a long chat in the sandbox that transformers uses, for what it costs.

    What a template refuses, or needs beyond plain Jinja, is no matter here. Raises ValueError where
    the text of a chat is far longer than its turns.
    """
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    roles = ("user", "assistant")
    for turns in (1, _TURNS + 1):
        chat = [{"role": roles[at % 2], "content": "tea"} for at in range(turns)]
        length = 0
        try:
            pieces = environment.from_string(template).generate(
                messages=chat, add_generation_prompt=True, bos_token="", eos_token=""
            )
            for piece in pieces:
                length += len(piece)
                if length > _MOST_CHARACTERS:
                    raise ValueError(f"a chat of {turns} short turns has over {length} characters")
        except (TemplateError, TypeError, ArithmeticError):
            continue


def main() -> None:
    """Answer texts until the connection ends, or the lifeline."""
    lifeline = take_up()
    seconds, most_bytes = lifeline.settings["seconds"], lifeline.settings["memory_bytes"]
    resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.stack_size(STACK_BYTES)
    lines = JsonLines(lifeline.connection())
    serving = threading.Thread(target=_serve, args=(lines, seconds))
    serving.start()
    serving.join()


def _serve(lines: JsonLines, seconds: int) -> None:
    with suppress(OSError):
        for told in lines:
            # Its signal ends the process, and needs no Python for it.
            signal.setitimer(signal.ITIMER_PROF, seconds)
            answer = _answer(told["kind"], told["text"])
            signal.setitimer(signal.ITIMER_PROF, 0)
            lines.say(answer)


@functools.cache
def _byte_tokens() -> LLTokenizer:
    from llguidance import LLTokenizer

    return LLTokenizer("byte")


def _answer(kind: Kind, text: str) -> dict[str, str]:
    if kind not in get_args(Kind):
        return {"error": f"there is no kind {kind}"}
    try:
        if kind == "template":
            render_chats(text)
            return {"form": ""}
        return {"form": compile_text(kind, text)}
    except Exception as error:  # converters raise errors of many kinds
        return {"error": str(error) or type(error).__name__}


if __name__ == "__main__":
    main()
