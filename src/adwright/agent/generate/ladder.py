"""From a task to a checked script by the cheapest means: a macro, a plan, a small model, a large.

    found = ScriptLadder(document, macros=book, models=(small, large)).script(task)
    found.source                 # "macro", "plan" or "model"
    found.tokens_in              # 0 where no model was asked

A macro is taken where the task reads like its own but for the values, which become its arguments.
A plan is taken where it accounts for every value of the task and no other plan does as well. Models
are asked in their order, each only where the one before wrote nothing that passes the check.

`scripts` goes on with the plans that come after, or with all that a model wrote. It is for tasks
whose first script stops because a list has no such item: another list may (`operate.turns`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from decimal import Decimal
from itertools import pairwise
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
from adwright.core.config import settings
from adwright.lm.engine.generation import LanguageModel

__all__ = ["FoundScript", "ScriptLadder", "macro_arguments"]

_QUOTED = re.compile(r"\"[^\"]{1,200}\"|“[^”]{1,200}”|(?<!\w)'[^']{1,200}'(?!\w)")
_HIDDEN = re.compile(r"\x00(\d+)\x00")
#: A plan that another comes nearer to is not sure enough to be run, nor is one of less than this
#: share of the best one's merit. Our choice.
_LEAST_LEAD, _LEAST_SHARE = 0.05, 0.5
_SLOT = re.compile(r"\{([a-z][a-z0-9_]*)\}", re.I)


@settings
class FoundScript:
    """A script for a task, ready to be run with `arguments`. postconditions: of its macro.
    tokens_in, tokens_out: that were spent since the script before it in turn."""

    script: CheckedScript
    source: Literal["macro", "plan", "model"]
    arguments: Mapping[str, ArgumentValue] = field(default_factory=dict)
    postconditions: Postconditions | None = None
    name: str = ""
    tokens_in: int = 0
    tokens_out: int = 0


class ScriptLadder:
    """The means for one document. tokens_in, tokens_out: of all that models were asked so far."""

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
        self.tokens_in = self.tokens_out = 0

    def script(self, task: str) -> FoundScript:
        """A script for a task. Raises ScriptError where nothing makes one that passes the check."""
        return next(self.scripts(task))

    def scripts(self, task: str) -> Iterator[FoundScript]:
        """All scripts for a task, the likeliest first; models are asked when their turn comes.

        A macro is the only one: its words are those of the task. Raises ScriptError where there is
        none at all.
        """
        read = read_task(task)
        macro = self._macro(read)
        if macro is not None:
            yield macro
            return
        is_any = False
        for found in self._plans(read):
            is_any = True
            yield found
        if not is_any:
            yield from self.written(task)

    def written(self, task: str) -> Iterator[FoundScript]:
        """Scripts of models alone: those of the first that writes any that passes, best first.

        Raises ScriptError where none does.
        """
        text = read_task(task).text
        what = "no plan fits the task"
        problems: Sequence[ScriptProblem] = ()
        if self._models:
            what = "no script for this task passes the check"
            retrieved = self._index.retrieve(text, self._config.retrieve)
        tokens_in = tokens_out = 0
        for model in self._models:
            written = write_scripts(
                model, text, self._document, retrieved, config=self._config, rules=self._rules
            )
            tokens_in += written.tokens_in
            tokens_out += written.tokens_out
            self.tokens_in += written.tokens_in
            self.tokens_out += written.tokens_out
            passing = [one.checked for one in written.scripts if one.checked is not None]
            for script in passing:
                yield FoundScript(script, "model", tokens_in=tokens_in, tokens_out=tokens_out)
                tokens_in = tokens_out = 0
            if passing:
                return
            problems = written.scripts[0].problems
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

    def _plans(self, task: TaskText) -> Iterator[FoundScript]:
        """Whole plans, best first, up to one that another comes too near to."""
        plans = plan_scripts(task.text, self._document, self._rules, forms=self._forms)
        best = plans[0].merit if plans else 0.0
        for plan, after in pairwise([*plans, None]):
            if plan is None or not plan.is_whole:
                return
            if plan is not plans[0] and (best <= 0 or plan.merit < _LEAST_SHARE * best):
                return
            if after is not None and after.is_whole and after.merit >= plan.merit - _LEAST_LEAD:
                return
            yield FoundScript(plan.script, "plan")


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
