"""Lists are one, and pages of one kind have one skeleton."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adwright.agent.document.finding import groups_of, item_path, skeleton_of
from tests.support.agent.site.screens import node, screen, table

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
