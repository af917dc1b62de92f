from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.authoring.writer.feeds import plain_text


@pytest.mark.parametrize(
    ("given_text", "shown"),
    [
        ("<p>Fresh &amp; green</p><script>x()</script>", "Fresh & green"),
        ("<ul><li>80 bags</li><li>strong</li></ul>", "80 bags\nstrong"),
        ("<td>a</td><td>b</td>", "a b"),
        ("Tea<img src=x onerror=alert(1)>", "Tea"),
        ("<SCRIPT>alert('<p>')</SCRIPT >Tea", "Tea"),
        ("Tea <script>never closed", "Tea"),
        ('<a title="x>y">Tea</a>', "Tea"),
        ('Tea <img alt="a<b">cup', 'Tea img alt="acup'),
        ("Tea <!-- never closed", "Tea never closed"),
        ("Tea <style>p{}</style><!-- hidden -->cup", "Tea cup"),
        ("safe\u202egnp.exe", "safegnp.exe"),
        ("zero\u200bwidth\x00\x1b[31m", "zerowidth[31m"),
        ("caf&eacute; &#8364;3", "café €3"),
    ],
)
def test_markup_and_what_is_hidden_goes(given_text: str, shown: str) -> None:
    assert plain_text(given_text) == (shown, True)


@pytest.mark.parametrize(
    "text", ["screws < 5 mm", "I <3 tea", "M&S tea", "می‌خواهم", "👩‍🍳", "a\nb", "茶 80袋"]
)
def test_what_is_plain_stays(text: str) -> None:
    assert plain_text(text) == (text, False)


def test_lines_become_spaces_where_asked() -> None:
    assert plain_text("a \r\n\n b\tc") == ("a\nb c", False)
    assert plain_text("a\r\n b", lines=False) == ("a b", False)


@given(st.text(max_size=200))
def test_no_tag_and_nothing_hidden_is_left(text: str) -> None:
    shown, changed = plain_text(f"<b>{text}</b>")
    assert changed
    assert "\u202e" not in shown
    assert "\x00" not in shown
    assert shown == shown.strip()


def test_long_fields_take_little_time() -> None:
    start = time.process_time()
    plain_text("<p>" * 30_000 + "&amp;" * 10_000)
    plain_text("<" * 100_000)
    plain_text("<a " * 30_000)
    plain_text("<!--" * 20_000)
    plain_text("<a '\"" * 20_000)
    plain_text('<a "' * 20_001)
    plain_text("<script>" * 10_000)
    assert time.process_time() - start < 2
