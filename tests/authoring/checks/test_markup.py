from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.authoring.checks.limits import errors_of
from adwright.authoring.checks.policy import check_markup, plain_text


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("<b>New</b> tea", {"markup/html"}),
        ("tea &amp; more", {"markup/html"}),
        ("<script>alert('x')</script>", {"markup/script", "markup/html"}),
        ("see javascript:alert(1)", {"markup/script"}),
        ("**New** tea", {"markup/markdown"}),
        ("[tea](http://a.b)", {"markup/markdown"}),
        ("Dear {customer_name}", {"markup/field"}),
        ("by [brand name]", {"markup/field"}),
        ("a\x00b", {"markup/control"}),
        ("a\u202eb", {"markup/unseen"}),
        ("аpple p\u0430y", {"markup/mixed-script"}),
        ("2 < 3 & 5 > 4, R&D, family 👨‍👩‍👧", set()),
    ],
)
def test_what_is_found(text: str, rules: set[str]) -> None:
    assert {one.rule for one in check_markup(text)} == rules


def test_plain_text() -> None:
    assert plain_text("<b>New</b>  tea &amp; more<script>x()</script>") == "New tea & more"
    assert plain_text("&amp;lt;b&amp;gt;x") == "x"
    assert plain_text("a\u202eb\n\n c") == "ab\nc"


MARKS = ["<", ">", "b", "&amp;", "&lt;", "script", "</", "{", "}", "a", "\x00", "\u202e", ";", "&"]


@given(st.text(max_size=60) | st.lists(st.sampled_from(MARKS)).map("".join))
def test_plain_text_has_no_scripts_and_no_unseen_characters(text: str) -> None:
    left = {one.rule for one in errors_of(check_markup(plain_text(text)))}
    assert not left & {"markup/unseen", "markup/control", "markup/script"}


def test_many_are_told_a_few_times() -> None:
    assert len(check_markup("<b>" * 1000)) == 50
