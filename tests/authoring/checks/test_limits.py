from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.authoring.checks.limits import (
    PlatformLimit,
    all_limits,
    check_count,
    check_limit,
    limit_named,
    limits_version,
    trim,
    width,
)
from adwright.core.errors import ConfigError

HEADLINE = limit_named("google.headline")


def test_the_table_says_where_its_figures_come_from() -> None:
    found = {one.name: one.most for one in all_limits()}
    assert found["google.headline"] == 30
    assert found["google.description"] == 90
    assert found["google.path"] == 15
    assert found["web.meta_description"] == 155
    assert limit_named("meta.primary").visible == 125
    assert (HEADLINE.fewest_texts, HEADLINE.most_texts) == (3, 15)
    assert all(one.source for one in all_limits())
    assert all(bool(one.read) == (one.basis != "unverified") for one in all_limits())
    read = {one.name for one in all_limits() if one.basis == "platform"}
    assert read == {"google.shopping_title", "google.shopping_description", "amazon.title"}
    assert all(one.url.startswith("https://") for one in all_limits() if one.basis != "unverified")
    assert all(one.note for one in all_limits())
    assert limits_version()


def test_wide_characters_count_two_where_the_platform_does_so() -> None:
    assert width("茶tea") == 5
    assert check_limit("茶" * 15, HEADLINE) == ()
    (found,) = check_limit("茶" * 16, HEADLINE)
    assert (found.rule, found.start, found.end) == ("limits/too-long", 15, 16)
    assert check_limit("茶" * 60, limit_named("web.title")) == ()


def test_what_is_not_shown_is_a_warning() -> None:
    (found,) = check_limit("a" * 41, limit_named("meta.headline"))
    assert (found.rule, found.severity, found.start) == ("limits/cut-off", "warning", 40)


def test_counts() -> None:
    assert check_count(["a", "b", "c"], HEADLINE) == ()
    assert check_count(["a", "b", "B "], HEADLINE)[0].rule == "limits/count"
    assert check_count([str(one) for one in range(16)], HEADLINE)
    assert check_count([], limit_named("web.title")) == ()


@pytest.mark.parametrize(
    ("text", "trimmed"),
    [
        ("short", "short"),
        ("A quiet cup of tea for you and the whole family", "A quiet cup of tea for you"),
        ("A quiet cup of tea is here. More of it soon", "A quiet cup of tea is here."),
        ("x" * 40, "x" * 30),
        ("A quiet cup of tea which fits!!", "A quiet cup of tea which"),
    ],
)
def test_trimming(text: str, trimmed: str) -> None:
    assert trim(text, HEADLINE) == trimmed


@given(st.text(max_size=200), st.sampled_from(all_limits()))
def test_what_is_trimmed_fits(text: str, limit: PlatformLimit) -> None:
    found = trim(text, limit)
    assert limit.size(found) <= limit.most
    assert text.startswith(found)


def test_bad_limits_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"did you mean google\.headline"):
        limit_named("google.headlin")
    with pytest.raises(ConfigError, match="at least 1"):
        PlatformLimit("a.b", 0, "s", "r")
    with pytest.raises(ConfigError, match="visible 9"):
        PlatformLimit("a.b", 5, "s", "r", visible=9)
    with pytest.raises(ConfigError, match=r"PlatformLimit\.unit"):
        PlatformLimit("a.b", 5, "s", "r", unit="bytes")  # type: ignore[arg-type]
