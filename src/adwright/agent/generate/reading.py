"""A task read a second time, beside a script for it: what of the script does the task not say?

    reading = TaskReading(intent, forms)
    reading.refusals(checked)      # problems that a model can mend: a value that is left out
    reading.doubts(checked)        # ("puts '25' into Priority, and not Discount",)

The reading knows the task and the document, and nothing of how the script came about: which record,
which field, what value, what is switched on, what is asked. Small models drop digits, leave a value
out, and answer what was an order: a script of the task types no number that the task does not have,
has all of its values, answers what is a question, and writes nothing for one. What it does
otherwise than the task reads is a doubt: a person is shown it before anything is sent, and a
question that is answered with a doubt is not "done".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal

from adwright.agent.document.elements import Element, column_of
from adwright.agent.drivers.calendar import read_day
from adwright.agent.generate.field_values import DocumentForms, fill_form, label_of
from adwright.agent.generate.planner import asked_terms, fit_of
from adwright.agent.generate.task import (
    TaskIntent,
    TaskText,
    is_count,
    is_question,
    near_terms,
    terms_of,
)
from adwright.agent.language.kinds import VERBS, read_decimal
from adwright.agent.language.problems import ScriptProblem, quoted
from adwright.agent.language.script import (
    DecimalLiteral,
    ElementUse,
    Expression,
    IndexedTerm,
    Script,
    SourcePosition,
    TextLiteral,
    TruthLiteral,
    VerbCall,
    WholeLiteral,
)
from adwright.agent.language.statements import CheckedScript

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_IN_WORDS = re.compile(
    r"\b(?:zero|none|nothing|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen"
    r"|(?:thir|four|fif|six|seven|eigh|nine)teen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty"
    r"|hundred|thousand|half|twice|double|third|quarter)\b",
    re.I,
)
_SWITCHED = frozenset(("on", "off", "yes", "no", "true", "false"))


class TaskReading:
    """What the words of a task want of an app."""

    def __init__(self, intent: TaskIntent, forms: DocumentForms) -> None:
        self._intent = intent
        self._forms = forms
        self._by_name = forms.document.by_name

    def refusals(self, checked: CheckedScript) -> tuple[ScriptProblem, ...]:
        """What in a script is not of the task. Of a task without figures no number is strange, as
        it may say them in words."""
        return (
            *_strange_numbers(self._intent.task, checked.script),
            *self._left_out(checked),
            *_wrong_sort(self._intent, checked),
        )

    def doubts(self, checked: CheckedScript) -> tuple[str, ...]:
        """What a script does otherwise than the task reads, or of which the task says nothing; in
        words, for a person and for a model that writes it again."""
        found = [*self._strange_texts(checked.script), *self._filled_twice(checked.script)]
        goals = list(dict.fromkeys(one.element for one in checked.effects if one.element))
        goals = [one for one in goals if self._by_name[one].writes]
        if len(goals) == 1:
            found += self._otherwise_filled(checked.script, self._by_name[goals[0]])
        elif not goals and self._asks:
            found += self._otherwise_answered(checked.script)
        elif not goals and any(VERBS[one.verb].fills for one in _calls(checked.script)):
            found.append("what is typed is never sent")
        return tuple(dict.fromkeys(found))

    @property
    def _asks(self) -> bool:
        return self._intent.kind in ("ask", "count")

    def _left_out(self, checked: CheckedScript) -> Iterator[ScriptProblem]:
        """Values that are not in the script. One that only says the label of an element is not
        needed: 'set "Is public" to off'."""
        literals = list(literals_of(checked.script))
        values = {one.value.casefold() for one in self._intent.values}
        texts = [one.casefold() for one in literals if isinstance(one, str)]
        numbers = {Decimal(one) for one in literals if not isinstance(one, str)}
        labels: set[str] = set()
        for name in checked.elements:
            labels |= set(terms_of(self._by_name[name].label))
        for cue in self._intent.values:
            value, number = cue.value.casefold(), read_decimal(cue.value)
            terms = set(terms_of(cue.value))
            is_there = (
                any(value in one and (value == one or one not in values) for one in texts)
                or (number is not None and number in numbers)
                or (bool(terms) and terms <= labels)
            )
            is_bound = self._asks and number is not None  # "over 10"
            is_needed = not (cue.named or is_bound or value in _SWITCHED)
            if is_needed and not is_there:
                yield _problem(f"the task's {quoted(cue.value)} is not used", "use all its values")

    def _strange_texts(self, script: Script) -> Iterator[str]:
        """Texts that are looked for or typed, and of which the task says nothing."""
        for call in _calls(script):
            if call.verb in ("find", "match"):
                for one in call.arguments[1:]:
                    if isinstance(one, TextLiteral) and not self._says(one.value):
                        yield f"looks for {quoted(one.value)}, which the task does not name"
            elif VERBS[call.verb].fills and len(call.arguments) > 1:
                text, field = call.arguments[1], self._field(call.arguments[0])
                if isinstance(text, TextLiteral) and text.value and not self._says(text.value):
                    where = f" into {label_of(field)}" if field else ""
                    yield f"puts {quoted(text.value)}{where}, which the task does not say"

    def _says(self, text: str) -> bool:
        """Whether the task has a text, or a day that it is, or all that it means in other words."""
        plain = " ".join(text.split()).casefold()
        if plain in self._intent.task.text.casefold():
            return True
        day = read_day(text)
        if day is not None and day in map(read_day, self._intent.task.values):
            return True
        said = {term for one in self._intent.values for term in terms_of(one.value)}
        said |= set(self._intent.terms)
        terms = terms_of(text)
        return bool(terms) and all(one in said or near_terms(one) & said for one in terms)

    def _otherwise_filled(self, script: Script, goal: Element) -> Iterator[str]:
        """Where the form's fields are filled otherwise than the task reads."""
        picked = next((one for one in looked_for(script)), None)
        fields = () if goal.effect == "destructive" else self._forms.scope(goal)
        read = fill_form(self._intent, fields, self._forms.weights, picked=picked)
        mine, theirs = self._filled(script), self._filled(Script(read.acts))
        by_label = {self._label(name): value for name, value in mine.items()}
        for name, value in theirs.items():
            label = self._label(name)
            if label in by_label:
                if isinstance(value, bool) and by_label[label] == (not value):
                    yield f"switches {label} {_word(not value)}, which the task does not say"
                continue
            if isinstance(value, bool) and not self._nears(mine, name):
                yield f"leaves {label} as it is, of which the task speaks"
            for other in (one for one, own in mine.items() if _same(own, value)):
                if self._nearer(name, other, str(value)):
                    yield f"puts {quoted(str(value))} into {self._label(other)}, and not {label}"
        for name in (one for one in mine if isinstance(mine[one], bool) and one not in theirs):
            yield from self._otherwise_set(name, mine, fields)
        is_said = self._said(goal.name) > 0
        if fields and not mine and goal.effect == "commit" and not goal.many and not is_said:
            yield f"sends the form of {goal.label or goal.name} with nothing changed in it"

    def _otherwise_set(
        self, name: str, mine: Mapping[str, str | bool], fields: Collection[Element]
    ) -> Iterator[str]:
        """What is odd about a switch that the task does not name."""
        label, said = self._label(name), self._said(name)
        others = (one for one in fields if one.value_type == "switch" and one.name not in mine)
        nearer = next((one for one in others if self._said(one.name) > said), None)
        if nearer is not None:
            yield f"sets {label}, and the task speaks of {label_of(nearer)}"
        elif not said:
            yield f"sets {label}, of which the task says nothing"
        if self._by_name[name].role == "radio":
            if mine[name] is False:
                yield f"chooses nothing instead of {label}"
        elif mine[name] is self._intent.off:
            yield f"switches {label} {_word(self._intent.off)}, which the task does not say"

    def _label(self, name: str) -> str:
        return label_of(self._by_name[name])

    def _said(self, name: str) -> float:
        """Which share of a label's words the task has, rare words counting for more."""
        label, weights = terms_of(self._label(name)), self._forms.weights
        return weights.shared(label, self._intent.terms) / (weights.of(label) or 1.0)

    def _nears(self, mine: Mapping[str, str | bool], name: str) -> bool:
        """Whether a switch that is set is as near to the task's words as this one."""
        switches = (one for one, value in mine.items() if isinstance(value, bool))
        return any(self._said(one) >= self._said(name) for one in switches)

    def _nearer(self, one: str, other: str, value: str) -> bool:
        """Whether the words around a value speak of one field rather than of the other."""
        cue = next((cue for cue in self._intent.values if _same(cue.value, value)), None)
        if cue is None:
            return False
        words = (*cue.before, *cue.earlier, *cue.after)
        mine, theirs = (
            self._forms.weights.shared(terms_of(label_of(self._by_name[name])), words)
            for name in (other, one)
        )
        return theirs > mine

    def _filled(self, script: Script) -> dict[str, str | bool]:
        """The fields that a script fills, with what it puts there at last."""
        found: dict[str, str | bool] = {}
        for call in _calls(script):
            field = self._field(call.arguments[0]) if call.arguments else None
            if field is None or not VERBS[call.verb].fills or len(call.arguments) < 2:
                continue
            match call.arguments[1]:
                case TruthLiteral(value):
                    found[field.name] = value
                case TextLiteral() | WholeLiteral() | DecimalLiteral() as literal:
                    found[field.name] = str(literal.value)
        return found

    def _filled_twice(self, script: Script) -> Iterator[str]:
        names = [call.arguments[0] for call in _calls(script) if VERBS[call.verb].fills]
        for one in dict.fromkeys(names):
            field = self._field(one)
            if names.count(one) > 1 and field is not None and not field.many:
                yield f"fills {label_of(field)} twice"

    def _field(self, term: Expression) -> Element | None:
        match term:
            case ElementUse(name):
                return self._by_name.get(name)
            case IndexedTerm(sequence):
                return self._field(sequence)
            case VerbCall("inside", (_, part)):
                return self._field(part)
        return None

    def _otherwise_answered(self, script: Script) -> Iterator[str]:
        """Where what is read is not what is asked for, and something beside it would be."""
        asked = asked_terms(self._intent)
        for call in calls_of(script, "answer"):
            for read in (one for one in _calls(call) if one.verb in ("get_text", "get_attributes")):
                own = self._field(read.arguments[0])
                if own is None or (own.many and own.role in ("row", "listitem", "article")):
                    continue
                merit = fit_of(own, asked, self._forms) or 0.0
                for other in self._forms.of_page(own.state):
                    fit = fit_of(other, asked, self._forms)
                    if fit is not None and other.many == own.many and fit > merit + _CLEARLY:
                        what = column_of(other) or label_of(other)
                        yield f"reads {column_of(own) or label_of(own)}, and {what} is asked for"
                        break


