"""The solution of a task as a script: composed as a tree, printed, and checked like any other.

    checked = solve(intent, document)               # ScriptError where the document forbids it
    print_script(checked.script)

The scripts are of the form that the grammar of generation allows, so that what is learned can be
written: an item is picked by `find(...)`, and ways between pages are left to the run.
"""

from __future__ import annotations

from decimal import Decimal

from adwright.agent.document.elements import AppDocument
from adwright.agent.language.kinds import FILLING_VERBS
from adwright.agent.language.script import (
    Act,
    BinaryTerm,
    Branch,
    DecimalLiteral,
    ElementUse,
    Expression,
    Operator,
    Script,
    Statement,
    TextLiteral,
    TruthLiteral,
    UnaryTerm,
    VerbCall,
    WholeLiteral,
    print_script,
    read_script,
)
from adwright.agent.language.statements import CheckedScript, CheckRules, check_script
from benchmarks.agent.synthesis.drawn_values import FieldValue
from benchmarks.agent.synthesis.intents import DrawnIntent, FieldSetting


def solve(
    intent: DrawnIntent, document: AppDocument, rules: CheckRules | None = None
) -> CheckedScript:
    """The checked script of an intent, as it reads when it is printed. Raises ScriptError where it
    does not pass."""
    script = read_script(print_script(compose(intent, document)))
    return check_script(script, document, rules)


def compose(intent: DrawnIntent, document: AppDocument) -> Script:
    """The script of an intent."""
    match intent.kind:
        case "read":
            read = VerbCall("get_attributes", (ElementUse(intent.asked), TextLiteral("value")))
            body = [*_pick(intent), _act("answer", read)]
        case "read_cell":
            inner = VerbCall("inside", (_found(intent), ElementUse(intent.asked)))
            body = [_act("answer", VerbCall("get_text", (inner,)))]
        case "count":
            body = [_act("answer", VerbCall("len", (ElementUse(intent.rows),)))]
        case "count_some":
            body = [_act("answer", _count(intent))]
        case "look_up":
            count = VerbCall("len", (ElementUse(intent.rows),))
            body = [*_settings(intent, document), _tap(intent), _act("answer", count)]
        case "if_there":
            body = [_branch(intent, ">", _done(intent, document))]
        case "unless_there":
            body = [_branch(intent, "==", [*_settings(intent, document), _tap(intent)])]
        case "if_value":
            then = (*_settings(intent, document), _tap(intent))
            body = [*_pick(intent), Branch(_test(intent), then)]
        case _:
            body = _done(intent, document)
    return Script(tuple(body))


def _done(intent: DrawnIntent, document: AppDocument) -> list[Statement]:
    return [*_pick(intent), *_settings(intent, document), _tap(intent)]


def _pick(intent: DrawnIntent) -> list[Statement]:
    if not intent.link:
        return []
    return [_act("tap", VerbCall("inside", (_found(intent), ElementUse(intent.link))))]


def _found(intent: DrawnIntent) -> VerbCall:
    return VerbCall("find", (ElementUse(intent.rows), TextLiteral(intent.item)))


def _match(intent: DrawnIntent) -> VerbCall:
    return VerbCall("match", (ElementUse(intent.rows), TextLiteral(intent.item)))


def _count(intent: DrawnIntent) -> VerbCall:
    return VerbCall("len", (_match(intent),))


def _branch(intent: DrawnIntent, operator: Operator, then: list[Statement]) -> Branch:
    return Branch(BinaryTerm(operator, _count(intent), WholeLiteral(0)), tuple(then))


def _test(intent: DrawnIntent) -> Expression:
    """What must stand in the field: the value that was found, or a switch that is as it was."""
    field = ElementUse(intent.asked)
    (one,) = intent.settings
    if isinstance(one.value, bool):
        on = VerbCall("get_attributes", (field, TextLiteral("checked")))
        return UnaryTerm("not", on) if one.value else on
    value = VerbCall("get_attributes", (field, TextLiteral("value")))
    return BinaryTerm("==", value, TextLiteral(intent.found))


def _settings(intent: DrawnIntent, document: AppDocument) -> list[Statement]:
    return [_setting(one, document) for one in intent.settings]


def _setting(one: FieldSetting, document: AppDocument) -> Statement:
    kind = document.by_name[one.field].value_type
    verb = FILLING_VERBS[kind]
    return _act(verb, ElementUse(one.field), _literal(one.value))


def _literal(value: FieldValue) -> Expression:
    if isinstance(value, bool):
        return TruthLiteral(value)
    if isinstance(value, Decimal):
        whole = value == value.to_integral_value()
        return WholeLiteral(int(value)) if whole else DecimalLiteral(value)
    return TextLiteral(value)


def _tap(intent: DrawnIntent) -> Statement:
    return _act("tap", ElementUse(intent.button))


def _act(verb: str, *arguments: Expression) -> Act:
    return Act(VerbCall(verb, arguments))
