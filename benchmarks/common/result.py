"""Writes the result of a benchmark to benchmarks/results/NAME.json."""

from __future__ import annotations

import json
import math
import os
import platform
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from adwright.core.atomic import atomic_write_text
from adwright.metrics.bootstrap import MethodInterval

#: The folder of this checkout.
ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PICTURES = ROOT / "docs" / "_static"
_PACKAGES = ("torch", "numpy", "polars", "pyarrow")

Figure = float | int | Sequence[float]


@dataclass(frozen=True)
class Lead:
    """One published comparison: a less b.

    key: the figure of that name, beside KEY_ci. measure, data: in words. found: with seeds 0 where
    neither side was trained, 1 where it speaks of the trainings that were made. lower: is better.
    """

    key: str
    a: str
    b: str
    measure: str
    data: str
    found: MethodInterval
    lower: bool = False

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Lead:
        """The lead of a `row`, of a result that is written anew in part."""
        found = MethodInterval(*(row[key] for key in ("value", "low", "high", "seeds")))
        key, a, b, measure, data = (row[k] for k in ("key", "a", "b", "measure", "data"))
        return cls(key, a, b, measure, data, found, lower=row["lower"])

    @staticmethod
    def word(name: str) -> str:
        """A name as a part of a key: small letters, digits and underscores."""
        return re.sub(r"\W+", "_", name.lower()).strip("_")

    def figures(self) -> dict[str, Figure]:
        """As two figures."""
        return {self.key: self.found.value, f"{self.key}_ci": [self.found.low, self.found.high]}

    def row(self) -> dict[str, Any]:
        """As benchmarks/claims reads it."""
        about: dict[str, Any] = {"key": self.key, "a": self.a, "b": self.b, "measure": self.measure}
        about |= {"data": self.data, "seeds": self.found.seeds, "lower": self.lower}
        return {**about, **{end: getattr(self.found, end) for end in ("value", "low", "high")}}


class Published(NamedTuple):
    """What of a result stands, or is to be written."""

    rows: list[dict[str, Any]]
    figures: dict[str, Any]
    leads: list[Lead]


def published(
    name: str,
    of_row: Callable[[Mapping[str, Any]], bool],
    of_key: Callable[[str], bool],
    folder: Path = RESULTS,
) -> Published:
    """The part of NAME.json that a benchmark of several parts keeps, where nothing of it was
    measured anew; empty where there is no file. of_row, of_key: whether a row, or a figure or
    lead of that key, is of the part."""
    path = folder / f"{name}.json"
    found = json.loads(path.read_text("utf-8")) if path.exists() else {}
    rows = [row for row in found.get("rows", ()) if of_row(row)]
    figures = {key: value for key, value in found.get("figures", {}).items() if of_key(key)}
    leads = [Lead.of(row) for row in found.get("leads", ()) if of_key(row["key"])]
    return Published(rows, figures, leads)


def write_result(
    name: str,
    *,
    protocol: str,
    data: str,
    seeds: Sequence[int],
    rows: Sequence[Mapping[str, Any]],
    figures: Mapping[str, Figure],
    leads: Sequence[Lead] = (),
    folder: Path = RESULTS,
) -> Path:
    """Write NAME.json as a whole or not at all, and print the figures; returns its path.

    protocol: what was measured and how, for a reader of the table. data: hash of the data.
    rows: the table, one mapping of plain values per row. figures: flat, key to a number or to
    the two ends of an interval. leads: what is compared; each is two figures more.
    Raises ValueError where a figure is neither, or not finite, and where two leads have one key.
    """
    every: dict[str, Figure] = dict(figures)
    for key, number in Counter(lead.key for lead in leads).items():
        if number > 1:
            raise ValueError(f"{number} leads are called {key}: rename them")
    for lead in leads:
        every |= lead.figures()
    result: dict[str, Any] = {
        "protocol": protocol,
        "data": data,
        "machine": machine(),
        "seeds": [int(seed) for seed in seeds],
        "rows": [{key: _plain(value) for key, value in row.items()} for row in rows],
        "figures": {key: _figure(key, value) for key, value in every.items()},
        **({"leads": [lead.row() for lead in leads]} if leads else {}),
    }
    path = folder / f"{name}.json"
    atomic_write_text(path, json.dumps(result, indent=1, allow_nan=False) + "\n")
    for key, value in result["figures"].items():
        print(f"{key}: {value}")
    return path


def machine() -> dict[str, Any]:
    """Processor, cores this process may use, memory in GB, and versions."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "cores": cores,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _plain(value: Any) -> Any:
    """Numpy's scalars and arrays as Python's own; the rest as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


def _figure(key: str, value: Figure) -> float | int | list[float]:
    plain = _plain(value)
    ends = list(plain) if isinstance(plain, Sequence) else [plain]
    numbers = all(isinstance(end, int | float) and math.isfinite(end) for end in ends)
    if not numbers or (isinstance(plain, Sequence) and len(ends) != 2):
        raise ValueError(f"figure {key} is neither a number nor an interval: {value!r}")
    return ends if isinstance(plain, Sequence) else plain
