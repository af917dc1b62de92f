from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request

from adwright.console.shell.forms import Form, read_form
from adwright.web.errors import ApiError

KIND = "application/x-www-form-urlencoded"


def read(body: bytes, token: str = "t", **headers: str) -> Form:
    given = {"host": "here:8003", "content_type": KIND, **headers}
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in given.items()]

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {"type": "http", "method": "POST", "path": "/", "headers": raw, "query_string": b""}
    return asyncio.run(read_form(Request(scope, receive), token))


def refused(body: bytes = b"token=t", **headers: str) -> int:
    with pytest.raises(ApiError) as error:
        read(body, **headers)
    return error.value.status


def test_fields_are_text_with_plain_line_ends() -> None:
    form = read(b"token=t&text=a%0D%0Ab%0Dc&x=&reason=1&reason=2&name=%C3%A9+%26")
    assert form.one("text") == "a\nb\nc"
    assert (form.one("x"), form.one("none"), form.one("name")) == ("", "", "é &")
    assert form.many("reason") == ("1", "2")
    assert form.many("none") == ()


def test_a_field_is_bounded_and_sent_once() -> None:
    form = read(b"token=t&reason=1&reason=2&text=abc")
    assert form.one("text", most=3) == "abc"
    with pytest.raises(ApiError, match="too long"):
        form.one("text", most=2)
    with pytest.raises(ApiError, match="sent twice"):
        form.one("reason")


def test_the_token_of_this_process_is_asked_for() -> None:
    assert refused(b"token=other") == 403
    assert refused(b"") == 403
    assert refused("token=é".encode("latin-1")) == 400
    assert refused(b"token=%C3%A9") == 403


@pytest.mark.parametrize("origin", ["http://here:8003", "https://here:8003", "http://HERE:8003"])
def test_our_own_page_may_send(origin: str) -> None:
    assert read(b"token=t&a=1", origin=origin, sec_fetch_site="same-origin").one("a") == "1"


@pytest.mark.parametrize(
    "origin", ["http://here:3000", "http://here", "http://there:8003", "null", "http://[", ""]
)
def test_another_page_may_not_even_with_the_token(origin: str) -> None:
    assert refused(origin=origin) == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_where_the_browser_says_so_another_site_may_not(site: str) -> None:
    assert refused(sec_fetch_site=site) == 403


def test_other_bodies_are_refused() -> None:
    assert refused(content_type="application/json") == 415
    assert refused(content_type="multipart/form-data; boundary=x") == 415
    assert read(b"token=t", content_type=f"{KIND}; charset=utf-8").one("token") == "t"
    assert refused(b"token=t&a=%FF") == 400
    assert refused(b"token=t" + b"&a=1" * 100) == 422
