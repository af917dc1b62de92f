"""Which value of a task goes into which field of a form.

    filled = fill_form(intent, fields, forms.weights, picked="Spring")
    filled.acts                      # set_text and choose, in the order of the fields
    filled.used                      # the values that went in
    filled.score                     # how much of the task's words that accounts for

A value goes where the words before it are those of the label; each field takes one value, each
value goes into one field, so that all labels together account for the most. A list takes a value
that is one of its options; a switch follows its label and words such as "not".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from adwright.agent.document.columns import column_of
from adwright.agent.document.elements import Element
from adwright.agent.generate.task_intent import TaskIntent, ValueCue
from adwright.agent.generate.task_terms import TermWeights, near_terms, terms_of
from adwright.agent.language.field_values import read_decimal, why_text_unfit
from adwright.agent.language.kinds import FILLING_VERBS
from adwright.agent.language.tree import (
    Act,
    DecimalLiteral,
    ElementUse,
    Expression,
    IndexedTerm,
    Statement,
    TextLiteral,
    TruthLiteral,
    VerbCall,
    WholeLiteral,
)

__all__ = ["FilledForm", "fill_form", "label_of"]

#: A value next to its label tells more than one somewhere in the sentence. Our choice.
_NEAREST, _BEFORE, _AFTER, _ANYWHERE = 1.6, 1.2, 0.7, 0.45
#: Of a label's words that the task does not have.
_STRANGE, _FOLLOWS, _SCATTERED = 0.35, 0.5, 0.8
_LEAST, _OF_A_ROW = 0.25, 0.5
#: What stands behind these is there already.
_TO_WHAT = ("to", "for", "of", "on", "in", "at")
#: Of more values of a task the likeliest pairs are taken one by one.
_MOST_WEIGHED = 10


@dataclass(frozen=True)
class FilledForm:
    """acts: statements. used: values of the task. terms: those of labels and options that the task
    has. score: what the labels account for. open: required fields that got nothing."""

    acts: tuple[Statement, ...] = ()
    used: frozenset[str] = frozenset()
    terms: frozenset[str] = frozenset()
    score: float = 0.0
    open: int = 0


def label_of(one: Element) -> str:
    """What a field is called: its label, else the header of its column, else its hint."""
    return one.label or column_of(one) or one.description.partition(";")[0]


#: How well a value fits, the value, the field, and what is typed.
_Pair: TypeAlias = tuple[float, ValueCue, Element, Expression]


@dataclass
class _Filling:
    intent: TaskIntent
    weights: TermWeights
    picked: str | None
    acts: dict[str, Statement] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    terms: set[str] = field(default_factory=set)
    score: float = 0.0

    def put(self, one: Element, verb: str, value: Expression, score: float) -> None:
        """A field gets a value."""
        term: Expression = ElementUse(one.name)
        if one.many:  # the same field of several rows of a form: that of the first
            term = IndexedTerm(term, WholeLiteral(0))
        self.acts[one.name] = Act(VerbCall(verb, (term, value)))
        self.score += score
        self.terms |= set(terms_of(label_of(one)))


def fill_form(
    intent: TaskIntent,
    fields: Sequence[Element],
    weights: TermWeights,
    *,
    picked: str | None,
    named: Collection[str] = (),
) -> FilledForm:
    """What a task puts into these fields. picked: the value that names an item, and is not typed.
    named: terms for what is made; a value after one of them is its name, without a label.

    Values in quotes, numbers and addresses are put first, words in capitals only where their label
    stands before them.
    """
    fields = _without_twins(fields)
    filling = _Filling(intent, weights, picked)
    _name(filling, fields, named)
    for score, cue, one, value in _best_pairs(_pairs(filling, fields), filling):
        filling.put(one, FILLING_VERBS.get(one.value_type, "set_text"), value, score)
        filling.used.add(cue.value)
    _mentioned(filling, fields)
    _name_left(filling, fields, named)
    order = [one.name for one in fields if one.name in filling.acts]
    open_ = sum(
        one.constraints.required and one.name not in filling.acts and one.value_type != "switch"
        for one in fields
    )
    acts = tuple(filling.acts[name] for name in order)
    return FilledForm(acts, frozenset(filling.used), frozenset(filling.terms), filling.score, open_)


def _without_twins(fields: Sequence[Element]) -> Sequence[Element]:
    """Fields of one label in several states are one, seen again with another tab or record."""
    first: dict[str, str] = {}
    for one in fields:
        first.setdefault(label_of(one).casefold(), one.state)
    return [one for one in fields if first[label_of(one).casefold()] == one.state or not one.label]


def _name(filling: _Filling, fields: Sequence[Element], named: Collection[str]) -> None:
    """The name of what is made: 'a new category "Tea"' says of no field that it is the name."""
    free = [one for one in fields if one.name not in filling.acts and one.value_type == "text"]
    names = [one for one in free if {"nam", "titl"} & set(terms_of(one.label))]
    names += [one for one in free if set(terms_of(one.label)) & set(named)]
    labels = {term for one in fields for term in terms_of(label_of(one))}
    bare = [
        one
        for one in filling.intent.values
        if not one.named
        and not one.follows
        and (not set(one.before[-1:]) & labels or _says_all(one, named))
    ]
    for cue in bare if names else ():
        says = {*cue.before[-1:], *cue.after[:1]} & set(named)
        if cue.value != filling.picked and (says or (len(bare) == 1 and named)):
            filling.put(names[0], "set_text", TextLiteral(cue.value), filling.weights["nam"])
            filling.used.add(cue.value)
            return


def _says_all(cue: ValueCue, named: Collection[str]) -> bool:
    """Whether the two words before it are terms of what is made: 'a product type for "Tools"'."""
    return len(cue.before) > 1 and set(cue.before[-2:]) <= set(named)


def _name_left(filling: _Filling, fields: Sequence[Element], named: Collection[str]) -> None:
    """The only value that no label stands before is the name of what is made, where the task says
    what that is: 'here is "Jam": list it as a product with 5 as its price'."""
    left = [
        one.value
        for one in filling.intent.values
        if not one.named and one.value not in filling.used and one.value != filling.picked
        if one.last not in _TO_WHAT
    ]
    names = [
        one
        for one in fields
        if one.value_type == "text"
        and one.name not in filling.acts
        and {"nam", "titl"} & set(terms_of(one.label))
    ]
    says = set(named) & set(filling.intent.terms)
    if says and filling.acts and len(left) == 1 and names:
        filling.put(names[0], "set_text", TextLiteral(left[0]), _LEAST)
        filling.used.add(left[0])


def _pairs(filling: _Filling, fields: Iterable[Element]) -> list[_Pair]:
    """All ways to put one value into one field, the likeliest first."""
    found = []
    for one in fields:
        label = tuple(dict.fromkeys(terms_of(label_of(one))))
        for cue in filling.intent.values:
            if cue.value == filling.picked:
                continue
            value = _typed(one, cue)
            score = _closeness(filling, label, cue) if value is not None else 0.0
            if not label and (not cue.follows or "@" in cue.value):
                own = label_of(one).strip(" *:").casefold()  # such as "To"
                score = 1.0 if own and own == cue.last and value is not None else score
            if value is not None and one.value_type == "choice" and score <= 0:
                score = _LEAST + 0.1  # an option says what it is an option of
            score -= _OF_A_ROW if one.many else 0.0
            if value is not None and score > _LEAST:
                found.append((score, cue, one, value))
    return sorted(found, key=lambda one: -one[0])


def _best_pairs(pairs: Sequence[_Pair], filling: _Filling) -> list[_Pair]:
    """Those that together have the most merit: each value once, each field once."""
    free = [
        one for one in pairs if one[2].name not in filling.acts and one[1].value not in filling.used
    ]
    values = list(dict.fromkeys(one[1].value for one in free))
    if len(values) > _MOST_WEIGHED:
        taken: list[_Pair] = []
        for one in free:
            if all(one[2].name != o[2].name and one[1].value != o[1].value for o in taken):
                taken.append(one)
        return taken
    by_field: dict[str, list[_Pair]] = {}
    for one in free:
        by_field.setdefault(one[2].name, []).append(one)
    # The best choice for each set of values, field by field.
    best: dict[int, tuple[float, tuple[_Pair, ...]]] = {0: (0.0, ())}
    for ways in by_field.values():
        for used, (merit, chosen) in list(best.items()):
            for pair in ways:
                bit = 1 << values.index(pair[1].value)
                more = merit + pair[0]
                if not used & bit and more > best.get(used | bit, (0.0, ()))[0]:
                    best[used | bit] = more, (*chosen, pair)
    return sorted(max(best.values(), key=lambda one: one[0])[1], key=lambda one: -one[0])


def _closeness(filling: _Filling, label: tuple[str, ...], cue: ValueCue) -> float:
    """How much the words around a value speak of a label."""
    weights = filling.weights
    total = weights.of(label) or 1.0
    nearest = cue.before[-len(label) :] if label else ()
    best = 0.0
    for factor, words in (
        (_ANYWHERE if cue.owns else _NEAREST, nearest),
        (_ANYWHERE if cue.owns else _BEFORE, cue.before or cue.earlier),
        (_AFTER, cue.after[: len(label) + 2]),
        (_ANYWHERE, filling.intent.terms),
    ):
        shared = weights.shared(label, words) * (1.0 if _in_a_row(label, words) else _SCATTERED)
        best = max(best, factor * shared - _STRANGE * (total - shared) if shared else 0.0)
    best += _FOLLOWS if best and cue.follows else 0.0
    return 0.0 if cue.named and best < _BEFORE * 0.5 * total else best


def _in_a_row(label: tuple[str, ...], words: Collection[str]) -> bool:
    """Whether a label's terms stand one after the other."""
    if len(label) < 2 or not isinstance(words, tuple):
        return True
    size = len(label)
    return any(words[n : n + size] == label for n in range(len(words) - size + 1))


