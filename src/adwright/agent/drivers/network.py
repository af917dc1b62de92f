"""The gate at the network: every request of a browser's context is asked about before it leaves.

The context's route sees the first request of everything: navigations, frames, what pages load, what
scripts send, beacons, and the first request of a popup. Playwright lets the further steps of a
redirect through unseen, so the browser's own protocol pauses these, and asks for each. WebSockets
are asked about when they open. Refused without asking are service workers, popups and downloads.
A refused request is aborted as if a person had stopped it: the page stays what it was. What none of
this sees has no permit of the way out, and stands among what was refused as well.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adwright.agent.drivers.pending import body_fields, kind_of
from adwright.agent.drivers.protocol import (
    GateDecision,
    PendingRequest,
    RequestGate,
    SeenRequest,
)
from adwright.agent.drivers.way_out import WayOut

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, CDPSession, Page, Request, Route, WebSocketRoute

__all__ = ["GatedNetwork"]

_REFUSED_POPUP = GateDecision(False, "popup", "a page may not open another one")
_REFUSED_WORKER = GateDecision(False, "worker", "a service worker is not seen by the gate")
_REFUSED_DOWNLOAD = GateDecision(False, "download", "files are not taken")
_ROUND_THE_GATE = GateDecision(False, "past_gate", "it was sent without a page that could ask")
_ABORTED = "aborted"


class GatedNetwork:
    """Watches one context with one page; `seen` is what was decided since `take` was called."""

    def __init__(self, context: BrowserContext, gate: RequestGate, way: WayOut) -> None:
        self._gate, self._way = gate, way
        way.take_refused()  # none of this context's
        self._page: Page | None = None
        self._seen: list[SeenRequest] = []
        self._places: dict[Request, int] = {}
        self._offset = 0
        self._open: set[Request] = set()
        self._hops: dict[str, str] = {}
        context.route("**/*", self._on_route)
        context.route_web_socket("**/*", self._on_socket)
        context.on("request", self._on_request)
        context.on("requestfinished", self._on_end)
        context.on("requestfailed", self._on_end)
        context.on("response", self._on_response)

    def watch(self, page: Page, session: CDPSession) -> None:
        """`page` is the one that may load; every other one is closed."""
        self._page = page
        page.context.on("page", self._on_page)
        page.on("download", self._on_download)
        session.on("Page.windowOpen", self._on_window)
        session.on("Fetch.requestPaused", lambda event: self._on_paused(session, event))
        session.send("Fetch.enable", {"patterns": [{"urlPattern": "*"}]})

    @property
    def busy(self) -> bool:
        """Whether an answer is waited for."""
        return bool(self._open)

    def rest(self) -> None:
        """Wait no longer for what has not come."""
        self._open.clear()

    def take(self) -> tuple[SeenRequest, ...]:
        """What was decided since the last call."""
        for method, url in self._way.take_refused():
            self._record(PendingRequest(method, url, "beacon"), _ROUND_THE_GATE)
        found = tuple(self._seen)
        self._offset += len(found)
        self._seen.clear()
        return found

    def ask(self, request: PendingRequest) -> GateDecision:
        """The gate's answer, recorded; an exception of the gate's is a no."""
        try:
            decision = self._gate(request)
        except Exception as error:
            decision = GateDecision(False, "gate_failed", f"the gate failed: {error}")
        self._record(request, decision)
        if decision.allowed:
            self._way.permit(request.method, request.url, request.body)
        return decision

    def note_status(self, status: int) -> None:
        """The answer to what was recorded last."""
        if self._seen:
            self._seen[-1] = replace(self._seen[-1], status=status)

    def _record(self, request: PendingRequest, decision: GateDecision) -> int:
        self._seen.append(SeenRequest(request, decision))
        return self._offset + len(self._seen) - 1

    def _on_route(self, route: Route) -> None:
        request = route.request
        pending = PendingRequest(request.method, request.url, "worker")
        if getattr(request, "service_worker", None) is not None:
            self._record(pending, _REFUSED_WORKER)
            return route.abort(_ABORTED)
        if self._page is None or not self._is_of_page(request):
            self._record(replace(pending, kind="popup"), _REFUSED_POPUP)
            return route.abort(_ABORTED)
        decision = self.ask(_pending(request))
        self._places[request] = self._offset + len(self._seen) - 1
        if decision.allowed:
            return route.fallback()
        return route.abort(_ABORTED)

    def _is_of_page(self, request: Request) -> bool:
        # A navigation that opens a page has no frame yet, which is an error of Playwright's.
        with suppress(Exception):
            return request.frame.page is self._page
        return False

    def _on_paused(self, session: CDPSession, event: dict[str, Any]) -> None:
        """A step of a redirect is asked about; all else was already."""
        request, network = event["request"], event.get("networkId", "")
        before = self._hops.get(network, "")
        self._hops[network] = request["url"]
        allowed = True
        if event.get("redirectedRequestId"):
            body = request.get("postData", "").encode("utf-8", "surrogatepass")
            headers = {key.lower(): value for key, value in request.get("headers", {}).items()}
            allowed = self.ask(
                PendingRequest(
                    request["method"],
                    request["url"],
                    "redirect",
                    document_url=headers.get("referer", ""),
                    body=body,
                    fields=body_fields(body, headers.get("content-type", "")),
                    redirected_from=before,
                )
            ).allowed
        answer = {"requestId": event["requestId"]}
        with suppress(Exception):  # its page may be gone
            if allowed:
                session.send("Fetch.continueRequest", answer)
            else:
                session.send("Fetch.failRequest", answer | {"errorReason": "Aborted"})

    def _on_socket(self, socket: WebSocketRoute) -> None:
        if self.ask(PendingRequest("GET", socket.url, "socket")).allowed:
            socket.connect_to_server()
        else:
            socket.close(code=1008, reason="refused")

    def _on_window(self, event: dict[str, Any]) -> None:
        """A page opens another one: nothing of that is sent, and `_on_page` closes it."""
        self._record(PendingRequest("GET", event.get("url", ""), "popup"), _REFUSED_POPUP)

    def _on_page(self, page: Page) -> None:
        if page is not self._page:
            with suppress(Exception):
                page.close()

    def _on_download(self, download: Any) -> None:
        self._record(PendingRequest("GET", download.url, "download"), _REFUSED_DOWNLOAD)
        with suppress(Exception):
            download.cancel()

    def _on_request(self, request: Request) -> None:
        self._open.add(request)

    def _on_end(self, request: Request) -> None:
        self._open.discard(request)

    def _on_response(self, response: Any) -> None:
        place = self._places.pop(response.request, -1) - self._offset
        if place < 0 and response.request.redirected_from is not None:
            place = self._last_step_to(response.request.url)
        if 0 <= place < len(self._seen):
            self._seen[place] = replace(self._seen[place], status=response.status)

    def _last_step_to(self, url: str) -> int:
        for place in reversed(range(len(self._seen))):
            one = self._seen[place]
            if (one.request.kind, one.request.url, one.status) == ("redirect", url, 0):
                return place
        return -1


def _pending(request: Request) -> PendingRequest:
    navigates = request.is_navigation_request()
    document, is_main = "", True
    with suppress(Exception):  # a frame that is gone already
        document, is_main = request.frame.url, request.frame.parent_frame is None
    body = request.post_data_buffer or b""
    return PendingRequest(
        request.method,
        request.url,
        kind_of(request.resource_type, navigates=navigates, is_main=is_main),
        document_url=document,
        body=body,
        fields=body_fields(body, request.headers.get("content-type", "")),
    )
