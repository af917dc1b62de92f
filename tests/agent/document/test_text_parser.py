"""Mistakes in the text of a document are told with their line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.agent.document.text_format import parse_document, quoted_or_bare
from adwright.core.errors import DataError

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
