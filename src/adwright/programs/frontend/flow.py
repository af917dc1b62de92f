"""Flows: programs that grow as Python code calls functions, and run once something is asked for.

    async with Session(engine) as session:
        flow = Flow(session)
        brief = flow.value("green tea, for students")
        variants = [write_ad(flow, brief) for _ in range(4)]
        (best,) = flow.step(Majority(), variants)
        print(await best.get())

What was added since is submitted with the next thing that is asked for, so that whoever runs it
sees all of it before any of it has to run.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, get_type_hints

from adwright.core.config import closest_name, from_jsonable
from adwright.core.errors import ConfigError
from adwright.core.regular import read_regular
from adwright.lm.engine.generation import GenerationConfig, Message
from adwright.programs.graph import build_graph
from adwright.programs.program import (
    LATENCY,
    NativeStep,
    Objective,
    Program,
    SemanticCall,
    WantedOutput,
)
from adwright.programs.steps import StepFunction, Template

# --------------------------------------------------------------------------------------------------
# Programs in files: JSON, as `programs.program` shows it; and those that come with the package.
#
# program = read_program("creative-team", {"product": "black tea, 50 g"})

#: Those that come with the package, by name, and what each does.
PROGRAMS = {
    "creative-team": "a copywriter, four variants, three reviewers and an editor write one ad",
}
_MOST_BYTES = 16 << 20
_NO_VALUES: Mapping[str, str] = {}


def read_program(name: str | Path, values: Mapping[str, str] = _NO_VALUES) -> Program:
    """The program of a file, or of the package by its name. values: of variables, in the place of
    those that the file gives or awaits.

    Raises ConfigError, with the file and the field, where it is none, and for the value of a
    variable that the file does not have.
    """
    told = program_text(name)
    try:
        plain = json.loads(told)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"the program is no JSON: {error}", where=str(name), hint="mend that line"
        ) from error
    if not isinstance(plain, dict):
        raise ConfigError("a program is a JSON object", where=str(name), hint="begin with {")
    program = from_jsonable(Program, plain, source=str(name))
    open_ones = dict.fromkeys((*program.values, *program.awaited, *unset_variables(program)))
    for variable in values:
        if variable not in open_ones:
            close = closest_name(variable, open_ones)
            listed = ", ".join(open_ones) or "none"
            hint = f"did you mean {close}?" if close else f"it has {listed}"
            what = f"the program waits for no value of {variable[:64]!r}"
            raise ConfigError(what, where=str(name), hint=hint)
    return replace(
        program,
        values={**program.values, **values},
        awaited=tuple(one for one in program.awaited if one not in values),
    )


def program_text(name: str | Path) -> str:
    """The JSON of such a program. Raises ConfigError where there is none."""
    if str(name) in PROGRAMS:
        place = files(__package__) / "programs" / f"{name}.json"
        return place.read_text("utf-8")
    try:
        return read_regular(str(name), most=_MOST_BYTES).decode("utf-8")
    except FileNotFoundError as error:
        hint = f"check the path, or name one that is there: {', '.join(PROGRAMS)}"
        raise ConfigError("there is no such file", where=str(name), hint=hint) from error
    except (OSError, ValueError) as error:
        hint = "name a text file in UTF-8 that you may read"
        raise ConfigError(
            f"the program cannot be read: {error}", where=str(name), hint=hint
        ) from error


def unset_variables(program: Program) -> list[str]:
    """Variables that a call or step reads and nothing sets."""
    read: dict[str, None] = {}
    made: set[str] = set()
    for call in program.calls:
        template = Template.parse(call.template, where=f"call {call.name}, template")
        read |= dict.fromkeys(call.variable(one) for one in template.inputs)
        made |= {call.variable(one) for one in template.outputs}
    for step in program.steps:
        read |= dict.fromkeys(step.inputs)
        made |= {*step.outputs}
    return [one for one in read if one not in made]


#: Characters of a name, before its number.
_LONGEST = 56


class Runtime(Protocol):
    """What runs a flow: a `Session`, or a client of one elsewhere."""

    def submit(self, program: Program) -> None:
        """Add a program."""
        ...

    def set(self, name: str, text: str) -> None:
        """Set an awaited variable."""
        ...

    async def get(self, name: str, objective: Objective = ...) -> str:
        """Wait for a variable."""
        ...

    def stream(self, name: str, objective: Objective = ...) -> AsyncIterator[str]:
        """Read a variable as it is written."""
        ...


@dataclass(frozen=True)
class TextFuture:
    """A text that is there later. name: of its variable."""

    flow: Flow
    name: str

    async def get(self, objective: Objective = LATENCY) -> str:
        """Ask for the text and wait for it. Raises ProgramError where there will be none."""
        self.flow.submit()
        return await self.flow.runtime.get(self.name, objective)

    async def stream(self, objective: Objective = LATENCY) -> AsyncIterator[str]:
        """Ask for the text and read it as it is written. Raises as `get`."""
        self.flow.submit()
        async for piece in self.flow.runtime.stream(self.name, objective):
            yield piece

    def want(self, objective: Objective = LATENCY) -> None:
        """Ask for the text without waiting: it is made also if nobody does."""
        self.flow.want(self, objective)

    def set(self, text: str) -> None:
        """Set a variable that is awaited."""
        self.flow.submit()
        self.flow.runtime.set(self.name, text)


class Flow:
    """A program that is being written. runtime: runs it."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.program = Program()
        self._added = Program()
        self._names: Counter[str] = Counter()

    def value(self, text: str, name: str = "text") -> TextFuture:
        """A text that is known. name: of its variable; a number follows where it is taken."""
        variable = self._free(name)
        self._add(Program(values={variable: text}))
        return TextFuture(self, variable)

    def awaited(self, name: str = "awaited") -> TextFuture:
        """A text that is `set` later, such as the answer of a tool or a person."""
        variable = self._free(name)
        self._add(Program(awaited=(variable,)))
        return TextFuture(self, variable)

    def call(
        self,
        call: SemanticCall,
        inputs: Mapping[str, str | TextFuture],
        outputs: Sequence[str],
    ) -> tuple[TextFuture, ...]:
        """Add a call under a free name. inputs: a text or future of each placeholder.

        Returns the futures of its outputs, in order.
        """
        name = self._free(call.name)
        bindings = {one: self._future(text, f"{name}_{one}").name for one, text in inputs.items()}
        made = [TextFuture(self, self._free(one)) for one in outputs]
        bindings |= {one: future.name for one, future in zip(outputs, made, strict=True)}
        self._add(Program(calls=(replace(call, name=name, bindings=bindings),)))
        return tuple(made)

    def step(
        self, function: StepFunction, inputs: Sequence[str | TextFuture], outputs: int = 1
    ) -> tuple[TextFuture, ...]:
        """Add a native step, and return the futures of its outputs, in order."""
        name = self._free(function.kind)
        read = tuple(self._future(text, f"{name}_text").name for text in inputs)
        made = tuple(TextFuture(self, self._free(f"{name}_made")) for _ in range(outputs))
        self._add(
            Program(steps=(NativeStep(name, function, read, tuple(one.name for one in made)),))
        )
        return made

    def want(self, future: TextFuture, objective: Objective = LATENCY) -> None:
        """Ask for a text without waiting for it."""
        self._add(Program(outputs=(WantedOutput(future.name, objective),)))

    def submit(self) -> None:
        """Give what was added to the runtime. Raises ConfigError as `build_graph`; then it is not
        tried again."""
        added, self._added = self._added, Program()
        if added != Program():
            self.runtime.submit(added)

    def _add(self, part: Program) -> None:
        self.program = self.program.joined(part)
        self._added = self._added.joined(part)

    def _free(self, name: str) -> str:
        """A name that nothing else has."""
        free = name = name[:_LONGEST]
        while self._names[free]:
            self._names[name] += 1
            free = f"{name}_{self._names[name]}"
        self._names[free] += 1
        return free

    def _future(self, text: str | TextFuture, name: str) -> TextFuture:
        if isinstance(text, str):
            return self.value(text, name)
        if text.flow is not self:
            raise ConfigError(
                f"the future of {text.name} belongs to another flow",
                where=name,
                hint="wait for it with get(), and pass the text",
            )
        return text


