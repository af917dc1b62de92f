"""Roles, names and values of views."""

from __future__ import annotations

import pytest

from adwright.agent.android.views import UiTree, field_value, read_ui_tree, role_of, screen_of
from adwright.agent.drivers.protocol import Screen
from tests.support.agent.phone_app import APP, ShopPhone, drawn, node, view_of

BOX = (0, 0, 100, 100)


def screen_with(*inner: str) -> Screen:
    return screen_of(read_ui_tree(drawn(*inner)), APP)


@pytest.mark.parametrize(
    ("kind", "given", "role"),
    [
        ("Button", {}, "button"),
        ("ImageButton", {}, "button"),
        ("EditText", {}, "textbox"),
        ("SearchView$SearchAutoComplete", {}, "textbox"),
        ("CheckBox", {}, "checkbox"),
        ("RadioButton", {}, "radio"),
        ("Switch", {"clickable": "true"}, "switch"),
        ("ToggleButton", {}, "switch"),
        ("Spinner", {"clickable": "true"}, "combobox"),
        ("SeekBar", {}, "slider"),
        ("ImageView", {}, "img"),
        ("ImageView", {"clickable": "true"}, "button"),
        ("TextView", {"text": "a"}, "text"),
        ("TextView", {}, ""),
        ("TextView", {"text": "a", "clickable": "true"}, "button"),
        ("TabLayout$TabView", {"clickable": "true"}, "tab"),
        ("ListView", {}, "list"),
        ("ScrollView", {"scrollable": "true"}, "generic"),
        ("View", {"checkable": "true"}, "checkbox"),
        ("View", {"long_clickable": "true"}, "button"),
        ("View", {"content_desc": "a"}, "text"),
        ("LinearLayout", {}, ""),
    ],
)
def test_roles(kind: str, given: dict[str, str], role: str) -> None:
    tree = read_ui_tree(drawn(node(kind, BOX, **given)))
    assert role_of(tree, tree.views[1]) == role


def test_names_come_from_what_a_screen_reader_says() -> None:
    row = node("LinearLayout", BOX, node("TextView", BOX, text="Oak\nlamp"), clickable="true")
    screen = screen_with(
        node("Button", BOX, text="Save"),
        node("ImageButton", BOX, content_desc="Back", text="x"),
        row,
        node("CheckBox", BOX, text="Active", checked="true"),
        node("EditText", BOX, hint="Name", text="Tea"),
        node("EditText", BOX, id="unit_price", text="3"),
        node("Spinner", BOX, node("TextView", BOX, text="Weekly"), id="every", clickable="true"),
    )
    found = [(one.role, one.name, one.value) for one in screen.nodes]
    assert found == [
        ("button", "Save", ""),
        ("button", "Back", ""),
        ("button", "Oak lamp", ""),
        ("text", "Oak lamp", ""),
        ("checkbox", "Active", "true"),
        ("textbox", "Name", "Tea"),
        ("textbox", "unit price", "3"),
        ("combobox", "every", "Weekly"),
        ("text", "Weekly", ""),
    ]
    assert (screen.nodes[3].parent, screen.nodes[2].parent) == (screen.nodes[2].key, "")
    assert (screen.url, screen.at_end) == (APP, True)


def test_a_hint_is_no_value_and_a_password_is_nothing() -> None:
    data = drawn(
        node("EditText", BOX, id="a", hint="Name", text="Name"),
        node("EditText", BOX, id="pin", text="1234", password="true"),
        node(
            "LinearLayout", BOX, node("EditText", BOX, text="77", password="true"), clickable="true"
        ),
    )
    screen = screen_of(read_ui_tree(data), APP)
    assert [one.value for one in screen.nodes] == ["", "", "", ""]
    assert [one.secret for one in screen.nodes] == [False, True, False, True]
    assert "1234" not in str(screen)
    assert "77" not in str(screen)
    assert field_value(view_of(data, "pin")) == ""


def test_lists_have_items_and_things_that_scroll_have_more() -> None:
    phone = ShopPhone()
    phone.screen = "list"
    screen = screen_of(read_ui_tree(phone.dump()), APP)
    items = [one for one in screen.nodes if one.role == "listitem"]
    assert [one.name for one in items] == ["Spring Delete", "Autumn Delete", "Winter Delete"]
    bins = [(one.nth, one.of) for one in screen.nodes if one.name == "Delete"]
    assert bins == [(0, 3), (1, 3), (2, 3)]
    assert not screen.at_end


def test_facts_hold_what_locators_need() -> None:
    data = drawn(
        node("CheckBox", (1, 2, 3, 4), id="on", checked="true", enabled="false", selected="true"),
        node("Button", (0, 0, 0, 0), text="Hidden", clickable="true"),
    )
    switch, hidden = screen_of(read_ui_tree(data), APP).nodes
    assert switch.facts == {
        **{"xpath": switch.key, "class": "android.widget.CheckBox", "package": "com.shop.ads"},
        **{"id": "com.shop.ads:id/on", "test_id": "com.shop.ads:id/on", "name": "on"},
        **{"bounds": "1,2,3,4", "selected": "true", "checked": "true"},
    }
    assert (switch.enabled, switch.visible, hidden.visible) == (False, True, False)
    assert screen_of(UiTree(()), APP).nodes == ()
