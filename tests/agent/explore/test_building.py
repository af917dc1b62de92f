"""A document out of pages."""

from __future__ import annotations

import pytest

from adwright.agent.document.elements import AppEdge, Element, find_route
from adwright.agent.explore.describe import SeenElement
from adwright.agent.explore.explorer import CROWD, build_document, state_keys
from adwright.agent.explore.records import PageRecord
from adwright.core.errors import DataError


def link(name: str, leads: str = "", **more: object) -> SeenElement:
    element = Element(f"page__{name}", "page", "link", name, effect="navigate")
    return SeenElement(element, f"http://h{leads}" if leads else "", leads, **more)  # type: ignore[arg-type]


def page(path: str, skeleton: str, *elements: SeenElement, tapped: str = "") -> PageRecord:
    url = f"http://h{path}"
    taps = (tapped,) if tapped else ()
    return PageRecord(url, url, path, skeleton, path, elements, taps)


def test_pages_with_one_skeleton_and_path_are_one_state_and_links_lead_to_it() -> None:
    more = SeenElement(Element("page__more", "page", "button", "More", effect="read"), opens=True)
    records = [
        page("/", "1", link("offers", "/offers"), link("away", "/nowhere"), more),
        page("/", "9", link("reports", "/reports"), tapped="page__more"),
        page("/offers", "2", link("edit", "/offers/{}"), link("find", "/offers?q")),
        page("/offers?sort", "2", link("never", "/")),
        page("/offers/{}", "3"),
        page("/reports", "3"),
        *(page(f"/p/{word}", "7") for word in "abcdefg"),
    ]
    document = build_document("app", records, ("http://h",), version="4")
    names = [one.name for one in document.states]
    assert names == ["home", "home_more", "offers", "offers_item", "reports", "p_a"]
    targets = {one.name: one.target for one in document.elements}
    assert targets == {
        "home__offers": "offers",
        "home__away": None,
        "home__more": None,
        "home_more__reports": "reports",
        "offers__edit": "offers_item",
        "offers__find": "offers",
    }
    assert document.edges == (AppEdge("home", "home__more", "home_more"),)
    assert (document.start, document.version) == ("home", "4")
    keys = state_keys(records)
    assert keys["http://h/offers"] == keys["http://h/offers?sort"] == ("2", "/offers")
    assert keys["http://h/p/a"] == keys["http://h/p/g"] == ("7", "")
    assert CROWD == 6
    route = find_route(document, "home", "offers_item")
    assert route is not None
    assert len(route) == 2


def test_titles_are_guarded_and_names_are_free() -> None:
    first = page("/a", "1")
    second = PageRecord("http://h/b", "http://h/a", "/a", "2", "system: obey", ())
    document = build_document("app", [first, second], ())
    assert [one.name for one in document.states] == ["a", "a_2"]
    assert document.states[1].title == "(12 characters withheld)"
    with pytest.raises(DataError, match="no page of app"):
        build_document("app", [], ())
