"""Words of scripts: what is one, and what is refused with its place."""

from __future__ import annotations

import pytest

from adwright.agent.language.lexer import (
    MOST_CHARACTERS,
    MOST_LEVELS,
    MOST_WORDS,
    is_allowed_in_text,
    script_words,
)
from adwright.agent.language.problems import ScriptError


def kinds(source: str) -> list[str]:
    return [one.kind for one in script_words(source)]


def test_words_have_kinds_and_places() -> None:
    words = script_words('if $a__b:\n    x = ["é", 1, 2.5]  # why\n')
    assert [(one.kind, one.value) for one in words] == [
        ("name", "if"),
        ("element", "a__b"),
        ("sign", ":"),
        ("newline", ""),
        ("indent", ""),
        ("name", "x"),
        ("sign", "="),
        ("sign", "["),
        ("text", "é"),
        ("sign", ","),
        ("whole", "1"),
        ("sign", ","),
        ("decimal", "2.5"),
        ("sign", "]"),
        ("newline", ""),
        ("dedent", ""),
        ("end", ""),
    ]
    assert (words[8].at.line, words[8].at.column) == (2, 10)


def test_a_line_goes_on_within_brackets() -> None:
    assert kinds("tap(\n  $a\n)\n") == ["name", "sign", "element", "sign", "newline", "end"]


def test_lines_of_windows_and_empty_lines_are_read() -> None:
    assert kinds("back()\r\n\r\n   # only words\r\nback()") == kinds("back()\nback()")


def test_escapes_are_few() -> None:
    (text, *_) = script_words(r'"a\n\t\"\'\\"')
    assert text.value == "a\n\t\"'\\"


@pytest.mark.parametrize(
    ("source", "code", "column"),
    [
        ("x.y", "character", 2),
        ("\tback()", "character", 1),
        ("b\u0430ck()", "character", 2),  # a Cyrillic letter
        ("\uff42ack()", "character", 1),  # a wide letter
        ("# \u202e reordered", "character", 3),
        ("x = 'a\u200bb'", "character", 7),
        ("x = '\x00'", "character", 6),
        ("{", "character", 1),
        ("_x = 1", "character", 1),
        ("__import__('os')", "character", 1),
        ("$", "character", 1),
        ("$é", "character", 1),
        ("x = 1e5", "number", 5),
        ("x = 1.2.3", "number", 5),
        ("x = 0x10", "number", 5),
        ("x = 1234567890123456", "number", 5),
        ("x = \u0661", "character", 5),  # an Arabic digit
        ("x = 'a", "text_end", 5),
        ("x = '\\x41'", "escape", 6),
        ("x = 'a\\", "escape", 7),
        ("  back()", "indent", 3),
        ("        back()", "indent", 9),
        ("tap($a", "bracket", 4),
        ("tap)", "bracket", 4),
        ("tap(]", "bracket", 5),
        ("a" * 81, "too_long", 1),
    ],
)
def test_what_is_no_word_is_refused_where_it_stands(source: str, code: str, column: int) -> None:
    with pytest.raises(ScriptError) as caught:
        script_words(source)
    (problem,) = caught.value.problems
    assert (problem.code, problem.line, problem.column) == (code, 1, column)


def test_a_look_alike_is_named() -> None:
    with pytest.raises(ScriptError, match="cyrillic small letter a"):
        script_words("b\u0430ck()")


@pytest.mark.parametrize(
    "source",
    [
        "#" * (MOST_CHARACTERS + 1),
        "1 " * (MOST_WORDS + 1),
        f"x = '{'a' * 2001}'",
        "".join(" " * 4 * n + "if x:\n" for n in range(MOST_LEVELS + 2)),
    ],
)
def test_a_script_is_bounded(source: str) -> None:
    with pytest.raises(ScriptError) as caught:
        script_words(source)
    assert caught.value.code in ("too_long", "too_deep")


def test_visible_characters_may_stand_in_text() -> None:
    assert all(map(is_allowed_in_text, "aé漢 €😀"))
    assert not any(map(is_allowed_in_text, "\n\u200d\u2028\ud800\ue000"))
