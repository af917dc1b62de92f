"""The shop in memory as an app that may be thrown away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from adwright.agent.drivers.protocol import RequestGate, ScreenDriver
from adwright.agent.synthesis.disposable import StoredState
from tests.support.agent.shop_app import ShopApp
from tests.support.agent.shop_document import ORIGIN
from tests.support.agent.shop_driver import ShopDriver

__all__ = ["DisposableShop"]


class DisposableShop:
    """change: what is done to each fresh copy. started: how many there were."""

    name = "shop"

    def __init__(self, change: Callable[[ShopApp], None] = lambda app: None) -> None:
        self.started = 0
        self._change = change
        self._app = ShopApp()

    def start(self) -> str:
        self.started += 1
        self._app = ShopApp()
        self._change(self._app)
        return ORIGIN

    def open(self, gate: RequestGate) -> ScreenDriver:
        return ShopDriver(self._app, gate)

    def snapshot(self) -> StoredState:
        app = self._app
        offers = {
            str(key): {name: str(value) for name, value in asdict(one).items()}
            for key, one in app.offers.items()
        }
        mails = {str(n): {"to": to, "text": text} for n, (to, text) in enumerate(app.mails)}
        return {"offers": offers, "mails": mails, "budget": {"0": {"total": str(app.budget)}}}

    def stop(self) -> None:
        pass
