"""All tasks of the applications: 60 and more at the shop, 30 and more at the campaign store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.agent.tasks._apps import AppName
from benchmarks.agent.tasks._kinds import AgentTask, TaskKind, drawn_tasks
from benchmarks.agent.tasks._oscar_goods import GOODS
from benchmarks.agent.tasks._oscar_sales import SALES
from benchmarks.agent.tasks._store_kinds import ADMIN, STOREFRONT
from benchmarks.agent.words._words import WORDS, Wordings

KINDS: Mapping[AppName, tuple[TaskKind, ...]] = {
    "oscar": (*GOODS, *SALES),
    "storefront": STOREFRONT,
    "admin": ADMIN,
}


def app_tasks(app: AppName, wordings: Wordings, database: Path) -> tuple[AgentTask, ...]:
    """The tasks of an app. database: one that nobody has changed."""
    return tuple(drawn_tasks(app, KINDS[app], WORDS[wordings][app], database))
