"""Find the one item of a list that has a text: on its page, by its search, or on its further pages.

    handle = ItemSearch(document, world.be_at, step).find(element, "Oat Bites")

All of it only reads: a search is a form by GET or a button without a form that says it looks, a
further page is a link. Of several items with the text, that counts which has a part that says just
this, such as a cell or a link; else nothing is chosen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

from adwright.agent.document.elements import AppDocument, Element
from adwright.agent.drivers.protocol import Screen, ScreenNode
from adwright.agent.language.problems import ProblemCode, ScriptError, ScriptProblem, quoted
from adwright.agent.language.values import ElementHandle, matching_handles
from adwright.agent.run.locate import item_on, items_on

__all__ = [
    "MOST_PAGES",
    "ItemSearch",
    "SearchWay",
    "WayStep",
    "form_of",
    "next_page",
    "search_ways",
    "the_item",
]

#: So many further pages of a list are looked through. Our choice.
MOST_PAGES = 12
_MOST_WAYS = 3
_FORM = re.compile(r"^(.*/form(?:\[\d+\])?)(?:/|$)")
_LOOKS = re.compile(r"\b(?:search|find|look up|filter|suche|chercher|buscar|cerca|zoek)", re.I)
_NUMBERED = re.compile(r"\b(?:no|nr|number|code|sku|upc|ean|id)\b", re.I)
_NAMED = re.compile(r"\b(?:name|title|search|text|keyword|query|q|find)\b", re.I)
_REST = re.compile(r"[,;:(\[|]")
_NEXT = re.compile(r"^\W*(?:next(?: page)?|weiter|suivant|siguiente|›|»|>|→)\W*$", re.I)

#: Does a verb with an element of the document, and a value, on the way to an item.
WayStep: TypeAlias = Callable[[str, str, str | None], Screen]


@dataclass(frozen=True)
class SearchWay:
    """A field for what is looked for, and the button that looks."""

    field: Element
    button: Element


class ItemSearch:
    """be_at: goes to a state; step: does one act; both give the screen that comes of it."""

    def __init__(
        self, document: AppDocument, be_at: Callable[[str], Screen], step: WayStep
    ) -> None:
        self._document, self._be_at, self._step = document, be_at, step

    def find(self, element: Element, wanted: str) -> ElementHandle:
        """The item. Raises ScriptError "not_found", or "ambiguous" where several may be meant."""
        found = the_item(self._be_at(element.state), element, wanted)
        for way in search_ways(self._document, element.state, wanted):
            for words in _words_for(wanted):
                found = found or self._searched(element, way, wanted, words)
        found = found or self._on_further_pages(element, wanted)
        if found is None:
            what = f"no item of ${element.name} reads {quoted(wanted)}"
            _fail("not_found", what, "look at the list")
        return found

    def _searched(
        self, element: Element, way: SearchWay, wanted: str, words: str
    ) -> ElementHandle | None:
        """The item, after a search for words; None also where there is no such search here."""
        try:
            self._step("set_text", way.field.name, words)
            screen = self._step("tap", way.button.name, None)
        except ScriptError:
            return None
        return the_item(screen, element, wanted)

    def _on_further_pages(self, element: Element, wanted: str) -> ElementHandle | None:
        link = next_page(self._document, element.state)
        for _ in range(MOST_PAGES if link else 0):
            try:
                screen = self._step("tap", link.name if link else "", None)
            except ScriptError:
                return None
            if found := the_item(screen, element, wanted):
                return found
        return None


def the_item(screen: Screen, element: Element, wanted: str) -> ElementHandle | None:
    """The item of a list on this screen that has a text; None where none has it."""
    every = items_on(screen, element)
    handles = matching_handles(every, wanted)
    if len(handles) != 1:
        handles = handles or every  # a part may say what the text cuts short
        nodes = [item_on(screen, element, one) for one in handles]
        exact = _with_exact_part(screen, handles, nodes, wanted)
        handles = exact or matching_handles(handles, wanted)
    if len(handles) > 1:
        what = f"{len(handles)} items of ${element.name} read {quoted(wanted)}"
        _fail("ambiguous", what, "name it by a text that no other has")
    return handles[0] if handles else None


def form_of(element: Element) -> str | None:
    """The path of the form in which an element stands, empty for none; None where its locators do
    not say."""
    for one in element.locators:
        if one.kind == "xpath":
            found = _FORM.match(one.value)
            return found[1] if found else ""
    return None


def search_ways(document: AppDocument, state: str, wanted: str) -> tuple[SearchWay, ...]:
    """The searches that lead to a state's path, those on its own pages first, then the likeliest
    field first: one for names of a text, one for numbers of a number."""
    path = _path(document, state)
    found: list[tuple[int, SearchWay]] = []
    for button in document.elements:
        if button.role != "button" or button.effect not in ("navigate", "read"):
            continue
        if button.effect == "read" and not _LOOKS.search(button.label):
            continue
        if _path(document, button.target or button.state) != path:
            continue
        form, far = form_of(button), _path(document, button.state) != path
        for field in document.elements_of(button.state):
            fits = field.value_type == "text" and not field.many
            if fits and (form is None or form_of(field) == form):
                rank = _rank(field, wanted) + (10 if far else 0)
                found.append((rank, SearchWay(field, button)))
    ranked = sorted(found, key=lambda one: one[0])
    once = {(one.field.label, one.button.label): one for _, one in reversed(ranked)}
    return tuple(once.values())[::-1][:_MOST_WAYS]


def next_page(document: AppDocument, state: str) -> Element | None:
    """The link to the next page of a state's list, or None."""
    for one in document.elements_of(state):
        if one.role == "link" and one.effect == "navigate" and _NEXT.match(one.label):
            return one
    return None


def _words_for(wanted: str) -> tuple[str, ...]:
    """What to search for: the text, then what stands before its first comma or bracket, as many
    searches find anything that has one of the words."""
    first = _REST.split(wanted, maxsplit=1)[0].strip()
    return (wanted, first) if first and first != wanted.strip() else (wanted,)


def _with_exact_part(
    screen: Screen,
    handles: Iterable[ElementHandle],
    nodes: Iterable[ScreenNode],
    wanted: str,
) -> tuple[ElementHandle, ...]:
    """Those of several items that hold a part which says just this."""
    folded = _folded(wanted)
    by_key = {one.key: one for one in screen.nodes}
    holders: set[str] = set()
    for one in screen.nodes:
        around: ScreenNode | None = one
        while (
            folded in (_folded(one.name), _folded(one.text))
            and around is not None
            and around.key not in holders
        ):
            holders.add(around.key)
            around = by_key.get(around.parent)
    pairs = zip(handles, nodes, strict=True)
    return tuple(handle for handle, node in pairs if node.key in holders)


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


def _rank(field: Element, wanted: str) -> int:
    is_number = any(one.isdigit() for one in wanted) and " " not in wanted
    words = f"{field.label} {field.name.replace('_', ' ')}"
    likely, less = (_NUMBERED, _NAMED) if is_number else (_NAMED, _NUMBERED)
    return 0 if likely.search(words) else 2 if less.search(words) else 1


def _path(document: AppDocument, state: str) -> str:
    return document.state_by_name[state].url_template.partition("?")[0]


def _fail(code: ProblemCode, what: str, hint: str) -> NoReturn:
    raise ScriptError([ScriptProblem(code, what, hint=hint)])
