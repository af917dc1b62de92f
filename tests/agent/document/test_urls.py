"""Templates and origins of URLs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.agent.document.elements import LONGEST_WORD, in_scope, origin_of, url_template


@pytest.mark.parametrize(
    ("url", "template"),
    [
        ("http://h/dashboard/orders/100012/?page=2", "/dashboard/orders/{}/?page"),
        ("http://h/", "/"),
        ("http://h", "/"),
        ("http://h/a//b", "/a//b"),
        ("http://h/api/v2/ads/7#top", "/api/v2/ads/{}"),
        ("http://h/p/tea_12/edit?b=1&a=&b=2", "/p/{}/edit?a&b"),
        ("http://h/p/" + "x" * (LONGEST_WORD + 1), "/p/{}"),
        ("http://h/p/caf%C3%A9/", "/p/{}/"),
        ("http://h/edit/mill-lane;spring", "/edit/{}"),
    ],
)
def test_what_looks_like_data_is_left_out(url: str, template: str) -> None:
    assert url_template(url) == template


@given(st.text(alphabet="abc/0123-_?&=#%", max_size=60))
def test_a_template_is_its_own_template(tail: str) -> None:
    once = url_template(f"http://h/{tail}")
    assert url_template(f"http://h{once}") == once


def test_origins_leave_usual_ports_out() -> None:
    assert origin_of("HTTP://H:80/x") == "http://h"
    assert origin_of("https://h:8443/x") == "https://h:8443"
    assert origin_of("http://[::1]:9/") == "http://[::1]:9"
    for none in ("data:text/html,x", "javascript:alert(1)", "file:///x", "http://", "http://h:x/"):
        assert origin_of(none) == ""


def test_the_scope_is_one_origin_below_some_paths() -> None:
    scope = ("http://h",), ("/dashboard/",)
    assert in_scope("http://h/dashboard/offers", *scope)
    for other in (
        "http://h/shop",
        "http://h:81/dashboard/",
        "http://h.evil/dashboard/",
        "http://h@evil/dashboard/",
        "http://h/dashboard/../shop",
    ):
        assert not in_scope(other, *scope)
