"""When a display will end: two terms, one, and other libraries (hours, in pieces, resumable).

    python -m benchmarks.lifetime.survival                      what is missing, then the result
    python -m benchmarks.lifetime.survival --where chain        this task alone, no result
    python -m benchmarks.lifetime.survival --only two_terms --seed 1
    python -m benchmarks.lifetime.survival --only-summarise     the result of what is finished

Tasks: spells of a product in a store (a part of the products, for time) and in any store.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch

from adwright.core.assets import cache_folder
from adwright.core.hashing import content_hash
from adwright.creative.lifetime.hazards.fit import LifetimeConfig
from adwright.creative.lifetime.hazards.terms import LifeTerms
from adwright.creative.lifetime.spells import SpellConfig, build_spells
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.metrics.survival import Concordance, harrell_c
from adwright.metrics.two_level import two_level_difference, two_level_ratio
from benchmarks.common.result import Lead, write_result
from benchmarks.lifetime import _runs as runs
from benchmarks.lifetime._exchange import PEERS, PeerModel, answers_of, write_exchange
from benchmarks.lifetime._rules import category_risk

Where = Literal["store", "chain"]
NAME, SEEDS = "survival", (0, 1, 2)
FULL: runs.Variant = "two_terms"
#: Of the products, of which the spells in stores are taken.
SHARE = 0.25
#: Training starts before, validation before the second; the test is what starts then or later. A
#: test of weeks 49-53 would see no life beyond its fifth week, and so nothing of the long term.
WEEKS = 29, 35
PLACE = ("display", "mailer")
PROTOCOL = (
    "Spells of in-store display in Complete Journey at the close of their first week, with what "
    "was known then. Training: starts in weeks 2-28, censored at week 29; validation: 29-34, "
    "censored at 35; test: starts in 35-53. store: a product in a store, of a quarter of the "
    "products drawn by a hash; chain: a product in any store. C: Harrell's, short of pairs whose "
    "first end came in the short term, long of spells that lived on, all of both; risk: minus the "
    "area under the curve. Intervals: 95%, over seeds and products (first order, by Hajek's "
    "projection). Peers get the same columns, of the words the 32 most frequent, layers, batch and "
    "stopping; one thread each, in environments of their own."
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
    rows: list[dict[str, Any]] = []
    figures: dict[str, Any] = {}
    leads: list[Lead] = []
    hashes = {}
    for where in asked.where or get_args(Where):
        task = Display(where)
        if not asked.only_summarise:
            task.train(asked.only, SEEDS if asked.seed is None else (asked.seed,))
        more, some, others = task.summary()
        rows, figures, leads = rows + more, figures | some, leads + others
        hashes[where] = task.spells.data
    if not (asked.where or asked.only or asked.seed is not None):
        write_result(
            NAME,
            protocol=PROTOCOL,
            data=content_hash(hashes),
            seeds=SEEDS,
            rows=rows,
            figures=figures,
            leads=leads,
        )


class Display:
    """One task, its trainings and its measures."""

    def __init__(self, where: Where) -> None:
        self.where = where
        source = CompleteJourney.open()
        table = build_spells(source, cache_folder() / "tasks", SpellConfig(where=where))
        if where == "store":
            table = table.hold_out(table.draw_owners(SHARE, 0))[1]
        train, valid, test = table.split_by_start(*WEEKS)
        data = content_hash({"where": where, "weeks": WEEKS, "units": [len(train), len(test)]})
        place = tuple(
            name for name in (*train.number_names, *train.category_names) if name.startswith(PLACE)
        )
        self.spells = runs.Spells(data, train, valid, test, place)
        terms = LifeTerms.of(train.entry, train.time, train.cause)
        self.border = float(terms.short[-1])
        self.base = LifetimeConfig(terms=terms)
        self.exchange = runs.SCRATCH / f"peers-{where}-{data[:12]}"
        self.edges = terms.joined

    def train(self, only: str | None, seeds: Sequence[int]) -> None:
        """What is missing of the asked."""
        for seed in seeds:
            for variant in runs.VARIANTS:
                if only in (None, variant) and variant != "without_images":
                    runs.trained(runs.LifetimeCell(variant, seed), self.base, self.spells)
            for peer in PEERS:
                if only in (None, peer):
                    self._write()
                    answers_of(self.exchange, peer, seed)

    def _write(self) -> None:
        if not (self.exchange / "meta.json").is_file():
            parts = {"train": self.spells.train, "valid": self.spells.valid}
            model = PeerModel(epochs=self.base.epochs)
            write_exchange(self.exchange, parts | {"test": self.spells.test}, self.edges, model)

    def summary(self) -> tuple[list[dict[str, Any]], dict[str, Any], list[Lead]]:
        """Rows, figures and leads of what is finished."""
        found = self._measured()
        rows = [
            {"task": self.where, "model": name, "seed": seed, **{f"c_{t}": c.value for t, c in one}}
            for name, each in found.items()
            for seed, one in enumerate([list(values.items()) for values in each])
        ]
        figures: dict[str, Any] = {f"{self.where}_test_spells": len(self.spells.test)}
        leads = []
        for term in ("short", "long", "all"):
            sums = {name: self._sums([each[term] for each in of]) for name, of in found.items()}
            for name, (won, compared) in sums.items():
                interval = two_level_ratio(won, compared, np.random.default_rng(0))
                key = f"{self.where}_c_{term}_{Lead.word(name)}"
                figures[key] = interval.value
                figures[f"{key}_ci"] = [interval.low, interval.high]
                if FULL in sums and name != FULL:
                    won_full, compared_full = sums[FULL]
                    gap = two_level_difference(
                        won_full,
                        won,
                        compared_full,
                        np.random.default_rng(0),
                        denominators_b=compared,
                    )
                    key = f"{self.where}_c_{term}_full_minus_{Lead.word(name)}"
                    leads.append(Lead(key, FULL, name, f"C, {term}", f"{self.where} spells", gap))
        return rows, figures, leads

    def _measured(self) -> dict[str, list[dict[str, Concordance]]]:
        """By model and seed, the C of each term."""
        found: dict[str, list[dict[str, Concordance]]] = {}
        test = self.spells.test
        for variant in runs.VARIANTS:
            for seed in SEEDS:
                cell = runs.LifetimeCell(variant, seed)
                try:
                    curves = runs.curves_of(cell, self.base, self.spells, run=False)
                except runs.NotTrained:
                    continue
                found.setdefault(variant, []).append(runs.concordances(curves, test, self.border))
        for peer, about in PEERS.items():
            for seed in SEEDS:
                answer = answers_of(self.exchange, peer, seed, run=False)
                if answer is not None:
                    found.setdefault(about, []).append(self._of_risk(answer["risk"]))
        risk = category_risk(self.spells.train, test, "category", float(self.edges[-1]))
        found["Kaplan-Meier by category"] = [self._of_risk(risk)]
        return found

    def _of_risk(self, risk: Any) -> dict[str, Concordance]:
        test = self.spells.test
        on = test.time > self.border
        late = np.maximum(test.entry, np.float32(self.border))[on]
        lives = test.time, test.ended, risk
        return {
            "short": harrell_c(*lives, entry=test.entry, until=self.border, of="spells"),
            "long": harrell_c(*(each[on] for each in lives), entry=late, of="spells that lived on"),
            "all": harrell_c(*lives, entry=test.entry, of="spells"),
        }

    def _sums(self, found: Sequence[Concordance]) -> tuple[Any, Any]:
        """[S, O] of the products, whoever has no pair with none."""
        test = self.spells.test
        owners = np.unique(test.owner)
        won, compared = np.zeros((2, len(found), len(owners)))
        for seed, one in enumerate(found):
            rows = np.arange(len(test)) if len(one.won) == len(test) else test.time > self.border
            who = np.unique(test.owner[rows])
            at = np.searchsorted(owners, who)
            won[seed, at], compared[seed, at] = one.owner_sums(test.owner[rows])
        return won, compared


if __name__ == "__main__":
    main()
