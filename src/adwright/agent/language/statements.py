"""Run a checked script over plain values, step by step, within a budget.

    outcome = run_script(checked, document, world, {"code": "SPRING"}, clock=SystemClock())

Nothing of Python is reached: names are keys of a dictionary, verbs are cases of a match, values are
texts, numbers, truth values, lists and handles. What the checker promised is checked again with the
values: kinds, the bounds of fields, and where page data goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import NoReturn, TypeAlias, TypeVar

from adwright.agent.document.elements import WRITING, AppDocument, EffectClass, Element
from adwright.agent.drivers.protocol import DriverError
from adwright.agent.language.expression_kinds import MESSAGES, ExpressionKinds, StateReach
from adwright.agent.language.kinds import (
    VERBS,
    ArgumentValue,
    ElementHandle,
    ScriptValue,
    ScriptWorld,
    SecretName,
    ValueKind,
    apply_operator,
    bounded_text,
    joined_sources,
    matching_handles,
    negated,
    number_in,
    why_text_unfit,
    why_unfit,
)
from adwright.agent.language.problems import (
    BudgetMeter,
    ProblemCode,
    RunBudget,
    ScriptError,
    ScriptProblem,
    quoted,
)
from adwright.agent.language.script import (
    Act,
    Assignment,
    BinaryTerm,
    Branch,
    BreakLoop,
    DecimalLiteral,
    ElementUse,
    Expression,
    IndexedTerm,
    ListLiteral,
    Repetition,
    Script,
    ScriptParameter,
    SourcePosition,
    Statement,
    TextLiteral,
    TruthLiteral,
    UnaryTerm,
    VariableUse,
    VerbCall,
    WholeLiteral,
)
from adwright.agent.policy.origins import FlowRule, refused_sources
from adwright.core.clock import Clock
from adwright.core.config import Count, settings

# --------------------------------------------------------------------------------------------------
# Check a script against a document before anything is tapped: names, kinds, states and effects.
#
#     checked = check_script(script, document)
#     checked.effects            # what it may do: element, effect, how often at most, line
#
# Every problem is found in one pass and named with its place; unknown names come with the nearest
# ones. Also refused: an element whose state cannot be reached without a write; data from a page
# that would go into a field without a rule (see `policy.origins`); effects that the rules forbid;
# values that a field cannot take.

#: So many problems are found before the rest is left; so many statements are looked at, those of
#: loops again until the kinds of their variables stay.
_MOST_PROBLEMS, _MOST_LOOKS = 50, 20_000


@settings
class CheckRules:
    """What a script may do. forbidden: effects that no script may have. flows: data from pages that
    may go into fields. most_items: over so many items of a list on the screen a loop runs at most.
    """

    forbidden: tuple[EffectClass, ...] = ("unknown",)
    flows: tuple[FlowRule, ...] = ()
    most_items: Count = 50


@settings
class ScriptEffect:
    """One act of a script. most: how often it may happen, loops counted in full. element: empty for
    the key Enter."""

    element: str
    effect: EffectClass
    most: int
    line: int


@dataclass(frozen=True)
class CheckedScript:
    """A script that may be run on the document of this app and version, under these rules."""

    script: Script
    app: str
    version: str
    effects: tuple[ScriptEffect, ...]
    elements: tuple[str, ...]
    rules: CheckRules = field(default_factory=CheckRules)

    @property
    def most_writes(self) -> int:
        """How many acts at most may change what the app stores."""
        harmless = ("read", "navigate", "draft")
        return sum(one.most for one in self.effects if one.effect not in harmless)


_Names: TypeAlias = dict[str, ValueKind]


def check_script(
    script: Script, document: AppDocument, rules: CheckRules | None = None
) -> CheckedScript:
    """The script with what it may do. Raises ScriptError with all problems, in their order."""
    rules = rules or CheckRules()
    checker = _Checker(document, rules)
    with suppress(_EnoughError):
        checker.check(script)
    if checker.problems:
        found = dict.fromkeys(checker.problems)
        raise ScriptError(sorted(found, key=lambda one: (one.line, one.column)))
    return CheckedScript(
        script,
        document.app,
        document.version,
        tuple(checker.effects.values()),
        tuple(sorted(checker.used)),
        rules,
    )


class _EnoughError(Exception):
    """There is no use in looking further."""


class _Checker:
    def __init__(self, document: AppDocument, rules: CheckRules) -> None:
        self.problems: list[ScriptProblem] = []
        self.effects: dict[tuple[int, int, str], ScriptEffect] = {}
        self.used: set[str] = set()
        self._document = document
        self._rules = rules
        self._reach = StateReach(document)
        self._here = frozenset((document.start,))
        self._kinds = ExpressionKinds(document, self._note, self._visit)
        self._times = 1
        self._looks = 0
        self._broken: list[list[tuple[_Names, frozenset[str]]]] = []

    def check(self, script: Script) -> None:
        names: _Names = {}
        for one in script.parameters:
            if one.name in names:
                self._note("two_parameters", one.at, name=one.name)
            names[one.name] = ValueKind(one.kind)
        self._body(script.body, names)

    def _note(self, key: str, at: SourcePosition, **words: object) -> None:
        code, what, hint = MESSAGES[key]
        said, hinted = what.format(**words), hint.format(**words)
        self._add(ScriptProblem(code, said, at.line, at.column, hinted))

    def _add(self, problem: ScriptProblem) -> None:
        self.problems.append(problem)
        if len(self.problems) >= _MOST_PROBLEMS:
            raise _EnoughError

    # --- statements --------------------------------------------------------------------

    def _body(self, body: Iterable[Statement], names: _Names) -> bool:
        """Check statements; whether what follows them can be reached."""
        for one in body:
            self._looks += 1
            if self._looks > _MOST_LOOKS:
                self._note("intricate", one.at)
                raise _EnoughError
            match one:
                case Assignment():
                    self._assign(one, names)
                case Act(call):
                    self._act(call, names)
                case Branch():
                    if not self._branch(one, names):
                        return False
                case Repetition():
                    self._repeat(one, names)
                case BreakLoop():
                    self._broken[-1].append((dict(names), self._here))
                    return False
        return True

    def _assign(self, one: Assignment, names: _Names) -> None:
        kind = self._kinds.kind(one.value, names)
        if kind is None:
            names.pop(one.name, None)
            return
        if kind.name in ("nothing", "secret"):
            self._note("kept_secret" if kind.name == "secret" else "kept", one.at, kind=kind)
            return
        before = names.get(one.name)
        if before is not None and before.joined(kind) is None:
            self._note("becomes", one.at, name=one.name, before=before, kind=kind)
            return
        wider = before.joined(kind) if before is not None else None
        names[one.name] = (
            kind if wider is None else ValueKind(wider.name, wider.item, kind.names, kind.sources)
        )

    def _branch(self, one: Branch, names: _Names) -> bool:
        self._truth(one.condition, names, "if")
        before = self._here
        then, other = dict(names), dict(names)
        then_goes_on = self._body(one.then, then)
        after_then, self._here = self._here, before
        other_goes_on = self._body(one.otherwise, other)
        after_other = self._here
        ends = [
            (kept, here)
            for kept, here, goes_on in (
                (then, after_then, then_goes_on),
                (other, after_other, other_goes_on),
            )
            if goes_on
        ]
        self._here = frozenset[str]().union(*(here for _, here in ends)) if ends else before
        merged = _merged([kept for kept, _ in ends]) if ends else names
        names.clear()
        names.update(merged)
        return bool(ends)

    def _repeat(self, one: Repetition, names: _Names) -> None:
        sequence = self._kinds.kind(one.sequence, names)
        item, most = self._item(sequence, one)
        before, start = self._times, dict(names)
        self._times = before * most
        while True:
            inner, here = dict(start), self._here
            if item is not None:
                inner[one.variable] = item
            self._broken.append([])
            goes_on = self._body(one.body, inner)
            ends = [*self._broken.pop(), *([(inner, self._here)] if goes_on else [])]
            # Not at all, once, or again: all must hold.
            self._here = here.union(*(place for _, place in ends))
            merged = _merged([start, *({**start, **_of(kept, start)} for kept, _ in ends)])
            if merged == start and self._here == here:
                break
            start = merged
        self._times = before
        names.clear()
        names.update(start)

    def _item(self, sequence: ValueKind | None, one: Repetition) -> tuple[ValueKind | None, int]:
        most = self._rules.most_items
        match one.sequence:
            case ListLiteral(items):
                most = max(len(items), 1)
            case VerbCall("range", (WholeLiteral(count),)):
                most = max(count, 1)
        if sequence is None:
            return None, most
        if sequence.name == "elements":
            self._visit(sequence.names, one.at)
            return ValueKind("element", names=sequence.names), most
        if sequence.name == "list" and sequence.item is not None:
            return sequence.item, most
        self._note("no_loop", one.at, kind=sequence)
        return None, most

    def _truth(self, term: Expression, names: _Names, what: str) -> None:
        kind = self._kinds.kind(term, names)
        if kind is not None and kind.name != "truth":
            self._note("no_truth", term.at, what=what, kind=kind)

    # --- acts --------------------------------------------------------------------------

    def _act(self, call: VerbCall, names: _Names) -> None:
        if self._kinds.call(call, names) is None:
            return
        verb = VERBS[call.verb]
        if verb.nature != "act":
            if verb.gives != "nothing":
                self._note("unused", call.at, verb=verb)
            return
        if not call.arguments:
            if verb.effect == "form":
                self._effect("", self._reach.enter_effect(self._here), call.at)
            self._here = self._reach.everywhere
            return
        target = self._kinds.kind(call.arguments[0], names)
        if target is not None and verb.effect == "nothing":
            self._visit(target.names, call.at)
        elif target is not None:
            self._act_on(call, target, names)

    def _act_on(self, call: VerbCall, target: ValueKind, names: _Names) -> None:
        self._visit(target.names, call.at)
        elements = [self._document.by_name[one] for one in sorted(target.names)]
        for one in elements:
            self._fits(call, one, names)
            effect = one.effect
            if VERBS[call.verb].effect == "draft" and effect in ("read", "navigate"):
                effect = "draft"
            self._effect(one.name, effect, call.at)
        if elements:
            self._here = frozenset[str]().union(*(self._reach.after(one) for one in elements))

    def _fits(self, call: VerbCall, element: Element, names: _Names) -> None:
        if not VERBS[call.verb].fills:
            return
        term = call.arguments[1]
        value = self._kinds.kind(term, names)
        if value is None:
            return
        problem = why_unfit(call.verb, element, value.name, term)
        if problem is not None:
            self._add(replace(problem, line=term.at.line, column=term.at.column))
        refused = refused_sources(value.sources, element.name, self._rules.flows)
        if refused:
            self._note("tainted", call.at, source=refused[0], field=element.name)

    def _effect(self, element: str, effect: EffectClass, at: SourcePosition) -> None:
        if effect in self._rules.forbidden:
            name = f"${element}" if element else "the key Enter"
            key = "unknown_effect" if effect == "unknown" else "forbidden_effect"
            self._note(key, at, name=name, effect=effect)
        self.effects[at.line, at.column, element] = ScriptEffect(
            element, effect, self._times, at.line
        )

    def _visit(self, names: frozenset[str], at: SourcePosition) -> None:
        """Report a problem unless the run can be in a state that has these elements."""
        self.used |= names
        states = {self._document.by_name[one].state for one in names}
        for state in sorted(states):
            if not self._reach.is_reachable(state, self._here):
                self._note("unreachable", at, state=state)
        if states:
            self._here = frozenset(states)


def _of(kept: _Names, known: Iterable[str]) -> _Names:
    return {name: kept[name] for name in known if name in kept}


def _merged(many: list[_Names]) -> _Names:
    """What holds on all ways: variables that have a value on each of them."""
    found = dict(many[0])
    for other in many[1:]:
        for name in list(found):
            joined = found[name].joined(other[name]) if name in other else None
            if joined is None:
                del found[name]
            else:
                found[name] = joined
    return found


T = TypeVar("T")
#: An item within an item within ...
_MOST_WITHIN = 4
_NOTHING = ScriptValue(None)


@dataclass(frozen=True)
class RunOutcome:
    """What a run told the user, and what it used."""

    answers: tuple[str, ...]
    steps: int
    acts: int
    writes: int


def run_script(
    checked: CheckedScript,
    document: AppDocument,
    world: ScriptWorld,
    arguments: Mapping[str, ArgumentValue],
    *,
    clock: Clock,
    budget: RunBudget | None = None,
    on_line: Callable[[int], None] = lambda line: None,
) -> RunOutcome:
    """Run the script to its end.

    on_line: told of the line of each statement, before it is done.
    Raises ScriptError with the line at which it stopped, and why.
    """
    values = check_arguments(checked.script.parameters, arguments)
    if (checked.app, checked.version) != (document.app, document.version):
        what = f"the script was checked on {checked.app} {checked.version}"
        hint = f"check it on {document.app} {document.version}"
        raise ScriptError([ScriptProblem("wrong_state", what, hint=hint)])
    run = _ScriptRun(checked, document, world, BudgetMeter(budget or RunBudget(), clock), on_line)
    run.values.update(values)
    run.body(checked.script.body)
    meter = run.meter
    return RunOutcome(tuple(run.answers), meter.steps, meter.acts, meter.writes)


def check_arguments(
    parameters: tuple[ScriptParameter, ...], arguments: Mapping[str, ArgumentValue]
) -> dict[str, ScriptValue]:
    """The values of a script's parameters. Raises ScriptError for one too many, too few, or of
    another kind."""
    kinds: dict[str, tuple[type, ...]] = {
        "text": (str,),
        "whole": (int,),
        "number": (int, Decimal),
        "truth": (bool,),
    }
    known = {one.name: one for one in parameters}
    for name in arguments:
        if name not in known:
            hint = f"it takes {', '.join(known) or 'none'}"
            what = f"the script has no parameter {quoted(name)}"
            raise ScriptError([ScriptProblem("arguments", what, hint=hint)])
    found = {}
    for name, one in known.items():
        at, value = one.at, arguments.get(name)
        if value is None:
            what = f"the parameter {name} has no value"
            raise ScriptError([ScriptProblem("arguments", what, at.line, at.column, "pass one")])
        fits = isinstance(value, kinds[one.kind])
        if not fits or (isinstance(value, bool) and one.kind != "truth"):
            what = f"the parameter {name} is a {one.kind}, not {quoted(str(value))}"
            raise ScriptError([ScriptProblem("wrong_type", what, at.line, at.column)])
        if isinstance(value, Decimal) and not value.is_finite():
            what = f"the parameter {name} must be finite"
            raise ScriptError([ScriptProblem("value", what, at.line, at.column)])
        found[name] = ScriptValue(bounded_text(value) if isinstance(value, str) else value)
    return found


class _ScriptRun:
    def __init__(
        self,
        checked: CheckedScript,
        document: AppDocument,
        world: ScriptWorld,
        meter: BudgetMeter,
        on_line: Callable[[int], None],
    ) -> None:
        self.values: dict[str, ScriptValue] = {}
        self.answers: list[str] = []
        self.meter = meter
        self._rules = checked.rules
        self._document = document
        self._world = world
        self._on_line = on_line

    # --- statements --------------------------------------------------------------------

    def body(self, body: tuple[Statement, ...]) -> bool:
        """Do statements; false where a break ended them."""
        for one in body:
            self._on_line(one.at.line)
            self._at(one.at, self.meter.step)
            match one:
                case Assignment(name, value):
                    self.values[name] = self._value(value)
                case Act(call):
                    self._value(call)
                case BreakLoop():
                    return False
                case Branch():
                    test = self._truth(one.condition)
                    if not self.body(one.then if test else one.otherwise):
                        return False
                case Repetition():
                    self._repeat(one)
        return True

    def _repeat(self, one: Repetition) -> None:
        items = self._value(one.sequence).data
        if not isinstance(items, tuple):
            self._fail("loop", "a loop runs over a list", one.at)
        most = self._rules.most_items
        if items and isinstance(items[0].data, ElementHandle) and len(items) > most:
            hint = "match fewer of them, or raise CheckRules.most_items"
            what = f"the list has {len(items):,} items; a loop takes at most {most}"
            self._fail("budget", what, one.at, hint)
        for item in items:
            self.values[one.variable] = item
            if not self.body(one.body):
                break

    # --- values ------------------------------------------------------------------------

    def _value(self, term: Expression) -> ScriptValue:
        self._at(term.at, self.meter.step)
        match term:
            case TextLiteral() | WholeLiteral() | DecimalLiteral() | TruthLiteral():
                return ScriptValue(term.value)
            case ListLiteral(items):
                return ScriptValue(tuple(map(self._value, items)))
            case VariableUse(name):
                if name not in self.values:
                    self._fail("unknown_name", f"{name} has no value here", term.at)
                return self.values[name]
            case ElementUse(name):
                return self._element(name, term.at)
            case _:
                return self._composed(term)

    def _composed(self, term: Expression) -> ScriptValue:
        match term:
            case IndexedTerm(sequence, index):
                return self._indexed(self._value(sequence), self._value(index), term.at)
            case UnaryTerm("not", operand):
                value = self._value(operand)
                return ScriptValue(not self._is_true(value, term.at), value.sources)
            case UnaryTerm(_, operand):
                value = self._value(operand)
                return self._at(term.at, lambda: negated(value))
            case BinaryTerm(operator, first, second):
                left = self._value(first)
                if operator in ("and", "or"):
                    if self._is_true(left, term.at) == (operator == "or"):
                        return left
                    right = self._value(second)
                    test = self._is_true(right, term.at)
                    return ScriptValue(test, left.sources | right.sources)
                right = self._value(second)
                return self._at(term.at, lambda: apply_operator(operator, left, right))
            case VerbCall():
                return self._call(term)
        self._fail("wrong_type", "this has no value", term.at)

    def _element(self, name: str, at: SourcePosition) -> ScriptValue:
        element = self._document.by_name.get(name)
        if element is None:
            self._fail("unknown_element", f"there is no element ${name}", at)
        if not element.many:
            return ScriptValue(ElementHandle(name))
        items = self._at(at, lambda: self._world.items(name))
        return ScriptValue(tuple(map(ScriptValue, items)))

    def _indexed(
        self, sequence: ScriptValue, index: ScriptValue, at: SourcePosition
    ) -> ScriptValue:
        items, place = sequence.data, index.data
        if not isinstance(items, tuple) or not isinstance(place, int):
            self._fail("wrong_type", "only lists have items, by whole numbers", at)
        if not 0 <= place < len(items):
            hint = "indexes begin at 0; test len(...) first"
            self._fail("index", f"there is no item {place} among {len(items)}", at, hint)
        item = items[place]
        return ScriptValue(item.data, item.sources | sequence.sources | index.sources)

    def _truth(self, term: Expression) -> bool:
        return self._is_true(self._value(term), term.at)

    def _is_true(self, value: ScriptValue, at: SourcePosition) -> bool:
        if not isinstance(value.data, bool):
            self._fail("wrong_type", "a truth value is needed", at)
        return value.data

    # --- verbs -------------------------------------------------------------------------

    def _call(self, call: VerbCall) -> ScriptValue:
        verb = VERBS.get(call.verb)
        if verb is None or not verb.fewest <= len(call.arguments) <= len(verb.takes):
            self._fail("unknown_verb", f"{quoted(call.verb)} cannot be done so", call.at)
        if call.verb == "inside":
            return self._inside(call)
        if call.verb == "find":
            return self._find(call)
        given = [self._value(one) for one in call.arguments]
        if verb.nature == "act":
            return self._act(call, given)
        sources = joined_sources(given)
        match call.verb, [one.data for one in given]:
            case "get_text", [ElementHandle() as target]:
                text = self._at(call.at, lambda: bounded_text(self._world.text(target)))
                return ScriptValue(text, sources | {target.name})
            case "get_attributes", [ElementHandle() as target, str(name)]:
                found = self._at(call.at, lambda: self._world.attribute(target, name))
                return ScriptValue(found, sources | {target.name})
            case "match", [tuple(items), str(wanted)]:
                return ScriptValue(_matching(items, wanted))
            case "len", [tuple() | str() as measured]:
                return ScriptValue(len(measured), sources | _looked_at(measured))
            case "answer", [str() | int() | Decimal() as said]:
                text = _as_text(said)
                self.answers.append(text)
                self._at(call.at, lambda: self._world.answer(text, sources))
                return _NOTHING
            case "expect", [bool(test)]:
                if not test:
                    self._fail("expectation", "what the script expects is not so", call.at)
                return _NOTHING
        return self._convert(call, given)

    def _convert(self, call: VerbCall, given: list[ScriptValue]) -> ScriptValue:
        sources = joined_sources(given)
        match call.verb, [one.data for one in given]:
            case "range", [int(count)]:
                return ScriptValue(tuple(ScriptValue(one) for one in range(count)))
            case "secret", [str(name)]:
                return ScriptValue(SecretName(name))
            case "number", [str(text)]:
                number = number_in(text)
                if number is None:
                    self._fail("value", f"{quoted(text)} is no number", call.at, "as in 12.50")
                return ScriptValue(number, sources)
            case "text", [str() | int() | Decimal() as value] if not isinstance(value, bool):
                return ScriptValue(_as_text(value), sources)
            case "lower", [str(text)]:
                return ScriptValue(self._at(call.at, lambda: bounded_text(text.lower())), sources)
        self._fail("wrong_type", f"{call.verb} does not take these values", call.at)

    def _find(self, call: VerbCall) -> ScriptValue:
        rows, term = call.arguments
        wanted = self._value(term)
        if not isinstance(rows, ElementUse) or not isinstance(wanted.data, str):
            self._fail("wrong_type", "find takes a list of the document and a text", call.at)
        name, text = rows.name, wanted.data
        self._at(call.at, lambda: self.meter.act(writes=False))
        return ScriptValue(self._at(call.at, lambda: self._world.find(name, text)))

    def _inside(self, call: VerbCall) -> ScriptValue:
        item, inner = call.arguments
        around = self._value(item).data
        if isinstance(around, ElementHandle) and isinstance(inner, ElementUse):
            depth, one = 1, around
            while one.within is not None:
                depth, one = depth + 1, one.within
            if depth < _MOST_WITHIN and inner.name in self._document.by_name:
                return ScriptValue(ElementHandle(inner.name, within=around))
        hint = f"as in {VERBS['inside'].example}, at most {_MOST_WITHIN} deep"
        self._fail("wrong_type", "inside takes an item and an element", call.at, hint)

    def _act(self, call: VerbCall, given: list[ScriptValue]) -> ScriptValue:
        target: ElementHandle | None = None
        value: str | bool | SecretName | None = None
        for one in given:
            match one.data:
                case ElementHandle() as handle if target is None:
                    target = handle
                case bool() | SecretName() as plain:
                    value = plain
                case str() | int() | Decimal() as plain:
                    value = _as_text(plain)
                case _:
                    self._fail("wrong_type", f"{call.verb} does not take this", call.at)
        element = self._document.by_name.get(target.name) if target is not None else None
        # Whether a form that Enter sends writes shows at the gate.
        touches = VERBS[call.verb].effect in ("element", "draft")
        if touches and element is None:
            self._fail("wrong_type", f"{call.verb} needs an element", call.at)
        writes = touches and element is not None and element.effect in WRITING
        if element is not None and VERBS[call.verb].fills:
            self._require_fit(element, given[-1], value, call.at)
        self._at(call.at, lambda: self.meter.act(writes=writes))
        done = self._at(call.at, lambda: self._world.act(call.verb, target, value))
        return ScriptValue(done, frozenset((target.name,)) if target else frozenset())

    def _require_fit(
        self,
        element: Element,
        given: ScriptValue,
        value: str | bool | SecretName | None,
        at: SourcePosition,
    ) -> None:
        refused = refused_sources(given.sources, element.name, self._rules.flows)
        if refused:
            what = f"text of ${refused[0]} would be put into ${element.name}"
            hint = "have the user allow this flow"
            self._fail("tainted_write", what, at, hint)
        if isinstance(value, str):
            problem = why_text_unfit(element, value)
            if problem is not None:
                self._fail(problem.code, problem.what, at, problem.hint)

    # --- errors ------------------------------------------------------------------------

    def _at(self, at: SourcePosition, do: Callable[[], T]) -> T:
        """What `do` gives; its error gets this place."""
        try:
            return do()
        except ScriptError as error:
            first = error.problems[0]
            if first.line:
                raise
            self._raise(ScriptProblem(first.code, first.what, at.line, at.column, first.hint))
        except DriverError as error:
            self._raise(ScriptProblem("driver", str(error), at.line, at.column))

    def _fail(self, code: ProblemCode, what: str, at: SourcePosition, hint: str = "") -> NoReturn:
        self._raise(ScriptProblem(code, what, at.line, at.column, hint))

    def _raise(self, problem: ScriptProblem) -> NoReturn:
        raise ScriptError([problem])


def _matching(items: tuple[ScriptValue, ...], wanted: str) -> tuple[ScriptValue, ...]:
    handles = [one.data for one in items if isinstance(one.data, ElementHandle)]
    return tuple(map(ScriptValue, matching_handles(handles, wanted)))


def _looked_at(measured: str | tuple[ScriptValue, ...]) -> frozenset[str]:
    """The elements whose number on the screen is told."""
    if isinstance(measured, str):
        return frozenset()
    return frozenset(one.data.name for one in measured if isinstance(one.data, ElementHandle))


def _as_text(value: str | int | Decimal) -> str:
    """A number in plain digits; true and false as scripts write them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return format(value, "f") if isinstance(value, Decimal) else str(value)
