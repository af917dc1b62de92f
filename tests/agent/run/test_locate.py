"""Finding the one node that is meant."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adwright.agent.document.elements import Element, Locator
from adwright.agent.drivers.protocol import Screen, ScreenNode
from adwright.agent.language.problems import ScriptError
from adwright.agent.language.values import ElementHandle
from adwright.agent.run.locate import fold_name, item_on, items_on, locate, text_of

SAVE = Element(
    "form__save",
    "form",
    "button",
    "Save",
    (Locator("role", "Save", role="button"), Locator("test_id", "save")),
    effect="commit",
)
ROWS = Element(
    "list__rows",
    "list",
    "row",
    "",
    (Locator("role", "", role="row", of=0),),
    many=True,
    effect="read",
)
EDIT = Element(
    "list__edit", "list", "link", "Edit", (Locator("role", "Edit", role="link", nth=1, of=2),)
)
BUTTON = ScreenNode("1", "button", "Save", facts={"test_id": "save"})


def screen(*nodes: ScreenNode) -> Screen:
    return Screen("http://a/", "A", nodes)


def code(element: Element, *nodes: ScreenNode) -> str:
    with pytest.raises(ScriptError) as caught:
        locate(screen(*nodes), element)
    return caught.value.code


def test_marks_of_what_is_required_are_no_part_of_a_name() -> None:
    assert fold_name(" Name  * ") == fold_name("name:") == "name"
    assert fold_name("*") == "*"


def test_the_node_of_role_name_and_test_id() -> None:
    other = ScreenNode("2", "button", "Delete")
    assert locate(screen(other, BUTTON), SAVE) is BUTTON


def test_capitals_and_blanks_are_no_other_name() -> None:
    node = replace(BUTTON, name="  save ")
    assert locate(screen(node), SAVE) is node
    assert fold_name("  A\n b ") == "a b"


def test_what_is_missing_hidden_or_of_another_role_is_not_found() -> None:
    assert code(SAVE) == "not_found"
    assert code(SAVE, replace(BUTTON, visible=False)) == "not_found"
    assert code(SAVE, replace(BUTTON, role="link")) == "not_found"


def test_another_name_is_another_element() -> None:
    assert code(SAVE, replace(BUTTON, name="Delete")) == "identity"


def test_two_that_look_alike_are_ambiguous() -> None:
    twin = ScreenNode("2", "button", "Save")
    assert code(SAVE, BUTTON, twin) == "ambiguous"
    assert code(replace(SAVE, locators=SAVE.locators[:1]), BUTTON, twin) == "ambiguous"
    # What writes nothing may rely on its test id.
    assert locate(screen(BUTTON, twin), replace(SAVE, effect="navigate")) is BUTTON


def test_ways_that_lead_apart_stop_what_writes() -> None:
    named, marked = replace(BUTTON, facts={}), replace(BUTTON, key="2", name="Save now")
    element = replace(SAVE, label="Save")
    assert code(element, named, marked) == "identity"
    assert locate(screen(named, marked), replace(element, effect="read")) is named


def row(number: int, text: str) -> ScreenNode:
    return ScreenNode(f"r{number}", "row", "", text=text)


def link(number: int) -> ScreenNode:
    return ScreenNode(f"l{number}", "link", "Edit", parent=f"c{number}")


def cell(number: int) -> ScreenNode:
    return ScreenNode(f"c{number}", "cell", "", parent=f"r{number}")


ITEMS = screen(row(1, "Spring"), cell(1), link(1), row(2, "Autumn"), cell(2), link(2))


def test_items_are_known_by_their_texts() -> None:
    first, second = items_on(ITEMS, ROWS)
    assert (first.seen, second.seen, second.place) == ("Spring", "Autumn", 1)
    moved = screen(row(2, "Autumn"), row(1, "Spring"))
    assert item_on(moved, ROWS, first).key == "r1"
    with pytest.raises(ScriptError) as caught:
        item_on(screen(row(2, "Autumn")), ROWS, first)
    assert caught.value.code == "identity"


def test_items_that_read_the_same_are_told_by_their_place() -> None:
    same = screen(row(1, "A"), row(2, "A"))
    assert item_on(same, ROWS, ElementHandle("list__rows", 1, "A")).key == "r2"
    with pytest.raises(ScriptError) as caught:
        item_on(same, replace(ROWS, effect="destructive"), ElementHandle("list__rows", 1, "A"))
    assert caught.value.code == "ambiguous"


def test_an_element_within_an_item_is_the_one_below_it() -> None:
    assert locate(ITEMS, EDIT, within=ITEMS.nodes[0]).key == "l1"
    assert locate(ITEMS, EDIT, within=ITEMS.nodes[3]).key == "l2"
    for nodes, problem in (
        ((row(1, "a"),), "not_found"),
        ((row(1, "a"), cell(1), link(1), replace(link(1), key="l9")), "ambiguous"),
    ):
        with pytest.raises(ScriptError) as caught:
            locate(screen(*nodes), EDIT, within=nodes[0])
        assert caught.value.code == problem


def test_a_ring_of_parents_ends() -> None:
    one = ScreenNode("l1", "link", "Edit", parent="x")
    ring = (one, ScreenNode("x", "cell", "", parent="y"), ScreenNode("y", "cell", "", parent="x"))
    with pytest.raises(ScriptError):
        locate(screen(row(1, "a"), *ring), EDIT, within=row(1, "a"))


def test_a_node_says_its_value_first() -> None:
    assert text_of(ScreenNode("1", "textbox", "Name", "Spring", text="x")) == "Spring"
    assert text_of(ScreenNode("1", "row", "Name", text="x")) == "x"
    assert text_of(ScreenNode("1", "button", "Name")) == "Name"


def table_row(place: str, key: str, text: str) -> ScreenNode:
    return ScreenNode(key, "row", "", text=text, facts={"xpath": f"/html[1]/form[1]/{place}"})


TABLE = replace(
    ROWS, locators=(Locator("xpath", "/html[1]/form[1]/div[1]/table[1]/tbody[1]/tr", of=0),)
)


def test_a_list_that_was_pushed_down_is_the_one_of_its_kind() -> None:
    head = table_row("div[2]/table[1]/thead[1]/tr[1]", "1", "Name")
    rows = [
        table_row(f"div[2]/table[1]/tbody[1]/tr[{n}]", f"{n + 1}", text)
        for n, text in ((1, "Tea"), (2, "Mug"))
    ]
    seen = screen(head, *rows)
    assert [one.seen for one in items_on(seen, TABLE)] == ["Tea", "Mug"]
    assert item_on(seen, TABLE, items_on(seen, TABLE)[1]) is rows[1]
    # Of two such lists neither is taken, and one of another depth is another list.
    twin = table_row("div[3]/table[1]/tbody[1]/tr[1]", "9", "Pot")
    assert items_on(screen(head, *rows, twin), TABLE) == ()
    deeper = table_row("div[2]/div[1]/table[1]/tbody[1]/tr[1]", "2", "Tea")
    assert items_on(screen(deeper), TABLE) == ()


def test_a_cell_without_a_header_is_not_read_for_one_that_has_moved() -> None:
    base = "/html[1]/table[1]"
    heads = [
        ScreenNode(
            f"h{n}",
            "columnheader",
            name,
            parent="h",
            facts={"xpath": f"{base}/thead[1]/tr[1]/th[{n}]"},
        )
        for n, name in ((1, "Price"), (2, ""))
    ]
    around = ScreenNode("r", "row", "", text="2.37", facts={"xpath": f"{base}/tbody[1]/tr[1]"})
    cells = [
        ScreenNode(
            f"c{n}",
            "cell",
            "",
            text=text,
            parent="r",
            facts={"xpath": f"{base}/tbody[1]/tr[1]/td[{n}]"},
        )
        for n, text in ((1, "2.37"), (2, " "))
    ]
    price = Element(
        "list__price",
        "list",
        "cell",
        "",
        (Locator("xpath", f"{base}/tbody[1]/tr/td[2]", of=0),),
        many=True,
        effect="read",
        description="one of a list, column Price",
    )
    with pytest.raises(ScriptError) as caught:
        locate(screen(*heads, around, *cells), price, within=around)
    assert caught.value.code == "identity"
    moved = replace(price, locators=(Locator("xpath", f"{base}/tbody[1]/tr/td[1]", of=0),))
    assert locate(screen(*heads, around, *cells), moved, within=around) is cells[0]