#: So much nearer another part must be to what is asked. Our choice.
_CLEARLY = 0.3


def _word(on: bool) -> str:
    return "on" if on else "off"


def _same(one: str | bool, other: str | bool) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    number = read_decimal(one)
    same = one.casefold() == other.casefold()
    return same or (number is not None and number == read_decimal(other))


def looked_for(script: Script) -> Iterator[str]:
    """The texts by which a script finds items."""
    for call in _calls(script):
        if call.verb in ("find", "match"):
            yield from (one.value for one in call.arguments[1:] if isinstance(one, TextLiteral))


def task_numbers(task: TaskText) -> tuple[Decimal, ...]:
    """The numbers among the values of a task, each once; none where it may say others in words, as
    in "to zero" or "half of it"."""
    if _IN_WORDS.search(task.text):
        return ()
    found = (read_decimal(one.removesuffix("%")) for one in task.values)
    return tuple(dict.fromkeys(one for one in found if one is not None))


def _strange_numbers(task: TaskText, script: Script) -> Iterator[ScriptProblem]:
    known = set(task_numbers(task))
    if known:
        known |= {Decimal(one) for one in _NUMBER.findall(task.text)}
    for call in calls_of(script, "set_text"):
        for one in call.arguments[1:]:
            number = one.value if isinstance(one, WholeLiteral | DecimalLiteral) else None
            if number is not None and known and abs(number) not in known:
                yield _problem(f"{number} is no number of the task", "copy its numbers", one.at)


