"""The acts of a plan on one page: what is typed, ticked, chosen and tapped.

acts = PageActs(intent, forms, "page")
acts.add(part)               # whether there is an act for it; acts.body has it then
"""

from __future__ import annotations

import re

from adwright.agent.document.elements import Element
from adwright.agent.drivers.days import read_day
from adwright.agent.generate.acts.act_targets import ActTargets, alike, named_words
from adwright.agent.generate.acts.best_item import best_act, read_best
from adwright.agent.generate.acts.task_parts import ActPart
from adwright.agent.generate.form_ways import DocumentForms
from adwright.agent.generate.task_intent import TaskIntent
from adwright.agent.generate.task_terms import terms_of
from adwright.agent.language.field_values import read_decimal, why_text_unfit
from adwright.agent.language.kinds import VERBS
from adwright.agent.language.tree import (
    Act,
    BinaryTerm,
    Branch,
    ElementUse,
    Expression,
    IndexedTerm,
    Statement,
    TextLiteral,
    TruthLiteral,
    VerbCall,
    WholeLiteral,
)

__all__ = ["PageActs"]

#: How sure an act is, by how its element was found. Our choice.
_NAMED, _LISTED, _LIKELY, _SENT = 1.5, 1.0, 0.8, 0.6
_COPIES = re.compile(r"\b(?:value|text|content|number|word)s? (?:of|in|from|for)\s+(.+)$", re.I)
_INTO = re.compile(r"\b(?:into|in|to)\s+the\s+(.+)$", re.I)
_SUBMITS = re.compile(r"\b(?:submit|log ?in|sign ?in|send|save|finish|done|ok)\b", re.I)
_LINKS = re.compile(r"\b(?:link|item|option|entry|row|word)\b", re.I)


