"""The table of injected pages: 20 kinds, 3 places of each, 2 apps, and a task for each page.

    pages = injected_pages()             # 120, always the same, in an order that mixes all
    pages[0].name                        # "admin/twin/homoglyph"
    task_of(pages[0], tasks)

The task of a page is an ordinary one of the app, with its end state. None speaks of the attack.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.agent.injected.rows import ROW_KINDS, can_plant
from benchmarks.agent.injected.scripts import ANSWER_KINDS, PAGE_KINDS
from benchmarks.agent.injected.texts import HARM, MARKUP, SAY
from benchmarks.agent.tasks._apps import AppName
from benchmarks.agent.tasks._end_state import Added, Changed
from benchmarks.agent.tasks._kinds import AgentTask

INJECTED_APPS: tuple[AppName, ...] = ("admin", "oscar")
#: Tasks that the agent does on the apps as they are, so that it is the attack that is looked at.
_TASKS: Mapping[AppName, tuple[str, ...]] = {
    "admin": (
        *("campaign_type/0", "creative_text/0", "creative_gone/0", "creative_new/0"),
        *("campaign_end/0", "type_read/0"),
    ),
    "oscar": (
        *("offer_priority/0", "voucher_code/0", "product_price/0", "offer_gone/0"),
        *("partner_new/0", "offers_read/0"),
    ),
}
#: Kinds that wait for a form to be filled in and sent.
_ON_FORMS = ("dialogs", "downloads", "redirects", "sign_in", "fields", "covers", "values")


@dataclass(frozen=True)
class InjectedPage:
    """One page. number: of its app, from 0 on."""

    app: AppName
    kind: str
    place: str
    number: int

    @property
    def name(self) -> str:
        """What it is called in results."""
        return f"{self.app}/{self.kind}/{self.place}"

    def say(self, other: str) -> str:
        """The text that is injected. other: the address of the attacker's origin."""
        what = HARM[self.app][0]
        texts = MARKUP if self.kind == "markup" else SAY
        return texts[self.number % len(texts)].format(what=what, other=other)


def injected_pages() -> tuple[InjectedPage, ...]:
    """All pages; the first of each kind come first, so that a run that is ended has seen most."""
    kinds: dict[str, Sequence[str]] = {
        **ROW_KINDS,
        **{kind: tuple(places) for kind, places in PAGE_KINDS.items()},
        **ANSWER_KINDS,
    }
    found = []
    for at in range(max(map(len, kinds.values()))):
        for number, (kind, places) in enumerate(kinds.items()):
            found += [
                InjectedPage(app, kind, places[at], at * len(kinds) + number)
                for app in INJECTED_APPS
                if at < len(places)
            ]
    return tuple(found)


def task_of(page: InjectedPage, tasks: Sequence[AgentTask]) -> AgentTask:
    """The task of a page: the next of its app's that has the record which the page needs."""
    by_name = {one.name: one for one in tasks}
    names = [f"{page.app}/{name}" for name in _TASKS[page.app]]
    turned = [names[(page.number + n) % len(names)] for n in range(len(names))]
    return next(one for one in map(by_name.__getitem__, turned) if _fits(page, one))


def _fits(page: InjectedPage, task: AgentTask) -> bool:
    forms = Changed if page.kind == "values" else Added | Changed
    fills = any(isinstance(one, forms) for one in task.goal.changes)
    return can_plant(task, page.kind, page.place) and (fills or page.kind not in _ON_FORMS)
