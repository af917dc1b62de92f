"""Names for what has none, and boxes that are records, in small documents made by hand."""

from __future__ import annotations

from typing import TypeAlias

import pytest

from adwright.agent.drivers.snapshot import (
    ELEMENT,
    TEXT,
    DomDocument,
    blocks_of,
    hint_of,
    nearby_label,
)

Tree: TypeAlias = "tuple[str, dict[str, str], list[Tree | str]]"


def dom(tree: Tree) -> DomDocument:
    parents: list[int] = []
    kinds: list[int] = []
    none = frozenset[int]()
    page = DomDocument("", "", "", "", parents, kinds, [], [], [], {}, {}, {}, none, none, none)

    def add(one: Tree | str, parent: int) -> None:
        number = len(page.tags)
        is_text = isinstance(one, str)
        parents.append(parent)
        kinds.append(TEXT if is_text else ELEMENT)
        page.tags.append("#text" if isinstance(one, str) else one[0])
        page.texts.append(one if isinstance(one, str) else "")
        page.attributes.append({} if isinstance(one, str) else one[1])
        for inner in () if isinstance(one, str) else one[2]:
            add(inner, number)

    add(tree, -1)
    return page


@pytest.mark.parametrize(
    ("attributes", "hint"),
    [
        ({"class": "fa fa-archive active"}, "archive"),
        ({"id": "openDrawer"}, "drawer"),
        ({"class": "icon btn", "title": "Pin to top"}, "pin to"),
        ({"class": "icon-lg"}, ""),
    ],
)
def test_icons_are_called_after_their_class(attributes: dict[str, str], hint: str) -> None:
    assert hint_of(dom(("i", attributes, [])), 0) == hint


def test_fields_are_called_after_what_stands_before_them() -> None:
    row: Tree = ("tr", {}, [("th", {}, ["Colour"]), ("td", {}, [("input", {}, [])])])
    page = dom(row)
    assert nearby_label(page, page.tags.index("input")) == "Colour"
    pair: Tree = ("p", {}, [("label", {}, ["Nickname"]), ("input", {}, []), ("input", {}, [])])
    page = dom(pair)
    first = page.tags.index("input")
    assert (nearby_label(page, first), nearby_label(page, first + 1)) == ("Nickname", "")


def card(text: str, inner: str = "span") -> Tree:
    return ("div", {"class": "card"}, [("p", {}, [text]), (inner, {"class": "pin"}, [])])


def pins(page: DomDocument) -> list[int]:
    return [n for n, one in enumerate(page.attributes) if one.get("class") == "pin"]


def test_boxes_that_are_alike_are_records() -> None:
    page = dom(("main", {}, [card("Oats"), card("Rye"), ("div", {}, ["end"])]))
    boxes = [n for n, one in enumerate(page.attributes) if one.get("class") == "card"]
    assert blocks_of(page, pins(page)) == frozenset(boxes)


def test_a_single_box_or_one_with_a_field_is_no_record() -> None:
    alone = dom(("main", {}, [card("Oats"), ("div", {"class": "card"}, ["Rye"])]))
    assert blocks_of(alone, pins(alone)) == frozenset()
    form = dom(("main", {}, [card("Oats", "input"), card("Rye", "input")]))
    assert blocks_of(form, pins(form)) == frozenset()
