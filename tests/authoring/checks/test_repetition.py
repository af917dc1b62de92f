from __future__ import annotations

import pytest

from adwright.authoring.checks.limits import check_repetition


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("A fine cup of tea", []),
        ("A fine fine cup", ["doubled"]),
        ("It is so so good, and 5 5", []),
        ("a cup of tea, a cup of tea, a cup of tea", ["phrase"]),
        ("shoes red shoes big shoes new shoes my shoes", ["stuffing"]),
    ],
)
def test_what_is_found(text: str, rules: list[str]) -> None:
    assert [one.rule.partition("/")[2] for one in check_repetition(text)] == rules


def test_only_a_third_of_all_words_is_an_error() -> None:
    few = "shoes one two three shoes four five six shoes seven eight shoes nine ten eleven"
    assert [one.severity for one in check_repetition(few)] == ["warning"]
    many = "shoes one shoes two shoes three shoes four"
    assert [one.severity for one in check_repetition(many)] == ["error"]
