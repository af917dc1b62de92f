"""Names that stay the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.agent.document.elements import Locator
from adwright.agent.document.finding import element_name, locators_of, state_name, word_of
from tests.support.agent.site.screens import node


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
