"""The driver of the shop in memory that also reads pages without showing them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from adwright.agent.drivers.protocol import (
    DriverError,
    FetchedPage,
    PendingRequest,
    Screen,
    ScreenNode,
)
from tests.support.agent.shop_app import ShopApp
from tests.support.agent.shop_document import ORIGIN
from tests.support.agent.shop_driver import ShopDriver


class ReadingShopDriver(ShopDriver):
    """Pages are what their nodes say; those that are not there answer 404."""

    app: ShopApp

    def observe(self) -> Screen:
        """With the facts that a browser tells of links and buttons, as the explorer reads them."""
        seen = super().observe()
        return replace(seen, nodes=tuple(map(self._as_in_a_browser, seen.nodes)))

    def _as_in_a_browser(self, node: ScreenNode) -> ScreenNode:
        facts = dict(node.facts)
        if "href" in facts:
            facts["href"] = self._url(facts["href"])
        elif node.role == "button":
            facts |= {"tag": "button", "form": "/form", "method": "POST"}
        elif "name" in facts:
            facts |= {"tag": "input", "form": "/form"}
        return replace(node, facts=facts)

    def fetch(self, url: str, headers: Mapping[str, str] | None = None) -> FetchedPage:
        """The page at a URL, through the gate."""
        if not self._ask(PendingRequest("GET", url)):
            raise DriverError(f"the gate refuses {url}")
        nodes = self.app.page(url.removeprefix(ORIGIN))
        body = repr([(one.role, one.name, one.value) for one in nodes]).encode()
        return FetchedPage(url, 200 if nodes else 404, {"content-type": "text/html"}, body)
