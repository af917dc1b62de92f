"""A document is what its text says."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.agent.document.elements import (
    AppDocument,
    AppEdge,
    AppState,
    EffectClass,
    Element,
    Locator,
    ValueConstraints,
)
from adwright.agent.document.text_format import (
    MOST_BYTES,
    document_text,
    parse_document,
    read_document,
    write_document,
)
from adwright.core.errors import FileUnreadableError

TEXTS = st.text(max_size=12) | st.sampled_from(["in", "->", "frame", "number", 'a"b', "\\", "# x"])
NAMES = st.sampled_from(["a__x", "b__y", "frame", "number", "needs", "state"])


@st.composite
def locators(draw: st.DrawFn) -> Locator:
    of = draw(st.integers(0, 3))
    return Locator(
        draw(st.sampled_from(["role", "label", "test_id", "css", "xpath"])),
        draw(TEXTS),
        role=draw(TEXTS),
        nth=draw(st.integers(0, max(0, of - 1))),
        of=of,
        frame=draw(TEXTS),
    )


LIMITS = st.builds(
    ValueConstraints,
    required=st.booleans(),
    lowest=st.none() | TEXTS,
    highest=st.none() | TEXTS,
    pattern=TEXTS,
    most_characters=st.none() | st.integers(0, 10**8),
)


@st.composite
def documents(draw: st.DrawFn) -> AppDocument:
    names = draw(st.lists(TEXTS, min_size=1, max_size=3, unique=True))
    states = st.sampled_from(names)
    elements = [
        Element(
            name,
            draw(states),
            draw(TEXTS),
            draw(TEXTS),
            tuple(draw(st.lists(locators(), max_size=2))),
            draw(st.sampled_from(["none", "text", "secret"])),
            tuple(draw(st.lists(TEXTS, max_size=2))),
            draw(LIMITS),
            draw(st.booleans()),
            draw(st.sampled_from(get_args(EffectClass))),
            tuple(draw(st.lists(TEXTS, max_size=2))),
            draw(st.none() | states),
            draw(TEXTS),
        )
        for name in draw(st.lists(NAMES, max_size=3, unique=True))
    ]
    known = [one.name for one in elements]
    edges = [
        AppEdge(draw(states), draw(st.sampled_from(known)), draw(states), tuple(known[:1]))
        for _ in range(draw(st.integers(0, 2)) if known else 0)
    ]
    return AppDocument(
        draw(TEXTS),
        draw(TEXTS),
        tuple(draw(st.lists(TEXTS, max_size=2))),
        names[0],
        tuple(AppState(name, draw(TEXTS), draw(TEXTS), draw(TEXTS)) for name in names),
        tuple(elements),
        tuple(edges),
    )


@settings(max_examples=150, deadline=None)
@given(documents())
def test_reading_what_was_written_gives_the_same(document: AppDocument) -> None:
    text = document_text(document)
    assert parse_document(text) == document
    assert parse_document("# a remark\n\n" + text.replace("\n", "\r\n")) == document


def test_the_text_can_be_read() -> None:
    link = Element(
        "offers__new",
        "offers",
        "link",
        "New offer",
        (Locator("role", "New offer", role="link"), Locator("css", 'a[id="n"]', nth=1, of=2)),
        effect="navigate",
        target="edit",
    )
    states = (AppState("offers", "9c11", "/offers", "Offers"), AppState("edit", "77aa"))
    edges = (AppEdge("offers", "offers__new", "edit"),)
    document = AppDocument("Mill Lane", "3", ("https://h",), "offers", states, (link,), edges)
    assert document_text(document).splitlines() == [
        'app "Mill Lane"',
        'version "3"',
        'origin "https://h"',
        "start offers",
        "",
        "state offers",
        '  skeleton "9c11"',
        '  url "/offers"',
        '  title "Offers"',
        "",
        "element offers__new in offers",
        '  role "link"',
        '  label "New offer"',
        '  find role "New offer" as link',
        '  find css "a[id=\\"n\\"]" number 1 of 2',
        "  effect navigate",
        "  to edit",
        "",
        "state edit",
        '  skeleton "77aa"',
        "",
        "edge offers -> edit by offers__new",
    ]


def test_files(tmp_path: Path) -> None:
    document = AppDocument("app", "1", (), "a", (AppState("a", "1", title="Tée"),))
    path = tmp_path / "app.txt"
    write_document(path, document)
    assert read_document(path) == document
    path.write_bytes(b"\xff")
    for broken in (path, tmp_path / "none", tmp_path):
        with pytest.raises(FileUnreadableError, match="cannot be read"):
            read_document(broken)
    assert MOST_BYTES > 1 << 20
