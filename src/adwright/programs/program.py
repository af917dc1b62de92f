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

import math
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Literal, get_args

from adwright.core.config import settings
from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.steps import StepFunction

# --------------------------------------------------------------------------------------------------
# Objectives: what the reader of an output waits for.
#
#     kind         what counts                                   seconds
#     deadline     all of the text is there in time              from the arrival of the program
#     ttft         its first token is there in time              from the arrival of the program
#     tpot         tokens come no slower than                    between two tokens
#     latency      all of the text, as soon as possible          none
#     throughput   the work of many programs, not this text      none
#
# Who needs several of them at once is served by the strictest: the kinds stand in that order, and
# among two of one kind the shorter time is stricter.
#
# What an output wants is wanted of all that it is made from, but not in the same words. A text that
# has to be read before the first token can be written has to be there as a whole, so what feeds a
# `ttft` of s seconds has a deadline of s. How fast tokens follow each other is up to the call that
# writes them, so what feeds a `tpot` is asked for `latency`.

ObjectiveKind = Literal["deadline", "ttft", "tpot", "latency", "throughput"]

_TIMED = ("deadline", "ttft", "tpot")
_ORDER = {kind: at for at, kind in enumerate(get_args(ObjectiveKind))}


@settings
class Objective:
    """What counts for a text. seconds: see the table above; None where the kind has none."""

    kind: ObjectiveKind = "latency"
    seconds: float | None = None

    def __post_init__(self) -> None:
        timed = self.kind in _TIMED
        if not timed and self.seconds is not None:
            raise ConfigError(
                f"an objective of {self.kind} has no seconds",
                where=f"Objective.seconds {self.seconds!r}",
                hint=f"leave them out, or choose one of {', '.join(_TIMED)}",
            )
        if timed and (self.seconds is None or not 0 < self.seconds < math.inf):
            raise ConfigError(
                f"an objective of {self.kind} needs seconds above 0",
                where=f"Objective.seconds {self.seconds!r}",
                hint=f"write Objective({self.kind!r}, 2.0)",
            )

    @property
    def strictness(self) -> tuple[int, float]:
        """Orders objectives, the strictest first."""
        return _ORDER[self.kind], 0.0 if self.seconds is None else self.seconds

    def of_producers(self, share: float) -> Objective:
        """What it asks of a text that it is made from.

        share: of the expected work up to the output, how much is done once that text is there;
        above 0, at most 1. A deadline is divided in that proportion.
        """
        match self.kind:
            case "deadline" | "ttft":
                return Objective("deadline", (self.seconds or 0.0) * share)
            case "tpot":
                return LATENCY
            case _:
                return self

    def __str__(self) -> str:
        return self.kind if self.seconds is None else f"{self.kind} {self.seconds:g} s"


#: The objectives without a time.
LATENCY, THROUGHPUT = Objective("latency"), Objective("throughput")


def strictest(asked: Iterable[Objective]) -> Objective:
    """The strictest of one or more objectives."""
    return min(asked, key=lambda each: each.strictness)


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
