"""Whether a script that passes the check is one for the task, by its words alone.

    why_unfit(intent, checked, document)      # problems that a model can mend; none where it fits

Small models drop digits, leave a value out, and answer what was an order. A script of the task
types no number that the task does not have, has all of its values, answers what is a question, and
writes nothing for one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from decimal import Decimal

from adwright.agent.document.elements import AppDocument
from adwright.agent.generate.task_intent import TaskIntent
from adwright.agent.generate.task_terms import terms_of
from adwright.agent.generate.task_values import TaskText
from adwright.agent.language.checker import CheckedScript
from adwright.agent.language.field_values import read_decimal
from adwright.agent.language.problems import ScriptProblem, quoted
from adwright.agent.language.tree import (
    DecimalLiteral,
    Script,
    SourcePosition,
    TextLiteral,
    VerbCall,
    WholeLiteral,
)

__all__ = ["task_numbers", "why_unfit"]

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_IN_WORDS = re.compile(
    r"\b(?:zero|none|nothing|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen"
    r"|(?:thir|four|fif|six|seven|eigh|nine)teen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty"
    r"|hundred|thousand|half|twice|double|third|quarter)\b",
    re.I,
)
_SWITCHED = frozenset(("on", "off", "yes", "no", "true", "false"))


def task_numbers(task: TaskText) -> tuple[Decimal, ...]:
    """The numbers among the values of a task, each once; none where it may say others in words, as
    in "to zero" or "half of it"."""
    if _IN_WORDS.search(task.text):
        return ()
    found = (read_decimal(one.removesuffix("%")) for one in task.values)
    return tuple(dict.fromkeys(one for one in found if one is not None))


def why_unfit(
    intent: TaskIntent, checked: CheckedScript, document: AppDocument
) -> tuple[ScriptProblem, ...]:
    """What in a script is not of the task. Of a task without figures no number is strange, as it
    may say them in words."""
    script = checked.script
    return (
        *_strange_numbers(intent.task, script),
        *_left_out(intent, checked, document),
        *_wrong_sort(intent, checked),
    )


def _strange_numbers(task: TaskText, script: Script) -> Iterator[ScriptProblem]:
    known = set(task_numbers(task))
    if known:
        known |= {Decimal(one) for one in _NUMBER.findall(task.text)}
    for call in _calls(script, "set_text"):
        for one in call.arguments[1:]:
            number = one.value if isinstance(one, WholeLiteral | DecimalLiteral) else None
            if number is not None and known and abs(number) not in known:
                yield _problem(f"{number} is no number of the task", "copy its numbers", one.at)


def _left_out(
    intent: TaskIntent, checked: CheckedScript, document: AppDocument
) -> Iterator[ScriptProblem]:
    """Values that are not in the script. One that only says the label of an element is not
    needed: 'set "Is public" to off'."""
    literals = list(_literals(checked.script))
    texts = [one.casefold() for one in literals if isinstance(one, str)]
    numbers = {Decimal(one) for one in literals if not isinstance(one, str)}
    labels: set[str] = set()
    for name in checked.elements:
        labels |= set(terms_of(document.by_name[name].label))
    for cue in intent.values:
        number = read_decimal(cue.value)
        terms = set(terms_of(cue.value))
        is_there = (
            any(cue.value.casefold() in one for one in texts)
            or (number is not None and number in numbers)
            or (bool(terms) and terms <= labels)
        )
        is_bound = intent.kind in ("ask", "count") and number is not None  # "over 10"
        is_needed = not (cue.named or is_bound or cue.value.casefold() in _SWITCHED)
        if is_needed and not is_there:
            yield _problem(f"the task's {quoted(cue.value)} is not used", "use each of its values")


def _wrong_sort(intent: TaskIntent, checked: CheckedScript) -> Iterator[ScriptProblem]:
    answers = next(_calls(checked.script, "answer"), None) is not None
    if intent.kind in ("ask", "count"):
        if not answers:
            yield _problem(
                "the task is a question, and nothing is answered", "end with answer(...)"
            )
        if checked.most_writes:
            yield _problem("the task is a question, and the script writes", "only read and answer")
    elif intent.kind in ("create", "delete") and not checked.most_writes:
        yield _problem("nothing is sent", "end with the button that sends it")


def _problem(what: str, hint: str, at: SourcePosition | None = None) -> ScriptProblem:
    place = at or SourcePosition(1, 1)
    return ScriptProblem("expected", what, place.line, place.column, hint)


def _calls(node: object, verb: str) -> Iterator[VerbCall]:
    for one in _parts(node):
        if isinstance(one, VerbCall) and one.verb == verb:
            yield one


def _literals(node: object) -> Iterator[str | int | Decimal]:
    for one in _parts(node):
        if isinstance(one, TextLiteral | WholeLiteral | DecimalLiteral):
            yield one.value


def _parts(node: object) -> Iterator[object]:
    """A tree's nodes, from the top."""
    yield node
    if is_dataclass(node):
        for one in fields(node):
            yield from _parts(getattr(node, one.name))
    elif isinstance(node, tuple):
        for part in node:
            yield from _parts(part)
