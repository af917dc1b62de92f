"""Plans for tasks that say what to do act by act."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from adwright.agent.document.elements import Element, column_of
from adwright.agent.drivers.calendar import read_day
from adwright.agent.generate.field_values import DocumentForms
from adwright.agent.generate.task import (
    WORDS,
    ActPart,
    TaskIntent,
    near_terms,
    read_parts,
    terms_of,
)
from adwright.agent.language.kinds import VERBS, number_in, read_decimal, why_text_unfit
from adwright.agent.language.script import (
    Act,
    Assignment,
    BinaryTerm,
    Branch,
    ElementUse,
    Expression,
    IndexedTerm,
    Operator,
    Repetition,
    Statement,
    TextLiteral,
    TruthLiteral,
    VariableUse,
    VerbCall,
    WholeLiteral,
)
from adwright.core.config import package_patterns

# --------------------------------------------------------------------------------------------------
# Which element the words of an act mean: by its name, its place among its kind, or its list.
#
#     targets = ActTargets(forms, "page")
#     targets.named("Submit", "tap")          # by its name, a button before a mere part of the page
#     targets.nth("radio button", 2)          # the third of its kind
#     targets.with_item("Ann")                # a list that may hold it
#     targets.likest(("star", "icon"))        # whose words are nearest; None where two are as near
#
# Lists of items are elements as well: which of their items is meant, a script looks up when it
# runs.

_RULES = package_patterns(__package__, "words.toml", "acts")
_ROLES = r"(?:button|link|tab|checkbox|option|field|menu|section|icon|textbox)"
#: Words for kinds of elements, the longer first, and the roles that are meant.
_KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"radio(?: button)?s?", ("radio",)),
    (r"check ?box(?:es)?", ("checkbox", "switch")),
    (r"text ?area", ("textbox",)),
    (r"(?:text ?box|(?:text|input) ?field|input|field)", ("textbox", "searchbox", "spinbutton")),
    (r"button", ("button",)),
    (r"link", ("link",)),
    (r"tab", ("tab",)),
    (r"slider", ("slider",)),
    (r"(?:drop ?down|select box|list ?box)", ("combobox", "listbox")),
)
#: A button that is none by its role, such as a clickable part of the page, comes last.
_ORDER = ("button", "link", "menuitem", "option", "tab", "checkbox", "radio")
_READ = ("heading", "row", "listitem", "dialog", "alertdialog", "cell", "gridcell")
_ITEMS = ("row", "listitem", "article", "generic", "link", "menuitem", "option", "button", "cell")
_SENDING = frozenset(("submit", "send", "sav", "ok", "don", "finish", "apply", "confirm", "login"))
_LEAST_ALIKE = 0.5


class ActTargets:
    """The elements of one page, those of the state one begins in first."""

    def __init__(self, forms: DocumentForms, state: str) -> None:
        self._weights = forms.weights
        self.all: tuple[Element, ...] = forms.of_page(state)
        self.state = state

    def named(self, name: str, kind: str) -> Element | None:
        """The element with this name, in capitals or not; where several have it, one that is chosen
        for picks, and a button for taps."""
        folded = bare_name(name)
        same = self._acting(lambda one: bare_name(one.label) == folded)
        if not same and folded in WORDS["signs"]:
            same = self._acting(lambda one: one.label.casefold() in WORDS["signs"][folded])
        if not same and folded in ("button", "link", "checkbox", "textbox", "tab"):
            same = self._acting(lambda one: one.role == folded)
            same = same if len(same) == 1 else []
        rank = {role: n for n, role in enumerate(_ORDER)}
        same.sort(key=lambda one: rank.get(one.role, len(rank)))
        if kind == "pick":
            same.sort(key=lambda one: one.value_type != "switch")
        return same[0] if same else None

    def nth(self, words: str, place: int | None) -> Element | None:
        """The element of the kind that the words name, in its place; without one, the only one."""
        for pattern, roles in _KINDS:
            if not re.search(rf"\b{pattern}\b", words, re.I):
                continue
            same = [one for one in self.all if one.role in roles and not one.many]
            areas = [one for one in same if _tag(one) == "textarea"]
            if "area" in pattern:
                same = areas
            elif place is None and 0 < len(areas) < len(same):
                same = [one for one in same if one not in areas]
            if place is None:
                return same[0] if len(same) == 1 else None
            return same[place] if -len(same) <= place < len(same) else None
        return None

    def with_option(self, name: str) -> tuple[Element, str] | None:
        """A choice that has this option."""
        folded = bare_name(name)
        for one in self.all:
            for option in one.options:
                if bare_name(option) == folded:
                    return one, option
        return None

    def lists(self, roles: Collection[str] = _ITEMS) -> list[Element]:
        """The lists of the page: rows and records before links and other parts."""
        found = [one for one in self.all if one.many and one.role in roles]
        order = {role: n for n, role in enumerate(_ITEMS)}
        return sorted(found, key=lambda one: order[one.role])

    def likest(
        self, terms: Sequence[str], takes: Callable[[Element], bool]
    ) -> tuple[Element, float] | None:
        """The element whose label has most of its words in `terms`, and that share."""
        found: list[tuple[float, int, Element]] = []
        for n, one in enumerate(self.all):
            if one.label and takes(one):
                score = _share(self._words(one), terms)
                if score >= _LEAST_ALIKE:
                    found.append((score, -n, one))
        found.sort(key=lambda one: one[:2], reverse=True)
        if not found:
            return None
        best = found[0]
        twins = [one for one in found[1:] if one[0] >= best[0] and one[2].state == best[2].state]
        return None if twins else (best[2], best[0])

    def sending(self, state: str) -> Element | None:
        """The one button of a state that sends what was typed there."""
        own = [one for one in self.all if one.state == state and not one.many]
        tapped = [one for one in own if one.value_type == "none" and one.role not in _READ]
        plain = [one for one in tapped if _RULES["sends"].match(one.label)]
        some = [one for one in tapped if _SENDING & set(terms_of(one.label))]
        return plain[0] if len(plain) == 1 else some[0] if len(some) == 1 else None

    def fields(self, state: str | None = None) -> list[Element]:
        """Fields for text, numbers and dates."""
        return [
            one
            for one in self.all
            if one.value_type in ("text", "number", "date")
            and not one.many
            and state in (None, one.state)
        ]

    def _acting(self, takes: Callable[[Element], bool]) -> list[Element]:
        return [one for one in self.all if not one.many and one.role not in _READ and takes(one)]

    def _words(self, one: Element) -> tuple[str, ...]:
        return tuple(word for word in terms_of(one.label) if not word.isdigit())


def bare_name(text: str) -> str:
    """Without capitals, doubled blanks and a full stop or colon at the end."""
    return " ".join(text.split()).casefold().strip(" .:")


def named_words(rest: str) -> list[str]:
    """What a part without quotes names: the words after its verb, without the word for its role."""
    found = _RULES["bare"].search(rest)
    text = found[1] if found else rest
    text = re.sub(r"(?<!\s)\s+from the\b.*$", "", text.strip(" .!"), flags=re.I)
    text = re.sub(r"^(?:(?:the|on|all|a|an)\s+)+", "", text, flags=re.I)
    bare = re.sub(rf"^{_ROLES}\s+|\s+{_ROLES}$", "", text, flags=re.I)
    return [bare] if bare else []


def alike(one: Element, rest: str) -> float:
    """The share of a label's terms that a part has."""
    label = set(terms_of(f"{one.label} {one.description}")) or set(
        terms_of(one.name.partition("__")[2])
    )
    has = set(terms_of(rest))
    return len(label & has) / len(label) if label else 0.0


