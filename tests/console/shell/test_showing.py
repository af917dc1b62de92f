from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adwright.console.shell.showing import has_hidden, hidden_runs, thousands


def test_what_the_eye_does_not_see_is_named() -> None:
    assert hidden_runs("a\u202eb") == [
        ("a", ""),
        (" ", "U+202E RIGHT-TO-LEFT OVERRIDE"),
        ("b", ""),
    ]
    assert hidden_runs("\x00") == [(" ", "U+0000")]
    assert hidden_runs("\u200bx")[0][1] == "U+200B ZERO WIDTH SPACE"
    assert hidden_runs("") == []


def test_writing_of_all_kinds_is_seen() -> None:
    for text in ("a\n\tb", "می‌خواهم", "क्‍ष", "❤️ 👩‍🍳", "日本語", "é"):
        assert hidden_runs(text) == [(text, "")]
        assert not has_hidden(text)


@given(st.text(st.characters(), max_size=60))
def test_no_character_is_lost(text: str) -> None:
    runs = hidden_runs(text)
    assert sum(1 if name else len(piece) for piece, name in runs) == len(text)
    shown = "".join(piece for piece, name in runs if not name)
    assert shown == "".join(sign for sign in text if not has_hidden(sign))
    assert has_hidden(text) == any(name for _, name in runs)


def test_numbers_are_grouped() -> None:
    assert (thousands(0), thousands(12345)) == ("0", "12,345")
