"""What the endpoints of programs take: a graph as JSON, the same that files hold.

    {"values": {"product": "green tea"},
     "calls": [{"name": "writer", "template": "An ad for {{product}}: {{ad:output}}",
                "settings": {"ad": {"max_tokens": 40, "stop": ["\\n"]}}}],
     "outputs": [{"variable": "ad", "objective": {"kind": "latency"}}],
     "wait": true}

What each part may be is said where it belongs, in `programs.program`; here each mistake gets the
path of its field.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import Field, WrapValidator, model_validator

from adwright.core.config import closest_name
from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.program import NativeStep, Objective, Program, SemanticCall, WantedOutput
from adwright.programs.steps import StepFunction
from adwright.service.lm.protocol.body import LmBody

_SHOWN = 40
_NAMES = tuple(one.name for one in fields(GenerationConfig))


def _checked(value: Any, build: Callable[[Any], Any]) -> Any:
    """Build a dataclass of the package; its own refusals become errors of the field."""
    try:
        return build(value)
    except ConfigError as error:
        raise ValueError(error.what) from error


def _settings(value: Any, build: Callable[[Any], Any]) -> Any:
    """As `_checked`, with the name that was meant where there is none of that name."""
    unknown = [str(one) for one in value if one not in _NAMES] if isinstance(value, dict) else []
    if unknown:
        close = closest_name(unknown[0], _NAMES)
        hint = f"did you mean {close}?" if close else f"they are {', '.join(_NAMES)}"
        raise ValueError(f"there is no setting {unknown[0][:_SHOWN]}: {hint}")
    made = _checked(value, build)
    if made.logprobs:
        raise ValueError("logprobs: a variable is a text, so nobody would be told them")
    return made


_Settings = Annotated[GenerationConfig, WrapValidator(_settings)]
_Function = Annotated[StepFunction, WrapValidator(_checked)]
_Objective = Annotated[Objective, WrapValidator(_checked)]


class CallIn(LmBody):
    """A call of a language model. settings: by placeholder of an output."""

    name: str
    template: str
    bindings: dict[str, str] = Field(default_factory=dict)
    settings: dict[str, _Settings] = Field(default_factory=dict)
    model: str = ""
    adapter: str | None = None

    def call(self) -> SemanticCall:
        """As a part of a program."""
        return SemanticCall(
            self.name, self.template, self.bindings, self.settings, self.model, self.adapter
        )


class StepIn(LmBody):
    """A native step, by the kind of its function."""

    name: str
    function: _Function
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def step(self) -> NativeStep:
        """As a part of a program."""
        return NativeStep(self.name, self.function, self.inputs, self.outputs)


class OutputIn(LmBody):
    """A variable that is asked for."""

    variable: str
    objective: _Objective = Objective()


class ProgramPartIn(LmBody):
    """A program, or what is added to one that is open: at least one part of it."""

    values: dict[str, str] = Field(default_factory=dict)
    awaited: tuple[str, ...] = ()
    calls: tuple[CallIn, ...] = ()
    steps: tuple[StepIn, ...] = ()
    outputs: tuple[OutputIn, ...] = ()

    @model_validator(mode="after")
    def _is_something(self) -> ProgramPartIn:
        if not (self.values or self.awaited or self.calls or self.steps or self.outputs):
            raise ValueError("there is nothing in it: give calls, steps, values or outputs")
        return self

    def program(self) -> Program:
        """As it is run."""
        return Program(
            calls=tuple(one.call() for one in self.calls),
            steps=tuple(one.step() for one in self.steps),
            values=self.values,
            awaited=self.awaited,
            outputs=tuple(WantedOutput(one.variable, one.objective) for one in self.outputs),
        )


class ProgramIn(ProgramPartIn):
    """The body of POST /v1/programs.

    wait: answer when all outputs are there, or will not be. on_disconnect: what becomes of the
    program where a client that waits for it goes away: it is kept as others are, or cancelled.
    """

    wait: bool = False
    on_disconnect: Literal["detach", "cancel"] = "detach"


class TextIn(LmBody):
    """What an awaited variable is set to; or why it never will be."""

    text: str | None = None
    failure: Annotated[str, Field(min_length=1, max_length=500)] | None = None

    @model_validator(mode="after")
    def _one(self) -> TextIn:
        if (self.text is None) == (self.failure is None):
            raise ValueError("give either text or failure")
        return self


class ExtensionIn(LmBody):
    """The object `adwright` of a chat, which makes it a call of a program.

    program: id of an open one; without it one is made. inputs: the variable that each {{name}} in
    the messages stands for. output: the variable that the answer becomes; its name is made up where
    there is none. objective: what counts for it. defer: answer at once, with the ids alone.
    """

    program: str | None = None
    inputs: Annotated[dict[str, str], Field(max_length=100)] = Field(default_factory=dict)
    output: str | None = None
    objective: _Objective = Objective()
    defer: bool = False
