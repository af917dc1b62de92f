"""What is different between two documents."""

from __future__ import annotations

from dataclasses import replace

from adwright.agent.document.elements import AppDocument, AppEdge, AppState, Element
from adwright.agent.document.text_format import document_changes, next_version

SAVE = Element("a__save", "a", "button", "Save", effect="commit")
OLD = AppDocument(
    "app",
    "1",
    ("http://h",),
    "a",
    (AppState("a", "1"), AppState("b", "2")),
    (SAVE, Element("a__b", "a", "link", "B", effect="navigate")),
    (AppEdge("a", "a__b", "b"),),
)


def test_equal_documents_have_no_difference() -> None:
    other = replace(OLD, version="9", states=OLD.states[::-1], elements=OLD.elements[::-1])
    assert document_changes(OLD, other) == ()


def test_each_difference_is_told() -> None:
    store = replace(SAVE, label="Store", effect="destructive")
    added = Element("b__new", "b", "link", "New")
    new = replace(OLD, elements=(store, added), edges=(), origins=("https://h",))
    assert [str(one) for one in document_changes(OLD, new)] == [
        "removed element a__b",
        "removed edge a -> b by a__b",
        "added element b__new",
        "changed document app: origins ('http://h',) -> ('https://h',)",
        'changed element a__save: label "Save" -> "Store"',
        'changed element a__save: effect "commit" -> "destructive"',
    ]


def test_versions_go_up() -> None:
    assert [next_version(one) for one in ("1", "9", "2026-a")] == ["2", "10", "2026-a.1"]
