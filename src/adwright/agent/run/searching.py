"""How an item of a list is found that the page may not show: by the list's own search, or its pages.

    for way in search_ways(document, state, "Oat Bites"):
        way.field, way.button        # type the text there, tap this
    next_page(document, state)       # or: what leads to the next page of the list

All of it reads only: a search is a form by GET, a further page is a link.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from adwright.agent.document.elements import AppDocument, Element
from adwright.agent.drivers.protocol import Screen, ScreenNode
from adwright.agent.language.values import ElementHandle

__all__ = ["MOST_PAGES", "SearchWay", "form_of", "next_page", "search_ways", "with_exact_part"]

#: So many further pages of a list are looked through. Our choice.
MOST_PAGES = 12
_MOST_WAYS = 4
_FORM = re.compile(r"^(.*/form(?:\[\d+\])?)(?:/|$)")
_LOOKS = re.compile(r"\b(?:search|find|look up|filter|suche|chercher|buscar|cerca|zoek)", re.I)
_NUMBERED = re.compile(r"\b(?:no|nr|number|code|sku|upc|ean|id)\b", re.I)
_NAMED = re.compile(r"\b(?:name|title|search|text|keyword|query|q|find)\b", re.I)
_NEXT = re.compile(r"^\W*(?:next(?: page)?|weiter|suivant|siguiente|›|»|>|→)\W*$", re.I)


@dataclass(frozen=True)
class SearchWay:
    """A field for what is looked for, and the button that looks."""

    field: Element
    button: Element


def form_of(element: Element) -> str | None:
    """The path of the form in which an element stands; None where its locators do not say."""
    for one in element.locators:
        if one.kind == "xpath":
            found = _FORM.match(one.value)
            return found[1] if found else ""
    return None


def search_ways(document: AppDocument, state: str, wanted: str) -> tuple[SearchWay, ...]:
    """The searches of a state that lead to its own path, the likeliest field first: one for names
    of a text, one for numbers of a number."""
    path = _path(document, state)
    here = document.elements_of(state)
    found: list[tuple[int, SearchWay]] = []
    for button in here:
        if button.role != "button" or button.effect not in ("navigate", "read"):
            continue
        if button.effect == "read" and not _LOOKS.search(button.label):
            continue
        if _path(document, button.target or state) != path:
            continue
        form = form_of(button)
        for field in here:
            fits = field.value_type == "text" and not field.many
            if fits and (form is None or form_of(field) == form):
                found.append((_rank(field, wanted), SearchWay(field, button)))
    ranked = sorted(found, key=lambda one: one[0])
    return tuple(way for _, way in ranked[:_MOST_WAYS])


def next_page(document: AppDocument, state: str) -> Element | None:
    """The link to the next page of a state's list, or None."""
    return next(
        (
            one
            for one in document.elements_of(state)
            if one.role == "link" and one.effect == "navigate" and _NEXT.match(one.label)
        ),
        None,
    )


def with_exact_part(
    screen: Screen, handles: Iterable[ElementHandle], nodes: Iterable[ScreenNode], wanted: str
) -> tuple[ElementHandle, ...]:
    """Those of several items that hold a part which says just this, such as a cell or a link."""
    folded = " ".join(wanted.split()).casefold()
    by_key = {one.key: one for one in screen.nodes}
    holders = set()
    for one in screen.nodes:
        if folded not in {_folded(one.name), _folded(one.text)}:
            continue
        while one.key not in holders:
            holders.add(one.key)
            if one.parent not in by_key:
                break
            one = by_key[one.parent]
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
