"""An element is found where it is for sure, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.agent.document.elements import AppDocument, AppState, Element, Locator
from adwright.agent.document.finding import (
    element_name,
    find_node,
    find_nodes,
    groups_of,
    item_path,
    locators_of,
    share_found,
    skeleton_of,
    state_name,
    where_am_i,
    word_of,
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


LINK = {"href": "http://h/offers/new"}


def test_a_column_of_links_is_one_group() -> None:
    shown = screen(*table(3, names=("Edit", "Delete")), node("n", "link", "New offer", **LINK))
    groups = [one for one in groups_of(shown) if one.first.role == "link"]
    assert [(one.label, len(one.nodes), one.many) for one in groups] == [
        ("Edit", 3, True),
        ("Delete", 3, True),
        ("New offer", 1, False),
    ]
    assert item_path(groups[1], shown) == "/html/body/table/tbody/tr/td[2]/a[2]"


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_a_skeleton_does_not_count_rows(rows: int) -> None:
    assert skeleton_of(screen(*table(rows))) == skeleton_of(screen(*table(3)))


def test_a_skeleton_is_of_controls_and_not_of_data() -> None:
    def page(heading: str, button: str = "Save", field: str = "title", item: str = "7") -> str:
        link = node("e", "link", f"offer {item}", href=f"http://h/offers/{item}")
        text = node("t", "textbox", "Title", name=field)
        return skeleton_of(
            screen(node("h", "heading", heading), text, node("b", "button", button), link)
        )

    assert page("Edit tea") == page("Edit mug") == page("Edit mug", item="12")
    assert page("Edit tea") != page("Edit tea", button="Delete")
    assert page("Edit tea") != page("Edit tea", field="price")
    assert page("Edit tea", button="Save 3 rows") == page("Edit tea", button="Save 12 rows")


def test_entries_of_a_menu_stay_apart_and_radio_buttons_too() -> None:
    items = [
        node(f"l{one}", "listitem", one, f"/html/body/ul/li[{place}]")
        for place, one in enumerate(("Offers", "Orders"), start=1)
    ]
    links = [
        node(
            one.name,
            "link",
            one.name,
            f"{one.facts['xpath']}/a",
            one.key,
            href=f"http://h/{one.name}",
        )
        for one in items
    ]
    radios = [
        node(f"x{place}", "radio", f"choice {place}", f"/html/body/input[{place}]", name="x")
        for place in range(5)
    ]
    groups = groups_of(screen(*items, *links, *radios))
    assert [one.label for one in groups if one.first.role == "link"] == ["Offers", "Orders"]
    assert sum(one.first.role == "radio" for one in groups) == 5


def test_what_cannot_be_seen_or_used_is_no_part() -> None:
    hidden = replace(node("b", "button", "Save"), visible=False)
    plain = node("g", "generic", "text", tag="div")
    clickable = node("c", "generic", "open", tag="div", clickable="true")
    assert [one.first.key for one in groups_of(screen(hidden, plain, clickable))] == ["c"]


def test_the_values_of_pairs_are_a_list_without_headers() -> None:
    nodes = []
    for n, (key, value) in enumerate((("Crop", "Rye"), ("Acres", "12")), 1):
        row = f"/table[1]/tr[{n}]"
        nodes.append(node(f"r{n}", "row", f"{key} {value}", row))
        for place, text in enumerate((key, value), 1):
            path = f"{row}/td[{place}]"
            nodes.append(node(f"c{n}{place}", "cell", text, path, f"r{n}"))
    (cells,) = (one for one in groups_of(screen(*nodes)) if one.first.role == "cell")
    assert [one.text for one in cells.nodes] == ["Rye", "12"]


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("/", "home"),
        ("/dashboard/offers/{}/", "dashboard_offers_item"),
        ("/offers?sort&page", "offers_by_sort_page"),
        ("/2026/ads", "s_2026_ads"),
        ("/{}/{}", "item_item"),
    ],
)
def test_states_are_named_after_their_address(template: str, name: str) -> None:
    assert state_name(template, set()) == name
    assert state_name(template, {name, f"{name}_2"}) == f"{name}_3"


def test_elements_are_named_after_their_label() -> None:
    taken: set[str] = set()
    names = []
    for role in ("button", "link", "link", "link"):
        names.append(element_name("edit", "Save & go on", role, taken))
        taken.add(names[-1])
    assert names == [
        "edit__save_go_on",
        "edit__save_go_on_link",
        "edit__save_go_on_link_2",
        "edit__save_go_on_link_3",
    ]
    assert element_name("edit", "保存", "button", set()) == "edit__button"
    assert word_of("Größe (für Öl) łódź") == "grosse_fur_ol_lodz"


@given(st.text(max_size=80), st.text(max_size=20))
def test_every_name_is_an_identifier(label: str, role: str) -> None:
    name = element_name(state_name("/{}/a-b", set()), label, role, set())
    assert name.isidentifier()
    assert name.isascii()


def test_locators_are_ranked() -> None:
    facts = {"label": "Title", "test_id": "title", "css": "input[name=t]"}
    found = locators_of(node("t", "textbox", "Title of it", "/html/input", **facts))
    assert [one.kind for one in found] == ["role", "label", "test_id", "css", "xpath"]
    assert found[0] == Locator("role", "Title of it", role="textbox")
    assert [one.kind for one in locators_of(node("b", "button", "", "/html/b"))] == ["xpath"]
