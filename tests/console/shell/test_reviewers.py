from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from adwright.console.shell.reviewers import by_name_and_key, name_of, reviewer_of, set_name
from adwright.web.errors import ApiError


def enter(credentials: str, scheme: str = "Basic") -> str:
    value = f"{scheme} {base64.b64encode(credentials.encode()).decode()}"
    scope: Any = {"headers": [(b"authorization", value.encode())]}
    name: str = asyncio.run(by_name_and_key("s:cret")(scope))  # type: ignore[arg-type]
    return name


def test_name_and_key_let_in() -> None:
    assert enter("ann:s:cret") == "ann"
    assert enter(" Ánn  Lee :s:cret", "basic") == "Ánn Lee"


@pytest.mark.parametrize("credentials", ["ann:other", "ann:", ":s:cret", "ann", "a\u202eb:s:cret"])
def test_others_are_asked_to_sign_in(credentials: str) -> None:
    with pytest.raises(ApiError) as error:
        enter(credentials)
    assert error.value.status == 401
    assert error.value.headers["WWW-Authenticate"].startswith("Basic realm=")
    assert "cret" not in str(error.value)


@pytest.mark.parametrize("value", [b"", b"Basic", b"Basic ###", b"Basic /w==", b"Bearer abc"])
def test_what_is_no_sign_in_is_refused(value: bytes) -> None:
    scope: Any = {"headers": [(b"authorization", value)]}
    with pytest.raises(ApiError, match="missing"):
        asyncio.run(by_name_and_key("k")(scope))  # type: ignore[arg-type]


def test_names_are_short_and_seen() -> None:
    assert name_of("  Ann   Lee ") == "Ann Lee"
    assert name_of("x" * 64) == "x" * 64
    for none in ("", "  ", "x" * 65, "a\u200bb"):
        assert name_of(none) == ""


def test_the_browser_keeps_a_name() -> None:
    answer = Response()
    set_name(answer, "Ann; é")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    sent = cookie.partition(";")[0].encode()
    request = Request({"type": "http", "headers": [(b"cookie", sent)]})
    assert reviewer_of(request, signed_in=False, otherwise="bob") == "Ann; é"
    nobody = Request({"type": "http", "headers": []})
    assert reviewer_of(nobody, signed_in=False, otherwise="bob") == "bob"
