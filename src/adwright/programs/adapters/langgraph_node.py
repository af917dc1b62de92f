"""Nodes of LangGraph that are programs: they read and write the state, and run here.

    with dispatcher.for_program("agent", "shop") as engine:
        graph.add_node("write", program_node(write_ad, lambda: Session(engine)))
        graph.add_node("team", program_node(read_program("creative-team"), lambda: Session(engine),
                                            writes={"final": "ad"}))
        found = await graph.compile().ainvoke({"product": "green tea"})

A node is a coroutine function of the state, so LangGraph need not be installed here, and graphs run
with `ainvoke` or `astream`. Nodes that share one program share prefixes and count as one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

from adwright.core.config import closest_name
from adwright.core.errors import ConfigError
from adwright.programs.build import build_graph
from adwright.programs.frontend.files import unset_variables
from adwright.programs.frontend.flow import Runtime
from adwright.programs.frontend.function import SemanticFunction
from adwright.programs.objective import Objective
from adwright.programs.program import Program, WantedOutput

#: Opens what runs one part of a program, and closes it behind it.
_RuntimeOpener = Callable[[], AbstractAsyncContextManager[Runtime]]
_SAME: Mapping[str, str] = {}


def program_node(
    what: Program | SemanticFunction,
    opened: _RuntimeOpener,
    *,
    reads: Mapping[str, str] = _SAME,
    writes: Mapping[str, str] = _SAME,
    objective: Objective | None = None,
) -> Callable[[Any], Awaitable[dict[str, str]]]:
    """A node that runs a program, or a semantic function.

    opened: opens what runs it, such as a `Session` or a `RemoteProgram`. reads: the key of the
    state for each variable that is read, where it has another name; all are read that the program
    waits for. writes: the same for its outputs. objective: of all outputs; None: as the program
    says.
    Raises ConfigError where the program is none, nothing is asked for, or a name is none of its.
    The node raises ConfigError where the state has no such text, and ProgramError where an output
    has none.
    """
    program = _as_program(what) if isinstance(what, SemanticFunction) else what
    unset = [one for one in unset_variables(program) if one not in program.values]
    open_ones = tuple(dict.fromkeys((*program.awaited, *unset)))
    program = replace(program, awaited=open_ones)
    build_graph(program)
    if not program.outputs:
        hint = "list what you want in outputs"
        raise ConfigError("nothing is asked for", where="program_node", hint=hint)
    read = _named("reads", reads, (*open_ones, *program.values))
    read = {**dict(zip(open_ones, open_ones, strict=True)), **read}
    wanted = {one.variable: objective or one.objective for one in program.outputs}
    outputs = tuple(WantedOutput(*one) for one in wanted.items())
    program = replace(program, outputs=outputs, awaited=())
    written = _named("writes", writes, tuple(wanted))

    async def node(state: Any) -> dict[str, str]:
        values = {name: _text(state, key) for name, key in read.items()}
        filled = replace(program, values={**program.values, **values})
        async with opened() as runtime:
            runtime.submit(filled)
            texts = await asyncio.gather(*(runtime.get(*one) for one in wanted.items()))
        return {written.get(one, one): text for one, text in zip(wanted, texts, strict=True)}

    return node


def _as_program(function: SemanticFunction) -> Program:
    outputs = tuple(WantedOutput(name) for name in function.outputs)
    return Program(calls=(function.call,), outputs=outputs)


def _named(what: str, given: Mapping[str, str], there: tuple[str, ...]) -> Mapping[str, str]:
    for name in given:
        if name not in there:
            close = closest_name(name, there)
            hint = f"did you mean {close}?" if close else f"they are {', '.join(there) or 'none'}"
            told = f"the program has no such variable: {name[:64]!r}"
            raise ConfigError(told, where=what, hint=hint)
    return given


def _text(state: Any, key: str) -> str:
    try:
        found = state[key] if isinstance(state, Mapping) else getattr(state, key)
    except (KeyError, AttributeError):
        told, hint = "the state has no such key", "set it in a node before this one"
        raise ConfigError(told, where=f"state {key!r}", hint=hint) from None
    if not isinstance(found, str):
        told = f"it is a text that is read, and no {type(found).__name__}"
        raise ConfigError(told, where=f"state {key!r}", hint="make a text of it in a node before")
    return found
