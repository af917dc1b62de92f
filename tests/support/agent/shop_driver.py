"""A driver of the shop in memory: no browser, the same gate."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from adwright.agent.drivers.protocol import (
    Direction,
    DriverError,
    PendingRequest,
    RequestGate,
    Screen,
    ScreenNode,
    SeenRequest,
)
from tests.support.agent.shop_app import ShopApp
from tests.support.agent.shop_document import ORIGIN


class ShopDriver:
    """on_page: requests that a page makes by itself, by its path: what hostile pages do."""

    def __init__(
        self, app: ShopApp, gate: RequestGate, *, on_page: dict[str, PendingRequest] | None = None
    ) -> None:
        self.app = app
        self.taps: list[str] = []
        self.closed = False
        self._gate = gate
        self._on_page = on_page or {}
        self._path = ""
        self._history: list[str] = []
        self._typed: dict[str, str] = {}
        self._seen: list[SeenRequest] = []
        self._focus: ScreenNode | None = None

    def observe(self) -> Screen:
        nodes = [self._with_value(one) for one in self.app.page(self._path)]
        alike = Counter((one.role, one.name) for one in nodes)
        met: Counter[tuple[str, str]] = Counter()
        counted = []
        for one in nodes:
            key = one.role, one.name
            counted.append(replace(one, nth=met[key], of=alike[key]))
            met[key] += 1
        return Screen(ORIGIN + self._path, self.app.title(self._path), tuple(counted))

    def open(self, url: str) -> None:
        self._go(url)

    def tap(self, node: ScreenNode) -> None:
        self.taps.append(node.name)
        facts = node.facts
        if "action" in facts:
            self._submit(facts["action"])
        elif "href" in facts:
            self._go(self._url(facts["href"]))
        elif node.role == "checkbox":
            self._typed[node.key] = "false" if node.value == "true" else "true"

    def long_tap(self, node: ScreenNode) -> None:
        self.taps.append(f"long {node.name}")

    def set_text(self, node: ScreenNode, text: str) -> None:
        self._focus = node
        self._typed[node.key] = text

    def choose(self, node: ScreenNode, option: str) -> None:
        self._typed[node.key] = option

    def scroll(self, node: ScreenNode | None, direction: Direction) -> bool:
        return True

    def back(self) -> None:
        if not self._history:
            raise DriverError("there is no page before this one")
        path = self._history.pop()
        self._go(ORIGIN + path, keep=False)

    def enter(self) -> None:
        buttons = [one for one in self.observe().nodes if "action" in one.facts]
        if self._focus is not None and buttons:
            self._submit(buttons[0].facts["action"])

    def read(self, node: ScreenNode) -> str:
        now = next((one for one in self.observe().nodes if one.key == node.key), None)
        if now is None:
            raise DriverError(f"{node.name!r} is gone")
        return now.value or now.text

    def requests(self) -> tuple[SeenRequest, ...]:
        seen, self._seen = tuple(self._seen), []
        return seen

    def picture(self, masked: tuple[ScreenNode, ...] = ()) -> bytes:
        shown = ",".join(sorted(one.key for one in masked))
        return f"{self._path} without {shown}".encode()

    def close(self) -> None:
        self.closed = True

    # --- within ------------------------------------------------------------------------

    @staticmethod
    def _url(href: str) -> str:
        return href if "://" in href else ORIGIN + href

    def _with_value(self, node: ScreenNode) -> ScreenNode:
        return replace(node, value=self._typed.get(node.key, node.value))

    def _ask(self, request: PendingRequest, status: int = 200) -> bool:
        decision = self._gate(request)
        status = status if decision.allowed else 0
        self._seen.append(SeenRequest(request, decision, status))
        return decision.allowed

    def _go(self, url: str, *, keep: bool = True, kind: str = "page") -> None:
        request = PendingRequest("GET", url, kind, ORIGIN + self._path)  # type: ignore[arg-type]
        if not self._ask(request):
            raise DriverError(f"the gate refuses {url}")
        if keep and self._path and kind == "page":
            self._history.append(self._path)
        self._path = url.removeprefix(ORIGIN)
        self._typed.clear()
        self._focus = None
        own = self._on_page.get(self._path)
        if own is not None:
            self._ask(own)

    def _submit(self, action: str) -> None:
        fields = {}
        for one in self.observe().nodes:
            name = one.facts.get("name")
            if name and not (one.role == "checkbox" and one.value != "true"):
                fields[name] = "on" if one.role == "checkbox" else one.value
        body = repr(fields).encode() if fields else b""
        request = PendingRequest(
            "POST", self._url(action), "page", ORIGIN + self._path, body, fields
        )
        decision = self._gate(request)
        if not decision.allowed:
            self._seen.append(SeenRequest(request, decision, 0))
            return
        answer = self.app.post(action, fields)
        self._seen.append(SeenRequest(request, decision, answer.status))
        if answer.location:
            self._go(ORIGIN + answer.location, kind="redirect")
