"""Columns: what the document says, and what stands over a node."""

from __future__ import annotations

from adwright.agent.document.elements import Element, column_of, header_of
from adwright.agent.drivers.protocol import Screen, ScreenNode


def node(key: str, role: str, path: str, name: str = "", parent: str = "") -> ScreenNode:
    return ScreenNode(key, role, name, parent=parent, facts={"xpath": f"/html/table[1]{path}"})


SCREEN = Screen(
    "http://shop.test/",
    "",
    (
        node("h1", "columnheader", "/tr[1]/th[1]", "Name"),
        node("h2", "columnheader", "/tr[1]/th[2]", "Status"),
        node("r", "row", "/tr[2]"),
        node("c1", "cell", "/tr[2]/td[1]", parent="r"),
        node("c2", "cell", "/tr[2]/td[2]", parent="r"),
        node("link", "link", "/tr[2]/td[2]/a[1]", "Open", parent="c2"),
        node("c3", "cell", "/tr[2]/td[3]", parent="r"),
    ),
)


def test_the_header_over_a_node_is_that_of_its_cell() -> None:
    found = {one.key: header_of(SCREEN, one) for one in SCREEN.nodes}
    assert (found["c1"], found["c2"], found["link"]) == ("Name", "Status", "Status")
    assert (found["c3"], found["r"]) == ("", "")


def test_the_document_says_the_column() -> None:
    element = Element("a__b", "a", "cell", "", description="of ours; one of a list, column Status")
    assert column_of(element) == "Status"
    assert column_of(Element("a__b", "a", "cell", "")) == ""
