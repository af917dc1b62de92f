from __future__ import annotations

import logging
import re

import pytest

from adwright.data.ids import LONGEST_ID, PRINTABLE, first_bad_id, warn_of_bad_ids, why_no_id

BAD = {
    **dict.fromkeys(("", " ", "\u2003", "nan", "None", "<NA>"), "blank, or a word for nothing"),
    "x" * (LONGEST_ID + 1): "501 characters, an id at most 500",
    **dict.fromkeys(("a\0b", "a\nb", "end\n", "\x7f", "\ud800"), "control character, or half"),
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_id(text: str) -> None:
    assert BAD[text] in why_no_id(text)
    assert first_bad_id(["a", text, ""]) == (text, why_no_id(text))


@pytest.mark.parametrize("text", ["a", "käse", "チーズ", "🧀" * LONGEST_ID, "a b", "0", "null"])
def test_what_is_one(text: str) -> None:
    assert why_no_id(text) == ""
    assert first_bad_id([text]) is None
    assert re.search(PRINTABLE, text)


def test_a_warning_names_the_first(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "adwright"):
        warn_of_bad_ids(["a", "b"], "items.csv")
        assert caplog.text == ""
        warn_of_bad_ids(["a", "x" * 600, "nan"], "items.csv")
    assert "items.csv: 'xxx" in caplog.text
    assert "600 characters" in caplog.text
    assert len(caplog.records) == 1
