"""Shapes of requests."""

from __future__ import annotations

import pytest

from adwright.agent.policy.shapes import SAFE_METHODS, matching_shape, method_of

SHAPES = ("POST /offers/{}/", "post /offers/{}/delete/", "GET /go?x=1")


@pytest.mark.parametrize(
    ("method", "url", "shape"),
    [
        ("POST", "http://a/offers/7/", SHAPES[0]),
        ("post", "http://a/offers/7/?q=1", SHAPES[0]),
        ("POST", "http://a/offers/7/delete/", SHAPES[1]),
        ("GET", "http://a/go?x=2", SHAPES[2]),
        ("GET", "http://a/offers/7/", None),
        ("POST", "http://a/offers//", None),
        ("POST", "http://a/offers/../", None),
        ("POST", "http://a/offers/7", None),
        ("POST", "http://a/offers/7/8/", None),
        ("DELETE", "http://a/offers/7/", None),
    ],
)
def test_shapes(method: str, url: str, shape: str | None) -> None:
    assert matching_shape(method, url, SHAPES) == shape


def test_methods() -> None:
    assert method_of("post /a") == "POST"
    assert "POST" not in SAFE_METHODS
