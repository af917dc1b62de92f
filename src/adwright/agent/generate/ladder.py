"""From a task to a checked script by the cheapest means: a macro, a plan, a small model, a large.

    found = ScriptLadder(document, macros=book, models=(small, large)).script(task)
    found.source                 # "macro", "plan" or "model"
    found.tokens_in              # 0 where no model was asked

A macro is taken where the task reads like its own but for the values, which become its arguments.
A plan is taken where it accounts for every value of the task and no other plan does as well. Models
are asked in their order, each only where the one before wrote nothing that passes the check.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from adwright.agent.document.elements import AppDocument
from adwright.agent.generate.beam import BeamConfig, write_scripts
from adwright.agent.generate.form_ways import DocumentForms
from adwright.agent.generate.planner import plan_scripts
from adwright.agent.generate.retrieve import ElementIndex, Encode
from adwright.agent.generate.task_values import TaskText, read_task
from adwright.agent.language.checker import CheckedScript, CheckRules, check_script
from adwright.agent.language.field_values import read_decimal
from adwright.agent.language.problems import ScriptError, ScriptProblem
from adwright.agent.language.tree import ScriptParameter
from adwright.agent.language.values import ArgumentValue
from adwright.agent.run.macros import Macro, MacroBook
from adwright.agent.run.postconditions import Postconditions
from adwright.core.config import check_literals
from adwright.lm.engine.language_model import LanguageModel

__all__ = ["FoundScript", "ScriptLadder", "macro_arguments"]

_QUOTED = re.compile(r"\"[^\"]{1,200}\"|“[^”]{1,200}”|(?<!\w)'[^']{1,200}'(?!\w)")
_HIDDEN = re.compile(r"\x00(\d+)\x00")
#: A plan that another comes nearer to is not sure enough to be run. Our choice.
_LEAST_LEAD = 0.05
_SLOT = re.compile(r"\{([a-z][a-z0-9_]*)\}", re.I)


@dataclass(frozen=True)
class FoundScript:
    """A script for a task, ready to be run with `arguments`. postconditions: of its macro."""

    script: CheckedScript
    source: Literal["macro", "plan", "model"]
    arguments: Mapping[str, ArgumentValue] = field(default_factory=dict)
    postconditions: Postconditions | None = None
    name: str = ""
    tokens_in: int = 0
    tokens_out: int = 0

    def __post_init__(self) -> None:
        check_literals(self)


class ScriptLadder:
    """The means for one document."""

    def __init__(
        self,
        document: AppDocument,
        *,
        macros: MacroBook | None = None,
        models: Sequence[LanguageModel] = (),
        config: BeamConfig | None = None,
        rules: CheckRules | None = None,
        encode: Encode | None = None,
    ) -> None:
        self._document = document
        self._macros = macros
        self._models = tuple(models)
        self._config = config or BeamConfig()
        self._rules = rules or CheckRules()
        self._index = ElementIndex(document, encode=encode)
        self._forms = DocumentForms(document)

    def script(self, task: str) -> FoundScript:
        """A script for a task. Raises ScriptError where nothing makes one that passes the check."""
        read = read_task(task)
        found = self._macro(read) or self._plan(read)
        if found is not None:
            return found
        retrieved = self._index.retrieve(task, self._config.retrieve)
        tokens_in = tokens_out = 0
        problems: tuple[ScriptProblem, ...] = ()
        for model in self._models:
            written = write_scripts(
                model, task, self._document, retrieved, config=self._config, rules=self._rules
            )
            tokens_in += written.tokens_in
            tokens_out += written.tokens_out
            if written.best is not None:
                return FoundScript(
                    written.best, "model", tokens_in=tokens_in, tokens_out=tokens_out
                )
            problems = written.scripts[0].problems
        what = (
            "no script for this task passes the check" if self._models else "no plan fits the task"
        )
        hint = "say the task with the names of fields, and its values in quotes"
        raise ScriptError([ScriptProblem("expected", what, hint=hint), *problems])

    def _macro(self, task: TaskText) -> FoundScript | None:
        for name in self._macros.names() if self._macros else ():
            macro = self._macros.macro(name)  # type: ignore[union-attr]
            arguments = macro_arguments(macro, task)
            if arguments is None or macro.app != self._document.app:
                continue
            try:
                rules = CheckRules(self._rules.forbidden, macro.flows, self._rules.most_items)
                checked = check_script(macro.script, self._document, rules)
            except ScriptError:
                continue  # made on a document that has changed: a person must look at it
            return FoundScript(checked, "macro", arguments, macro.postconditions, name)
        return None

    def _plan(self, task: TaskText) -> FoundScript | None:
        plans = plan_scripts(task.text, self._document, self._rules, forms=self._forms)
        if not plans or not plans[0].is_whole:
            return None
        if len(plans) > 1 and plans[1].is_whole and plans[1].merit >= plans[0].merit - _LEAST_LEAD:
            return None
        return FoundScript(plans[0].script, "plan")


def macro_arguments(macro: Macro, task: TaskText) -> dict[str, ArgumentValue] | None:
    """The arguments with which a macro does a task; None where the task is another.

    The macro's own task has its parameters in braces, "Set the discount of {code} to {share}"; the
    words around them must be those of the task, capitals and blanks apart.
    """
    parts = _SLOT.split(" ".join(macro.task.split()))
    kinds = {one.name: one for one in macro.script.parameters}
    names = parts[1::2]
    if set(names) != set(kinds) or len(set(names)) != len(names):
        return None
    pattern = "".join(
        rf"(?P<{part}>.{{1,200}}?)" if n % 2 else re.escape(part) for n, part in enumerate(parts)
    )
    quotes: list[str] = []

    def hide(found: re.Match[str]) -> str:
        quotes.append(found[0][1:-1])
        return f"\x00{len(quotes) - 1}\x00"

    # What stands in quotes is one value, whatever words are in it.
    plain = _QUOTED.sub(hide, task.text)
    match = re.fullmatch(pattern.rstrip(".") + r"\.?", plain, re.I)
    if match is None:
        return None
    given: dict[str, ArgumentValue] = {}
    for name in names:
        text = _HIDDEN.sub(lambda found: quotes[int(found[1])], match[name])
        value = _as_kind(kinds[name], text)
        if value is None:
            return None
        given[name] = value
    return given


def _as_kind(parameter: ScriptParameter, text: str) -> ArgumentValue | None:
    number: Decimal | None = read_decimal(text.removesuffix("%"))
    match parameter.kind:
        case "text":
            return text
        case "whole":
            whole = number is not None and number == number.to_integral_value()
            return int(number) if whole and number is not None else None
        case "number":
            return number
        case _:
            known = {"true": True, "on": True, "yes": True, "false": False, "off": False}
            return known.get(text.lower())
