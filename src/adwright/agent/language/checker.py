"""Check a script against a document before anything is tapped: names, kinds, states and effects.

    checked = check_script(script, document)
    checked.effects            # what it may do: element, effect, how often at most, line

Every problem is found in one pass and named with its place; unknown names come with the nearest
ones. Also refused: an element whose state cannot be reached without a write; data from a page that
would go into a field without a rule (see `policy.taint`); effects that the rules forbid; values
that a field cannot take.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

from adwright.agent.document.elements import AppDocument, EffectClass, Element
from adwright.agent.language.expression_kinds import ExpressionKinds
from adwright.agent.language.field_values import why_unfit
from adwright.agent.language.kinds import VERBS, ValueKind
from adwright.agent.language.problems import ProblemCode, ScriptError, ScriptProblem
from adwright.agent.language.reach import StateReach
from adwright.agent.language.tree import (
    Act,
    Assignment,
    Branch,
    BreakLoop,
    Expression,
    ListLiteral,
    Repetition,
    Script,
    SourcePosition,
    Statement,
    VerbCall,
    WholeLiteral,
)
from adwright.agent.policy.taint import FlowRule, refused_sources
from adwright.core.config import Count, settings

__all__ = ["CheckRules", "CheckedScript", "ScriptEffect", "check_script"]

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
                what = f"two parameters are called {one.name}"
                self._note("unknown_name", what, one.at, "rename one")
            names[one.name] = ValueKind(one.kind)
        self._body(script.body, names)

    def _note(self, code: ProblemCode, what: str, at: SourcePosition, hint: str) -> None:
        self.problems.append(ScriptProblem(code, what, at.line, at.column, hint))
        if len(self.problems) >= _MOST_PROBLEMS:
            raise _EnoughError

    # --- statements --------------------------------------------------------------------

    def _body(self, body: Iterable[Statement], names: _Names) -> bool:
        """Check statements; whether what follows them can be reached."""
        for one in body:
            self._looks += 1
            if self._looks > _MOST_LOOKS:
                hint = "use fewer loops within loops"
                self._note("too_deep", "the loops are too intricate to check", one.at, hint)
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
            hint = "write set_text($field, secret(...))" if kind.name == "secret" else ""
            self._note("wrong_type", f"{kind} cannot be kept in a variable", one.at, hint)
            return
        before = names.get(one.name)
        if before is not None and before.joined(kind) is None:
            what = f"{one.name} is {before} and cannot become {kind}"
            self._note("wrong_type", what, one.at, "use another name")
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
        hint = "loop over a list, the items of an element, or range(n)"
        self._note("loop", f"a loop cannot run over {sequence}", one.at, hint)
        return None, most

    def _truth(self, term: Expression, names: _Names, what: str) -> None:
        kind = self._kinds.kind(term, names)
        if kind is not None and kind.name != "truth":
            hint = "compare it with something"
            self._note("wrong_type", f"{what} takes a truth value, not {kind}", term.at, hint)

    # --- acts --------------------------------------------------------------------------

    def _act(self, call: VerbCall, names: _Names) -> None:
        if self._kinds.call(call, names) is None:
            return
        verb = VERBS[call.verb]
        if verb.nature != "act":
            if verb.gives != "nothing":
                what = f"the value of {verb.name} is not used"
                self._note("arguments", what, call.at, "give it to a variable")
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
            self._note(problem.code, problem.what, term.at, problem.hint)
        refused = refused_sources(value.sources, element.name, self._rules.flows)
        if refused:
            what = f"text of ${refused[0]} would be put into ${element.name}"
            hint = "write the value out, take a parameter, or have the user allow this flow"
            self._note("tainted_write", what, call.at, hint)

    def _effect(self, element: str, effect: EffectClass, at: SourcePosition) -> None:
        if effect in self._rules.forbidden:
            name = f"${element}" if element else "the key Enter"
            what = f"the effect of {name} is {effect}, which is not allowed"
            hint = "have its effect written into the document" if effect == "unknown" else ""
            self._note("forbidden_effect", what, at, hint)
        key = (at.line, at.column, element)
        self.effects[key] = ScriptEffect(element, effect, self._times, at.line)

    def _visit(self, names: frozenset[str], at: SourcePosition) -> None:
        """The run must be where these elements are."""
        self.used |= names
        states = {self._document.by_name[one].state for one in names}
        for state in sorted(states):
            if not self._reach.is_reachable(state, self._here):
                what = f"the state {state} cannot be reached from here without a write"
                hint = "tap what leads there first"
                self._note("unreachable", what, at, hint)
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
