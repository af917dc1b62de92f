"""A chat as a program of one call: its prompt cut where a turn ends, so that chats share turns.

What `inputs` name stands in the messages as {{name}}, and is replaced by the text of a variable
when that is there. All other braces are text.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from adwright.lm.engine.generation import GenerationConfig, Message
from adwright.programs.program import Objective, Program, SemanticCall, WantedOutput

#: Pieces of one prompt; of a longer chat the last turns are cut.
_PIECES = 64


@dataclass(frozen=True)
class ChatCall:
    """A chat that can be submitted. outputs: the variables of its answers. prompt: the variables
    that its prompt is made of, in order."""

    part: Program
    outputs: tuple[str, ...]
    prompt: tuple[str, ...]


def chat_program(
    turns: Sequence[Message],
    render: Callable[[Sequence[Message]], str],
    settings: GenerationConfig,
    *,
    model: str,
    n: int = 1,
    inputs: Mapping[str, str] | None = None,
    output: str | None = None,
    objective: Objective | None = None,
) -> ChatCall:
    """The program of a chat. render: its prompt in the template of the model. n: answers, which
    draw from seeds that follow each other. inputs: variables by what stands for them in the turns.
    output: the variable of the answer, where there is one."""
    name = f"chat_{secrets.token_hex(6)}"
    texts: dict[str, str] = {}
    prompt: list[str] = []
    marks = {one: f"<{secrets.token_hex(12)}>" for one in inputs or {}}
    told = [replace(one, content=_marked(one.content, marks)) for one in turns]
    read = {mark: (inputs or {})[one] for one, mark in marks.items()}
    for piece in _pieces(told, render(told), read):
        if piece in read:
            prompt.append(read[piece])
        else:
            texts[f"{name}_{len(texts)}"] = piece
            prompt.append(f"{name}_{len(texts) - 1}")
    bindings = {f"p{at}": variable for at, variable in enumerate(prompt)}
    template = "".join(f"{{{{{one}}}}}" for one in bindings) + "{{answer:output}}"
    outputs = tuple(
        output if output is not None and n == 1 else f"{name}_answer_{at}" for at in range(n)
    )
    calls = tuple(
        SemanticCall(
            f"{name}_{at}",
            template,
            {**bindings, "answer": made},
            {"answer": replace(settings, seed=settings.seed + at)},
            model,
        )
        for at, made in enumerate(outputs)
    )
    wanted = tuple(WantedOutput(one, objective or Objective()) for one in outputs)
    part = Program(calls=calls, values=texts, outputs=wanted)
    return ChatCall(part, outputs, tuple(prompt))


def _marked(text: str, marks: Mapping[str, str]) -> str:
    """Each {{name}} of an input replaced by what cannot stand in a text by chance."""
    for name, mark in marks.items():
        text = text.replace(f"{{{{{name}}}}}", mark)
    return text


def _pieces(turns: Sequence[Message], text: str, marks: Mapping[str, str]) -> Iterator[str]:
    """The prompt, cut behind each turn and around each mark. A turn that the template has changed
    is no place to cut at."""
    ends, at = [0], 0
    for one in turns:
        found = text.find(one.content, at) if one.content else -1
        if found >= 0:
            at = found + len(one.content)
            ends.append(at)
    ends = [0, *ends[1:][-_PIECES:], len(text)]
    split = re.compile("(" + "|".join(map(re.escape, marks)) + ")") if marks else None
    for start, end in pairwise(ends):
        whole = text[start:end]
        yield from (one for one in (split.split(whole) if split else [whole]) if one)
