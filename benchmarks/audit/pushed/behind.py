"""Rows and figures of the defences: attacks behind each, what they cost the shop, and the bound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adwright.audit.certificate.certificate import (
    BoundedScores,
    make_certificate,
    rank_bounds,
    read_certificate,
)
from adwright.audit.certificate.curve import (
    bound_curve,
    epsilons,
)
from adwright.audit.report.audit_report import crossed_interval
from adwright.audit.report.trials import RankTable
from adwright.metrics.bootstrap import Interval
from adwright.metrics.classification import wilson_interval
from adwright.metrics.ranking import graded_ndcg_per_query
from benchmarks.audit.pushed.cells import ADAPTIVE, CI, CONTROLS, FACTS, TIERS, VisibilityCell, kept
from benchmarks.audit.pushed.defences import DEFENCES, HALF, graded_list, tuned_eps
from benchmarks.audit.pushed.lab import REQUESTS
from benchmarks.audit.pushed.tables import (
    AVERAGED,
    averaged_tables,
    behind_tables,
    by_product,
    difference,
    nets,
    rank_tables,
)
from benchmarks.common.result import Figure, Lead

Floats = NDArray[np.float64]
#: Without any defence.
NONE = "none"
#: All defences by what their figures end in: the bound of the rule, that of `--defend`, and that
#: with typed facts alone.
STACKS = {"stack": "", "stack_half": "_half", "stack_facts": "_typed"}
_WRITTEN = (*TIERS, *CONTROLS)


def behind_rows() -> list[dict[str, Any]]:
    """A row for each catalogue, defence and kind of text, and one for each bound that was tried."""
    rows = []
    for catalogue in REQUESTS:
        for defence, tables in _by_defence(catalogue).items():
            control = tables.get("random")
            loss = _ndcg_loss(catalogue, defence, tables)
            for tier, table in tables.items():
                net, minus = _interval(_net(table)), _minus(table, control)
                rows.append(
                    {
                        "kind": "defence",
                        "catalogue": catalogue,
                        "defence": defence,
                        "tier": tier,
                        "products": len(nets(table)),
                        "texts": len(table.texts),
                        **_ends("net", net),
                        **_ends("minus_control", minus),
                        "first_before": _first(table, table.before),
                        "first_after": _first(table, table.after),
                        **_ends("ndcg_loss", loss),
                    }
                )
        whole = kept(VisibilityCell(catalogue, FACTS))
        rows += [] if whole is None else [_rating_row(catalogue, whole)]
    return [*rows, *_curve_rows()]


def _rating_row(catalogue: str, whole: Mapping[str, Any]) -> dict[str, Any]:
    """The rule beside all rankers: by the shop's ratings, which no text of a seller moves. They are
    the grades of NDCG too, so that it loses nothing."""
    ranks = np.argsort(np.argsort(-np.array(whole["grades"]), kind="stable"))[None] + 1
    before = _ndcg(np.array(whole["ranks"]["sum"]), whole["grades"])
    after = _ndcg(ranks, whole["grades"])
    loss = _interval((100 * (before - after) / before.mean())[None])
    row = {"kind": "defence", "catalogue": catalogue, "defence": "rating", "tier": "any"}
    nothing = {key: 0.0 for key in ("net", "net_low", "net_high")}
    return {**row, "products": len(whole["grades"]), "texts": 0, **nothing} | {
        **_ends("minus_control", None),
        "first_before": round(100 / len(whole["grades"]), 1),
        "first_after": round(100 / len(whole["grades"]), 1),
        **_ends("ndcg_loss", loss),
    }


def behind_figures() -> dict[str, Figure]:
    """The keys of the coffee machines behind the stack."""
    catalogue = next(iter(REQUESTS))
    found: dict[str, Figure] = {}
    by_defence = _by_defence(catalogue)
    found |= _attack_figures(by_defence)
    for defence, tables in by_defence.items():
        loss = _ndcg_loss(catalogue, defence, tables)
        if loss is not None and defence != NONE:
            found |= _figure(f"ndcg_loss_percent{STACKS.get(defence, f'_{defence}')}", loss)
    whole = kept(VisibilityCell(catalogue, FACTS))
    eps = _eps()
    if whole is not None:
        found |= _rule_figures(whole)
        low, high = wilson_interval(
            np.array([whole["alarms"] / whole["looked_at"]]), np.array([whole["looked_at"]])
        )
        found["honest_alarm_share"] = round(whole["alarms"] / whole["looked_at"], 4)
        found["honest_alarm_share_ci"] = [round(float(low[0]), 4), round(float(high[0]), 4)]
        for (name, end), bound in zip(STACKS.items(), (eps, HALF, HALF), strict=True):
            if bound is not None:
                found |= _certificate_figures(whole, bound, by_defence.get(name, {}), end)
    audit = kept(VisibilityCell(catalogue, CI))
    if audit is not None:
        found["audit_minutes_ci"] = round(audit["minutes_cpu"], 2)
        found["audit_minutes_ci_wall"] = round(audit["minutes_wall"], 2)
        found["tiers_run"] = len(audit["tiers"])
    return found


def _by_defence(catalogue: str) -> dict[str, dict[str, RankTable]]:
    """The tables of each kind of text, by defence; those through the stack are under it."""
    plain = rank_tables(catalogue, "sum", _WRITTEN)
    found = {NONE: plain}
    found |= {name: behind_tables(catalogue, name, _WRITTEN) for name in DEFENCES}
    for name in STACKS:
        found[name] |= rank_tables(catalogue, name, ADAPTIVE)
    found[AVERAGED] = averaged_tables(plain)
    return {name: tables for name, tables in found.items() if tables}


def _attack_figures(by_defence: Mapping[str, Mapping[str, RankTable]]) -> dict[str, Figure]:
    """Attack success less the control's: behind the stacks of each tier and the largest of all
    tiers, and by gradient behind each other defence."""
    found: dict[str, Figure] = {}
    for name, end in STACKS.items():
        stack = by_defence.get(name, {})
        key, worst = f"defended_minus_control_points{end}", None
        for tier in (*TIERS, *ADAPTIVE):
            minus = _minus(stack.get(tier), stack.get("random"))
            if minus is not None:
                found |= _figure(f"{key}_{Lead.word(tier)}", minus)
                worst = minus if worst is None or minus.value > worst.value else worst
        if worst is not None:
            found |= _figure(key, worst)
    for defence, tables in by_defence.items():
        minus = _minus(tables.get("T2"), tables.get("random"))
        if minus is not None and defence not in STACKS:
            found |= _figure(f"t2_minus_control_points_{defence}", minus)
    return found


def _rule_figures(whole: Mapping[str, Any]) -> dict[str, Figure]:
    """How each rule spreads the first places of the scoring orders without any attack: the largest
    share of one product, and how many products ever have it."""
    found: dict[str, Figure] = {}
    for rule, ranks in whole["ranks"].items():
        first = (np.array(ranks) == 1).mean(0)
        found[f"clean_first_most_{rule}"] = round(float(first.max()), 3)
        found[f"clean_first_products_{rule}"] = int((first > 0).sum())
    return found


def _certificate_figures(
    whole: Mapping[str, Any], eps: float, stack: Mapping[str, RankTable], end: str
) -> dict[str, Figure]:
    """The certificate of the coffee machines at a bound: whether its ranks are those of the stack,
    and whether any attack was ever outside of it. end: of the keys."""
    left = whole["texts_left_typed" if end == STACKS["stack_facts"] else "texts_left"]
    scores = BoundedScores(np.array(whole["facts"]), np.array(left), eps)
    made = make_certificate(
        "coffee_machines",
        REQUESTS["coffee_machines"],
        whole["names"],
        scores,
        ranker="stack",
        made=datetime(2026, 1, 1, tzinfo=UTC),
    )
    read, bounds = read_certificate(made.payload()), rank_bounds(scores)
    found: dict[str, Figure] = {
        "certificate_eps": round(eps, 4),
        "certificate_mean_gain": round(float(bounds.gain.mean()), 2),
        "certificate_most_gain": int(bounds.gain.max()),
    }
    for table in list(stack.values())[:1]:
        found["certificate_share"] = float(np.mean(np.array(read.rank) == table.clean[0]))
    within = {tier: _within(table, bounds.best, bounds.worst) for tier, table in stack.items()}
    adaptive = [one for tier in ADAPTIVE for one in within.get(tier, ())]
    if adaptive:
        found["adaptive_within_bound"] = float(np.mean(adaptive))
        found["adaptive_rankings"] = len(adaptive)
    every = [one for some in within.values() for one in some]
    if every:
        found["attacks_within_bound"] = float(np.mean(every))
        found["attack_rankings"] = len(every)
    return {f"{key}{end}": value for key, value in found.items()}


def _within(table: RankTable, best: ArrayLike, worst: ArrayLike) -> list[bool]:
    """Of each ranking with a text, whether all products stand within their bounds."""
    ranks = table.attacked
    others = np.ones(ranks.shape, bool)
    np.put_along_axis(
        others, np.broadcast_to(table.rows[:, None, None], (*ranks.shape[:2], 1)), False, 2
    )
    fine = np.where(others, ranks <= np.asarray(worst), ranks >= np.asarray(best))
    found: list[bool] = fine.all(2).ravel().tolist()
    return found


def _eps() -> float | None:
    """The bound by what is kept of books and cameras; None where either is not there."""
    tuning = [kept(VisibilityCell(name, FACTS)) for name in list(REQUESTS)[1:]]
    known = [one for one in tuning if one is not None]
    return tuned_eps(known) if len(known) == len(tuning) else None


def _curve_rows() -> Iterator[dict[str, Any]]:
    """Rank gain, bound and NDCG: where the bound is chosen, and on the coffee machines."""
    eps = _eps()
    found = {name: kept(VisibilityCell(name, FACTS)) for name in REQUESTS}
    if eps is None:
        return
    first, *others = REQUESTS
    tuning = [graded_list(one) for name in others if (one := found[name]) is not None]
    tried = epsilons(tuning)
    held = [graded_list(one)] if (one := found[first]) is not None else []
    for name, lists in ((" and ".join(others), tuning), (first, held)):
        for point in bound_curve(lists, tried) if lists else ():
            yield {
                "kind": "bound",
                "catalogue": name,
                "eps": round(point.eps, 4),
                "chosen": point.eps == eps,
                "mean_gain": round(point.mean_gain, 2),
                "most_gain": point.most_gain,
                "mean_loss": round(point.mean_loss, 2),
                "ndcg": round(point.ndcg, 4),
                "ndcg_loss": round(point.loss_percent, 2),
            }


def _ndcg_loss(catalogue: str, defence: str, tables: Mapping[str, RankTable]) -> Interval | None:
    """What a defence takes of NDCG@10 by the shop's ratings without any attack, in percent of the
    undefended ranker's, over the scoring orders."""
    whole = kept(VisibilityCell(catalogue, FACTS))
    if whole is None or defence == NONE:
        return None
    before = _ndcg(np.array(whole["ranks"]["sum"]), whole["grades"])
    after = _ndcg(next(iter(tables.values())).clean, whole["grades"])
    if len(after) != len(before):
        before = np.array([before[half :: len(after)].mean() for half in range(len(after))])
    return _interval((100 * (before - after) / before.mean())[None])


