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

import re
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from adwright.agent.document.elements import AppDocument, AppEdge, Element, column_of, edges_of
from adwright.agent.generate.task import TaskIntent, TermWeights, ValueCue, near_terms, terms_of
from adwright.agent.language.expression_kinds import StateReach
from adwright.agent.language.kinds import FILLING_VERBS, read_decimal, why_text_unfit
from adwright.agent.language.script import (
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
from adwright.agent.run.locate import form_of, next_page

# --------------------------------------------------------------------------------------------------
# The forms of a document, the lists whose items they are of, and the way there.
#
#     forms = DocumentForms(document)
#     forms.scope(button)              # the fields that it sends, of all tabs of its page
#     forms.doors("offer_edit")        # links in items that lead to that state and to nothing else
#     forms.terms_of_state("offer_edit")
#
# A state that harmless ways reach without an item, and whose address holds no data, is never looked
# for through one.

_ROWS = ("row", "listitem", "article")
_FURTHEST = 4


@dataclass(frozen=True)
class ItemDoor:
    """rows: the list, or the door itself where nothing is around it. door: what is tapped within an
    item; None where the goal stands in the item. steps: from there to the goal's state."""

    rows: Element
    door: Element | None
    steps: int


def is_head(element: Element) -> bool:
    """Whether it stands in the head of a table."""
    return "/thead" in _place(element)


class DocumentForms:
    """Of one document; what is asked once is kept."""

    def __init__(self, document: AppDocument) -> None:
        self.document = document
        self.reach = StateReach(document)
        self._doors: dict[str, tuple[ItemDoor, ...]] = {}
        self._terms: dict[str, frozenset[str]] = {}
        self._path_terms: dict[str, frozenset[str]] = {}
        self._rows: dict[str, tuple[Element, ...]] = {}

    @cached_property
    def free(self) -> frozenset[str]:
        """The states that are reached from the start without an item."""
        return self.reach.from_state(self.document.start)

    @cached_property
    def kinds(self) -> frozenset[str]:
        """The terms of all paths: words for kinds of items, among others."""
        return frozenset[str]().union(*(self.path_terms(s.name) for s in self.document.states))

    @cached_property
    def _of_state(self) -> Mapping[str, tuple[Element, ...]]:
        found: dict[str, list[Element]] = {one.name: [] for one in self.document.states}
        for one in self.document.elements:
            found[one.state].append(one)
        return {state: tuple(elements) for state, elements in found.items()}

    @cached_property
    def _by_path(self) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, list[str]] = {}
        for one in self.document.states:
            found.setdefault(self.path(one.name), []).append(one.name)
        return {path: tuple(states) for path, states in found.items()}

    @cached_property
    def _edges(self) -> Mapping[str, tuple[AppEdge, ...]]:
        found: dict[str, list[AppEdge]] = {}
        for edge in edges_of(self.document):
            found.setdefault(edge.source, []).append(edge)
        return {state: tuple(edges) for state, edges in found.items()}

    @cached_property
    def _openers(self) -> Mapping[str, str]:
        """By state, the first element that leads there."""
        found: dict[str, str] = {}
        for edge in edges_of(self.document):
            found.setdefault(edge.target, edge.element)
        return found

    @cached_property
    def weights(self) -> TermWeights:
        """Over the labels of all fields and buttons, and the words of all states."""
        texts = [f"{one.label} {column_of(one)}" for one in self.document.elements]
        labels = dict.fromkeys(texts)
        return TermWeights([*labels, *(" ".join(self.terms(s.name)) for s in self.document.states)])

    def path(self, state: str) -> str:
        """The path of a state's address, or its name where it has none."""
        return self.document.state_by_name[state].url_template.partition("?")[0] or state

    def is_of_item(self, state: str) -> bool:
        """Whether a state is that of one item: there is data in its address."""
        return "{}" in self.path(state)

    def of_page(self, state: str) -> tuple[Element, ...]:
        """The elements of a state, and of the tabs and menus of its page."""
        same = [one for one in self._by_path[self.path(state)] if one != state]
        return tuple(e for one in (state, *same) for e in self._of_state[one])

    def scope(self, button: Element) -> tuple[Element, ...]:
        """The fields that a button sends: those of its form, in all tabs of its page."""
        form = form_of(button)
        found: dict[str, Element] = {}
        for one in self.of_page(button.state):
            if one.value_type in ("none", "file") or (one.many and not column_of(one)):
                continue
            if form is None or form_of(one) in (form, None):
                found.setdefault(one.name, one)
        return tuple(found.values())

    def terms(self, state: str) -> frozenset[str]:
        """The terms of a state: of its path, title and headings."""
        if state not in self._terms:
            about = self.document.state_by_name[state]
            heads = [one.label for one in self._of_state[state] if one.role == "heading"]
            title = re.split(r" [|·–-] ", about.title)[:2]
            words = set(terms_of(" ".join([*heads[:12], *title])))
            self._terms[state] = frozenset(words | self.path_terms(state))
        return self._terms[state]

    def path_terms(self, state: str) -> frozenset[str]:
        """The terms of a state's path, and of the part of the page that it is."""
        if state not in self._path_terms:
            path = self.path(state).replace("{}", " ")
            opener = self._openers.get(state)
            if opener is not None and self._shares(opener, state):
                path += f" {opener.partition('__')[2]}"
            self._path_terms[state] = frozenset(terms_of(re.sub(r"[^A-Za-z0-9]+", " ", path)))
        return self._path_terms[state]

    def _shares(self, element: str, state: str) -> bool:
        return self.path(self.document.by_name[element].state) == self.path(state)

    def is_paged(self, state: str) -> bool:
        """Whether a list of the state goes on on other pages."""
        link = next_page(self.document, state)
        return link is not None and link.effect == "navigate"

    def lists(self, state: str) -> tuple[Element, ...]:
        """The lists of items of a page, heads of tables left out."""
        path = self.path(state)
        if path not in self._rows:
            found = [
                one
                for one in self.of_page(state)
                if one.many and one.role in _ROWS and not is_head(one)
            ]
            self._rows[path] = tuple(found)
        return self._rows[path]

    def rows_around(self, part: Element) -> Element | None:
        """The list whose items hold `part`, by their paths; else the first of its state."""
        rows = self.lists(part.state)
        path = _place(part)
        around = [one for one in rows if _place(one) and path.startswith(f"{_place(one)}/")]
        if around:
            return max(around, key=lambda one: len(_place(one)))
        return rows[0] if rows and not path else None

    def doors(self, state: str) -> tuple[ItemDoor, ...]:
        """The parts of items over which a state is reached, the shortest way first."""
        if state in self._doors:
            return self._doors[state]
        distances = self._distances_to(state)
        found = []
        for edge in edges_of(self.document):
            one = self.document.by_name[edge.element]
            if not one.many or one.effect not in ("navigate", "read"):
                continue
            steps = min((distances.get(s, 99) for s in self._alike(edge.target)), default=99)
            if steps <= _FURTHEST:
                rows = self.rows_around(one) or one
                found.append(ItemDoor(rows, one, steps))
        found.sort(key=lambda one: one.steps)
        self._doors[state] = tuple(dict.fromkeys(found))
        return self._doors[state]

    def _alike(self, state: str) -> Iterable[str]:
        return self._by_path[self.path(state)]

    def _distances_to(self, goal: str) -> dict[str, int]:
        """How many steps each state is from a goal, over single links, and over no state that is of
        no item."""
        before: dict[str, set[str]] = {}
        for source, edges in self._edges.items():
            for edge in edges:
                one = self.document.by_name[edge.element]
                if one.effect in ("navigate", "read") and not one.many and self.is_of_item(source):
                    before.setdefault(edge.target, set()).add(source)
        found = dict.fromkeys(self._alike(goal), 0)
        waiting = deque(found)
        while waiting:
            state = waiting.popleft()
            nearer = {s for before_it in before.get(state, ()) for s in self._alike(before_it)}
            for source in sorted(nearer - found.keys()):
                found[source] = found[state] + 1
                waiting.append(source)
        return found


def _place(element: Element) -> str:
    return next((one.value for one in element.locators if one.kind == "xpath"), "")


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
