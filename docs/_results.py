"""The benchmarks' results, as the generated parts of the documentation read them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results"
ABSENT = "not measured yet"


def result(name: str) -> dict[str, Any]:
    """The result file of a benchmark; empty where it was not run."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def figures_of(name: str) -> Mapping[str, Any]:
    """The figures of a benchmark; empty where it was not run."""
    figures: Mapping[str, Any] = result(name).get("figures", {})
    return figures


def number(value: object, form: str = ".4f") -> str:
    """A figure as text: a number, the two ends of an interval, or that it is absent."""
    if isinstance(value, list):
        return " to ".join(format(end, form) for end in value)
    return ABSENT if value is None else format(value, form)


def verdict(ends: Sequence[float] | None, above: str = "ahead", below: str = "behind") -> str:
    """In words, of the two ends of a difference: `level` where 0 lies between them."""
    if ends is None:
        return ABSENT
    return above if ends[0] > 0 else below if ends[1] < 0 else "level"


def source(name: str, target: str = "") -> Iterator[str]:
    """Where a table comes from. target: the benchmark that writes it, if of another name."""
    found = result(name)
    yield ""
    if not found:
        written = f"which `make bench-{target or name}` writes"
        yield f"Generated from `benchmarks/results/{name}.json`, {written}."
        return
    machine = found["machine"]
    yield (
        f"Generated from `benchmarks/results/{name}.json`: {machine['processor']}, "
        f"{machine['cores']} cores, torch {machine['torch']}."
    )
