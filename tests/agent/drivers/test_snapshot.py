"""A recorded page as nodes, and small trees made by hand."""

from __future__ import annotations

import pytest

from adwright.agent.drivers.protocol import ScreenNode
from adwright.agent.drivers.snapshot import STYLES, NodePlace, PageNodes, read_snapshot
from tests.support.agent.site.recorded import recorded_page


@pytest.fixture(scope="module")
def page() -> PageNodes:
    return read_snapshot(*recorded_page())


def named(page: PageNodes, name: str) -> ScreenNode:
    (found,) = (one for one in page.nodes if one.name == name)
    return found


def test_names_and_roles_are_the_browsers(page: PageNodes) -> None:
    found = {one.name: one.role for one in page.nodes if one.name}
    assert found == {
        **{"Title": "textbox", "Kind": "combobox", "Key": "textbox", "Active": "checkbox"},
        **{"Words": "textbox", "Save": "button", "Late": "button", "Next": "link"},
        **{"Top": "link", "Chart": "img", "Bar": "button", "Deep": "button", "inner": "textbox"},
    }
    assert STYLES == ("visibility",)


def test_fields_that_shadow_properties_hide_nothing(page: PageNodes) -> None:
    save = named(page, "Save")
    assert (save.facts["method"], save.facts["action"]) == ("GET", "http://shop.example/other")
    title = named(page, "Title")
    assert (title.facts["method"], title.facts["action"]) == ("POST", "http://shop.example/save")
    assert (title.facts["name"], title.facts["maxlength"]) == ("name", "9")
    assert "required" in title.facts
    assert title.facts["label"] == "Ti tle"
    assert save.facts["test_id"] == "go"


def test_values(page: PageNodes) -> None:
    values = {one: named(page, one).value for one in ("Title", "Kind", "Active", "Words")}
    assert values == {"Title": "tea", "Kind": "Bee", "Active": "true", "Words": "two\nlines"}
    assert named(page, "Kind").options == ("A", "Bee")
    assert not named(page, "Late").enabled


def test_secrets_are_not_read(page: PageNodes) -> None:
    key = named(page, "Key")
    assert (key.secret, key.value, key.text) == (True, "", "")
    assert "hush" not in repr(page)


def test_hidden_parts_and_frames_of_no_server_are_left_out(page: PageNodes) -> None:
    shown = " ".join(f"{one.name} {one.text}" for one in page.nodes)
    assert not any(word in shown for word in ("Hidden", "Unseen", "Trap", "gone"))
    assert "onetwo" not in shown


def test_links_are_whole_and_places_in_the_page_apart(page: PageNodes) -> None:
    assert named(page, "Next").facts["href"] == "http://shop.example/offers/7/page?x=1#y"
    assert named(page, "Top").facts["anchor"] == "#top"
    assert "href" not in named(page, "Top").facts
    (tap,) = (one for one in page.nodes if one.role == "generic")
    assert (tap.text, tap.facts["clickable"]) == ("Tap me", "true")


def test_places_lead_through_frames_and_not_into_shadows(page: PageNodes) -> None:
    inner = named(page, "inner")
    assert inner.frame == "ad"
    assert page.places[inner.key] == NodePlace(
        ("/html[1]/body[1]/iframe[1]",), "/html[1]/body[1]/input[1]"
    )
    assert page.places[named(page, "Deep").key].path == ""


def test_alike_nodes_are_numbered(page: PageNodes) -> None:
    items = [one for one in page.nodes if one.role == "listitem"]
    assert [(one.text, one.nth, one.of) for one in items] == [("one", 0, 2), ("two", 1, 2)]
    assert all(one.parent in page.places for one in items)
