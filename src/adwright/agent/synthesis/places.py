"""Where something can be done in an app: its forms, its lists, and the ways to one item's pages.

    places = AppPlaces(document)
    places.forms[0].fields, places.forms[0].button       # neighbours in one state, and what sends
    places.doors[0].rows, places.doors[0].link           # a list, and the link of its items

What stands on most pages, such as the menu of an app, is its frame and belongs to no form. A field
belongs to the first button after it that sends, or, where none follows, to the last before it; a
document does not say more.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from adwright.agent.document.elements import AppDocument, Element
from adwright.agent.language.reach import StateReach, leads
from adwright.core.config import check_literals

__all__ = ["AppPlaces", "FormPlace", "ItemDoor", "plain_label", "singular"]

_TYPED = ("text", "number", "date", "choice", "switch")
_ROWS = ("row", "listitem", "article")
#: An element of the frame stands in this share of the states, and in more than so many.
_FRAME_SHARE, _FRAME_LEAST = 0.3, 3
_LONGEST_LABEL = 40
_VERBS = frozenset(
    (
        *("create", "new", "add", "edit", "update", "change", "delete", "remove", "confirm"),
        *("list", "details", "detail", "view", "show", "stats", "select"),
    )
)
_WORD = re.compile(r"[a-z]+(?:[-_ ][a-z]+)*", re.I)


@dataclass(frozen=True)
class FormPlace:
    """Fields of one state, in the order of the document, and the button that sends them."""

    state: str
    fields: tuple[Element, ...]
    button: Element

    def __post_init__(self) -> None:
        check_literals(self)


@dataclass(frozen=True)
class ItemDoor:
    """The items of a list, and the link in each of them that leads to its page. goals: the states
    of the item: that of the link, and those that are one further link away."""

    rows: Element
    link: Element
    goals: tuple[str, ...]

    def __post_init__(self) -> None:
        check_literals(self)


class AppPlaces:
    """The places of one document."""

    def __init__(self, document: AppDocument) -> None:
        self.document = document
        self._reach = StateReach(document)
        self._frame = _frame_of(document)

    @cached_property
    def open_states(self) -> frozenset[str]:
        """The states that links lead to without an item: a form there makes something new."""
        return self._reach.from_state(self.document.start)

    @cached_property
    def forms(self) -> tuple[FormPlace, ...]:
        """The forms that write, with all their fields, in the order of the document; also those
        without any field, such as a question whether to delete."""
        found = []
        for state in self.document.states:
            own = self._own(state.name)
            buttons = [one for one in own if _sends(one)]
            fields = self._fields(own)
            for button in buttons:
                mine = tuple(one for one in fields if _button_of(one, own, buttons) is button)
                found.append(FormPlace(state.name, mine, button))
        return tuple(found)

    @cached_property
    def searches(self) -> tuple[FormPlace, ...]:
        """The forms that only look something up in the list of their own state."""
        found = []
        for state in self.document.states:
            own = self._own(state.name)
            buttons = [
                one
                for one in own
                if one.role == "button" and leads(one) and one.target == state.name
            ]
            fields = [one for one in self._fields(own) if one.value_type == "text"]
            sends = [*buttons, *(one for one in own if _sends(one))]
            for button in buttons:
                mine = tuple(one for one in fields if _button_of(one, own, sends) is button)
                if mine and self.lists_of(state.name):
                    found.append(FormPlace(state.name, mine, button))
        return tuple(found)

    @cached_property
    def doors(self) -> tuple[ItemDoor, ...]:
        """The links of items, in the order of the document."""
        found = []
        for one in self.document.elements:
            if not one.many or one.effect not in ("navigate", "read") or one.target is None:
                continue
            if not self._is_of_item(one, one.target):
                continue  # the same page for all items, such as a sorting
            rows = self._rows_around(one)
            if rows is not None and one.role not in _ROWS:
                found.append(ItemDoor(rows, one, self._goals(one)))
        return tuple(found)

    def doors_to(self, state: str) -> tuple[ItemDoor, ...]:
        """The links of items behind which a state is."""
        return tuple(one for one in self.doors if state in one.goals)

    def lists_of(self, state: str) -> tuple[Element, ...]:
        """The lists of a state whose items can be told apart by a text."""
        return tuple(one for one in self.document.elements_of(state) if one.many and _is_row(one))

    def readable(self, state: str) -> tuple[Element, ...]:
        """What can be read in a state: its fields with a label of their own."""
        return tuple(self._fields(self._own(state)))

    def noun(self, state: str) -> str:
        """What the things of a state are called, in the singular, by its address."""
        template = self.document.state_by_name[state].url_template
        parts = [one for one in template.partition("?")[0].split("/") if one]
        ends = [n for n, one in enumerate(parts) if one.lower() in _VERBS]
        data = [n for n, one in enumerate(parts) if "{}" in one]
        end = ends[0] if ends else data[-1] if data else len(parts)
        words = [m[0] for one in parts[:end] if "{}" not in one and (m := _WORD.search(one))]
        return singular(re.sub(r"[-_]", " ", words[-1].lower())) if words else "item"

    def _own(self, state: str) -> list[Element]:
        own = self.document.elements_of(state)
        return [one for one in own if one.value_type != "none" or _sign(one) not in self._frame]

    def _fields(self, own: Sequence[Element]) -> list[Element]:
        labels = Counter(plain_label(one) for one in own if one.value_type != "none")
        return [
            one
            for one in own
            if one.value_type in _TYPED
            and not one.many
            and not (one.role == "combobox" and one.value_type == "text")
            and re.search(r"[a-z]", plain_label(one))
            and len(plain_label(one)) <= _LONGEST_LABEL
            and labels[plain_label(one)] == 1
        ]

    def _is_of_item(self, link: Element, target: str) -> bool:
        states = self.document.state_by_name
        path, here = (states[one].url_template.partition("?")[0] for one in (target, link.state))
        return path != here and ("{}" in path or target not in self.open_states)

    def _goals(self, link: Element) -> tuple[str, ...]:
        first = link.target or ""
        further = [
            one.target
            for one in self._own(first)
            if leads(one) and one.target and self._is_of_item(one, one.target)
        ]
        return tuple(dict.fromkeys([first, *further]))

    def _rows_around(self, link: Element) -> Element | None:
        rows = self.lists_of(link.state)
        path = _path(link)
        around = [one for one in rows if _path(one) and path.startswith(f"{_path(one)}/")]
        return next(iter(around or rows), None)


def plain_label(element: Element) -> str:
    """A label as people say it: small letters, without marks of required fields."""
    return " ".join(re.sub(r"[*:?]+|\(.*?\)", " ", element.label).split()).lower()


def singular(noun: str) -> str:
    """One of several, by the rules of English that hold most of the time."""
    if noun.endswith("ies") and len(noun) > 4:
        return f"{noun[:-3]}y"
    if noun.endswith(("sses", "xes", "ches", "shes")):
        return noun[:-2]
    return noun[:-1] if noun.endswith("s") and not noun.endswith(("ss", "us", "is")) else noun


def _sends(element: Element) -> bool:
    """Whether it is a button that writes, of which the document knows what it sends."""
    known = element.writes and element.effect != "unknown" and bool(element.requests)
    return known and element.value_type == "none" and not element.many


def _is_row(element: Element) -> bool:
    return element.role in _ROWS


def _path(element: Element) -> str:
    return next((one.value for one in element.locators if one.kind == "xpath"), "")


def _button_of(
    field: Element, own: Sequence[Element], buttons: Sequence[Element]
) -> Element | None:
    places = {one.name: place for place, one in enumerate(own)}
    place = places[field.name]
    after = [one for one in buttons if places[one.name] > place]
    before = [one for one in buttons if places[one.name] < place]
    return after[0] if after else before[-1] if before else None


def _sign(element: Element) -> tuple[str, str, str]:
    return element.role, element.label, " ".join(element.requests)


def _frame_of(document: AppDocument) -> frozenset[tuple[str, str, str]]:
    counted: Counter[tuple[str, str, str]] = Counter()
    for state in document.states:
        counted.update({_sign(one) for one in document.elements_of(state.name)})
    least = max(_FRAME_LEAST, _FRAME_SHARE * len(document.states))
    # Buttons such as "Save" stand on many pages too, but send to each page's own address.
    return frozenset(sign for sign, count in counted.items() if count > least and sign[1])
