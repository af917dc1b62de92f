"""Semantic functions: a Python function whose docstring is the template of a call.

    @semantic_function(settings={"ad": GenerationConfig(max_tokens=60)})
    def write_ad(product: Input, ad: Output) -> None:
        '''Write an ad for {{product}}.
        {{ad:output}}'''

    ad = write_ad(flow, "green tea")
    text = await ad.get(Objective("ttft", 0.5))

Calling it runs nothing and returns at once: it adds a call to a `Flow` and returns a future of each
output. The body is never executed, and no code goes to whoever runs the program.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.frontend.flow import Flow, TextFuture
from adwright.programs.program import SemanticCall
from adwright.programs.template import Template

__all__ = ["Input", "Output", "SemanticFunction", "semantic_function"]


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