def _typed(one: Element, cue: ValueCue) -> Expression | None:
    """The value as the field takes it; None where it does not."""
    text = cue.value
    match one.value_type:
        case "text" | "date":
            return TextLiteral(text) if why_text_unfit(one, text) is None else None
        case "number":
            number = read_decimal(text)
            if number is None or why_text_unfit(one, text) is not None:
                return None
            whole = number == number.to_integral_value()
            return WholeLiteral(int(number)) if whole else DecimalLiteral(number)
        case "choice":
            option = _option(one, text)
            return None if option is None else TextLiteral(option)
        case "switch" if one.role == "radio":
            same = terms_of(one.label) == terms_of(text)
            return TruthLiteral(True) if same and one.label else None
    return None


def _option(one: Element, text: str) -> str | None:
    """The option that a text is, in capitals or not; or the one that has it in it."""
    wanted = " ".join(text.split()).casefold()
    same = [o for o in one.options if " ".join(o.split()).casefold() == wanted]
    if same:
        return same[0]
    within = [o for o in one.options if wanted and wanted in " ".join(o.split()).casefold()]
    return within[0] if len(within) == 1 and len(wanted) > 2 else None


def _mentioned(filling: _Filling, fields: Sequence[Element]) -> None:
    """Switches, options and secrets, which a task speaks of without a value of their own."""
    intent, weights = filling.intent, filling.weights
    terms = set(intent.terms)
    for one in fields:
        if one.name in filling.acts:
            continue
        label = set(terms_of(label_of(one)))
        if one.value_type == "secret" and intent.secret:
            value = VerbCall("secret", (TextLiteral(intent.secret),))
            filling.put(one, "set_text", value, weights.shared(label, terms) + 1.0)
        elif one.value_type == "switch" and one.role != "radio" and label:
            quoted = {v.value for v in intent.values if set(terms_of(v.value)) == label}
            said = terms | (label if quoted else set())
            shared = weights.shared(label, said)
            if shared >= 0.55 * weights.of(label) and _distinct(label, said, weights):
                filling.used |= quoted
                score = shared - _STRANGE * (weights.of(label) - shared)
                filling.put(one, "choose", TruthLiteral(not intent.off), score)
        elif one.value_type == "choice" and not filling.acts:
            for option in one.options:
                words = terms_of(option)
                if option == filling.picked:
                    continue
                if words and len(option) > 3 and intent.task.has(option):
                    filling.used |= {one.value for one in intent.values if one.value == option}
                    filling.put(one, "choose", TextLiteral(option), weights.of(words))
                    filling.terms |= set(words)
                    break


def _distinct(label: Iterable[str], terms: set[str], weights: TermWeights) -> bool:
    """Whether the task has the label's rarest word: "public", not only "offer"."""
    rarest = max(label, key=lambda one: weights[one])
    return rarest in terms or bool(near_terms(rarest) & terms)