def _wrong_sort(intent: TaskIntent, checked: CheckedScript) -> Iterator[ScriptProblem]:
    answers = next(calls_of(checked.script, "answer"), None) is not None
    # "Show 12 posts per page" is none.
    asks = intent.kind in ("ask", "count")
    if asks and (not checked.most_writes or is_question(intent.task)):
        if not answers:
            yield _problem(
                "the task is a question, and nothing is answered", "end with answer(...)"
            )
        if checked.most_writes:
            yield _problem("the task is a question, and the script writes", "only read and answer")
        if counts_by_a_box(intent.task, checked):
            yield _problem("how many is asked, and yes or no answered", "answer with a number")
    elif intent.kind in ("create", "delete") and not checked.most_writes:
        yield _problem("nothing is sent", "end with the button that sends it")


def counts_by_a_box(task: TaskText, checked: CheckedScript) -> bool:
    """Whether a task asks how many, and the script answers whether a box is ticked."""
    answers = [term for one in calls_of(checked.script, "answer") for term in one.arguments]
    boxes = [
        term
        for term in answers
        if isinstance(term, VerbCall)
        and term.verb == "get_attributes"
        and term.arguments[1:] == (TextLiteral("checked"),)
    ]
    return bool(boxes) and is_count(task)


def _problem(what: str, hint: str, at: SourcePosition | None = None) -> ScriptProblem:
    place = at or SourcePosition(1, 1)
    return ScriptProblem("expected", what, place.line, place.column, hint)


def calls_of(node: object, verb: str) -> Iterator[VerbCall]:
    """The calls of a verb within a script or a part of one."""
    yield from (one for one in _calls(node) if one.verb == verb)


def _calls(node: object) -> Iterator[VerbCall]:
    yield from (one for one in parts_of(node) if isinstance(one, VerbCall))


def literals_of(node: object) -> Iterator[str | int | Decimal]:
    """The texts and numbers within a script or a part of one."""
    for one in parts_of(node):
        if isinstance(one, TextLiteral | WholeLiteral | DecimalLiteral):
            yield one.value


def parts_of(node: object) -> Iterator[object]:
    """A tree's nodes, from the top."""
    yield node
    if is_dataclass(node):
        for one in fields(node):
            yield from parts_of(getattr(node, one.name))
    elif isinstance(node, tuple):
        for part in node:
            yield from parts_of(part)
