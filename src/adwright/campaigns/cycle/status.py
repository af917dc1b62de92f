"""How a cycle stands: for people, as JSON for machines, and as counters for Prometheus.

Beside the file, in the folder of its name, lie `status.json` and `metrics.prom`, written at the end
of each call; the second is for the textfile collector of Prometheus' node exporter.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any

from adwright.campaigns.cycle.book import Book
from adwright.campaigns.cycle.plan import Cycle
from adwright.core.atomic import atomic_write_text, claim

_COUNTED = ("done", "failed", "refused", "budget")


def status_of(cycle: Cycle, book: Book, now: datetime) -> dict[str, Any]:
    """All that is known, as plain values."""
    budget = cycle.file.budget
    used = book.used(per=budget.per, now=now)
    bounds = {name: getattr(budget, name) for name in ("tokens", "money", "seconds")}
    taken = Counter(row["id"] for row in book.rows if row["kind"] == "sent")
    return {
        "cycle": str(cycle.path),
        "tenant": cycle.file.tenant,
        "time": now.isoformat(timespec="seconds"),
        "round": book.number,
        "open": book.open,
        "running": running(cycle),
        "budget": {"per": budget.per, "used": asdict(used), "bounds": bounds},
        "used": asdict(book.used()),
        "steps": {step.name: _step(book, step.name) for step in cycle.steps},
        "alerts": [
            {name: row[name] for name in ("id", "time", "what", "about", "text")}
            | {"sent": taken[row["id"]], "of": len(cycle.file.alerts.urls)}
            for row in book.rows
            if row["kind"] == "alert"
        ][-20:],
    }


def _step(book: Book, name: str) -> dict[str, Any]:
    """The last that became of a step, and its counts."""
    mine = [row for row in book.rows if row.get("step") == name]
    last = mine[-1] if mine else {"kind": "new"}
    done = book.last(name)
    return {
        "last": last["kind"],
        "time": last.get("time"),
        "said": last.get("said", ""),
        "done": None if done is None else done["time"],
        "used": asdict(book.used(step=name)),
        **{f"{kind}_count": book.count(name, kind) for kind in _COUNTED},
    }


def running(cycle: Cycle) -> bool:
    """Whether a call of the cycle is under way."""
    lock = cycle.state / "lock"
    if not lock.exists():
        return False
    release = claim(lock)
    if release is None:
        return True
    release()
    return False


def read_status(cycle: Cycle, now: datetime) -> dict[str, Any]:
    """How it stands, as its journal tells now."""
    return status_of(cycle, Book.read(cycle.state / "journal.jsonl"), now)


def write_status(cycle: Cycle, book: Book, now: datetime) -> None:
    """Write `status.json` and `metrics.prom`."""
    found = status_of(cycle, book, now) | {"running": False}
    text = json.dumps(found, indent=1, ensure_ascii=False)
    atomic_write_text(cycle.state / "status.json", text + "\n")
    atomic_write_text(cycle.state / "metrics.prom", "".join(_metrics(found, book)))


def _metrics(found: dict[str, Any], book: Book) -> Iterator[str]:
    tenant = _label(found["tenant"])
    rows: dict[str, list[tuple[str, float]]] = {}
    for name, step in found["steps"].items():
        at = f'tenant="{tenant}",step="{name}"'
        for kind in _COUNTED:
            rows.setdefault("step_runs_total counter", []).append(
                (f'{at},outcome="{kind}"', step[f"{kind}_count"])
            )
        for unit in ("tokens", "money", "seconds"):
            rows.setdefault(f"step_{unit}_total counter", []).append((at, step["used"][unit]))
        if step["done"] is not None:
            when = datetime.fromisoformat(step["done"]).timestamp()
            rows.setdefault("step_done_timestamp_seconds gauge", []).append((at, when))
    alerts = Counter(row["what"] for row in book.rows if row["kind"] == "alert")
    rows["alerts_total counter"] = [
        (f'tenant="{tenant}",what="{_label(what)}"', count) for what, count in alerts.items()
    ]
    rows["rounds_total counter"] = [(f'tenant="{tenant}"', found["round"])]
    for head, values in rows.items():
        name, kind = head.split()
        if values:
            yield f"# TYPE adwright_cycle_{name} {kind}\n"
        for labels, value in values:
            yield f"adwright_cycle_{name}{{{labels}}} {value}\n"


def _label(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
