"""A recorded page as nodes, and small trees made by hand."""

from __future__ import annotations

from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.agent.drivers.protocol import (
    ScreenNode,
    body_fields,
    kind_of,
)
from adwright.agent.drivers.snapshot import (
    ELEMENT,
    STYLES,
    TEXT,
    DomDocument,
    NodePlace,
    PageNodes,
    blocks_of,
    hint_of,
    nearby_label,
    read_documents,
    read_snapshot,
)
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


@pytest.fixture(scope="module")
def dom_page() -> DomDocument:
    return read_documents(recorded_page()[0])[0]


def element(dom_page: DomDocument, tag: str, **attributes: str) -> int:
    (found,) = (
        node
        for node, own in enumerate(dom_page.attributes)
        if dom_page.tags[node] == tag and attributes.items() <= own.items()
    )
    return found


def test_attributes_are_read_and_not_properties(dom_page: DomDocument) -> None:
    form = element(dom_page, "form")
    assert dom_page.attributes[form] == {"id": "f12345", "action": "/save", "method": "post"}
    assert dom_page.values[element(dom_page, "input", name="name")] == "tea"
    assert dom_page.url == "http://shop.example/offers/7/"
    assert dom_page.title == "Édit"


def test_paths_and_selectors(dom_page: DomDocument) -> None:
    title = element(dom_page, "input", name="name")
    assert dom_page.path(title) == "/html[1]/body[1]/form[1]/input[1]"
    assert dom_page.path(element(dom_page, "rect")).endswith(
        "/*[name()='g'][1]/*[name()='rect'][1]"
    )
    assert dom_page.selector(title) == 'input[id="t"]'
    assert dom_page.selector(element(dom_page, "textarea")) == 'textarea[name="text"]'
    # Numbers in an id are not lasting, and a shadow tree has no path.
    assert dom_page.selector(element(dom_page, "form")) == ""
    deep = next(
        node
        for node, tag in enumerate(dom_page.tags)
        if tag == "button" and dom_page.text(node) == "Deep"
    )
    assert dom_page.path(deep) == ""


def test_labels_options_and_forms(dom_page: DomDocument) -> None:
    kind = element(dom_page, "select")
    assert dom_page.label(kind) == "Kind"
    assert (dom_page.options[kind], dom_page.chosen[kind]) == (["A", "Bee"], ["Bee"])
    assert dom_page.label(element(dom_page, "form")) == ""
    late = element(dom_page, "button", form="f12345")
    assert dom_page.form(late) == element(dom_page, "form")
    assert dom_page.form(element(dom_page, "svg")) is None


def test_what_is_seen_and_tapped(dom_page: DomDocument) -> None:
    assert element(dom_page, "div", id="c") in dom_page.clickable
    assert element(dom_page, "select") in dom_page.visible
    hidden = element(dom_page, "p", hidden="")
    assert hidden not in dom_page.visible
    assert sorted(dom_page.frames.values()) == [1, 2]


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


def test_kinds() -> None:
    assert kind_of("document", navigates=True, is_main=True) == "page"
    assert kind_of("document", navigates=True, is_main=False) == "frame"
    words = ("xhr", "fetch", "EventSource", "script", "ping", "websocket", "image", "what")
    kinds = [kind_of(one, navigates=False, is_main=True) for one in words]
    assert kinds == [
        *("fetch", "fetch", "fetch", "script", "beacon", "socket", "resource", "resource")
    ]


MULTIPART = (
    b'--b\r\nContent-Disposition: form-data; name="title"\r\n\r\nTea\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n'
    b"Content-Type: text/csv\r\n\r\nx,y\r\n--b--\r\n"
)


@pytest.mark.parametrize(
    ("body", "kind", "fields"),
    [
        (b"a=1&b=&a=2", "application/x-www-form-urlencoded; charset=utf-8", {"a": "1, 2", "b": ""}),
        (b'{"a": "x", "n": 3, "l": [1]}', "application/json", {"a": "x", "n": "3", "l": "[1]"}),
        (b'{"a": 1}', "application/vnd.api+json", {"a": "1"}),
        (b"[1]", "application/json", {}),
        (b"{", "application/json", {}),
        (b"a=1", "text/plain", {}),
        (b"", "application/json", {}),
        (
            MULTIPART,
            "multipart/form-data; boundary=b",
            {"title": "Tea", "file": "file a.csv, 3 bytes"},
        ),
    ],
)
def test_fields(body: bytes, kind: str, fields: dict[str, str]) -> None:
    assert body_fields(body, kind) == fields


@given(
    st.binary(max_size=80),
    st.sampled_from(
        ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"]
    ),
)
def test_no_body_is_an_error(body: bytes, kind: str) -> None:
    assert all(isinstance(one, str) for one in body_fields(body, kind).values())