def _tag(one: Element) -> str:
    """The tag of an element, as the end of its path says."""
    path = next((at.value for at in one.locators if at.kind == "xpath"), "")
    return path.rpartition("/")[2].partition("[")[0]


def _share(label: Iterable[str], terms: Collection[str]) -> float:
    """The share of a label's words that are there, near ones for half."""
    words, there = set(label), set(terms)
    if not words:
        return 0.0
    near = sum(0.6 for one in words - there if near_terms(one) & there)
    return (len(words & there) + near) / len(words)


# --------------------------------------------------------------------------------------------------
# The item with the most or the least of something: 'Choose the cheapest room'.
#
#     best = read_best("the cheapest room")        # is_most False, words for prices
#     best_act(best, "the cheapest room", targets, forms)
#
# Of the items of a list the script compares the numbers when it runs, with a loop; of buttons or
# cards that stand alone, the document has the numbers in their names.

_MOST = r"greatest|largest|highest|biggest|longest|most expensive|most|maximum|latest|oldest"
_LEAST = r"smallest|lowest|cheapest|shortest|least expensive|least|fewest|minimum|youngest"
_BEST = re.compile(rf"\b(?:(?P<most>{_MOST})|(?P<least>{_LEAST}))\b", re.I)
_TIMES = frozenset(("duration", "tim", "length", "hour", "minut"))
_RECORDS = ("row", "listitem", "article")


