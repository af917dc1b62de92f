"""The DOM of recorded documents."""

from __future__ import annotations

import pytest

from adwright.agent.drivers.snapshot import DomDocument, read_documents
from tests.support.agent.site.recorded import recorded_page


@pytest.fixture(scope="module")
def page() -> DomDocument:
    return read_documents(recorded_page()[0])[0]


def element(page: DomDocument, tag: str, **attributes: str) -> int:
    (found,) = (
        node
        for node, own in enumerate(page.attributes)
        if page.tags[node] == tag and attributes.items() <= own.items()
    )
    return found


def test_attributes_are_read_and_not_properties(page: DomDocument) -> None:
    form = element(page, "form")
    assert page.attributes[form] == {"id": "f12345", "action": "/save", "method": "post"}
    assert page.values[element(page, "input", name="name")] == "tea"
    assert page.url == "http://shop.example/offers/7/"
    assert page.title == "Édit"


def test_paths_and_selectors(page: DomDocument) -> None:
    title = element(page, "input", name="name")
    assert page.path(title) == "/html[1]/body[1]/form[1]/input[1]"
    assert page.path(element(page, "rect")).endswith("/*[name()='g'][1]/*[name()='rect'][1]")
    assert page.selector(title) == 'input[id="t"]'
    assert page.selector(element(page, "textarea")) == 'textarea[name="text"]'
    # Numbers in an id are not lasting, and a shadow tree has no path.
    assert page.selector(element(page, "form")) == ""
    deep = next(
        node for node, tag in enumerate(page.tags) if tag == "button" and page.text(node) == "Deep"
    )
    assert page.path(deep) == ""


def test_labels_options_and_forms(page: DomDocument) -> None:
    kind = element(page, "select")
    assert page.label(kind) == "Kind"
    assert (page.options[kind], page.chosen[kind]) == (["A", "Bee"], ["Bee"])
    assert page.label(element(page, "form")) == ""
    late = element(page, "button", form="f12345")
    assert page.form(late) == element(page, "form")
    assert page.form(element(page, "svg")) is None


def test_what_is_seen_and_tapped(page: DomDocument) -> None:
    assert element(page, "div", id="c") in page.clickable
    assert element(page, "select") in page.visible
    hidden = element(page, "p", hidden="")
    assert hidden not in page.visible
    assert sorted(page.frames.values()) == [1, 2]
