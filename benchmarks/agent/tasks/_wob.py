"""MiniWoB's pages of development: which of them the language can express, and who solves those.

for cell in wob_cells(browser, seeds=(0, 1)):
    cell["reward"]               # 1.0 where the goal was met

The document of a page is made when it is opened: what it shows, and its tabs and menus. The task is
the page's own sentence. Whether it was done, the page itself tells this program, by a request that
no script makes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from adwright.agent.document.elements import AppDocument
from adwright.agent.drivers.chromium import ChromiumBrowser, ChromiumDriver
from adwright.agent.drivers.protocol import (
    FetchingDriver,
    GateDecision,
    PendingRequest,
    RequestGate,
)
from adwright.agent.explore.explorer import ExploreBounds, PageRecords, build_document, explore
from adwright.agent.generate.ladder import ScriptLadder
from adwright.agent.language.problems import RunBudget, ScriptError
from adwright.agent.language.script import print_script
from adwright.agent.language.statements import CheckRules
from adwright.agent.policy.gate import GateRules
from adwright.agent.policy.origins import FlowRule, OriginRules
from adwright.agent.run.runner import RunPolicy, run_on_screen
from adwright.core.clock import SystemClock
from adwright.core.errors import AdwrightError
from benchmarks.agent.apps.wob import WOB_TASKS, WobPages, wob_pages

#: Seconds for a page to tell of the end, after what moves on it.
_PATIENCE = 2.0
#: Pages give less for a part of the goal, and a little less the later it is met.
_FULL = 0.95
_DRAGS = "something is dragged, and there is no verb for that"
_DRAWN = "what is meant is drawn, and no tool for accessibility sees it"
_PARTS = "a text has to be taken apart, and scripts only compare, match and measure texts"
_PLACE = "a place in a picture is tapped, not an element"
#: Tasks that no script can do, and why.
INEXPRESSIBLE: Mapping[str, str] = {
    "ascending-numbers": "the numbers vanish with the first tap, and places must be remembered",
    "circle-center": _PLACE,
    "click-pie": _DRAWN,
    "click-shape": _DRAWN,
    "count-shape": _DRAWN,
    "daily-calendar": _DRAGS,
    "drag-circle": _DRAGS,
    "drag-items": _DRAGS,
    "drag-shapes": _DRAGS,
    "drag-single-shape": _DRAGS,
    "draw-circle": _DRAGS,
    "find-word": _PARTS,
    "highlight-text-2": "text is marked with the mouse, and there is no verb for that",
    "identify-shape": _DRAWN,
    "login-user-popup": "a password stands in the task; scripts take those alone that a user keeps",
    "number-checkboxes": "boxes are ticked as in a picture, which no tool for accessibility sees",
    "resize-textarea": _DRAGS,
    "scroll-text": _PARTS,
    "simple-algebra": _PARTS,
    "terminal": "keys go to a page without a field, and there is no verb for that",
    "text-transform": "letters are turned and shifted, as puzzles that are meant to stop programs",
    "use-colorwheel-2": _DRAWN,
    "use-slider-2": _DRAGS,
    "visual-addition": _DRAWN,
}


def wob_cells(browser: ChromiumBrowser, seeds: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    """A cell for each expressible task and seed, without a model."""
    with wob_pages() as pages:
        for seed in seeds:
            for task in WOB_TASKS:
                if task not in INEXPRESSIBLE:
                    yield wob_cell(browser, pages, task, seed)


def wob_cell(browser: ChromiumBrowser, pages: WobPages, task: str, seed: int) -> dict[str, Any]:
    """One episode: its goal, the plan, what the run said and the reward; 0 where nothing ended it.

    A task that cannot be run is a cell too, with the reason.
    """
    pages.seed = seed
    cell: dict[str, Any] = {"task": f"miniwob/{task}/{seed}", "kind": task, "verdict": "none"}
    with ExitStack() as stack:

        def opened(gate: RequestGate) -> ChromiumDriver:
            def asked(request: PendingRequest) -> GateDecision:
                if request.url == pages.reports:
                    return GateDecision(allowed=True)
                return gate(request)

            return stack.enter_context(browser.driver(asked))

        driver = opened(lambda request: GateDecision(request.method == "GET"))
        try:
            document = _document(task, pages.url, driver)
            goal: Any = pages.episodes[-1].goal  # some pages tell its parts as well
            cell["text"] = str(goal["utterance"] if isinstance(goal, dict) else goal)
            rules = CheckRules(forbidden=(), flows=_flows(document))
            found = ScriptLadder(document, rules=rules).script(cell["text"])
            cell["script"] = print_script(found.script.script)
            gate = GateRules(OriginRules((pages.url,)), unknown=True)
            report = run_on_screen(
                found.script,
                document,
                opened,
                RunPolicy(gate, confirm=lambda change: True),
                found.arguments,
                clock=SystemClock(),
                budget=RunBudget(acts=40, writes=40, seconds=60.0),
            )
            cell |= {"verdict": report.verdict, "problem": str(report.problem or "")}
        except ScriptError as error:
            cell["problem"] = str(error.problems[0])
        except AdwrightError as error:
            cell["problem"] = str(error)
        ends = time.monotonic() + (_PATIENCE if cell["verdict"] == "done" else 0.0)
        while pages.episodes and pages.episodes[-1].reward is None and time.monotonic() < ends:
            time.sleep(0.1)
    reward = pages.episodes[-1].reward if pages.episodes else None
    cell["reward"] = 0.0 if reward is None or cell["verdict"] == "none" else reward
    cell["wrong"] = "" if cell["reward"] >= _FULL else "the goal is not met"
    return cell


def _flows(document: AppDocument) -> tuple[FlowRule, ...]:
    """Text of a page may go into its own fields: the user of these pages allows that, as tasks ask
    for it by "copy"; nothing leaves the page."""
    read = [one for one in document.elements if one.value_type == "text" or one.role == "cell"]
    fields = [one for one in document.elements if one.value_type == "text"]
    return tuple(FlowRule(a.name, b.name) for a in read for b in fields if a is not b)


def _document(task: str, url: str, driver: FetchingDriver) -> AppDocument:
    """The page as an app of its own: what it shows, and what its tabs and menus do."""
    path = f"/miniwob/{task}.html"
    bounds = ExploreBounds(
        start=url + path, paths=(path,), pages=24, menus=8, tries=3, cautious=False
    )
    records = PageRecords()
    explore(driver, records, bounds)
    found = build_document(task, records.all, (url,))
    # A name with a digit is taken for data elsewhere; here it is the page's own.
    return replace(found, states=tuple(replace(one, url_template=path) for one in found.states))
