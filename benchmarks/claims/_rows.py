"""Every comparison that a result file publishes, as one row with its verdict in words."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.claims._beside import BESIDE, Beside, End
from benchmarks.common.result import RESULTS

Verdict = Literal["ahead", "behind", "level", "untold"]
#: Figures that compare two things, of files that do not list their leads: their interval resamples
#: people alone.
_COMPARES = re.compile(r"_minus_|_lead_|_ne_change_")
_LOWER = re.compile(r"log_loss|_ne_|(^|_)loss|redundancy|nll")


@dataclass(frozen=True)
class ClaimRow:
    """a less b. name: FILE/KEY. seeds: trainings of the side that has fewer, 0 where nothing is
    trained, 1 where the interval is of the trainings that were made. low, high: NaN where a
    number alone is published. lower: is better."""

    name: str
    a: str
    b: str
    measure: str
    data: str
    seeds: int
    value: float
    low: float
    high: float
    lower: bool = False

    @property
    def of_trainings(self) -> bool:
        """Whether it says nothing of a method."""
        return self.seeds == 1

    @property
    def verdict(self) -> Verdict:
        """Of a; untold without an interval."""
        if math.isnan(self.low):
            return "untold"
        if self.low <= 0 <= self.high:
            return "level"
        return "ahead" if (self.low > 0) != self.lower else "behind"

    def words(self) -> str:
        """The verdict, and of what it is."""
        match self.verdict:
            case "untold":
                return "not told: no interval"
            case found:
                return f"{found}, of these trainings" if self.of_trainings else found


def claim_rows(folder: Path = RESULTS) -> dict[str, ClaimRow]:
    """By name: the leads that files list, what their figures compare otherwise, and `BESIDE`."""
    found: dict[str, ClaimRow] = {}
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text("utf-8"))
        listed = result.get("leads", [])
        for lead in listed:
            row = ClaimRow(name=f"{path.stem}/{lead.pop('key')}", **lead)
            found[row.name] = row
        # A figure with the interval of a lead is that lead under a name of the contract.
        told = {(lead["low"], lead["high"]) for lead in listed}
        for row in _of_figures(path.stem, result["figures"]):
            if (row.low, row.high) not in told:
                found.setdefault(row.name, row)
    for one in BESIDE:
        if apart := _beside(one, folder):
            found[apart.name] = apart
    return found


def _of_figures(file: str, figures: dict[str, Any]) -> Iterator[ClaimRow]:
    keys = dict.fromkeys(key.removesuffix("_ci") for key in figures)
    for key in filter(_COMPARES.search, keys):
        ends, value = figures.get(f"{key}_ci"), figures.get(key)
        if ends is None and not isinstance(value, float):
            continue  # the two ends of something else
        if "ratio" in key:
            continue
        low, high = ends or (math.nan, math.nan)
        middle = value if isinstance(value, float) else (low + high) / 2
        about, _, other = key.partition("_minus_")
        lower = bool(_LOWER.search(key))
        yield ClaimRow(f"{file}/{key}", about, other, key, "", 1, middle, low, high, lower)


def _beside(one: Beside, folder: Path) -> ClaimRow | None:
    """From two intervals that were published apart: the squares of their reaches add up, which is
    wide where both were measured on the same people (Zou and Donner, Statistics in Medicine 2008).
    """
    a, b = (_ends(end, folder) for end in (one.a, one.b))
    if a is None or b is None:
        return None
    low = a[0] - b[0] - math.hypot(a[0] - a[1], b[2] - b[0])
    high = a[0] - b[0] + math.hypot(a[2] - a[0], b[0] - b[1])
    return ClaimRow(
        f"beside/{one.name}",
        one.a.label,
        one.b.label,
        one.measure,
        one.data,
        one.seeds,
        a[0] - b[0],
        low,
        high,
        one.lower,
    )


def _ends(end: End, folder: Path) -> tuple[float, float, float] | None:
    """(value, low, high) of the row that is asked for; None where there is none."""
    path = folder / f"{end.file}.json"
    rows = json.loads(path.read_text("utf-8"))["rows"] if path.exists() else []
    found = [
        _interval(row, end.key)
        for row in rows
        if end.key in row
        and all(str(row.get(key, "")).startswith(value) for key, value in end.where.items())
    ]
    return None if not found else max(found) if end.best else found[0]


def _interval(row: dict[str, Any], key: str) -> tuple[float, float, float]:
    """As [value, low, high], as a value and half a width, or as a value beside its two ends."""
    value, spread = row[key], row.get(f"{key}_spread")
    if isinstance(value, list):
        return value[0], value[1], value[2]
    if spread is not None:
        return value, value - spread, value + spread
    low, high = row[f"{key}_ci"]
    return value, low, high