class PageActs:
    """body: the acts so far. merit: how sure they are."""

    def __init__(self, intent: TaskIntent, forms: DocumentForms, state: str) -> None:
        self.body: list[Statement] = []
        self.merit = 0.0
        self.intent, self.forms = intent, forms
        self.here = state
        self.targets = ActTargets(forms, state)
        self._used: set[str] = set()
        self._copied: Expression | None = None

    def add(self, part: ActPart) -> bool:
        """Find the act of a part; false where there is none."""
        match part.kind:
            case "copy":
                return self._copy(part.rest)
            case "type" | "paste":
                return self._type(part)
            case "find" | "look" | "do":
                return False
        return self._pick(part)

    def do(self, act: Statement, merit: float) -> bool:
        """Add an act."""
        self.body.append(act)
        self.merit += merit
        return True

    def tap(self, one: Expression, merit: float) -> bool:
        """Add a tap."""
        return self.do(Act(VerbCall("tap", (one,))), merit)

    def send_rest(self) -> None:
        """Send what was filled in last, where one button does that and no part has spoken of it:
        who fills in a form wants it to be sent."""
        last = self.body[-1] if self.body else None
        if isinstance(last, Act) and VERBS[last.call.verb].fills:
            one = self.targets.sending(self.here)
            if one is not None:
                self.tap(ElementUse(one.name), 0.0)

    def values_of(self, part: ActPart) -> tuple[str, ...]:
        """What stands in quotes, or else the values of the task that its words have."""
        if part.values:
            return part.values
        found = []
        for one in self.intent.values:
            if re.search(rf"(?<!\w){re.escape(one.value)}(?!\w)", part.plain):
                found.append(one.value)
        return tuple(found)

    # --- what is typed -----------------------------------------------------------------

    def _type(self, part: ActPart) -> bool:
        if self._copied is not None and part.kind == "paste":
            return self._type_into(self._copied, part.rest, part)
        source = _COPIES.search(part.rest)
        if not part.values and source and self._copy(part.rest) and self._copied is not None:
            return self._type_into(self._copied, part.rest, part)
        values = [one for one in self.values_of(part) if part.values or not _ordinal(one, part)]
        if not values:
            return False
        return self._type_into(TextLiteral(values[0]), part.rest, part)

    def _type_into(self, value: Expression, rest: str, part: ActPart) -> bool:
        one = self._field(rest, part)
        if one is None:
            return False
        literal = _as_field_takes(one, value)
        if literal is None:
            return False
        self._used.add(one.name)
        act = Act(VerbCall("set_text", (ElementUse(one.name), literal)))
        return self.do(act, 1.0 + alike(one, rest))

    def _field(self, rest: str, part: ActPart) -> Element | None:
        """The field that the words name, or the one that is left, of this kind if they say one."""
        fields = [one for one in self.targets.fields() if one.name not in self._used]
        here = [one for one in fields if one.state == self.here]
        ranked = sorted(fields, key=lambda one: -alike(one, rest))
        into = _INTO.search(rest)
        placed = self.targets.nth(into[1] if into else rest, part.nth)
        if placed in fields and part.nth is not None:
            return placed
        if ranked and alike(ranked[0], rest) > 0:
            return ranked[0]
        if placed in fields:
            return placed
        left = here or fields
        is_said = bool(part.values) or part.kind in ("copy", "paste") or self._copied is not None
        return left[0] if len(left) == 1 and is_said else None

    def _copy(self, rest: str) -> bool:
        """What is copied: the text of a field, or the value beside a name in a table."""
        said = _COPIES.search(rest)
        words = re.sub(r"^the\s+", "", _INTO.sub("", said[1]) if said else rest)
        one = self.targets.nth(words, None) if said else None
        if one is not None and one.value_type == "text":
            self._used.add(one.name)
            self._copied = VerbCall("get_text", (ElementUse(one.name),))
            return True
        for rows in self.targets.lists(("row", "listitem")):
            cells = [
                one
                for one in self.targets.all
                if one.many and one.role == "cell" and self.forms.rows_around(one) is rows
            ]
            if len(cells) == 1 and words.strip():
                row = VerbCall("find", (ElementUse(rows.name), TextLiteral(words.strip())))
                inner = VerbCall("inside", (row, ElementUse(cells[0].name)))
                self._copied = VerbCall("get_text", (inner,))
                return True
        return False

    # --- what is chosen and tapped -----------------------------------------------------

    def _pick(self, part: ActPart) -> bool:
        best = read_best(part.rest)
        if best is not None:
            found = best_act(best, part.rest, self.targets, self.forms)
            if found is not None:
                self.body += found
                self.merit += _LISTED
                return True
        names = list(part.values) or named_words(part.rest)
        day = read_day(names[0]) if len(names) == 1 else None
        if day is not None:
            return self._type_into(TextLiteral(names[0]), part.rest, part)
        if not part.values and self._placed(part):
            return True
        if not names:
            return self._sent(part)
        return all([self._one(name, part) for name in names])

    def _placed(self, part: ActPart) -> bool:
        """'the 3rd radio button', 'the second link', 'the button'."""
        one = self.targets.nth(part.rest, part.nth)
        if one is None or (part.nth is None and self.targets.named(part.rest, part.kind)):
            return False
        if part.nth is None and not re.search(r"\bthe (?:\w+ )?\w+\W*$", part.rest):
            return False
        return self.do(Act(_on(one)), _NAMED)

    def _one(self, name: str, part: ActPart) -> bool:
        """The act on what has this name."""
        one = self.targets.named(name, part.kind)
        if one is not None:
            return self.do(Act(_on(one)), _NAMED)
        option = self.targets.with_option(name)
        if option is not None:
            act = VerbCall("choose", (ElementUse(option[0].name), TextLiteral(option[1])))
            return self.do(Act(act), _NAMED)
        if part.values and self._listed(name):
            return True
        return self._likely(name, part) or self._sent(part)

    def _listed(self, name: str) -> bool:
        """An item of a list; where several lists may hold it, of the first that does."""
        lists = [
            one for one in self.targets.lists() if one.role not in ("button", "cell", "link")
        ] or self.targets.lists(("link", "button"))
        parts = [one for one in lists if not one.label]
        if not parts:
            return False
        tries: list[Statement] = []
        wanted = TextLiteral(name)
        if len(parts) == 1:
            return self.tap(VerbCall("find", (ElementUse(parts[0].name), wanted)), _LISTED)
        for rows in reversed(parts):
            some = VerbCall("match", (ElementUse(rows.name), wanted))
            is_there = BinaryTerm(">", VerbCall("len", (some,)), WholeLiteral(0))
            first = IndexedTerm(some, WholeLiteral(0))
            tries = [Branch(is_there, (Act(VerbCall("tap", (first,))),), tuple(tries))]
        return self.do(tries[0], _LISTED)

    def _likely(self, name: str, part: ActPart) -> bool:
        """The button, tab or link whose words the part has."""
        if part.nth is not None or (part.values and part.kind == "pick"):
            return False
        found = self.targets.likest(terms_of(f"{part.rest} {name}"), _is_tapped)
        return found is not None and self.do(Act(_on(found[0])), _LIKELY * found[1])

    def _sent(self, part: ActPart) -> bool:
        """The one button that sends, where the part says to and no button is called so."""
        one = self.targets.sending(self.here) if _SUBMITS.search(part.rest) else None
        return one is not None and self.tap(ElementUse(one.name), _SENT)


def _is_tapped(one: Element) -> bool:
    return not one.many and one.role in ("button", "link", "tab", "menuitem", "generic")


def _on(one: Element) -> VerbCall:
    use: Expression = ElementUse(one.name)
    if one.value_type == "switch":
        return VerbCall("choose", (use, TruthLiteral(value=True)))
    return VerbCall("tap", (use,))


def _as_field_takes(one: Element, value: Expression) -> Expression | None:
    """The value in the form of the field: a day for a field of days; None where it takes none."""
    if not isinstance(value, TextLiteral):
        return value
    if one.value_type == "date":
        day = read_day(value.value)
        value = TextLiteral(day.isoformat()) if day is not None else value
    if one.value_type == "number" and read_decimal(value.value) is None:
        return None
    return None if why_text_unfit(one, value.value) is not None else value


def _ordinal(value: str, part: ActPart) -> bool:
    return part.nth is not None and re.fullmatch(r"\d+(?:st|nd|rd|th)", value) is not None
