"""What a program means, word by word: one thing after another, without a graph.

A text is worked out when it is asked for. A call is read from its beginning to the output that is
asked for, and what it wrote on the way is part of what it reads. Where a text cannot be had,
neither can what would be made of it; the causes are all failures in which that may have begun,
since which of them a reader hears of first is a question of time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import jsonschema

from adwright.core.errors import AdwrightError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.program import NativeStep, Program, SemanticCall
from adwright.programs.runner import Failure
from adwright.programs.steps import ConstantText, Template, run_step

Answer = Callable[[str, str | None, str, GenerationConfig], str]


@dataclass(frozen=True)
class Meaning:
    """What a variable comes to: its text, or the failures of which one is why it has none."""

    text: str | None
    causes: frozenset[Failure] = frozenset()


@dataclass
class Interpreter:
    """Interprets one program. outside: what awaited variables are set to; None where that fails.
    cancelled: variables that are, before anything runs."""

    program: Program
    answer: Answer
    outside: Mapping[str, str | None] = field(default_factory=dict)
    cancelled: frozenset[str] = frozenset()
    asked: list[str] = field(default_factory=list)
    _known: dict[str, Meaning] = field(default_factory=dict)

    def meaning(self, variable: str) -> Meaning:
        """What a variable comes to."""
        if variable not in self._known:
            self._known[variable] = self._worked_out(variable)
        return self._known[variable]

    def _worked_out(self, variable: str) -> Meaning:
        if variable in self.cancelled:
            return _failed(Failure("cancelled", variable, "it was cancelled"))
        if variable in self.program.values:
            return Meaning(self.program.values[variable])
        if variable in self.program.awaited:
            text = self.outside[variable]
            if text is None:
                return _failed(Failure("outside", variable, "nobody came"))
            return Meaning(text)
        for step in self.program.steps:
            if variable in step.outputs:
                return self._of_step(step, step.outputs.index(variable))
        for call in self.program.calls:
            template = Template.parse(call.template)
            for placeholder in template.outputs:
                if call.bindings.get(placeholder, placeholder) == variable:
                    return self._of_call(call, template, placeholder)
        raise AssertionError(f"nobody sets {variable}")

    def _of_step(self, step: NativeStep, index: int) -> Meaning:
        read = [self.meaning(one) for one in step.inputs]
        if any(one.text is None for one in read):
            return Meaning(None, _union(read))
        try:
            made = run_step(step.function, [one.text or "" for one in read], len(step.outputs))
        except AdwrightError as error:
            return _failed(Failure("step", step.name, str(error)))
        return Meaning(made[index])

    def _of_call(self, call: SemanticCall, template: Template, wanted: str) -> Meaning:
        prompt = ""
        read: list[Meaning] = []
        for piece in template.pieces:
            if isinstance(piece, ConstantText):
                prompt += piece.text
                continue
            if piece.is_output and piece.name == wanted:
                break
            read.append(self.meaning(call.bindings.get(piece.name, piece.name)))
            prompt += read[-1].text or ""
        if any(one.text is None for one in read):
            return Meaning(None, _union(read))
        origin = f"{call.name}.{wanted}"
        self.asked.append(origin)
        settings = call.settings.get(wanted, GenerationConfig())
        try:
            text = self.answer(call.model, call.adapter, prompt, settings)
        except AdwrightError as error:
            return _failed(Failure("call", origin, str(error)))
        except Exception as error:
            return _failed(Failure("call", origin, repr(error)))
        if settings.json_schema is not None:
            try:
                jsonschema.validate(json.loads(text), settings.json_schema)
            except (ValueError, jsonschema.ValidationError):
                # In which words is the library's own business.
                return _failed(Failure("output", origin, ""))
        return Meaning(text)


def _failed(failure: Failure) -> Meaning:
    return Meaning(None, frozenset({failure}))


def _union(read: Iterable[Meaning]) -> frozenset[Failure]:
    return frozenset(one for each in read for one in each.causes)
