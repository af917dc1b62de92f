"""Which sources are needed, and what serves: decided on validation visits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adwright.data.tasks.next_basket import NextBasket
from adwright.delivery.cascade.cascade import CascadeConfig
from adwright.delivery.funnel.bench import (
    Bench,
    FoundCandidates,
    find_candidates,
    score_candidates,
    some_visits,
)
from adwright.delivery.funnel.choice import (
    NETWORKS,
    RULES,
    TriedOrder,
    chosen,
    halves,
    try_orders,
)
from adwright.delivery.funnel.columns import ScorerColumn, stacked
from adwright.delivery.funnel.funnel import Serving
from adwright.delivery.funnel.measure import SIZES
from adwright.delivery.funnel.parts import OpenParts, SourceName
from adwright.delivery.funnel.report import FunnelLine, measured_line
from adwright.delivery.stages.histories import visit_requests
from adwright.delivery.stages.protocols import Shortlist

__all__ = ["LEAST_RECALL", "Selected", "needed_sources", "select_serving", "serving_sources"]

#: A source stays that brings this share of what was taken, beyond all others.
LEAST_RECALL = 0.001
_TOGETHER = 64


@dataclass(frozen=True, eq=False)
class Selected:
    """serving: what is to serve. orders: all that were tried. notes: what was decided, a sentence
    each. lines: of the report, on validation."""

    serving: Serving
    orders: tuple[TriedOrder, ...]
    notes: tuple[str, ...]
    lines: tuple[FunnelLine, ...]


def select_serving(
    parts: OpenParts,
    task: NextBasket,
    *,
    most: int = 1_500,
    cascade: CascadeConfig | None = None,
    seed: int = 0,
    draws: int = 500,
) -> Selected:
    """Measure sources and orders on at most `most` validation visits, and choose what serves.

    cascade: sizes; of these only `coarse` is read here. Deterministic for a seed.
    """
    config = cascade or CascadeConfig()
    unseen = not parts.parts.repeats
    visits = some_visits(task, task.visits("valid"), most, unseen=unseen, seed=seed)
    found = find_candidates(parts, {name: SIZES[name] for name in parts.sources}, task, visits)
    kept, notes = needed_sources(found)
    short = found.union(kept)
    bench = score_candidates(parts, parts.columns(parts.coarse_names), task, found, short)

    def fine(top: Shortlist) -> NDArray[np.float64]:
        columns = [c for c in parts.columns(("fine",)) if isinstance(c, ScorerColumn)]
        pieces = []
        for start in range(0, len(visits), _TOGETHER):
            rows = range(start, min(start + _TOGETHER, len(visits)))
            batch = parts.histories.batch(visit_requests(task, visits[list(rows)]))
            pieces.append(stacked(columns, batch, top.some(rows))[1][:, 0])
        return np.concatenate(pieces)

    known = "fine" in parts.parts.models
    orders = try_orders(
        bench,
        halves(bench.user, seed),
        kept,
        through=config.coarse,
        fine=fine if known else None,
    )
    best = chosen(orders, bench.user)
    lines = _lines(found, bench, orders, draws, seed)
    serving = Serving(serving_sources(best, kept), best.coarse, best.fine, config)
    return Selected(serving, tuple(orders), (*notes, *_notes(best, orders)), lines)


def needed_sources(found: FoundCandidates) -> tuple[tuple[SourceName, ...], tuple[str, ...]]:
    """The sources without those that bring nothing, and a sentence for each that was left out.

    One after another the source goes whose loss costs the union least, as long as that is less
    than LEAST_RECALL of what was taken. One that knows popular items stays, for newcomers.
    """
    kept, notes = list(found.lists), []
    while len(kept) > 1:
        whole = float(found.recall(found.union(kept)).mean())
        without = {
            name: float(found.recall(found.union([n for n in kept if n != name])).mean())
            for name in kept
            if _may_go(name, kept)
        }
        if not without:
            break
        name = max(without, key=lambda one: without[one])
        if whole - without[name] >= LEAST_RECALL:
            break
        kept.remove(name)
        notes.append(
            f"source {name} is left out: without it the others find {without[name]:.4f} of what "
            f"was taken, with it {whole:.4f}"
        )
    return tuple(kept), tuple(notes)


def _may_go(name: SourceName, kept: Sequence[SourceName]) -> bool:
    popular = [one for one in kept if one in ("popularity", "lately")]
    return popular != [name]


def serving_sources(order: TriedOrder, kept: Sequence[SourceName]) -> dict[SourceName, int]:
    """The sources of an order, with their sizes: no network is asked for candidates alone, and a
    rule that serves alone brings its own."""
    names = order.coarse.names
    if order.is_rule:
        (name,) = names
        match name:
            case "item-item" | "lately" | "popularity":
                mine: list[SourceName] = [name]
            case "frequency" | "again":
                mine = ["past"]
            case _:
                mine = [one for one in kept if one not in NETWORKS]
        if not {"popularity", "lately"} & set(mine):
            mine.append("popularity")
    else:
        asked = {*names, *(order.fine.names if order.fine is not None else ())}
        mine = [one for one in kept if one not in NETWORKS or one in asked]
    return {name: SIZES[name] for name in mine}


def _lines(
    found: FoundCandidates, bench: Bench, orders: Sequence[TriedOrder], draws: int, seed: int
) -> tuple[FunnelLine, ...]:
    best = max((one for one in orders if one.is_rule), key=lambda one: float(one.gain.mean()))
    lines = []
    for name in found.lists:
        short = found.union([name])
        items = float(np.diff(short.offsets).mean())
        lines.append(
            measured_line(
                name,
                "source",
                found.user,
                items=items,
                recall=found.recall(short),
                draws=draws,
                seed=seed,
            )
        )
    for order in orders:
        rule = order.name in RULES.values()
        lines.append(
            measured_line(
                order.name,
                "rule" if rule else "part" if order.name in NETWORKS else "order",
                bench.user,
                items=50.0,
                recall=order.recall,
                gain=order.gain,
                rule=best.gain,
                draws=draws,
                seed=seed,
            )
        )
    return tuple(lines)


def _notes(best: TriedOrder, orders: Sequence[TriedOrder]) -> list[str]:
    """What was chosen, and what was better but not by more than chance."""
    top = max(orders, key=lambda one: float(one.gain.mean()))
    said = [f"{best.name} serves: NDCG@10 {best.gain.mean():.4f} on validation, cross-fitted"]
    if top is not best:
        said.append(
            f"{top.name} has {top.gain.mean():.4f}, which is within a standard error, and asks more"
        )
    said.append(f"weights of the coarse order: {best.coarse.text()}")
    if best.fine is not None:
        said.append(f"weights of the fine order: {best.fine.text()}")
    return said