@dataclass(frozen=True)
class BestOf:
    """is_most: the greatest is wanted, else the smallest. terms: of what is compared."""

    is_most: bool
    terms: frozenset[str]


def read_best(words: str) -> BestOf | None:
    """What the words compare; None where they compare nothing."""
    found = _BEST.search(words)
    if found is None:
        return None
    terms = frozenset(terms_of(words[found.end() :]))
    return BestOf(
        bool(found["most"]), terms | (_TIMES if _RULES["time"].search(words) else frozenset())
    )


def best_act(
    best: BestOf, words: str, targets: ActTargets, forms: DocumentForms
) -> list[Statement] | None:
    """The statements that tap it; None where nothing on the page can be compared."""
    for rows in targets.lists(_RECORDS):
        parts = [one for one in targets.all if one.many and forms.rows_around(one) is rows]
        taps = [one for one in parts if one.role in ("button", "link")]
        if len(taps) == 1:
            return _loop(best, rows, _compared(best, parts, taps[0]), taps[0])
    return _of_names(best, targets)


def _compared(best: BestOf, parts: Sequence[Element], tapped: Element) -> Element:
    """The part whose column is spoken of, or else what is tapped."""
    for one in parts:
        if one.role in ("cell", "gridcell") and set(terms_of(column_of(one))) & best.terms:
            return one
    return tapped


def _loop(best: BestOf, rows: Element, compared: Element, tapped: Element) -> list[Statement]:
    use = ElementUse(rows.name)

    def number(item: Expression) -> Expression:
        part = VerbCall("inside", (item, ElementUse(compared.name)))
        return VerbCall("number", (VerbCall("get_text", (part,)),))

    best_one, row = VariableUse("best"), VariableUse("row")
    operator: Operator = ">" if best.is_most else "<"
    is_better = BinaryTerm(operator, number(row), number(best_one))
    return [
        Assignment("best", IndexedTerm(use, WholeLiteral(0))),
        Repetition("row", use, (Branch(is_better, (Assignment("best", row),)),)),
        Act(VerbCall("tap", (VerbCall("inside", (best_one, ElementUse(tapped.name))),))),
    ]