def _ndcg(ranks: ArrayLike, grades: list[float]) -> Floats:
    """[O] of ranks [O, n]."""
    lists = np.argsort(np.asarray(ranks), axis=1, kind="stable")
    queries, n = lists.shape
    return graded_ndcg_per_query(
        lists,
        np.arange(queries + 1) * n,
        np.tile(np.arange(n), queries),
        np.tile(grades, queries),
        k=10,
        gain="linear",
    )


def _first(table: RankTable, ranks: NDArray[np.int64]) -> float:
    """Share of first places in percent, each product with the same weight."""
    found = by_product(table, (ranks == 1).astype(np.float64))
    return round(100 * float(np.mean(list(found.values()))), 1)


def _net(table: RankTable) -> Floats:
    return 100 * np.stack(list(nets(table).values()))


def _minus(table: RankTable | None, control: RankTable | None) -> Interval | None:
    """Points of net above random words, over products and orders."""
    if table is None or control is None or table is control:
        return None
    found = difference(table, control)
    return None if found is None else _interval(found)


def _interval(values: Floats) -> Interval:
    return crossed_interval(values, np.random.default_rng(0))


def _ends(name: str, one: Interval | None) -> dict[str, float | None]:
    parts = {name: "value", f"{name}_low": "low", f"{name}_high": "high"}
    return {key: None if one is None else round(getattr(one, end), 1) for key, end in parts.items()}


def _figure(key: str, one: Interval) -> dict[str, Figure]:
    return {key: round(one.value, 2), f"{key}_ci": [round(one.low, 2), round(one.high, 2)]}
