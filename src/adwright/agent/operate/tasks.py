"""A task from its words to a run with a verdict, and to a macro that does it again.

    scripts = find_scripts(task, document, macros=book, rules=policy.check_rules())
    found = next(scripts)                        # the others: see `operate.turns`
    ready = prepare_task(found, task, document)
    report = run_on_screen(ready.checked, document, open_driver, run_policy, ready.arguments,
                           postconditions=ready.postconditions, clock=clock)
    keep_task("set_share", ready, report, book)

A script of a plan or a model is generalised before it runs: then the same words say what must be
true afterwards, and a run that did it is "verified" rather than "done".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import field

from adwright.agent.document.elements import AppDocument
from adwright.agent.generate.beam import BeamConfig
from adwright.agent.generate.generalise import GeneralScript, generalise
from adwright.agent.generate.ladder import FoundScript, ScriptLadder, macro_arguments
from adwright.agent.generate.task_values import read_task
from adwright.agent.language.checker import CheckedScript, CheckRules, check_script
from adwright.agent.language.field_values import read_decimal
from adwright.agent.language.problems import ScriptError
from adwright.agent.language.tree import ScriptParameter
from adwright.agent.language.values import ArgumentValue
from adwright.agent.run.macros import Macro, MacroBook, macro_of
from adwright.agent.run.postconditions import Postconditions, check_postconditions
from adwright.agent.run.runner import RunReport
from adwright.core.config import closest_name, settings
from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import LanguageModel

__all__ = [
    "OpenLanguageModel",
    "PreparedTask",
    "find_scripts",
    "keep_task",
    "keepable",
    "macro_values",
    "prepare_task",
]

#: Opens the model that may be asked; called only where no macro and no plan fits.
OpenLanguageModel = Callable[[], AbstractContextManager[LanguageModel]]


@settings
class PreparedTask:
    """What is run. general: what would be kept as a macro; None of a macro, and of what cannot be
    looked up afterwards."""

    task: str
    found: FoundScript
    checked: CheckedScript
    arguments: Mapping[str, ArgumentValue] = field(default_factory=dict)
    postconditions: Postconditions | None = None
    general: GeneralScript | None = None


def find_scripts(
    task: str,
    document: AppDocument,
    *,
    macros: MacroBook | None = None,
    open_model: OpenLanguageModel | None = None,
    config: BeamConfig | None = None,
    rules: CheckRules | None = None,
) -> Iterator[FoundScript]:
    """Scripts by the cheapest means, the likeliest first. open_model: None asks no model; it is
    opened only where no macro and no plan fits, and closed before its scripts are given.

    Raises ScriptError where nothing makes one that passes the check, and what the model raises.
    """
    try:
        yield from ScriptLadder(document, macros=macros, rules=rules).scripts(task)
        return
    except ScriptError:
        if open_model is None:
            raise
    with open_model() as model:
        ladder = ScriptLadder(document, models=(model,), config=config, rules=rules)
        written = list(ladder.written(task))
    yield from written


def prepare_task(found: FoundScript, task: str, document: AppDocument) -> PreparedTask:
    """The script with what must be true after it. Raises ScriptError where it does not fit."""
    own = found.script
    if found.source == "macro":
        return PreparedTask(task, found, own, found.arguments, found.postconditions)
    general = generalise(own.script, task, document)
    wanted = general.postconditions
    if wanted is None:
        return PreparedTask(task, found, own)
    try:
        checked = check_script(general.script, document, own.rules)
        check_postconditions(wanted, document)
    except ScriptError:
        rest = Postconditions(wanted.requests) if wanted.requests else None
        return PreparedTask(task, found, own, postconditions=rest)
    like = Macro("task", general.task, document.app, document.version, general.script, wanted)
    # Words that do not give the values back make no macro; they are known all the same.
    kept = general if macro_arguments(like, read_task(task)) == general.arguments else None
    return PreparedTask(task, found, checked, general.arguments, wanted, kept)


def keep_task(name: str, ready: PreparedTask, report: RunReport, book: MacroBook) -> Macro:
    """Keep a verified run as a macro. Raises ConfigError for a run that is not, and what
    `keepable` raises."""
    general, wanted = keepable(name, ready)
    flows = ready.checked.rules.flows
    macro = macro_of(name, general.task, general.script, wanted, report, flows=flows)
    book.keep(macro, report.document)
    return macro


def keepable(name: str, ready: PreparedTask) -> tuple[GeneralScript, Postconditions]:
    """What would be kept as a macro of this name. Raises ConfigError where there is nothing to
    keep, which is better asked before a run than after it."""
    if ready.found.source == "macro":
        raise ConfigError(
            f"the run was by the macro {ready.found.name} already",
            where=f"--keep {name}",
            hint="leave --keep out",
        )
    if ready.general is None or ready.postconditions is None:
        raise ConfigError(
            "nothing of this task can be looked up afterwards, so no replay could be verified",
            where=f"--keep {name}",
            hint="name each value of the task once, in quotes",
        )
    return ready.general, ready.postconditions


def macro_values(macro: Macro, pairs: Mapping[str, str]) -> dict[str, ArgumentValue]:
    """The arguments of a macro out of texts. Raises ConfigError for one that is missing, unknown or
    of another kind."""
    kinds = {one.name: one for one in macro.script.parameters}
    for name in pairs:
        if name not in kinds:
            meant = closest_name(name, kinds)
            raise ConfigError(
                f"the macro has no parameter {name!r}",
                where=f"macro {macro.name}",
                hint=f"did you mean {meant}?" if meant else _takes(macro),
            )
    missing = [name for name in kinds if name not in pairs]
    if missing:
        raise ConfigError(
            f"the parameter {missing[0]!r} is missing",
            where=f"macro {macro.name}",
            hint=_takes(macro),
        )
    return {name: _value(kinds[name], text, macro) for name, text in pairs.items()}


def _value(parameter: ScriptParameter, text: str, macro: Macro) -> ArgumentValue:
    truths = {"true": True, "false": False}
    number = read_decimal(text)
    match parameter.kind:
        case "text":
            return text
        case "whole" if number is not None and number == number.to_integral_value():
            return int(number)
        case "number" if number is not None:
            return number
        case "truth" if text.lower() in truths:
            return truths[text.lower()]
    raise ConfigError(
        f"{text[:60]!r} is no {parameter.kind}",
        where=f"macro {macro.name}, {parameter.name}",
        hint=_takes(macro),
    )


def _takes(macro: Macro) -> str:
    parts = " ".join(f"{one.name}={one.kind.upper()}" for one in macro.script.parameters)
    return f"write {parts}" if parts else "it takes no parameters"
