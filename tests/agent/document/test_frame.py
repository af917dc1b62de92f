"""What is about no task."""

from __future__ import annotations

from adwright.agent.document.elements import AppDocument, AppState, Element, frame_of, variants_of
from tests.support.agent.shop_document import shop_document


def test_what_stands_on_most_pages_is_the_frame() -> None:
    frame = frame_of(shop_document())
    assert {name.partition("__")[2] for name in frame} == {"home"}


def test_fields_and_buttons_of_forms_are_not() -> None:
    states = tuple(AppState(f"s{n}", f"{n}", f"/{n}/") for n in range(6))
    elements = [
        Element(f"s{n}__{name}", f"s{n}", role, name, requests=requests, value_type=kind)  # type: ignore[arg-type]
        for n in range(6)
        for name, role, kind, requests in (
            ("name", "textbox", "text", ()),
            ("save", "button", "none", (f"POST /{n}/",)),
            ("out", "button", "none", ("POST /out/",)),
        )
    ]
    document = AppDocument("a", "1", (), "s0", states, tuple(elements))
    assert frame_of(document) == {f"s{n}__out" for n in range(6)}


def test_views_with_a_query_are_variants() -> None:
    paths = {"a": "/a/", "a_sorted": "/a/?sort", "b_found": "/b/?q", "c": ""}
    states = tuple(AppState(name, name, path) for name, path in paths.items())
    assert variants_of(AppDocument("a", "1", (), "a", states)) == {"a_sorted"}
