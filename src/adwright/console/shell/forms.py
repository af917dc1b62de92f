"""What a form sends: bounded, from our own page, and as text.

    form = await read_form(request, pages.token)
    form.one("text")

A form is taken only where it carries the token of this process and, as far as the browser says
where it comes from, comes from this very address, port included: another page on this machine is
another site.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request

from adwright.web.errors import ApiError

TOKEN_FIELD = "token"
_KIND = "application/x-www-form-urlencoded"
_FIELDS = 64
_AGAIN = "load the page anew and send it again"


class Form:
    """The fields of a form. Line ends, which browsers send as CR LF, are LF."""

    def __init__(self, fields: Mapping[str, tuple[str, ...]]) -> None:
        self._fields = fields

    def one(self, name: str, *, most: int = 1 << 16) -> str:
        """The value of a field; empty where it was not sent.

        Raises ApiError 422 for one of more than `most` characters, and one that was sent twice.
        """
        values = self._fields.get(name, ())
        if len(values) > 1 or any(len(value) > most for value in values):
            raise ApiError(
                422, f"{name} is too long, or was sent twice", hint=f"{most:,} characters at most"
            )
        return values[0] if values else ""

    def many(self, name: str) -> tuple[str, ...]:
        """The values of a field that may be sent several times."""
        return self._fields.get(name, ())


async def read_form(request: Request, token: str) -> Form:
    """The form of a request.

    Raises ApiError: 403 where it does not come from our own page, 415 for another content type, 400
    where it is no form, 422 where it has too many fields.
    """
    _require_own_page(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _KIND:
        raise ApiError(415, "the body is no form", hint=f"send it as {_KIND}")
    try:
        text = (await request.body()).decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_FIELDS, errors="strict")
    except ValueError as error:
        many = "fields" in str(error)
        status, what = (422, "the form has too many fields") if many else (400, "this is no form")
        raise ApiError(status, what, hint=_AGAIN) from None
    fields: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        plain = value.replace("\r\n", "\n").replace("\r", "\n")
        fields[name] = (*fields.get(name, ()), plain)
    form = Form(fields)
    if not hmac.compare_digest(form.one(TOKEN_FIELD).encode(), token.encode()):
        raise ApiError(403, "the form is of another page, or of before a restart", hint=_AGAIN)
    return form


def _require_own_page(request: Request) -> None:
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "same-origin")
    own = site in ("same-origin", "none")
    if origin is not None:
        own = own and _place(origin) == request.headers.get("host", "").lower()
    if not own:
        raise ApiError(403, "the form comes from another page", hint=_AGAIN)


def _place(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
