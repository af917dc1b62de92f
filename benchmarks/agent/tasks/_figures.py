"""Figures of the kept cells: shares of tasks whose end state holds, with intervals over tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adwright.metrics.classification import wilson_interval
from benchmarks.agent.tasks._apps import APPS, AppName
from benchmarks.agent.tasks._cells import CellFile
from benchmarks.agent.tasks._systems import SYSTEMS, SystemName
from benchmarks.agent.tasks._wob import INEXPRESSIBLE
from benchmarks.agent.words._words import Wordings

Cell = dict[str, Any]
_SAID_DONE = ("done", "verified")
_SHOP: tuple[AppName, ...] = ("oscar", "storefront")


def holds(cell: Cell) -> bool:
    """Whether the run said that it is done, and it is."""
    return cell["verdict"] in _SAID_DONE and not cell["wrong"]


def agent_rows(folder: Path, wordings: Wordings) -> list[dict[str, Any]]:
    """A row a system and app: tasks, shares, what it cost, and why the others failed."""
    rows = []
    for system in SYSTEMS:
        for app in (*APPS, "miniwob"):
            cells = CellFile(system, app, wordings, folder).all
            if cells:
                rows.append(_row(system, app, cells))
    return rows


def agent_figures(folder: Path, wordings: Wordings, best: SystemName) -> dict[str, Any]:
    """The figures of the system `best`, and the ratios to the step-by-step agent where both have
    done the same tasks."""
    shop = [c for app in _SHOP for c in CellFile(best, app, wordings, folder).all]
    admin = CellFile(best, "admin", wordings, folder).all
    # A page of MiniWoB is its own document; no model is asked there.
    wob = CellFile("plan", "miniwob", wordings, folder).all
    found: dict[str, Any] = {"miniwob_inexpressible": len(INEXPRESSIBLE)}
    for key, cells in (("oscar", shop), ("admin", admin), ("miniwob_dev", wob)):
        if cells:
            share, low, high = _share(cells)
            name = "miniwob_dev" if key == "miniwob_dev" else f"{key}_end_state"
            found |= {name: share, f"{name}_ci": [low, high], f"{key}_tasks": len(cells)}
    every = [*shop, *admin]
    if every:
        false = sum(one["verdict"] in _SAID_DONE and bool(one["wrong"]) for one in every)
        found["false_success_share"] = false / len(every)
    alone = _ratios(folder, wordings, "model") if best != "model" else {}
    ours = _ratios(folder, wordings, best)
    found |= ours | {f"model_{key}": value for key, value in alone.items()}
    return found | _again(folder, wordings)


def _again(folder: Path, wordings: Wordings) -> dict[str, Any]:
    """Of known tasks, done a second time: tokens, and seconds over those of the first."""
    first = {c["task"]: c for app in APPS for c in CellFile("plan", app, wordings, folder).all}
    again = [c for app in APPS for c in CellFile("macro", app, wordings, folder).all]
    known = [one for one in again if one["task"] in first and holds(first[one["task"]])]
    if not known:
        return {}
    before = sum(first[one["task"]]["page_seconds"] for one in known)
    return {
        "second_run_tasks": len(known),
        "second_run_end_state": sum(map(holds, known)) / len(known),
        "second_run_tokens": sum(one["tokens_in"] + one["tokens_out"] for one in known),
        "replay_seconds_over_page": sum(one["page_seconds"] for one in known) / before,
    }


def _ratios(folder: Path, wordings: Wordings, best: SystemName) -> dict[str, float]:
    ours: list[Cell] = []
    steps: list[Cell] = []
    for app in APPS:
        mine = {one["task"]: one for one in CellFile(best, app, wordings, folder).all}
        for one in CellFile("steps", app, wordings, folder).all:
            if one["task"] in mine:
                ours.append(mine[one["task"]])
                steps.append(one)
    names = {
        "input_token_ratio": "tokens_in",
        "output_token_ratio": "tokens_out",
        "llm_latency_ratio": "model_seconds",
    }
    return {
        key: sum(one[part] for one in steps) / sum(one[part] for one in ours)
        for key, part in names.items()
        if sum(one[part] for one in ours)
    }


def _row(system: str, app: str, cells: Sequence[Cell]) -> dict[str, Any]:
    share, low, high = _share(cells)
    false = sum(one["verdict"] in _SAID_DONE and bool(one["wrong"]) for one in cells)
    why = Counter(_cause(one) for one in cells if not holds(one))
    seconds = [one["page_seconds"] for one in cells if "page_seconds" in one]
    return {
        "system": system,
        "app": app,
        "model": "; ".join(sorted({one["model"] for one in cells if one.get("model")})),
        "tasks": len(cells),
        "end_state": round(share, 3),
        "low": round(low, 3),
        "high": round(high, 3),
        "false_success": false,
        "tokens_in": sum(one.get("tokens_in", 0) for one in cells),
        "tokens_out": sum(one.get("tokens_out", 0) for one in cells),
        "page_seconds": round(float(np.mean(seconds)), 1) if seconds else 0.0,
        "failed_because": "; ".join(f"{n} {cause}" for cause, n in why.most_common()),
    }


def _cause(cell: Cell) -> str:
    """Why a task failed, in a few words."""
    if cell["verdict"] == "none":
        return "no script"
    if cell["verdict"] in _SAID_DONE:
        return "said done, and is not"
    return f"stopped: {cell['problem'].partition(chr(39))[2].partition(chr(39))[0]}"


def _share(cells: Sequence[Cell]) -> tuple[float, float, float]:
    share = sum(map(holds, cells)) / len(cells)
    low, high = wilson_interval(np.array([share]), np.array([float(len(cells))]))
    return share, float(low[0]), float(high[0])
