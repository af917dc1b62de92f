"""Whether a page is the same."""

from __future__ import annotations

import pytest

from adwright.agent.explore.describe import page_content

PAGE = b'<meta name="created" content="%s"><input type="hidden" name="csrf_token" value="%s">%s'


def test_tokens_and_times_are_no_change() -> None:
    first = page_content(PAGE % (b"11:38", b"abc", b"<p>tea</p>"))
    assert first == page_content(PAGE % (b"11:39", b"xyz", b"<p>tea</p>"))
    assert first != page_content(PAGE % (b"11:38", b"abc", b"<p>mug</p>"))


@pytest.mark.parametrize(
    "text",
    [
        b"<a nonce='%s'>",
        b'var csrfToken = "%s";',
        b'<input name="authenticity_token" value=%s>',
    ],
)
def test_what_is_new_each_time(text: bytes) -> None:
    assert page_content(text % b"a1") == page_content(text % b"b2")
    assert len(page_content(text)) == 32
