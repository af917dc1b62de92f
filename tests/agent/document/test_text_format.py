"""A document is what its text says."""

from __future__ import annotations

from dataclasses import replace
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
    document_changes,
    document_text,
    next_version,
    parse_document,
    quoted_or_bare,
    read_document,
    write_document,
)
from adwright.core.errors import DataError, FileUnreadableError

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


HEAD = 'app "a"\nversion "1"\nstart a\nstate a\n'
ELEMENT = HEAD + 'element a__x in a\n  role "button"\n  label "X"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: the document does not say its app"),
        ("app a\napp b", "line 2: app stands twice"),
        ("ap x", "line 1: 'ap' begins no line here .* did you mean app"),
        ('app "x', "line 1: a text has no end"),
        ('app "\\q"', "line 1: .* is no text"),
        ("app", "line 1: app has one value, not 0"),
        (HEAD + "  colour red", "line 5: 'colour' says nothing of a state"),
        (ELEMENT + "  efect commit", "line 8: 'efect' .* did you mean effect"),
        (ELEMENT + "  effect comit", "line 5: effect cannot be 'comit'"),
        (ELEMENT + '  label "Y"', "line 8: label stands twice"),
        (ELEMENT + "  find colour red", "line 8: a locator is not complete"),
        (ELEMENT + "  find css x number 3 of 2", "line 8: number 3 of 2 elements"),
        (ELEMENT + "  find css x number one of 2", "line 8: 'one' is no whole number"),
        (ELEMENT + "  find css x number 1", "line 8: the number of a locator"),
        (ELEMENT + "  find css x y", "line 8: 'y' says nothing of a locator"),
        (ELEMENT + "  many times", "line 8: many stands alone"),
        (ELEMENT + "  characters -1", "line 8: '-1' is no whole number"),
        (HEAD + "element a__x", "line 5: an element needs a name and a state"),
        (HEAD + "element a-x in a", "line 5: 'a-x' is no name of an element"),
        (HEAD + "element a__x in b\n role r\n label l", "called 'b': element a__x"),
        (HEAD + "edge a -> a", "line 5: an edge is not complete"),
        (HEAD + "edge a -> a by x needs", "line 5: it needs nothing"),
        (HEAD + "state a", "two of the document's states"),
    ],
)
def test_what_is_wrong_is_said(text: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        parse_document(text, file="app.txt")
    assert caught.value.file == "app.txt"


@given(st.text(alphabet='ab "\\\n_->#', max_size=60))
def test_any_text_is_a_document_or_a_data_error(text: str) -> None:
    try:
        assert parse_document(HEAD + text).start == "a"
    except DataError as error:
        told = error
        assert told.hint


def test_plain_words_need_no_quotation_marks() -> None:
    assert quoted_or_bare("offer_edit") == "offer_edit"
    assert quoted_or_bare("two words") == '"two words"'
    assert quoted_or_bare("") == '""'


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
