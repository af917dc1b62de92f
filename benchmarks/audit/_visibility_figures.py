"""The result of the benchmark of visibility, from the cells that are there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adwright.audit.report.intervals import crossed_interval
from adwright.audit.report.measures import TierMeasures, measure_tier
from adwright.audit.report.trials import RankTable
from adwright.audit.targets.target import RankingCost
from adwright.core.hashing import content_hash
from adwright.metrics.two_level import MethodInterval
from benchmarks.audit._visibility_cells import (
    CALLS,
    CONTROLS,
    GRADIENT,
    SEEDS,
    TIERS,
    VisibilityCell,
    kept,
    seller_text,
)
from benchmarks.audit._visibility_lab import REQUESTS, shop
from benchmarks.common.result import Figure, Lead, write_result

__all__ = ["summarise"]

#: Of "Manipulating LLMs to Increase Product Visibility", recomputed from its released result files,
#: in percent: net of all runs, net of the best of five chosen on the evaluation data, first places.
_PAPER = (
    ("coffee_machines", "Llama-2-7B", 69.6, 89.6, 8.8, 98.5),
    ("books", "Llama-2-7B", 58.7, 90.4, 9.0, 98.9),
    ("cameras", "Llama-2-7B", 61.4, 90.5, 8.4, 98.5),
    ("coffee_machines", "Vicuna-7B", 25.9, 67.6, 10.2, 75.8),
    ("books", "Vicuna-7B", 2.0, 40.0, 7.8, 48.7),
    ("cameras", "Vicuna-7B", 9.0, 48.6, 9.0, 42.7),
    ("coffee_machines", "GPT-3.5, transfer", 0.3, 3.5, 10.2, 20.4),
)
_PROTOCOL = (
    f"One product at a time of ten is attacked in its last text, on a catalogue of fictitious "
    f"products declared as one's own; the ranker is SmolLM2-135M-Instruct, which ranks by the "
    f"likelihood (sum over tokens) of each name as first item of its list. T0: templates, the best "
    f"of 18 in two orders. T1: beam search over phrases and words on ranks alone. T2: greedy "
    f"coordinate gradient, {GRADIENT.tokens} tokens, {GRADIENT.candidates} candidates a step. T3: "
    f"the same with a weight on how odd the text reads. T1, T2 and T3 may spend {CALLS} readings "
    f"of the whole prompt each; who reads a part pays that part, a gradient counts three times. "
    f"Texts are chosen in three orders, and scored in ten fresh ones, the same for all, in which "
    f"each product stands in each place once. net: share of orders with a better rank less those "
    f"with a worse one, in percent; mean of all seeds, and the best seed, chosen on one half of "
    f"the orders and scored on the other. Intervals of 95% over products and orders, crossed. "
    f"Controls: as many random tokens, the name again, a sentence more that says what the record "
    f"says. The paper's rows are of other models, 2,000 steps of 512 candidates, five runs, and "
    f"free generation. A finding on this small model says little of a large one."
)

Floats = NDArray[np.float64]


def summarise() -> None:
    """Write benchmarks/results/visibility.json."""
    found = {name: dict(_tables(name, "sum")) for name in REQUESTS}
    means = {name: dict(_tables(name, "mean")) for name in REQUESTS}
    rows: list[dict[str, Any]] = []
    for name, tables in found.items():
        for tier, table in tables.items():
            rows.append(_row(name, tier, table, means[name][tier]))
    for name, model, net, best, before, after in _PAPER:
        row = {"catalogue": name, "tier": "T2", "model": f"{model} (published)", "net": net}
        rows.append(row | {"best": best, "first_before": before, "first_after": after})
    rows += _products(found.get("coffee_machines", {}))
    write_result(
        "visibility",
        protocol=_PROTOCOL,
        data=content_hash([shop(name).digest() for name in REQUESTS]),
        seeds=SEEDS,
        rows=rows,
        figures=_figures(found.get("coffee_machines", {})),
        leads=list(_leads(found)),
    )


def _tables(catalogue: str, rule: str) -> Iterator[tuple[str, RankTable]]:
    """The ranks of each tier that was measured at all."""
    for tier in (*TIERS, *CONTROLS):
        cells = [
            (cell, got)
            for seed in SEEDS
            for row in range(10)
            if (got := kept(cell := VisibilityCell(catalogue, row, tier, seed))) is not None
        ]
        if cells:
            cost = RankingCost()
            yield (
                tier,
                RankTable(
                    tuple(seller_text(cell, got) for cell, got in cells),
                    np.array([cell.row for cell, _ in cells]),
                    np.array(cells[0][1]["ranks"][rule]["clean"]),
                    np.array([got["ranks"][rule]["attacked"] for _, got in cells]),
                    cost,
                    cost,
                ),
            )


def _measures(table: RankTable) -> TierMeasures:
    return measure_tier(table, table.texts[0].tier)


def _row(catalogue: str, tier: str, table: RankTable, mean: RankTable) -> dict[str, Any]:
    own, other = _measures(table), _measures(mean)
    spent = [
        got.get("spent", {})
        for seed in SEEDS
        for row in range(10)
        if (got := kept(VisibilityCell(catalogue, row, tier, seed))) is not None
    ]
    return {
        "catalogue": catalogue,
        "tier": tier,
        "model": "SmolLM2-135M-Instruct",
        "products": len(own.products),
        "runs": own.runs,
        "net": _percent(own.net.value),
        "net_low": _percent(own.net.low),
        "net_high": _percent(own.net.high),
        "net_mean_rule": _percent(other.net.value),
        "best": None if own.best is None else _percent(own.best.value),
        "advantage": _percent(own.advantage.value),
        "disadvantage": _percent(own.disadvantage.value),
        "first_before": _percent(own.first_before.value),
        "first_after": _percent(own.first_after.value),
        "harm": round(own.harm.value, 2),
        "over_50": own.pushed,
        **{key: _mean(spent, key) for key in ("calls", "trials", "cpu_seconds")},
    }


def _products(tables: Mapping[str, RankTable]) -> list[dict[str, Any]]:
    """The coffee machines one by one, under the attack by gradient."""
    if "T2" not in tables:
        return []
    return [
        {
            "catalogue": "coffee_machines",
            "tier": "T2",
            "product": one.product,
            "runs": one.runs,
            "net": _percent(one.net.value),
            "first_before": _percent(one.first_before),
            "first_after": _percent(one.first_after),
            "rank_before": round(one.rank_before, 2),
            "rank_after": round(one.rank_after, 2),
            "text": one.text,
        }
        for one in _measures(tables["T2"]).products
    ]


def _figures(coffee: Mapping[str, RankTable]) -> dict[str, Figure]:
    """The keys of the coffee machines."""
    found: dict[str, Figure] = {}
    if "T2" in coffee:
        own = _measures(coffee["T2"])
        found["sts_net_all_runs"] = _percent(own.net.value)
        found["sts_net_all_runs_ci"] = [_percent(own.net.low), _percent(own.net.high)]
        found["sts_products_over_50"] = own.pushed
        found["sts_products"] = len(own.products)
        found["sts_first_before"] = _percent(own.first_before.value)
        found["sts_first_after"] = _percent(own.first_after.value)
        if own.best is not None:
            found["sts_net_best_of_k"] = _percent(own.best.value)
    for key, tier in (("random_tokens", "random"), ("truthful", "truthful"), ("name", "name")):
        if tier in coffee:
            found[f"sts_net_{key}"] = _percent(_measures(coffee[tier]).net.value)
    for tier in ("T0", "T1", "T3"):
        if tier in coffee:
            found[f"sts_net_{tier.lower()}"] = _percent(_measures(coffee[tier]).net.value)
    return found


def _leads(found: Mapping[str, Mapping[str, RankTable]]) -> Iterator[Lead]:
    """The gradient against what it has to beat, on the products that both have."""
    for name, tables in found.items():
        for other in ("random", "T1", "T3"):
            if "T2" not in tables or other not in tables:
                continue
            a, b = _nets(tables["T2"]), _nets(tables[other])
            both = sorted(set(a) & set(b))
            if len(both) < 2:
                continue
            table = np.stack([a[row] - b[row] for row in both]) * 100  # [P, O]
            interval = crossed_interval(table, np.random.default_rng(0))
            yield Lead(
                f"net_t2_minus_{other.lower()}_{name}",
                "T2",
                other,
                "net, percentage points",
                f"{name}, {len(both)} products",
                MethodInterval(interval.value, interval.low, interval.high, 1),
            )


def _nets(table: RankTable) -> dict[int, Floats]:
    """Net of each product in each order, mean over its runs: float64 [O]."""
    signs = np.sign(table.before - table.after).astype(np.float64)
    return {int(row): signs[table.rows == row].mean(0) for row in np.unique(table.rows)}


def _mean(spent: list[dict[str, Any]], key: str) -> float | None:
    known = [float(one[key]) for one in spent if key in one]
    return round(float(np.mean(known)), 1) if known else None


def _percent(share: float) -> float:
    return round(100 * share, 1)
