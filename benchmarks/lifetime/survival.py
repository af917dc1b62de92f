"""When a display will end: two terms, one, and other libraries (hours, in pieces, resumable).

    python -m benchmarks.lifetime.survival                      what is missing, then the result
    python -m benchmarks.lifetime.survival --where chain        this task alone, in a few lines
    python -m benchmarks.lifetime.survival --only two_terms --seed 1
    python -m benchmarks.lifetime.survival --only-summarise     the result of what is finished

Tasks: see `_tasks`. Beside them two classic sets of lifelines, a check against scikit-survival,
and speed.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Sequence
from functools import cached_property
from typing import Any, get_args

import numpy as np
import torch

from adwright.core.hashing import content_hash
from adwright.creative.lifetime.survival_fit import ClickWeights, LifetimeConfig
from benchmarks.common.result import Lead, write_result
from benchmarks.lifetime import _runs as runs
from benchmarks.lifetime._classic import classic_sets
from benchmarks.lifetime._exchange import PEERS, PeerModel, answers_of, write_exchange
from benchmarks.lifetime._measures import (
    TERMS,
    Measured,
    Term,
    difference,
    interval,
    of_curves,
    of_risk,
)
from benchmarks.lifetime._parity import parity
from benchmarks.lifetime._rules import category_curves, curves_of_survival
from benchmarks.lifetime._speed import speeds
from benchmarks.lifetime._tasks import Display, Where

NAME, SEEDS = "survival", (0, 1, 2)
FULL: runs.Variant = "two_terms"
#: Of the figures without a task in their names.
MAIN: Where = "chain"
#: What the tasks beside the main ones compare.
FEW: tuple[runs.Variant, ...] = ("one_head", "two_terms")
WEIGHED: tuple[runs.Variant, ...] = ("two_ratio", "two_clipped", "two_smoothed")
RULES = ("Kaplan-Meier by category", "fall from the peak")
PROTOCOL = (
    "Spells of in-store display in Complete Journey at the close of their first week (fourth_week: "
    "of their fourth), with what was known then. Training: starts in weeks 2-28, censored at week "
    "29; validation: 29-34, censored at 35; test: starts in 35-53. chain: a product in any store; "
    "store: a product in a store, of a tenth of the products drawn by a hash; new_products: as "
    "chain, a quarter of the products being in the test alone. C: Harrell's, short of pairs whose "
    "first end came in the short term, long of spells that lived on, overall of both; the risk is "
    "minus the chance to outlive a typical spell of training, of every model that has curves. "
    "Intervals: 95%, over seeds and products (first order, by Hajek's projection). Choices were "
    "made on weeks 2-34, some 50 settings of ours; the test of one of them had been printed before "
    "the number of epochs was last rounded. Peers were tuned less: they get the same columns, of "
    "the words the 32 most frequent, layers and batch; their learning rate (of three) and their "
    "stopping are chosen on validation; one thread each, in environments of their own. weighted: "
    "each pair counts by the click rates of its spells. The paper's rows are of 1,000,000 "
    "advertisements by day, of features over days of delivery; ours know the first week of a "
    "shelf's display and no more, so the two tables compare no models. rossi, gbsg2: of lifelines, "
    "five folds, drawn anew by each seed."
)
#: The paper's table (Kitada et al. 2022), of its own data.
PAPER = (
    {"task": "paper", "model": "two terms, weighted by click rate", "c_short": 0.896}
    | {"c_long": 0.939, "c_overall": 0.792},
    {"task": "paper", "model": "conventional", "c_overall": 0.531},
)


def main() -> None:
    """Run what is missing, write benchmarks/results/survival.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--where", choices=get_args(Where), action="append")
    parser.add_argument("--only", choices=[*runs.VARIANTS, *PEERS])
    parser.add_argument("--seed", type=int, choices=SEEDS)
    parser.add_argument("--only-summarise", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    tasks = [Compared(where) for where in asked.where or get_args(Where)]
    if not asked.only_summarise:
        for task in tasks:
            task.train(asked.only, SEEDS if asked.seed is None else (asked.seed,))
    if asked.only or asked.seed is not None:
        return
    if asked.where:
        for task in tasks:
            task.show()
    else:
        _write(tasks, run=not asked.only_summarise)


def _write(tasks: Sequence[Compared], *, run: bool) -> None:
    rows: list[dict[str, Any]] = [dict(row) for row in PAPER]
    figures: dict[str, Any] = {}
    leads: list[Lead] = []
    for task in tasks:
        if task.measured:
            rows, figures = rows + task.rows(), figures | task.figures()
            leads += task.leads()
    main_task = next(task for task in tasks if task.where == MAIN)
    figures |= main_task.headline()
    more, some, others = classic_sets(SEEDS, run=run)
    rows, figures, leads = rows + more, figures | some, leads + others
    figures |= parity(main_task.display.spells, main_task.curves(FULL, 0), run=run)
    figures |= speeds(run=run)
    hashes = {task.where: task.display.spells.data for task in tasks}
    write_result(
        NAME,
        protocol=PROTOCOL,
        data=content_hash(hashes),
        seeds=SEEDS,
        rows=rows,
        figures=figures,
        leads=leads,
    )


class Compared:
    """One task: its trainings, and what is measured of them."""

    def __init__(self, where: Where) -> None:
        self.where, self.display = where, Display(where)

    @cached_property
    def base(self) -> LifetimeConfig:
        """Of all variants."""
        return LifetimeConfig(terms=self.display.terms)

    @property
    def variants(self) -> tuple[runs.Variant, ...]:
        """That this task compares."""
        return runs.VARIANTS if self.where in ("chain", "store") else FEW

    def train(self, only: str | None, seeds: Sequence[int]) -> None:
        """What is missing of the asked."""
        for seed in seeds:
            for variant in self.variants:
                if only in (None, variant):
                    runs.trained(runs.LifetimeCell(variant, seed), self.base, self.display.spells)
            for peer in PEERS:
                if only in (None, peer):
                    self._exchange(peer, seed, run=True)

    def show(self) -> None:
        """Print what is finished."""
        for name, found in self.measured.items():
            means = [np.mean([each.c[term] for each in found]) for term in TERMS]
            print(f"{self.where} {name}, {len(found)} seeds: C", *(f"{c:.4f}" for c in means))

    def curves(self, variant: runs.Variant, seed: int) -> Any:
        """Of a variant that was trained."""
        cell = runs.LifetimeCell(variant, seed)
        return runs.curves_of(cell, self.base, self.display.spells, run=False)

    @cached_property
    def measured(self) -> dict[str, list[Measured]]:
        """By model, one a seed that is finished."""
        found: dict[str, list[Measured]] = {}
        test, border = self.display.spells.test, self.display.border
        for seed in SEEDS:
            for variant in self.variants:
                try:
                    curves = self.curves(variant, seed)
                except runs.NotTrained:
                    continue
                found.setdefault(variant, []).append(of_curves(curves, test, border))
            for peer, about in PEERS.items():
                answer = self._exchange(peer, seed, run=False)
                if answer is not None:
                    found.setdefault(about, []).append(self._of_answer(answer))
        if FULL in found:
            train, terms = self.display.spells.train, self.display.terms
            curves = category_curves(train, test, "category", terms)
            found[RULES[0]] = [of_curves(curves, test, border)]
            fall = self.display.fatigue()
            if fall is not None:
                found[RULES[1]] = [of_risk(fall, test, border)]
        return found

    @cached_property
    def weighed(self) -> dict[str, list[Measured]]:
        """Two terms and each weight, pairs counted by click rate."""
        found: dict[str, list[Measured]] = {}
        test = self.display.spells.test
        weights = ClickWeights("smoothed").of(test.clicks, test.shown, len(test)).astype(float)
        for variant in (FULL, *WEIGHED) if WEIGHED[0] in self.variants else ():
            if len(self.measured.get(variant, ())) == len(SEEDS):
                curves = [self.curves(variant, seed) for seed in SEEDS]
                border = self.display.border
                found[variant] = [of_curves(each, test, border, weights) for each in curves]
        return found

    def rows(self) -> list[dict[str, Any]]:
        """Of the table."""
        return [
            {"task": self.where, "model": name, "seed": seed, **one.row()}
            for name, each in self.measured.items()
            for seed, one in enumerate(each)
        ]

    def figures(self) -> dict[str, Any]:
        """The C of every model and term, and its interval."""
        test = self.display.spells.test
        found: dict[str, Any] = {f"{self.where}_test_spells": len(test)}
        found[f"{self.where}_test_products"] = len(np.unique(test.owner))
        for prefix, models in (("", self.measured), ("weighted_", self.weighed)):
            for name, each in models.items():
                for term in TERMS:
                    c = interval(each, term)
                    key = f"{self.where}_{prefix}c_{term}_{Lead.word(name)}"
                    found |= {key: c.value, f"{key}_ci": [c.low, c.high]}
        return found

    def leads(self) -> list[Lead]:
        """The full model less every other; and each weight less none, by the weighted C."""
        found = []
        for name, each in self.measured.items():
            if name != FULL:
                found += [self._lead("", FULL, name, self.measured[FULL], each, t) for t in TERMS]
        for name, each in self.weighed.items():
            if name != FULL:
                plain = self.weighed[FULL]
                found += [self._lead("weighted_", name, FULL, each, plain, t) for t in TERMS]
        return found

    def headline(self) -> dict[str, Any]:
        """The figures without a task in their names."""
        full = self.measured[FULL]
        found: dict[str, Any] = {}
        others = {n: e for n, e in self.measured.items() if n in (*PEERS.values(), *RULES)}
        for term in TERMS:
            means = {name: np.mean([m.c[term] for m in each]) for name, each in others.items()}
            best = max(means, key=lambda name: float(means[name]))
            gap = difference(full, others[best], term)
            found[f"c_{term}"] = interval(full, term).value
            found[f"c_best_baseline_{term}"] = float(means[best])
            found[f"c_{term}_minus_best_ci"] = [gap.low, gap.high]
        return found

    def _lead(
        self, prefix: str, a: str, b: str, of_a: list[Measured], of_b: list[Measured], term: Term
    ) -> Lead:
        key = f"{self.where}_{prefix}c_{term}_{Lead.word(a)}_minus_{Lead.word(b)}"
        measure = f"{'weighted ' if prefix else ''}C, {term}"
        return Lead(key, a, b, measure, f"{self.where} spells", difference(of_a, of_b, term))

    def _of_answer(self, answer: dict[str, Any]) -> Measured:
        spells, border = self.display.spells, self.display.border
        if "survival" not in answer:
            return of_risk(answer["risk"], spells.test, border)
        curves = curves_of_survival(
            answer["survival"], spells.train, spells.test, self.display.terms
        )
        return of_curves(curves, spells.test, border)

    def _exchange(self, peer: str, seed: int, *, run: bool) -> dict[str, Any] | None:
        spells = self.display.spells
        folder = runs.SCRATCH / f"peers-{self.where}-{spells.data[:12]}"
        if run and not (folder / "meta.json").is_file():
            parts = {"train": spells.train, "valid": spells.valid, "test": spells.test}
            write_exchange(folder, parts, self.display.terms.joined, PeerModel())
        return answers_of(folder, peer, seed, run=run)


if __name__ == "__main__":
    main()
