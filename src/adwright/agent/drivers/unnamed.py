"""What a page shows without saying so to tools: icons without a name, labels that are bound to no
field, and records drawn as boxes.

    hint_of(page, node)           # "trash" of <span class="icon-trash">
    nearby_label(page, node)      # "Genre" of a field in a row that begins with that header
    blocks_of(page, controls)     # boxes that are alike, each with text and a control of its own

All three are guesses from tags, classes and places. They are used only where the accessibility tree
says nothing, and they name things for people and plans; what may be done is decided elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from adwright.agent.drivers.dom import DomDocument

__all__ = ["blocks_of", "hint_of", "nearby_label"]

_FIELDS = ("input", "select", "textarea")
_WORDS = re.compile(r"[A-Za-z]{2,}")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
#: Parts of classes that say how something looks or that it can be used, and not what it is.
_LOOK = frozenset(
    (
        *("icon", "icons", "ui", "fa", "fas", "far", "fab", "fal", "bi", "mdi", "md", "glyphicon"),
        *("material", "symbols", "btn", "button", "link", "svg", "img", "image", "sprite", "ng"),
        *("active", "clicked", "selected", "hover", "focus", "open", "closed", "hidden", "hide"),
        *("show", "shown", "disabled", "enabled", "sm", "lg", "xs", "xl", "primary", "secondary"),
        *("default", "pull", "float", "left", "right", "top", "bottom", "center", "state", "js"),
        *("clickable", "pointer", "wrapper", "container", "inner", "outer", "box", "item", "solid"),
    )
)
_MOST_WORDS, _LONGEST_LABEL = 3, 60
#: Roles around which nothing else is a record: these are records already, or parts of one.
_RECORDS = frozenset(("tr", "li", "article", "option", "ul", "ol", "nav", "header", "footer"))


def hint_of(page: DomDocument, node: int) -> str:
    """What the class or else the id of a node calls it; empty where they tell only its look."""
    own = page.attributes[node]
    for text in (own.get("title", ""), own.get("class", ""), own.get("id", "")):
        words = [one.lower() for one in _WORDS.findall(_CAMEL.sub(" ", text))]
        told = list(dict.fromkeys(one for one in words if one not in _LOOK))
        if told:
            return " ".join(told[:_MOST_WORDS])
    return ""


def nearby_label(page: DomDocument, node: int) -> str:
    """The text of a label right before a field that names none, or of the header of its row."""
    if page.tags[node] not in _FIELDS:
        return ""
    parent = page.parents[node]
    before = [one for one in page.children[parent] if one < node] if parent >= 0 else []
    for one in reversed(before):
        if page.tags[one] in _FIELDS:
            break
        if page.tags[one] == "label" and not page.attributes[one].get("for"):
            return page.text(one)[:_LONGEST_LABEL]
    row = page.around(node, "tr")
    for one in page.children[row] if row is not None else ():
        if page.tags[one] == "th":
            return page.text(one)[:_LONGEST_LABEL]
    return ""


def blocks_of(page: DomDocument, controls: Iterable[int]) -> frozenset[int]:
    """The boxes that are records: of one tag and class beside each other, each with a control and
    more text than that of the control, and without fields; the innermost around each control."""
    has = frozenset(controls)
    holders: set[int] = set()
    for one in has:
        holders.update(page.above(one))
    found = set()
    for control in has:
        for one in page.above(control):
            if page.tags[one] in _RECORDS:
                break
            if _is_record(page, one, control, holders):
                found.add(one)
                break
    return frozenset(found)


def _is_record(page: DomDocument, node: int, control: int, holders: set[int]) -> bool:
    kind, parent = _kind(page, node), page.parents[node]
    if not kind or parent < 0 or page.tags[node] not in ("div", "section", "dl"):
        return False
    alike = [one for one in page.children[parent] if one in holders and _kind(page, one) == kind]
    if len(alike) < 2 or _has_field(page, node):
        return False
    return len(page.text(node)) > len(page.text(control))


def _kind(page: DomDocument, node: int) -> tuple[str, str] | None:
    """The tag and the first class: further ones often say how it is now."""
    own = page.attributes[node].get("class", "").split()
    return (page.tags[node], own[0]) if own else None


def _has_field(page: DomDocument, node: int) -> bool:
    stack = [node]
    while stack:
        one = stack.pop()
        if page.tags[one] in _FIELDS:
            return True
        stack.extend(page.children[one])
    return False
