"""Who is at the other end: a name that a person gives, kept by the browser.

Without a key it is only a name, for people who trust each other; with one, each request carries
name and key (HTTP Basic), and the page is nobody else's.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from adwright.console.shell.showing import has_hidden
from adwright.web.errors import ApiError
from adwright.web.gate import Authenticate, admitted, header

NAME_LENGTH = 64
_COOKIE = "adwright-reviewer"
_YEAR = 365 * 24 * 3600


def by_name_and_key(key: str) -> Authenticate:
    """Let in who sends the key; the name that comes with it is the tenant of the gate."""

    async def authenticate(scope: Scope) -> str:
        name, sent = _basic(header(scope, b"authorization"))
        if not hmac.compare_digest(sent.encode(), key.encode()) or not name:
            raise ApiError(
                401,
                "name and key are missing, or the key is another",
                hint="sign in with a name of yours and the key of this page",
                headers={"WWW-Authenticate": 'Basic realm="adwright", charset="UTF-8"'},
            )
        return name

    return authenticate


def reviewer_of(request: Request, *, signed_in: bool, otherwise: str) -> str:
    """The name of who sends a request. signed_in: whether there is a key. otherwise: of who gave
    none."""
    if signed_in:
        return admitted(request.scope).tenant
    return name_of(unquote(request.cookies.get(_COOKIE, ""))) or otherwise


def name_of(text: str) -> str:
    """A name as it is kept: without spaces around it; empty where it is none."""
    name = " ".join(text.split())
    return name if len(name) <= NAME_LENGTH and not has_hidden(name) else ""


def set_name(response: Response, name: str) -> None:
    """Let the browser keep a name, which no script and no other site sees."""
    response.set_cookie(
        _COOKIE, quote(name, safe=""), max_age=_YEAR, path="/", httponly=True, samesite="strict"
    )


def _basic(value: str) -> tuple[str, str]:
    scheme, _, rest = value.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        name, _, key = base64.b64decode(rest, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return name_of(name), key
