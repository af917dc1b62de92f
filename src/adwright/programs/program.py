"""Programs as they are written down: variables by name, calls, steps, and what is wanted of them.

    {
      "values": {"product": "green tea"},
      "calls": [
        {"name": "writer", "template": "Write an ad for {{product}}. {{ad:output}}"},
        {"name": "editor", "template": "Shorten: {{text}} {{short:output}}",
         "bindings": {"text": "ad"}}
      ],
      "outputs": [{"variable": "short", "objective": {"kind": "latency"}}]
    }

A variable is a text that is set once: it is given (`values`), set from outside while the program
runs (`awaited`), or made by one call or step; any number of calls and steps may read it. Everything
here is plain data, to and from JSON by `core.config`. What the parts make together is checked where
they become a graph, see `graph`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from adwright.core.config import settings
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.objective import Objective
from adwright.programs.steps import StepFunction

__all__ = ["NativeStep", "Program", "SemanticCall", "WantedOutput"]

_NO_NAMES: Mapping[str, str] = {}
_NO_SETTINGS: Mapping[str, GenerationConfig] = {}


@settings
class SemanticCall:
    """A call of a language model.

    name: of the call, its own in the program.
    template: what the model reads and where it writes, see `template`.
    bindings: the variable that each placeholder stands for, where it has another name. Two calls
        with one template are two calls with other bindings.
    settings: how each output is generated, by its placeholder: length, schema, seed and so on.
    model: which one; "" for that of whoever runs the program. adapter: of that model, if any.
    """

    name: str
    template: str
    bindings: Mapping[str, str] = field(default_factory=lambda: _NO_NAMES)
    settings: Mapping[str, GenerationConfig] = field(default_factory=lambda: _NO_SETTINGS)
    model: str = ""
    adapter: str | None = None

    def variable(self, placeholder: str) -> str:
        """The variable that a placeholder stands for."""
        return self.bindings.get(placeholder, placeholder)


@settings
class NativeStep:
    """A native step. function: one of `steps`. inputs, outputs: variables, in order."""

    name: str
    function: StepFunction
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def node_id(self) -> str:
        """Its place in the graph: its name."""
        return self.name


@settings
class WantedOutput:
    """A variable that is asked for, and what counts for it."""

    variable: str
    objective: Objective = field(default_factory=Objective)


@settings
class Program:
    """A program, or a part that is added to one that runs.

    values: texts that are known. awaited: variables that are set from outside later.
    outputs: what is asked for; what none of them needs is not run.
    """

    calls: tuple[SemanticCall, ...] = ()
    steps: tuple[NativeStep, ...] = ()
    values: Mapping[str, str] = field(default_factory=lambda: _NO_NAMES)
    awaited: tuple[str, ...] = ()
    outputs: tuple[WantedOutput, ...] = ()

    def joined(self, other: Program) -> Program:
        """This one and another as one. Of two objectives of one variable, the later stays."""
        outputs = {one.variable: one for one in (*self.outputs, *other.outputs)}
        return Program(
            calls=(*self.calls, *other.calls),
            steps=(*self.steps, *other.steps),
            values={**self.values, **other.values},
            awaited=(*self.awaited, *other.awaited),
            outputs=tuple(outputs.values()),
        )
