"""The table of attacks, from benchmarks/results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from _results import ABSENT, figures_of, number, result, source

MEASURES = {
    "honest_share": ("share of the honest answered", ".4f"),
    "honest_p99_ratio": ("p99 over the quiet one", ".2f"),
    "healthz_ms": ("slowest /healthz, ms", ".0f"),
}


def attacks() -> Iterator[str]:
    """What was tried and held, area by area; then what an honest tenant keeps."""
    figures, rows = figures_of("attacks"), result("attacks").get("rows", [])
    yield "| attacks on | tried | held | accepted | did not hold |"
    yield "|---|---|---|---|---|"
    for row in rows:
        yield (
            f"| {row['area']} | "
            + " | ".join(f"{row[key]:,}" for key in ("tried", "held", "accepted", "broke"))
            + " |"
        )
    total = [figures.get(key) for key in ("tried", "held", "accepted")]
    yield f"| **all** | {' | '.join(number(value, ',') for value in total)} | {_broke(rows)} |"
    yield from _reasons(rows)
    yield ""
    yield f"| during this | {' | '.join(name for name, _ in MEASURES.values())} |"
    yield "|---|---|---|---|"
    for row in rows:
        for name, measures in row["measures"].items():
            kept = {key.removeprefix("lm_"): value for key, value in measures.items()}
            if kept.keys() & MEASURES.keys():
                cells = [_cell(kept.get(key), form) for key, (_, form) in MEASURES.items()]
                yield f"| {row['area']}: {name} | {' | '.join(cells)} |"
    yield ""
    yield result("attacks").get("protocol", f"The attacks are {ABSENT}.")
    yield from source("attacks")


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else number(value, form)


def _broke(rows: list[dict[str, int]]) -> str:
    return f"{sum(row['broke'] for row in rows):,}" if rows else ABSENT


def _reasons(rows: list[dict[str, list[str]]]) -> Iterator[str]:
    """What is accepted and what did not hold, in words."""
    for key, title in (("reasons", "Accepted"), ("what_broke", "Did not hold")):
        lines = [f"- {row['area']}: {line}" for row in rows for line in row[key]]
        if lines:
            yield from ("", f"{title}:", "", *lines)


SECURITY: Mapping[str, Callable[[], Iterator[str]]] = {"attacks": attacks}
