"""An element is found where it is for sure, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

from adwright.agent.document.elements import AppDocument, AppState, Element, Locator
from adwright.agent.document.finding import (
    find_node,
    find_nodes,
    share_found,
    skeleton_of,
    where_am_i,
)
from adwright.agent.drivers.protocol import ScreenNode
from tests.support.agent.site.screens import node, screen, table

SAVE = Element(
    "edit__save",
    "edit",
    "button",
    "Save",
    (
        Locator("role", "Save", role="button"),
        Locator("test_id", "save"),
        Locator("css", 'button[id="go"]'),
        Locator("xpath", "/html/body/form/button[1]"),
    ),
)


def button(key: str, name: str = "Save", path: str = "", **facts: str) -> ScreenNode:
    return node(key, "button", name, path, **facts)


def test_the_first_locator_that_leads_to_one_node_counts() -> None:
    shown = screen(button("a"), button("b", "Other", test_id="save"))
    assert find_node(shown, SAVE).key == "a"
    assert find_node(screen(button("b", "Store", test_id="save")), SAVE).key == "b"
    assert find_node(screen(button("b", "Store", css='button[id="go"]')), SAVE).key == "b"


def test_two_that_are_alike_are_none() -> None:
    assert find_node(screen(button("a"), button("b")), SAVE) is None
    second = replace(SAVE, locators=(Locator("role", "Save", role="button", nth=1, of=2),))
    assert find_node(screen(button("a"), button("b")), second).key == "b"
    assert find_node(screen(button("a")), second) is None
    assert find_node(screen(button("a"), button("b"), button("c")), second) is None


def test_a_path_alone_is_no_proof() -> None:
    path = "/html/body/form/button[1]"
    assert find_node(screen(button("a", "Delete", path=path)), SAVE) is None
    link = node("a", "link", "Save", path)
    assert find_node(screen(link), SAVE) is None
    alike = screen(button("a", path=path), button("b"))
    assert find_node(alike, SAVE).key == "a"
    nameless = replace(SAVE, locators=SAVE.locators[3:])
    assert find_node(screen(button("a", "", path=path)), nameless).key == "a"


def test_a_node_of_another_frame_is_another() -> None:
    inner = replace(button("a", test_id="save"), frame="ad")
    assert find_node(screen(inner), SAVE) is None


def test_the_items_of_a_list() -> None:
    path = "/html/body/table/tbody/tr/td[2]/a[1]"
    edit = Element(
        "offers__edit", "offers", "link", "Edit", (Locator("xpath", path, of=0),), many=True
    )
    shown = screen(*table(3, names=("Edit", "Delete")))
    assert [one.key for one in find_nodes(shown, edit)] == ["l1.1", "l2.1", "l3.1"]
    assert find_nodes(screen(button("a")), SAVE)[0].key == "a"
    assert find_nodes(screen(), SAVE) == ()


def test_where_one_is() -> None:
    here = screen(button("a"), node("t", "textbox", "Title", name="t"), url="http://h/offers/7")
    title = Element(
        "edit__title", "edit", "textbox", "Title", (Locator("role", "Title", role="textbox"),)
    )
    states = (
        AppState("edit", skeleton_of(here), "/offers/{}"),
        AppState("same", skeleton_of(here), "/copies/{}"),
    )
    document = AppDocument("shop", "1", ("http://h",), "edit", states, (SAVE, title))
    assert where_am_i(document, here) == "edit"
    assert where_am_i(document, replace(here, url="http://h/copies/2")) == "same"
    more = screen(*here.nodes, button("x", "New"), url="http://h/offers/7")
    assert (share_found(document, "edit", more), where_am_i(document, more)) == (1.0, "edit")
    assert where_am_i(document, screen(button("a"), url="http://h/offers/7")) is None
    assert where_am_i(document, screen(button("a"), url="http://h/else")) is None