# --------------------------------------------------------------------------------------------------
# Semantic functions: a Python function whose docstring is the template of a call.
#
#     @semantic_function(settings={"ad": GenerationConfig(max_tokens=60)})
#     def write_ad(product: Input, ad: Output) -> None:
#         '''Write an ad for {{product}}.
#         {{ad:output}}'''
#
#     ad = write_ad(flow, "green tea")
#     text = await ad.get(Objective("ttft", 0.5))
#
# Calling it runs nothing and returns at once: it adds a call to a `Flow` and returns a future of
# each output. The body is never executed, and no code goes to whoever runs the program.


class Input:
    """Annotates a parameter that the model reads: a text, or the future of one."""


class Output:
    """Annotates a parameter that stands for what the model writes; no caller gives it."""


@dataclass(frozen=True)
class SemanticFunction:
    """A function that adds a call to a flow. call: with the function's name and no bindings.
    inputs, outputs: its parameters, in order."""

    call: SemanticCall
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __call__(self, flow: Flow, *texts: str | TextFuture, **named: str | TextFuture) -> Any:
        """Add a call. texts: the inputs in order, named: by name; futures of any flow's own.

        Returns the future of the output; of several outputs, a tuple of them.
        Raises ConfigError where inputs are missing, or are none of the function's.
        """
        where = f"{self.call.name}()"
        if len(texts) > len(self.inputs):
            raise ConfigError(
                f"it takes {len(self.inputs)} inputs, not {len(texts)}",
                where=where,
                hint=f"its inputs are {', '.join(self.inputs) or 'none'}",
            )
        given = dict(zip(self.inputs, texts, strict=False))
        wrong = [one for one in named if one in given or one not in self.inputs]
        missing = [one for one in self.inputs if one not in given and one not in named]
        if wrong or missing:
            told = f"{wrong[0]} cannot be given here" if wrong else f"{missing[0]} is missing"
            raise ConfigError(told, where=where, hint=f"its inputs are {', '.join(self.inputs)}")
        futures = flow.call(self.call, {**given, **named}, self.outputs)
        return futures[0] if len(futures) == 1 else futures


