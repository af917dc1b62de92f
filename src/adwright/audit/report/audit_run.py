"""One audit from texts to report: orders, trials that are kept, measures, a gate, files.

    run = run_audit(catalogue, target, texts, AuditRunConfig(orders=10), out="runs/audit")
    run.report.sentences()

The folder holds trials.jsonl, which an interrupted audit goes on from, and the report as JSON, CSV
and a page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from adwright.audit.catalogue import Order, ShopCatalogue, draw_orders
from adwright.audit.report.audit_report import (
    CHOSEN_ON,
    AuditReport,
    GateBounds,
    GateVerdict,
    judge,
    make_report,
)
from adwright.audit.report.page import write_report
from adwright.audit.report.trials import SellerText, TrialLog, run_trials
from adwright.audit.targets.target import Target
from adwright.core.config import require_count

#: The file of the trials in the folder of an audit.
TRIALS = "trials.jsonl"


@dataclass(frozen=True)
class AuditRunConfig:
    """orders: in which each text is scored; texts have to be chosen on others. seed: of orders and
    intervals. batch: questions asked together. draws, confidence: of the intervals."""

    orders: int = 10
    seed: int = 0
    batch: int = 8
    draws: int = 1000
    confidence: float = 0.95

    def __post_init__(self) -> None:
        for name in ("orders", "batch", "draws"):
            require_count(name, getattr(self, name))


@dataclass(frozen=True)
class AuditRun:
    """report: what was found. verdict: of the gate, None without bounds. paths: that were written.
    resumed: rankings that the folder had already."""

    report: AuditReport
    verdict: GateVerdict | None
    paths: tuple[Path, ...]
    resumed: int


def scoring_orders(
    n: int, config: AuditRunConfig, avoid: Iterable[Sequence[int]] = ()
) -> tuple[Order, ...]:
    """The orders in which n products are scored, each product in each place equally often where
    there are as many orders as products.

    avoid: orders that texts were chosen on. Few products have fewer orders than may be asked for:
    then all that are left, and where none is left, all of them.
    """
    chosen = {tuple(one) for one in avoid}
    every = math.factorial(min(n, 20))
    chosen = chosen if len(chosen) < every else set()
    count = min(config.orders, every - len(chosen))
    return draw_orders(n, count, seed=config.seed, purpose="score", balanced=True, avoid=chosen)


def run_audit(
    catalogue: ShopCatalogue,
    target: Target,
    texts: Sequence[SellerText],
    config: AuditRunConfig | None = None,
    *,
    out: str | Path | None = None,
    request: str = "",
    bounds: GateBounds | None = None,
    avoid: Sequence[Sequence[int]] = (),
) -> AuditRun:
    """Try the texts on the target, and measure. out: folder of the run, in which trials that are
    there are not made again; None writes nothing. request: empty for the catalogue's own. bounds:
    of a gate. avoid: orders that the texts were chosen on, see `scoring_orders`; where products are
    too few for others, the report says so.

    Raises as `run_trials`, `judge` and `write_report`; a gate that fails raises nothing.
    """
    config = AuditRunConfig() if config is None else config
    log = TrialLog(None if out is None else Path(out) / TRIALS)
    orders = scoring_orders(len(catalogue), config, avoid)
    table = run_trials(
        target, catalogue, texts, orders, request=request, log=log, batch=config.batch
    )
    report = make_report(
        table,
        target.name,
        catalogue,
        seed=config.seed,
        request=request,
        draws=config.draws,
        confidence=config.confidence,
    )
    seen = len(set(orders) & {tuple(one) for one in avoid})
    if seen:
        report = replace(report, notes={**report.notes, CHOSEN_ON: seen})
    verdict = None if bounds is None else judge(report, bounds)
    paths = () if out is None else write_report(report, out, verdict=verdict)
    return AuditRun(report, verdict, paths, log.found)
