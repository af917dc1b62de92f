"""The shop in memory behind the verbs, in the place of a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from adwright.agent.document.text_format import write_document
from adwright.agent.drivers.protocol import RequestGate
from adwright.agent.operate.policy_file import AgentPolicy, policy_text
from tests.agent.conftest import chromium  # noqa: F401 - a fixture
from tests.support.agent.shop_app import ShopApp
from tests.support.agent.shop_document import ORIGIN, shop_document
from tests.support.agent.shop_reader import ReadingShopDriver


@dataclass
class Shop:
    """app: what the verbs operate. document: of it, with a careful policy beside it. policies,
    settings: that screens were opened with."""

    app: ShopApp
    document: Path
    policies: list[AgentPolicy]
    settings: list[object]

    @property
    def folder(self) -> Path:
        """Where everything lies."""
        return self.document.parent

    def allow(self, *changes: str) -> Path:
        """A file that allows saving an offer with these fields changed."""
        path = self.folder / "allow.toml"
        names = ", ".join(f'"{one}"' for one in changes)
        path.write_text(
            f'[[allow]]\nrequest = "POST /offers/{{}}/"\nchanges = [{names}]\nmost = 5\n', "utf-8"
        )
        return path


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A document, its policy, and an app that is there."""
    monkeypatch.chdir(tmp_path)
    made = Shop(ShopApp(), tmp_path / "shop.txt", [], [])
    write_document(made.document, shop_document())
    (tmp_path / "shop.policy.toml").write_text(policy_text(ORIGIN), "utf-8")

    @contextmanager
    def open_screens(
        policy: AgentPolicy, *, settings: object = None, **_: object
    ) -> Iterator[Callable[[RequestGate], ReadingShopDriver]]:
        made.policies.append(policy)
        made.settings.append(settings)
        yield lambda gate: ReadingShopDriver(made.app, gate)

    monkeypatch.setattr("adwright.agent.operate.screens.open_screens", open_screens)
    return made
