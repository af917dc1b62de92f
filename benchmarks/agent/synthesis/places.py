"""Where something can be done in an app: its forms, its lists, and the ways to one item's pages.

    places = AppPlaces(document)
    places.forms[0].fields, places.forms[0].button       # neighbours in one state, and what sends
    places.doors[0].rows, places.doors[0].link           # a list, and the link of its items

What stands on most pages, such as the menu of an app, is its frame and belongs to no form. The
states of one address, such as the tabs of a page, are one place. A field belongs to a button of its
own form, by their paths, and of several to the plainest: "Save" before "Save and add another".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property

from adwright.agent.document.elements import AppDocument, Element, column_of, frame_of
from adwright.agent.language.expression_kinds import StateReach, leads
from adwright.agent.run.locate import form_of
from adwright.core.config import settings

_TYPED = ("text", "number", "date", "choice", "switch")
_ROWS = ("row", "listitem", "article")
_LONGEST_LABEL = 40
_VERBS = frozenset(
    (
        *("create", "new", "add", "edit", "update", "change", "delete", "remove", "confirm"),
        *("list", "details", "detail", "view", "show", "stats", "select"),
    )
)
_WORD = re.compile(r"[a-z]+(?:[-_ ][a-z]+)*", re.I)


@settings
class FormPlace:
    """Fields of one state, in the order of the document, and the button that sends them."""

    state: str
    fields: tuple[Element, ...]
    button: Element


@settings
class ListDoor:
    """The items of a list, and the link in each of them that leads to its page. goals: the states
    of the item: that of the link, and those that are one further link away."""

    rows: Element
    link: Element
    goals: tuple[str, ...]


class AppPlaces:
    """The places of one document."""

    def __init__(self, document: AppDocument) -> None:
        self.document = document
        self._reach = StateReach(document)
        self._frame = frame_of(document)

    @cached_property
    def open_states(self) -> frozenset[str]:
        """The states that links lead to without an item: a form there makes something new."""
        return self._reach.from_state(self.document.start)

    @cached_property
    def forms(self) -> tuple[FormPlace, ...]:
        """The forms that write, with all their fields, in the order of the document; also those
        without any field, such as a question whether to delete."""
        found = []
        for state in self.places:
            own = self._own(state)
            buttons = [one for one in own if _sends(one)]
            fields = self._fields(own)
            for button in buttons:
                mine = tuple(one for one in fields if _button_of(one, own, buttons) is button)
                if mine or button.effect == "destructive":
                    found.append(FormPlace(state, mine, button))
        return tuple(found)

    @cached_property
    def places(self) -> tuple[str, ...]:
        """The first state of each address, in the order of the document."""
        return tuple(dict.fromkeys(self._main.values()))

    @cached_property
    def _main(self) -> Mapping[str, str]:
        """Each state with the first of its address; one with a query where it has one without."""
        by_path: dict[str, str] = {}
        states = sorted(self.document.states, key=lambda one: "?" in one.url_template)
        for one in states:
            by_path.setdefault(self._path_of(one.name), one.name)
        return {one.name: by_path[self._path_of(one.name)] for one in self.document.states}

    def _path_of(self, state: str) -> str:
        template = self.document.state_by_name[state].url_template
        return template.partition("?")[0] or f"no address {state}"

    @cached_property
    def searches(self) -> tuple[FormPlace, ...]:
        """The forms that only look something up in the list of their own state."""
        found = []
        for state in self.places:
            own = self._own(state)
            buttons = [one for one in own if one.role == "button" and self._searches(one, state)]
            fields = [one for one in self._fields(own) if one.value_type == "text"]
            sends = [*buttons, *(one for one in own if _sends(one))]
            for button in buttons:
                mine = tuple(one for one in fields if _button_of(one, own, sends) is button)
                if mine and self.lists_of(state):
                    found.append(FormPlace(state, mine, button))
        return tuple(found)

    def _searches(self, button: Element, state: str) -> bool:
        return bool(leads(button) and button.target and self._main[button.target] == state)

    @cached_property
    def doors(self) -> tuple[ListDoor, ...]:
        """The links of items, in the order of the document."""
        found = []
        for one in self.document.elements:
            if not one.many or one.effect not in ("navigate", "read") or one.target is None:
                continue
            if self._main[one.state] != one.state:
                continue
            if not self._is_of_item(one, one.target):
                continue  # the same page for all items, such as a sorting
            rows = self._rows_around(one)
            if rows is not None and one.role not in _ROWS:
                found.append(ListDoor(rows, one, self._goals(one)))
        return tuple(found)

    def doors_to(self, state: str) -> tuple[ListDoor, ...]:
        """The links of items behind which a state is, one of each list: that which leads to it
        most directly."""
        found: dict[str, ListDoor] = {}
        fits = [one for one in self.doors if state in one.goals]
        for one in sorted(fits, key=lambda one: one.goals.index(state)):
            found.setdefault(one.rows.name, one)
        return tuple(found.values())

    def lists_of(self, state: str) -> tuple[Element, ...]:
        """The lists of a state whose items can be told apart by a text."""
        return tuple(one for one in self.document.elements_of(state) if one.many and _is_row(one))

    def columns(self, rows: Element) -> tuple[Element, ...]:
        """The cells of a list's items that are called by their column."""
        path = _path(rows)
        return tuple(
            one
            for one in self.document.elements_of(rows.state)
            if one.many
            and one.role in ("cell", "gridcell")
            and column_of(one)
            and _path(one).startswith(f"{path}/")
        )

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
        """The elements of a place, without the frame."""
        main = self._main[state]
        own = [
            one
            for other, first in self._main.items()
            if first == main and (other == main or "?" not in self._template(other))
            for one in self.document.elements_of(other)
        ]
        return [one for one in own if one.name not in self._frame]

    def _template(self, state: str) -> str:
        return self.document.state_by_name[state].url_template

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
        path, here = self._path_of(target), self._path_of(link.state)
        return path != here and ("{}" in path or target not in self.open_states)

    def _goals(self, link: Element) -> tuple[str, ...]:
        first = link.target or ""
        further = [
            one.target
            for one in self._own(first)
            if leads(one) and one.target and self._is_of_item(one, one.target)
        ]
        return tuple(dict.fromkeys(self._main[one] for one in [first, *further]))

    def _rows_around(self, link: Element) -> Element | None:
        rows = self.lists_of(link.state)
        path = _path(link)
        around = [one for one in rows if _path(one) and path.startswith(f"{_path(one)}/")]
        return next(iter(around or rows), None)


def plain_label(element: Element) -> str:
    """A label as people say it: small letters, without marks of required fields."""
    return " ".join(re.sub(r"[*:?]+|\([^)\n]{0,200}\)", " ", element.label).split()).lower()


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
    form, place = form_of(field), places[field.name]
    if form:
        inside = [one for one in buttons if form_of(one) == form]
        return min(inside, key=_plainness, default=None)
    fits = [one for one in buttons if not form_of(one)]
    after = [one for one in fits if places[one.name] > place]
    if not after:
        return fits[-1] if fits else None
    last = places[after[0].name]
    group = []
    for one in after:
        between = own[last + 1 : places[one.name]]
        if any(other.value_type != "none" for other in between):
            break
        group.append(one)
        last = places[one.name]
    return min(group, key=_plainness)


def _plainness(button: Element) -> tuple[bool, int]:
    return button.effect == "destructive", len(button.label)
