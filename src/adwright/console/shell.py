"""What all pages share: how they are drawn, who asks, what a form may send."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, quote, unquote

from fastapi import Depends, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Scope

from adwright.core.errors import MissingExtraError
from adwright.metrics.reports.report import page_environment
from adwright.web.errors import ApiError
from adwright.web.gate import LOCAL_HOSTS, Authenticate, admitted, header
from adwright.web.limits import GateLimits, require

# --------------------------------------------------------------------------------------------------
# The files that a page asks for beside itself: our own, and htmx as its package brings it.
#
# Nothing is copied and nothing is looked up by what a request says: the names are a closed list,
# and
# each file is read once, when the application is made.

_OWN = {
    "console.css": "text/css; charset=utf-8",
    "keys.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_HTMX = "htmx.min.js"


@dataclass(frozen=True)
class Asset:
    """A file. digest: of its bytes, by which its address changes when it does."""

    name: str
    kind: str
    content: bytes
    digest: str


def load_assets() -> dict[str, Asset]:
    """All files, by name. Raises MissingExtraError without the package that brings htmx."""
    own = files("adwright.console") / "static"
    found = [_asset(name, kind, (own / name).read_bytes()) for name, kind in _OWN.items()]
    return {one.name: one for one in (*found, _asset(_HTMX, _OWN["keys.js"], _htmx()))}


def asset_url(assets: Mapping[str, Asset], name: str) -> str:
    """The address of an asset, which a browser may keep for ever."""
    return f"/static/{name}?v={assets[name].digest}"


def _asset(name: str, kind: str, content: bytes) -> Asset:
    return Asset(name, kind, content, hashlib.sha256(content).hexdigest()[:16])


def _htmx() -> bytes:
    # Found and not imported: the package would need Django for nothing but its folder of files.
    spec = find_spec("js_lib_htmx")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        file = Path(folder) / "static" / "htmx" / _HTMX
        if file.is_file():
            return file.read_bytes()
    raise MissingExtraError("the pages of the console", "service")


# --------------------------------------------------------------------------------------------------
# What may be set about pages.


@dataclass(frozen=True)
class ConsoleConfig:
    """Limits of one process that shows pages.

    key: people sign in with it and a name of their own, by the dialogue of their browser (HTTP
        Basic); empty where everybody who reaches the page may use it.
    reviewer: the name of who has not given one; not used with a key.
    rows: drafts of one page of the queue.
    max_in_flight, max_body_bytes, allowed_hosts: as in `GateLimits`. Without a key and without
        names of hosts, only those that a machine has for itself are answered.
    drain_seconds: as in `serve`.

    Raises ConfigError that names the setting.
    """

    key: str = field(default="", repr=False)
    reviewer: str = ""
    rows: int = 25
    max_in_flight: int = 64
    max_body_bytes: int = 1 << 18
    allowed_hosts: tuple[str, ...] = ()
    drain_seconds: float = 0.0

    def __post_init__(self) -> None:
        require(self, "rows", 1 <= self.rows <= 200, "must be from 1 to 200")
        require(self, "key", self.key.isascii() and self.key.isprintable(), "must be plain text")
        drains = 0 <= self.drain_seconds < float("inf")
        require(self, "drain_seconds", drains, "must not be negative")
        self.gate()

    def gate(self) -> GateLimits:
        """The limits that the gate in front of every request checks."""
        return GateLimits(
            max_in_flight=self.max_in_flight,
            max_body_bytes=self.max_body_bytes,
            allowed_hosts=self.allowed_hosts or (() if self.key else LOCAL_HOSTS),
            tenant_share=1.0,
        )


# --------------------------------------------------------------------------------------------------
# What a form sends: bounded, from our own page, and as text.
#
#     form = await read_form(request, pages.token)
#     form.one("text")
#
# A form is taken only where it carries the token of this process and, as far as the browser says
# where it comes from, comes from this very address, port included: another page on this machine is
# another site.

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
        own = own and origin.lower().partition("://")[2] == request.headers.get("host", "").lower()
    if not own:
        raise ApiError(403, "the form comes from another page", hint=_AGAIN)


# --------------------------------------------------------------------------------------------------
# How single values are shown: numbers, and characters that the eye does not see.

#: Controls but line ends and tabs; marks that turn the direction of text; what has no width, but
#: the joiners of Indic and Persian writing and of emoji; half surrogates; tags; what is private.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e"
    "\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\ue000-\uf8ff\U000e0000-\U000e0fff]"
)


def hidden_runs(text: str) -> list[tuple[str, str]]:
    """The text in pieces: `(piece, "")` for what is seen, `(" ", "U+202E RIGHT-TO-LEFT OVERRIDE")`
    for a character that is not, so that nobody approves what he cannot see."""
    pieces, at = list[tuple[str, str]](), 0
    for found in _HIDDEN.finditer(text):
        if found.start() > at:
            pieces.append((text[at : found.start()], ""))
        sign = found.group()
        name = unicodedata.name(sign, "")
        pieces.append((" ", f"U+{ord(sign):04X} {name}".strip()))
        at = found.end()
    if at < len(text):
        pieces.append((text[at:], ""))
    return pieces


def has_hidden(text: str) -> bool:
    """Whether a character of the text is not seen."""
    return _HIDDEN.search(text) is not None


_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
#: The referrer policy of the gate would make browsers send forms with the origin `null`.
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Vary": "HX-Request",
}
_WORDS = {
    403: "This may not be done",
    404: "There is no such page",
    405: "This cannot be done here",
    409: "Somebody was faster",
    413: "The text is too long",
    429: "Too busy",
}


class Pages:
    """Draws the pages of one application. token: is in each form, so that no other site's page can
    send one."""

    def __init__(self, assets: Mapping[str, Asset], token: str) -> None:
        self.token = token
        self._templates = page_environment("adwright.console")
        self._templates.filters["hidden"] = hidden_runs
        self._templates.filters["thousands"] = "{:,}".format
        self._templates.globals["asset"] = lambda name: asset_url(assets, name)

    def page(
        self, request: Request, name: str, values: Mapping[str, Any], *, status: int = 200
    ) -> Response:
        """The page of the template `name`: whole, or its inner part where that was asked for."""
        text = self._draw(name, {"layout": _layout(request), **values})
        return HTMLResponse(text, status, _HEADERS)

    def fragment(self, name: str, values: Mapping[str, Any]) -> Response:
        """A piece of a page, of the template `name`."""
        return HTMLResponse(self._draw(name, values), 200, _HEADERS)

    def refusal(self, request: Request | None, error: ApiError) -> Response:
        """The page that says what went wrong and what to do."""
        words = _WORDS.get(error.status, "This did not work")
        values = {"title": words, "message": error.message, "hint": error.hint}
        text = self._draw("refusal.html", {"layout": _layout(request), **values})
        return HTMLResponse(text, error.status, {**_HEADERS, **error.headers})

    def _draw(self, name: str, values: Mapping[str, Any]) -> str:
        rooms = {"room": "", "has_drafts": True, "has_ads": False, "has_pairs": False}
        known = {"reviewer": "", "signed_in": True, **rooms, "done": None}
        text = self._templates.get_template(name).render({"token": self.token, **known, **values})
        # Half a surrogate pair, which JSON can name, has no place in a page.
        return text.encode("utf-8", "replace").decode("utf-8")


def _layout(request: Request | None) -> str:
    """Of the inner part of a page, for a script that asks for it; when it goes back in its history
    and has forgotten the page, it wants the whole."""
    headers = {} if request is None else request.headers
    partial = "hx-request" in headers and "hx-history-restore-request" not in headers
    return "console_part.html" if partial else "console_page.html"


def see_other(address: str) -> Response:
    """Go on to `address`, a path of ours, by GET."""
    return RedirectResponse(address, 303, _HEADERS)


# --------------------------------------------------------------------------------------------------
# Who is at the other end: a name that a person gives, kept by the browser.
#
# Without a key it is only a name, for people who trust each other; with one, each request carries
# name and key (HTTP Basic), and the page is nobody else's.

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


# --------------------------------------------------------------------------------------------------
# What the addresses of the console share.


@dataclass
class ConsoleState:
    """has_drafts, has_ads: whether there are drafts, and ads of a store. has_pairs: whether there
    are texts to compare. draining: the process is about to end."""

    config: ConsoleConfig
    pages: Pages
    assets: Mapping[str, Asset]
    has_drafts: bool = True
    has_ads: bool = False
    has_pairs: bool = False
    draining: bool = False

    def known(self, reviewer: str, room: Literal["drafts", "ads", "pairs"]) -> dict[str, Any]:
        """What each page says in its head. room: where in the navigation it is."""
        return {
            "reviewer": reviewer,
            "signed_in": bool(self.config.key),
            "room": room,
            "has_drafts": self.has_drafts,
            "has_ads": self.has_ads,
            "has_pairs": self.has_pairs,
        }


async def _state(request: Request) -> ConsoleState:
    state: ConsoleState = request.app.state.service
    return state


State = Annotated[ConsoleState, Depends(_state)]


async def _reviewer(request: Request, state: State) -> str:
    config = state.config
    return reviewer_of(request, signed_in=bool(config.key), otherwise=config.reviewer)


async def _posted(request: Request, state: State) -> Form:
    return await read_form(request, state.pages.token)


Reviewer = Annotated[str, Depends(_reviewer)]
Posted = Annotated[Form, Depends(_posted)]
