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

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from adwright.core.errors import ConfigError
from adwright.programs.objective import LATENCY, Objective
from adwright.programs.program import NativeStep, Program, SemanticCall, WantedOutput
from adwright.programs.steps import StepFunction

__all__ = ["Flow", "Runtime", "TextFuture"]

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
