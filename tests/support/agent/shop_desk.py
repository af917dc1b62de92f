"""The apps of tenants as the service finds them, with the shop in memory behind them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from adwright.agent.document.text_format import write_document
from adwright.agent.operate.policy_file import AgentPolicy, policy_text
from adwright.agent.operate.screens import OpenFetching
from adwright.core.clock import Clock, SystemClock
from adwright.service.agent_runs import AgentRuns
from adwright.service.config import ServiceConfig
from tests.support.agent.shop_app import ShopApp
from tests.support.agent.shop_document import ORIGIN, shop_document
from tests.support.agent.shop_reader import ReadingShopDriver


def shop_folder(
    root: Path, tenant: str = "acme", app: str = "shop", *, origin: str = ORIGIN
) -> Path:
    """A document and a policy of an app."""
    home = root / tenant / app
    home.mkdir(parents=True)
    document = replace(shop_document(), origins=(origin,))
    write_document(home / "document.txt", document)
    (home / "policy.toml").write_text(policy_text(origin), "utf-8")
    return home


def shop_desk(app: ShopApp, config: ServiceConfig) -> AgentRuns:
    """A desk whose screens show `app`."""

    @contextmanager
    def screens(policy: AgentPolicy, clock: Clock) -> Iterator[OpenFetching]:
        yield lambda gate: ReadingShopDriver(app, gate)

    return AgentRuns(config, SystemClock(), screens=screens)
