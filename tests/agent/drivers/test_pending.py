"""What waits to be sent, as the gate reads it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.agent.drivers.protocol import body_fields, kind_of


def test_kinds() -> None:
    assert kind_of("document", navigates=True, is_main=True) == "page"
    assert kind_of("document", navigates=True, is_main=False) == "frame"
    words = ("xhr", "fetch", "EventSource", "script", "ping", "websocket", "image", "what")
    kinds = [kind_of(one, navigates=False, is_main=True) for one in words]
    assert kinds == [
        *("fetch", "fetch", "fetch", "script", "beacon", "socket", "resource", "resource")
    ]


MULTIPART = (
    b'--b\r\nContent-Disposition: form-data; name="title"\r\n\r\nTea\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n'
    b"Content-Type: text/csv\r\n\r\nx,y\r\n--b--\r\n"
)


@pytest.mark.parametrize(
    ("body", "kind", "fields"),
    [
        (b"a=1&b=&a=2", "application/x-www-form-urlencoded; charset=utf-8", {"a": "1, 2", "b": ""}),
        (b'{"a": "x", "n": 3, "l": [1]}', "application/json", {"a": "x", "n": "3", "l": "[1]"}),
        (b'{"a": 1}', "application/vnd.api+json", {"a": "1"}),
        (b"[1]", "application/json", {}),
        (b"{", "application/json", {}),
        (b"a=1", "text/plain", {}),
        (b"", "application/json", {}),
        (
            MULTIPART,
            "multipart/form-data; boundary=b",
            {"title": "Tea", "file": "file a.csv, 3 bytes"},
        ),
    ],
)
def test_fields(body: bytes, kind: str, fields: dict[str, str]) -> None:
    assert body_fields(body, kind) == fields


@given(
    st.binary(max_size=80),
    st.sampled_from(
        ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"]
    ),
)
def test_no_body_is_an_error(body: bytes, kind: str) -> None:
    assert all(isinstance(one, str) for one in body_fields(body, kind).values())
