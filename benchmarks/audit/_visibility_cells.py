"""A cell of the benchmark of visibility: one attack on one product with one seed, measured once.

    benchmarks/results/cells/visibility/coffee_machines-4-T2-0.json

A cell holds the text that was found, what it cost, and the ranks of all products with it in ten
fresh orders, by both rules of the ranker; beside them the ranks without it, which are asked once a
catalogue. An attack that is cut off goes on behind its last step, and a ranking that was made is
not made again: both lie in the cache folder. Delete a file to have its cell measured again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from adwright.audit.attacks.attack import Attack
from adwright.audit.attacks.budget import AttackBudget, SpendingMeter
from adwright.audit.attacks.controls import control_texts
from adwright.audit.attacks.feedback import RankFeedback
from adwright.audit.attacks.goal import AttackGoal
from adwright.audit.attacks.gradient.attack import GradientAttack, spread_orders
from adwright.audit.attacks.gradient.config import GradientConfig
from adwright.audit.attacks.run import run_attack
from adwright.audit.attacks.search import RankSearchConfig, SearchAttack
from adwright.audit.attacks.templates import TemplateAttack
from adwright.audit.catalogue.orders import Order, draw_orders
from adwright.audit.report.texts import AUDIT_MARK, SellerText
from adwright.audit.report.trial_log import TrialLog
from adwright.audit.report.trials import RankTable, run_trials
from adwright.core.atomic import atomic_write_text
from adwright.core.config import to_jsonable
from benchmarks.audit._visibility_lab import REQUESTS, VisibilityLab, shop, work_folder
from benchmarks.common.result import RESULTS

__all__ = [
    "CALLS",
    "CELLS",
    "CONTROLS",
    "GRADIENT",
    "SEEDS",
    "TIERS",
    "VisibilityCell",
    "keep",
    "kept",
    "measured",
    "scoring_orders",
    "seller_text",
    "visibility_cells",
]

CELLS = RESULTS / "cells" / "visibility"
SEEDS = (0, 1)
TIERS = ("T0", "T1", "T2", "T3")
CONTROLS = ("random", "name", "truthful")
#: Readings of the whole prompt that each of T1, T2 and T3 may spend; see `budget`.
CALLS = 60
GRADIENT = GradientConfig(steps=500, candidates=64)
_FLUENT = GradientConfig(steps=500, candidates=64, start="words", fluency=0.1)
_SEARCH = RankSearchConfig(steps=500)
#: Orders that texts are chosen in, and fresh ones that they are scored in.
_CHOSEN, _SCORED = 3, 10


@dataclass(frozen=True)
class VisibilityCell:
    """row: of the product. tier: of the attack, or a control."""

    catalogue: str
    row: int
    tier: str
    seed: int = 0

    @property
    def name(self) -> str:
        """As its file is called."""
        return f"{self.catalogue}-{self.row}-{self.tier}-{self.seed}"


def visibility_cells(
    only: Sequence[str] = (), seeds: Sequence[int] = SEEDS
) -> Iterator[VisibilityCell]:
    """All of them, the coffee machines first, seed by seed. only: catalogues, tiers, products as
    CATALOGUE-ROW, or names of cells; every word narrows the choice of its kind."""
    for catalogue in REQUESTS:
        for seed in seeds:
            for row in range(10):
                tiers = (*TIERS, *CONTROLS) if seed == seeds[0] else TIERS[1:]
                for tier in tiers:
                    cell = VisibilityCell(catalogue, row, tier, seed)
                    if _wanted(cell, only):
                        yield cell


def kept(cell: VisibilityCell) -> dict[str, Any] | None:
    """What was found of a cell; None where it was not measured."""
    file = CELLS / f"{cell.name}.json"
    if not file.is_file():
        return None
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return found


def keep(cell: VisibilityCell, found: Mapping[str, Any]) -> None:
    """Keep what was found, whole or not at all."""
    CELLS.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, ensure_ascii=False) + "\n"
    atomic_write_text(CELLS / f"{cell.name}.json", text)


def measured(
    cell: VisibilityCell, lab: VisibilityLab, *, calls: float = CALLS, orders: int = _SCORED
) -> dict[str, Any]:
    """Attack, or write the control, and score the text. calls: of the attack. orders: that it is
    scored in."""
    goal = AttackGoal(shop(cell.catalogue), cell.row)
    full = calls == CALLS and orders == _SCORED
    found: dict[str, Any] = {"audit": AUDIT_MARK}
    if cell.tier in CONTROLS:
        controls = control_texts(
            goal,
            seed=cell.seed,
            words=GRADIENT.tokens,
            tokens=lab.tokens,
            vocabulary=lab.target.model.vocabulary,
        )
        text = controls[CONTROLS.index(cell.tier)]
    else:
        meter = SpendingMeter(AttackBudget(calls))
        attack, settings = _attack(cell, goal, lab, meter)
        folder = work_folder() / cell.name if full else None
        outcome = run_attack(attack, meter, folder=folder, seed=cell.seed, note=settings)
        text = outcome.seller_text()
        found |= {"spent": asdict(outcome.spent), "values": [round(v, 4) for v in outcome.values]}
    log = TrialLog(work_folder() / f"{cell.catalogue}.jsonl") if full else TrialLog()
    fresh = scoring_orders(cell.catalogue)[:orders]
    table = run_trials(lab.target, goal.catalogue, [text], fresh, log=log, batch=1)
    return found | {
        "text": text.text,
        "added": text.text[len(goal.own_text) :],
        "tier": text.tier,
        "model": lab.loaded[2],
        "dtype": str(lab.loaded[0].dtype),
        "ranks": _ranks(table),
        "cpu_seconds_scoring": round(table.attacked_cost.cpu_seconds, 1),
    }


def scoring_orders(catalogue: str) -> tuple[Order, ...]:
    """The orders of a catalogue in which no attack chose a text; each product stands in each place
    once."""
    chosen = {
        order
        for row in range(10)
        for seed in SEEDS
        for order in spread_orders(10, row, _CHOSEN, seed)
    }
    seed = list(REQUESTS).index(catalogue)
    return draw_orders(10, _SCORED, seed=seed, purpose="score", balanced=True, avoid=chosen)


def _attack(
    cell: VisibilityCell, goal: AttackGoal, lab: VisibilityLab, meter: SpendingMeter
) -> tuple[Attack, dict[str, Any]]:
    chosen = spread_orders(len(goal.catalogue), cell.row, _CHOSEN, cell.seed)
    model = lab.target.model.info.name
    match cell.tier:
        case "T0":
            feedback = RankFeedback(lab.target, goal, chosen[:2], meter)
            return TemplateAttack(feedback, model=model), {}
        case "T1":
            feedback = RankFeedback(lab.target, goal, chosen, meter)
            search = SearchAttack(feedback, _SEARCH, model=model, seed=cell.seed)
            return search, to_jsonable(_SEARCH)
    config = _FLUENT if cell.tier == "T3" else GRADIENT
    reader = lab.reader(fluent=config.fluency > 0)
    attack = GradientAttack(
        goal, reader, lab.tokens, meter, model=model, config=config, orders=chosen, seed=cell.seed
    )
    return attack, to_jsonable(config)


def _ranks(table: RankTable) -> dict[str, Any]:
    """By rule: ranks of all products [O][n] without the text and with it."""
    rules = {"sum": table, **table.also}
    return {
        rule: {"clean": one.clean.tolist(), "attacked": one.attacked[0].tolist()}
        for rule, one in rules.items()
    }


def _wanted(cell: VisibilityCell, only: Sequence[str]) -> bool:
    for kind in (
        set(REQUESTS),
        {*TIERS, *CONTROLS},
        {f"{name}-{row}" for name in REQUESTS for row in range(10)},
    ):
        asked = kind & set(only)
        if asked and not asked & {cell.catalogue, cell.tier, f"{cell.catalogue}-{cell.row}"}:
            return False
    names = {one for one in only if one.count("-") == 3}
    return not names or cell.name in names


def seller_text(cell: VisibilityCell, found: Mapping[str, Any]) -> SellerText:
    """The text of a cell that was measured, as an audit has it."""
    goal = AttackGoal(shop(cell.catalogue), cell.row)
    return SellerText(goal.name, goal.field, found["text"], found["tier"], str(cell.seed))