def _of_names(best: BestOf, targets: ActTargets) -> list[Statement] | None:
    """Of parts of a page that are called by numbers and are of one role."""
    alike: dict[str, list[Element]] = {}
    for one in targets.all:
        is_tapped = not one.many and one.role in ("generic", "button", "link")
        if is_tapped and number_in(one.label) is not None:
            alike.setdefault(one.role, []).append(one)
    several = [many for many in alike.values() if len(many) > 1]
    if len(several) != 1:
        return None
    ranked = sorted(several[0], key=lambda one: number_in(one.label) or 0)
    one = ranked[-1] if best.is_most else ranked[0]
    return [Act(VerbCall("tap", (ElementUse(one.name),)))]


#: How sure an act is, by how its element was found. Our choice.
_NAMED, _LISTED, _LIKELY, _SENT = 1.5, 1.0, 0.8, 0.6


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
        source = _RULES["copies"].search(part.rest)
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
        into = _RULES["into"].search(rest)
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
        said = _RULES["copies"].search(rest)
        words = re.sub(r"^the\s+", "", _RULES["into"].sub("", said[1]) if said else rest)
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
                row = find_item(rows, words.strip())
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
            return self.tap(find_item(parts[0], name), _LISTED)
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
        one = self.targets.sending(self.here) if _RULES["submits"].search(part.rest) else None
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


# --------------------------------------------------------------------------------------------------
# Acts on an item that a task speaks of: 'Find the note by Ann and delete it'.
#
#     acts = ItemActs(intent, forms, "page")
#     acts.add(find)               # remembers the item
#     acts.add(delete)             # tap(inside(find($notes, "Ann"), $page__trash))
#
# What is to be done is a part of the item, or stands on what opens when the item is tapped. What is
# typed there goes into its field, and is sent by the button beside it.

_PARTS = ("generic", "button", "link", "menuitem", "listitem")
_PART, _OPENED = 1.5, 1.2
_MOST_TIMES = 10


class ItemActs(PageActs):
    """`PageActs` with an item in mind, once a part has named one."""

    _item: tuple[Element, str] | None = None
    _opened = False

    def add(self, part: ActPart) -> bool:
        """See `PageActs`."""
        if part.kind == "find":
            return self._remember(part)
        if part.kind in ("tap", "do", "pick") and self._of_item(part):
            return True
        if part.kind == "do":
            return self._pick(part) if read_best(part.rest) else False
        return super().add(part)

    def _remember(self, part: ActPart) -> bool:
        """The item that a part names; a part that names none needs no act."""
        values = self.values_of(part) or tuple(
            found[1] or found[2] for found in _RULES["owner"].finditer(part.plain)
        )
        if not values:
            return not re.search(r"\d", part.rest)
        rows = self.targets.lists(_RECORDS)
        if not rows:
            return False
        self._item = (rows[0], values[0])
        return True

    def _of_item(self, part: ActPart) -> bool:
        """An act on a part of an item: of the one in mind, or of those that the part names."""
        values = list(self.values_of(part))
        item, times = self._item, max(part.times, 1)
        if part.times and len(part.values) == 2:
            rows = self.targets.lists(_RECORDS)
            item = (rows[0], values.pop()) if rows else None
        if item is None or times > _MOST_TIMES:
            return False
        values = [one for one in values if one != item[1]]
        one = self._part_for(item[0], part, values)
        if one is None:
            return False
        if one.state != self.here and not self._opened and self._opens(item[0], one.state):
            self.tap(find_item(*item), _OPENED)
            self._opened, self.here = True, one.state
        if not one.many:
            self.tap(ElementUse(one.name), _OPENED)
            return self._then_typed(one, part, [v for v in values if v != one.label])
        for n in range(times):
            around = find_item(*item) if not part.times else _nth_of(item, n)
            self.tap(VerbCall("inside", (around, ElementUse(one.name))), _PART)
        return True

    def _part_for(self, rows: Element, part: ActPart, values: Sequence[str]) -> Element | None:
        """The part of an item that is called so, or whose words are nearest; else one of what
        opens when the item is tapped."""

        def inside(one: Element) -> bool:
            return one.many and one.role in _PARTS and self._is_in(one, rows)

        def beyond(one: Element) -> bool:
            return (
                not one.many
                and one.role in _PARTS
                and one.state != self.targets.state
                and (self._opened or self._opens(rows, one.state))
            )

        for value in values if part.kind != "do" else ():
            for one in self.targets.all:
                if bare_name(one.label) == bare_name(value) and (inside(one) or beyond(one)):
                    return one
        terms = [*terms_of(part.rest), *(t for v in values[:1] for t in terms_of(v))]
        for takes in (inside, beyond):
            found = self.targets.likest(terms, takes)
            if found is not None:
                return found[0]
        return None

    def _is_in(self, one: Element, rows: Element) -> bool:
        around = self.forms.rows_around(one)
        return one is not rows and around is not None and around.name == rows.name

    def _opens(self, rows: Element, state: str) -> bool:
        """Whether tapping an item leads to a state."""
        return any(
            edge.element == rows.name and edge.target == state for edge in self.forms.document.edges
        )

    def _then_typed(self, tapped: Element, part: ActPart, values: Sequence[str]) -> bool:
        """What the part says to write, on what the tap has shown, and its sending."""
        shown = [e.target for e in self.forms.document.edges if e.element == tapped.name]
        fields = [one for state in shown for one in self.targets.fields(state)]
        if not values or not fields:
            return not values
        self.here = fields[0].state
        for value in values:
            said = f"{{}} {bare_name(value)}"
            at = [
                one for one in fields if said.format(bare_name(one.label)) in bare_name(part.plain)
            ]
            ranked = at or sorted(fields, key=lambda one: -alike(one, part.rest))
            if len(fields) > 1 and not at and alike(ranked[0], part.rest) <= 0:
                return False
            act = VerbCall("set_text", (ElementUse(ranked[0].name), TextLiteral(value)))
            self.do(Act(act), 1.0)
            fields.remove(ranked[0])
        sends = self.targets.sending(self.here)
        return sends is not None and self.tap(ElementUse(sends.name), 1.0)


