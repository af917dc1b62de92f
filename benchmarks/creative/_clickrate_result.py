"""The table and the figures of the click rate benchmark, of the cells that are finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common.result import Figure, Lead, write_result
from benchmarks.creative._clickrate_cells import FOLDS, WEEK, Answer, Cell, Task
from benchmarks.creative._clickrate_measures import (
    APART,
    RATIOS,
    RHOS,
    Measured,
    Rows,
    calibration_error,
    cover,
    paper_form,
)
from benchmarks.creative._clickrate_systems import SYSTEMS

Floats = NDArray[np.float64]
SEEDS = 3
#: What ours is compared with in the figures.
REFERENCE, OURS = "tfidf", "ours"
PROTOCOL = (
    f"Upworthy's randomised tests of headlines and images. {FOLDS} folds by story, drawn anew by "
    "each seed: tests that share a headline, a lede of 20 characters or more, or an image are one "
    "story, and no story is on both sides. Every system learns from the other folds alone, and "
    "chooses its settings on a fifth of their stories; inputs are headline, lede and excerpt, "
    "image ids are not known of a new ad. Measures within tests count ties in expectation: "
    "best_of_test, the share of tests in which one of the best is picked (text: tests of at least "
    f"two headlines, all: every test); pair_accuracy, pairs of such a test {APART} or more apart "
    "in their rate; lift_share, of the possible lift over the mean of the test; rho_within, "
    "Spearman of rate and prediction less the means of their tests, over all rows; rho_by_test, "
    "the mean of Spearman within each. rho_log_ctr: Spearman over all rows held out. mae to "
    "kendall: the columns of AdSEE's table, each fold one list, the gain of NDCG is the rate, "
    "creatives without a click left out of mape. time: trained before week "
    f"{WEEK}, tested on stories that began in it or later. 95% intervals over stories and seeds; "
    "differences are on the same stories and folds. ece: 20 bins of as many impressions. "
    "interval_cover_90: share of creatives held out whose measured rate lies in the interval."
)


@dataclass(frozen=True, eq=False)
class _Found:
    """A system's finished seeds. folds, time: the answers of each seed, of its parts and by time;
    `rates` puts the folds of a seed together."""

    seeds: Sequence[int]
    folds: Sequence[Sequence[Answer]]
    time: Sequence[Answer]

    def rates(self, task: Task) -> list[Floats]:
        made = []
        for seed, answers in zip(self.seeds, self.folds, strict=True):
            whole = np.empty(len(task.outcomes))
            for part, answer in enumerate(answers):
                whole[task.split(seed, str(part))[1]] = answer.rates
            made.append(whole)
        return made

    @property
    def every(self) -> list[Answer]:
        return [answer for seed in self.folds for answer in seed]


def write(task: Task) -> None:
    """Write clickrate.json of every system of which all parts of a seed are there."""
    all_rows = Rows(task.outcomes, task.stories, int(task.stories.max()) + 1)
    held = task.by_time[1]
    later = Rows(task.outcomes.take(held), task.stories[held], all_rows.number)
    rows: list[dict[str, Any]] = []
    measured: dict[str, tuple[Measured, Measured]] = {}
    found = {name: _finished(task, name) for name in SYSTEMS}
    for name, one in found.items():
        if not one.seeds:
            print(f"{name} is not finished")
            continue
        measured[name] = (
            Measured(all_rows, one.rates(task)),
            Measured(later, [answer.rates for answer in one.time]),
        )
        rows.append(_row(task, name, one, *measured[name]))
    done = {name: one for name, one in found.items() if one.seeds}
    write_result(
        "clickrate",
        protocol=PROTOCOL,
        data=task.outcomes.data_hash,
        seeds=range(SEEDS),
        rows=rows,
        figures=_figures(task, done, {row["system"]: row for row in rows}),
        leads=_leads(measured),
    )


def _finished(task: Task, name: str) -> _Found:
    seeds, folds, by_time = [], [], []
    for seed in range(SEEDS):

        def read(part: str, seed: int = seed) -> Answer | None:
            return Cell(name, SYSTEMS[name].key, seed, part).read(task)

        parts = [read(str(fold)) for fold in range(FOLDS)]
        last = read("time")
        whole = [one for one in parts if one is not None]
        if len(whole) == FOLDS and last is not None:
            seeds.append(seed)
            folds.append(whole)
            by_time.append(last)
    return _Found(seeds, folds, by_time)


def _row(task: Task, name: str, found: _Found, folds: Measured, later: Measured) -> dict[str, Any]:
    row: dict[str, Any] = {"system": name, "title": SYSTEMS[name].title, "seeds": len(found.seeds)}
    forms = [
        paper_form(task.outcomes, [task.split(seed, str(part))[1] for part in range(FOLDS)], rates)
        for seed, rates in zip(found.seeds, folds.rates, strict=True)
    ]
    row |= {key: float(np.mean([form[key] for form in forms])) for key in forms[0]}
    row["by_seed"] = {}
    for measure in (*RATIOS, *RHOS):
        for suffix, of in (("", folds), ("_time", later)):
            row["by_seed"][f"{measure}{suffix}"] = of.by_seed(measure)
            interval = of.interval(measure)
            row[f"{measure}{suffix}"] = interval.value
            row[f"{measure}{suffix}_ci"] = [interval.low, interval.high]
    row["ece"] = float(np.mean([calibration_error(task.outcomes, one) for one in folds.rates]))
    covered = _covered(task, found)
    row |= {} if covered is None else {"interval_cover_90": covered}
    row["train_cpu_seconds"] = float(np.mean([one.train_seconds for one in found.every]))
    scored = sum(one.score_seconds for one in found.every)
    asked = sum(len(one.rates) for one in found.every)
    row["rows_per_cpu_second"] = asked / max(scored, 1e-3)
    return row


def _covered(task: Task, found: _Found) -> float | None:
    shares = []
    for seed, answers in zip(found.seeds, found.folds, strict=True):
        for part, answer in enumerate(answers):
            if answer.low is None or answer.high is None:
                return None
            held = task.split(seed, str(part))[1]
            shares.append(cover(task.outcomes.take(held), answer.low, answer.high))
    return float(np.mean(shares))


def _figures(
    task: Task, found: Mapping[str, _Found], rows: Mapping[str, Mapping[str, Any]]
) -> dict[str, Figure]:
    figures: dict[str, Figure] = {
        "creatives": len(task.outcomes),
        "tests": len(np.unique(task.outcomes.tests[task.outcomes.tests >= 0])),
        "stories": len(np.unique(task.stories)),
        "time_held_out": len(task.by_time[1]),
    }
    for name in found:
        suffix = "" if name == OURS else f"_{name}"
        for key in (*RATIOS, *RHOS, "rho_log_ctr_time", "best_of_test_text_time", "ece"):
            figures[f"{key}{suffix}"] = rows[name][key]
        for key in ("train_cpu_seconds", "rows_per_cpu_second", "interval_cover_90"):
            if key in rows[name]:
                figures[f"{key}{suffix}"] = rows[name][key]
    return figures


def _leads(measured: Mapping[str, tuple[Measured, Measured]]) -> list[Lead]:
    """Ours against each other system."""
    leads = []
    pairs = [(OURS, name) for name in measured if name != OURS] if OURS in measured else []
    words = {
        "best_of_test_text": "best of a test of headlines",
        "pair_accuracy": "pairs of such a test",
        "rho_log_ctr": "Spearman of the click rate",
    }
    for a, b in pairs:
        for measure, said in words.items():
            for at, suffix, data in ((0, "", "by story"), (1, "_time", "by time")):
                leads.append(
                    Lead(
                        key=f"{measure}{suffix}_minus_{b}",
                        a=SYSTEMS[a].title,
                        b=SYSTEMS[b].title,
                        measure=said,
                        data=f"Upworthy, {data}",
                        found=measured[a][at].less(measured[b][at], measure),
                    )
                )
    return leads