def semantic_function(
    *,
    settings: Mapping[str, GenerationConfig] | None = None,
    model: str = "",
    adapter: str | None = None,
) -> Callable[[Callable[..., None]], SemanticFunction]:
    """Make a function with a template for a docstring a semantic function.

    settings: how each output is generated. model, adapter: see `SemanticCall`.
    Raises ConfigError where parameters and placeholders are not the same.
    """

    def made(function: Callable[..., None]) -> SemanticFunction:
        name = function.__name__
        text = inspect.cleandoc(function.__doc__ or "")
        template = Template.parse(text, where=f"docstring of {name}")
        inputs, outputs = _parameters(function)
        _check_same("Input", inputs, template.inputs, name)
        _check_same("Output", outputs, template.outputs, name)
        call = SemanticCall(name, text, settings=settings or {}, model=model, adapter=adapter)
        return SemanticFunction(call, inputs, outputs)

    return made


def _parameters(function: Callable[..., None]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    hints = get_type_hints(function)
    found: dict[object, list[str]] = {Input: [], Output: []}
    for name in inspect.signature(function).parameters:
        kind = hints.get(name)
        if kind is not Input and kind is not Output:
            raise ConfigError(
                f"the parameter {name} is neither Input nor Output",
                where=f"{function.__name__}()",
                hint=f"write {name}: Input",
            )
        found[kind].append(name)
    return tuple(found[Input]), tuple(found[Output])


def _check_same(
    kind: str, parameters: tuple[str, ...], placeholders: tuple[str, ...], name: str
) -> None:
    for one in parameters:
        if one not in placeholders:
            shown = "{{" + one + (":output}}" if kind == "Output" else "}}")
            raise ConfigError(
                f"the parameter {one} stands nowhere in the template",
                where=f"docstring of {name}",
                hint=f"write {shown} where it belongs",
            )
    for one in placeholders:
        if one not in parameters:
            raise ConfigError(
                f"the placeholder {one} is no parameter of the function",
                where=f"docstring of {name}",
                hint=f"add the parameter {one}: {kind}",
            )


# --------------------------------------------------------------------------------------------------
# Nodes of LangGraph that are programs: they read and write the state, and run here.
#
#     with dispatcher.for_program("agent", "shop") as engine:
#         graph.add_node("write", program_node(write_ad, lambda: Session(engine)))
#         graph.add_node("team", program_node(read_program("creative-team"), lambda:
# Session(engine),
#                                             writes={"final": "ad"}))
#         found = await graph.compile().ainvoke({"product": "green tea"})
#
# A node is a coroutine function of the state, so LangGraph need not be installed here, and graphs
# run with `ainvoke` or `astream`. Nodes that share one program share prefixes and count as one.

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


# --------------------------------------------------------------------------------------------------
# A chat as a program of one call: its prompt cut where a turn ends, so that chats share turns.
#
# What `inputs` name stands in the messages as {{name}}, and is replaced by the text of a variable
# when that is there. All other braces are text.

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
