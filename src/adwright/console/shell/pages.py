"""How a page is drawn: templates that escape everything, and headers that let no script in.

    pages = Pages(load_assets(), token="...")
    return pages.page(request, "queue.html", {"reviewer": "ann", "counts": counts})

A browser with scripts asks for the inner part of a page alone (htmx says so in a header) and puts
it in the place of the old one; without scripts it gets the whole. Both come from one template.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from adwright.console.shell.assets import Asset, asset_url
from adwright.console.shell.showing import hidden_runs, thousands
from adwright.metrics.reports.page import page_environment
from adwright.web.errors import ApiError

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
        self._templates.filters["thousands"] = thousands
        self._templates.globals["asset"] = lambda name: asset_url(assets, name)

    def page(
        self,
        request: Request,
        name: str,
        values: Mapping[str, Any],
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """The page of the template `name`: whole, or its inner part where that was asked for."""
        partial = is_partial(request)
        layout = "console_part.html" if partial else "console_page.html"
        text = self._draw(name, {"layout": layout, **values})
        return HTMLResponse(text, status, {**_HEADERS, **(headers or {})})

    def fragment(self, name: str, values: Mapping[str, Any]) -> Response:
        """A piece of a page, of the template `name`."""
        return HTMLResponse(self._draw(name, values), 200, _HEADERS)

    def refusal(self, request: Request | None, error: ApiError) -> Response:
        """The page that says what went wrong and what to do."""
        words = _WORDS.get(error.status, "This did not work")
        values = {"title": words, "message": error.message, "hint": error.hint}
        partial = request is not None and is_partial(request)
        layout = "console_part.html" if partial else "console_page.html"
        text = self._draw("refusal.html", {"layout": layout, **values})
        return HTMLResponse(text, error.status, {**_HEADERS, **error.headers})

    def _draw(self, name: str, values: Mapping[str, Any]) -> str:
        known = {"reviewer": "", "signed_in": True, "room": "", "has_pairs": False, "done": None}
        text = self._templates.get_template(name).render({"token": self.token, **known, **values})
        # Half a surrogate pair, which JSON can name, has no place in a page.
        return text.encode("utf-8", "replace").decode("utf-8")


def is_partial(request: Request) -> bool:
    """Whether a script asks for the inner part of a page; when it goes back in its history and has
    forgotten the page, it wants the whole."""
    headers = request.headers
    return "hx-request" in headers and "hx-history-restore-request" not in headers


def see_other(address: str) -> Response:
    """Go on to `address`, a path of ours, by GET."""
    return RedirectResponse(address, 303, _HEADERS)