def find_item(rows: Element, value: str) -> Expression:
    """The one item of a list with this text."""
    return VerbCall("find", (ElementUse(rows.name), TextLiteral(value)))


def _nth_of(item: tuple[Element, str], n: int) -> Expression:
    some = VerbCall("match", (ElementUse(item[0].name), TextLiteral(item[1])))
    return IndexedTerm(some, WholeLiteral(n))


# --------------------------------------------------------------------------------------------------
# Plans for tasks that say what to do on a page, act by act: 'Select "Tea" and press Submit'.
#
#     for body, merit, is_whole in act_plans(intent, forms):
#         ...                       # choose($page__tea, true), tap($page__submit)
#
# Each part of a task has a verb and what it is done to: a value that is the name of an element,
# words of its label, its place among its kind, or an item of a list. What is typed goes into the
# field that the part names, or into the only one that is left. A plan is whole where each part has
# its act.

#: What a part loses for which there is no act. Our choice.
_MISSING = 2.0


def act_plans(
    intent: TaskIntent, forms: DocumentForms
) -> Iterator[tuple[list[Statement], float, bool]]:
    """One plan for each page that has elements for some of the parts."""
    parts = read_parts(intent.task.text)
    if all(one.kind in ("do", "look") and not read_best(one.rest) for one in parts):
        return
    seen: set[str] = set()
    for state in forms.document.states:
        path = forms.path(state.name)
        if path in seen:
            continue
        seen.add(path)
        plan = ItemActs(intent, forms, state.name)
        missing = sum(not _is_done(plan, part) for part in parts)
        plan.send_rest()
        if plan.body:
            yield plan.body, plan.merit - _MISSING * missing, not missing


def _is_done(plan: ItemActs, part: ActPart) -> bool:
    """Whether a part has its act now, or needs none."""
    if part.kind == "look" or not (terms_of(part.rest) or part.values):
        return True
    return plan.add(part)
