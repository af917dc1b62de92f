"""Make a macro of a script that did one task: its values become parameters, and what it wrote a
check.

    general = generalise(script, 'Set the discount of "Spring" to 25', document)
    general.task                 # "Set the discount of {item} to {discount}"
    general.script               # param item: text / param discount: number / ...
    general.arguments            # {"item": "Spring", "discount": Decimal(25)}
    general.postconditions       # the requests of its buttons, and a script that looks again

Values that the task names become parameters where the script holds them as literals; others stay.
The check opens the item anew and compares each field that was set, or, after a deletion, looks that
the item is gone; of a message or a payment only the requests are checked, since the app may show
neither again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from adwright.agent.document.elements import AppDocument, Element
from adwright.agent.generate.task_values import TaskText, read_task
from adwright.agent.language.checker import CheckRules, check_script
from adwright.agent.language.field_values import read_decimal
from adwright.agent.language.kinds import VERBS
from adwright.agent.language.parser import KEYWORDS
from adwright.agent.language.problems import ScriptError
from adwright.agent.language.tree import (
    Act,
    BinaryTerm,
    DecimalLiteral,
    ElementUse,
    Expression,
    IndexedTerm,
    ParameterKind,
    Script,
    ScriptParameter,
    Statement,
    TextLiteral,
    VariableUse,
    VerbCall,
    WholeLiteral,
)
from adwright.agent.language.values import ArgumentValue
from adwright.agent.run.postconditions import Postconditions, check_postconditions

__all__ = ["GeneralScript", "generalise"]

_Literal = TextLiteral | WholeLiteral | DecimalLiteral


@dataclass(frozen=True)
class GeneralScript:
    """postconditions: None where nothing that was written can be looked up. arguments: with which
    it does what the script did."""

    task: str
    script: Script
    postconditions: Postconditions | None
    arguments: Mapping[str, ArgumentValue] = field(default_factory=dict)


def generalise(script: Script, task: str, document: AppDocument) -> GeneralScript:
    """The script with parameters, its task with their names in braces, and what to check.

    Blocks are left as they are: a script with loops or branches gets no parameters, and only its
    requests are checked. Raises ScriptError where the script does not fit the document.
    """
    check_script(script, document, CheckRules(forbidden=()))
    read = read_task(task)
    acts = [one.call for one in script.body if isinstance(one, Act)]
    simple = len(acts) == len(script.body) and not script.parameters
    renaming = _Parameters(read) if simple else None
    body: list[Statement] = list(script.body)
    if renaming is not None:
        body = [Act(renaming.call(one)) for one in acts]
    parameters = renaming.parameters if renaming else script.parameters
    general = Script(tuple(body), tuple(parameters))
    template = renaming.template() if renaming else read.text
    calls = [one.call for one in body if isinstance(one, Act)] if simple else []
    wanted = _wanted(script, calls, general, document)
    return GeneralScript(template, general, wanted, renaming.arguments if renaming else {})


class _Parameters:
    """Replaces the values of a task by parameters."""

    def __init__(self, task: TaskText) -> None:
        self.parameters: list[ScriptParameter] = []
        self.arguments: dict[str, ArgumentValue] = {}
        self._task = task
        self._by_value: dict[str, str] = {}

    def call(self, call: VerbCall) -> VerbCall:
        name = _name_of(call)
        arguments = tuple(self._term(one, name) for one in call.arguments)
        return replace(call, arguments=arguments)

    def template(self) -> str:
        text = self._task.text
        for value, name in sorted(self._by_value.items(), key=lambda one: -len(one[0])):
            quoted = rf"[\"'“]?(?<![\w{{]){re.escape(value)}(?![\w}}])[\"'”]?"
            text = re.sub(quoted, f"{{{name}}}", text, count=1)
        return text

    def _term(self, term: Expression, name: str) -> Expression:
        match term:
            case TextLiteral() | WholeLiteral() | DecimalLiteral():
                return self._literal(term, name)
            case VerbCall("secret"):
                return term
            case VerbCall():
                inner = "item" if term.verb in ("match", "find") else name
                arguments = tuple(self._term(one, inner) for one in term.arguments)
                return replace(term, arguments=arguments)
            case IndexedTerm(sequence):
                return replace(term, sequence=self._term(sequence, name))
            case _:
                return term

    def _literal(self, term: _Literal, name: str) -> Expression:
        value = next((one for one in self._task.values if _is_value(one, term)), None)
        if value is None:
            return term
        kind: ParameterKind = "text" if isinstance(term, TextLiteral) else "number"
        known = self._by_value.get(value)
        if known is None:
            taken = {one.name for one in self.parameters} | KEYWORDS
            known, number = name, 2
            while known in taken:
                known, number = f"{name}_{number}", number + 1
            self._by_value[value] = known
            self.parameters.append(ScriptParameter(known, kind))
            is_text = isinstance(term, TextLiteral)
            self.arguments[known] = term.value if is_text else Decimal(term.value)
        elif ScriptParameter(known, kind) not in self.parameters:
            return term  # once as a text and once as a number: one of them stays
        return VariableUse(known)


def _is_value(value: str, term: _Literal) -> bool:
    if isinstance(term, TextLiteral):
        return term.value == value
    return read_decimal(value) == Decimal(term.value)


def _name_of(call: VerbCall) -> str:
    match call.arguments:
        case (ElementUse(name), *_):
            word = name.rpartition("__")[2].lower()
            return word if re.fullmatch(r"[a-z][a-z0-9_]{0,39}", word) else "value"
    return "value"


def _wanted(
    script: Script, calls: Sequence[VerbCall], general: Script, document: AppDocument
) -> Postconditions | None:
    """The requests of what writes, and a check where one can be made."""
    used = check_script(script, document, CheckRules(forbidden=())).effects
    writing = [document.by_name[one.element] for one in used if one.element]
    requests = tuple(dict.fromkeys(one.requests[0] for one in writing if _is_certain(one)))
    check = _check(calls, general, document)
    if check is not None:
        try:
            check_postconditions(Postconditions(check=check), document)
        except ScriptError:
            check = None
    return Postconditions(requests, check) if requests or check else None


def _is_certain(element: Element) -> bool:
    return element.writes and len(element.requests) == 1


def _check(calls: Sequence[VerbCall], general: Script, document: AppDocument) -> Script | None:
    if not calls:
        return None
    goal = _element(calls[-1], document)
    if goal is None or not goal.writes:
        return None
    picks = [one for one in calls if one.verb == "tap" and _picked(one) is not None]
    sets = [one for one in calls if VERBS[one.verb].fills]
    body: list[Statement] = []
    if goal.effect == "destructive" and picks:
        item = _picked(picks[0])
        if item is not None:
            count = VerbCall("len", (item,))
            body = [_expect(BinaryTerm("==", count, WholeLiteral(0)))]
    elif goal.effect == "commit" and picks and sets:
        body = [Act(one) for one in picks]
        body += [one for call in sets if (one := _compared(call, document)) is not None]
        if len(body) == len(picks):
            return None
    if not body:
        return None
    used = set(_variables(body))
    return Script(tuple(body), tuple(one for one in general.parameters if one.name in used))


def _compared(call: VerbCall, document: AppDocument) -> Statement | None:
    """That a field has what was put into it."""
    element = _element(call, document)
    if element is None or element.value_type == "secret":
        return None
    field, value = call.arguments
    if element.value_type == "switch":
        read: Expression = VerbCall("get_attributes", (field, TextLiteral("checked")))
    else:
        read = VerbCall("get_attributes", (field, TextLiteral("value")))
    if element.value_type == "number":
        read = VerbCall("number", (read,))
    return _expect(BinaryTerm("==", read, value))


def _expect(test: Expression) -> Statement:
    return Act(VerbCall("expect", (test,)))


def _element(call: VerbCall, document: AppDocument) -> Element | None:
    match call.arguments:
        case (ElementUse(name), *_):
            return document.by_name.get(name)
    return None


def _picked(call: VerbCall) -> Expression | None:
    """The match of a tap within an item: of tap(inside(find(...), $edit))."""
    match call.arguments:
        case (VerbCall("inside", (VerbCall("find", arguments), _)),):
            return VerbCall("match", arguments)
        case (VerbCall("inside", (IndexedTerm(VerbCall("match") as found), _)),):
            return found
    return None


def _variables(body: Iterable[Statement]) -> Iterable[str]:
    def of(term: Expression) -> Iterable[str]:
        match term:
            case VariableUse(name):
                yield name
            case VerbCall(_, arguments):
                for one in arguments:
                    yield from of(one)
            case IndexedTerm(sequence, index):
                yield from (*of(sequence), *of(index))
            case BinaryTerm(_, left, right):
                yield from (*of(left), *of(right))

    for one in body:
        if isinstance(one, Act):
            yield from of(one.call)
