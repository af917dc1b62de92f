"""Clicks lost while headlines are chosen, replayed on Upworthy's tests of real people.

    python -m benchmarks.creative.clickrate --only ours        the click model, by folds of stories
    python -m benchmarks.delivery.upworthy_creatives           replay what is missing, and write
    python -m benchmarks.delivery.upworthy_creatives --part dev --only flat --seeds 1    print alone

A test is replayed as a stream of impressions: a policy shows a headline, and the headline is
clicked at the rate that was observed of it. Beliefs, trust and chances are the product's own.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.hashing import content_hash
from adwright.creative.response.models import fit_prior
from adwright.creative.response.outcomes import story_folds
from adwright.delivery.policy.creatives import (
    CreativeSettings,
    Trust,
    beliefs,
    centred,
    creative_chances,
    learn_trust,
    levels_of,
)
from adwright.metrics.bootstrap import MethodInterval, two_level_difference, two_level_ratio
from benchmarks.common.next_basket import keep
from benchmarks.common.result import RESULTS, Figure, Lead, write_result
from benchmarks.creative._clickrate_cells import FOLDS, Task, latest_rates, open_task

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
Part = Literal["dev", "report"]
#: Successes and failures [T, C] of the beliefs after impressions and clicks [T, C].
Beliefs = Callable[[Floats, Floats], tuple[Floats, Floats]]

NAME = "upworthy_creatives"
KEPT = RESULTS / "cells" / NAME
HORIZONS = (500, 1000, 3000)
#: Impressions between two looks at what was clicked, from so many impressions on.
BATCHES = {0: 20, 500: 50, 1000: 100}
#: The same and the horizons where sharpness is chosen, on the stories for choices.
LATER = {**BATCHES, 3000: 500, 10_000: 2000}
TRIED, TRIED_HORIZONS = (1.0, 3.0, 5.0, 8.0), (3000, 30_000)
CORRELATIONS = (0.0, 0.1, 0.2, 0.3, 0.45, 0.6)
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
SEEDS, JUDGES, DEV_PARTS = 5, 3, 3
SHARP = CreativeSettings().sharpness
#: Of a system its title, and the sharpness of its draws.
THOMPSON = {
    "flat": ("Thompson, flat prior", 1.0),
    "site": ("Thompson, prior of the site's headlines", 1.0),
    "model_plain": ("adwright with the click model, sharpness 1", 1.0),
    "flat_sharp": (f"Thompson, flat prior, sharpness {SHARP:g}", SHARP),
    "site_sharp": (f"Thompson, prior of the site's headlines, sharpness {SHARP:g}", SHARP),
    "level": ("adwright without a judge", SHARP),
    "model": ("adwright with the click model", SHARP),
    **{
        f"judge_{round(100 * r):02}": (f"adwright with a judge of correlation {r:g}", SHARP)
        for r in CORRELATIONS
    },
}
TITLES = {
    "uniform": "equal shares",
    "editors": "equal shares at first, then the winner",
    **{name: title for name, (title, _) in THOMPSON.items()},
}
PROTOCOL = (
    "Upworthy's tests of two or more headlines, rows of one headline in a test added up (the "
    "exploratory part of the archive, the only one here). Each is replayed as a stream of "
    "impressions: a headline that is shown is clicked at the rate that was observed of it, and "
    "clicks are looked at after every 20 impressions, from 500 on after 50, from 1,000 on after "
    "100. lost: expected clicks lost against the test's best headline, mean of a test. Stories "
    "are parted at random: a third for choices (sharpness, the editors' share), the rest is "
    "reported; 95% intervals over stories and seeds. Click model: the default network of "
    "`adwright creative train clicks`, five folds by story, each asked for headlines of stories "
    "that it was not trained on, three trainings in turn: the answers that the benchmark of "
    "click rates kept. What is learnt from past tests (spreads, the slope of the model, levels; "
    "the site's prior, a Beta of greatest likelihood of all "
    "headlines) is learnt from the tests of the other four folds. editors: equal shares for the "
    "first part of the impressions, then the headline that did best, the part chosen for each "
    "number of impressions on the stories for choices; the archive's own tests gave each "
    "headline some 3,000 impressions, which here is equal shares. sharpness: in draws a belief "
    "counts as if from so many times the impressions. correlation: of what a simulated judge "
    "says with the observed log-odds, within tests. Beliefs, trust and chances are computed by "
    "adwright.delivery.policy.creatives."
)


@dataclass(frozen=True, eq=False)
class Tests:
    """Tests of T rows, headlines in C columns, NaN beyond their number. shown, clicked: as they
    were observed. story: [T]. told: log-odds that the click model says, by seed [S, T, C]. fold:
    [S, T], that which held the story out. dev: [T], whether it is of the part for choices."""

    shown: Floats
    clicked: Floats
    story: Whole
    told: Floats
    fold: Whole
    dev: NDArray[np.bool_]

    def rows(self, part: Part) -> Whole:
        """The tests of a part."""
        return np.flatnonzero(self.dev if part == "dev" else ~self.dev)

    @cached_property
    def key(self) -> str:
        """Of what is replayed, and of what the click model says."""
        return content_hash(
            [np.nan_to_num(one).round(4).tolist() for one in (self.clicked, self.told)]
        )

    @cached_property
    def there(self) -> NDArray[np.bool_]:
        """[T, C]."""
        return np.isfinite(self.shown)

    @cached_property
    def rates(self) -> Floats:
        """[T, C]; 0 where there is none."""
        return np.where(self.there, self.clicked / np.where(self.there, self.shown, 1), 0.0)


def open_tests() -> Tests:
    """The archive's tests of two or more headlines, kept once read."""
    path = KEPT / "tests.npz"
    if not path.exists():
        keep(path, _read_tests(open_task()), 0.0)
    with np.load(path, allow_pickle=False) as stored:
        kept = {name: stored[name] for name in stored.files if name != "seconds"}
    return Tests(**kept)


def _read_tests(task: Task) -> dict[str, Any]:
    outcomes = task.outcomes
    told = np.zeros((JUDGES, len(outcomes)))
    folds = np.stack([story_folds(task.stories, FOLDS, seed=seed) for seed in range(JUDGES)])
    for seed in range(JUDGES):
        for fold in range(FOLDS):
            rates = latest_rates("ours", seed, str(fold))
            if rates is None:
                raise SystemExit("run benchmarks.creative.clickrate --only ours first")
            told[seed, task.split(seed, str(fold))[1]] = rates
    rows: dict[int, dict[str, list[int]]] = {}
    for row, (test, record) in enumerate(
        zip(outcomes.tests.tolist(), outcomes.records, strict=True)
    ):
        rows.setdefault(test, {}).setdefault(record.title, []).append(row)
    tests = [some for test, some in sorted(rows.items()) if test >= 0 and len(some) > 1]
    size = len(tests), max(map(len, tests))
    shown, clicked = np.full(size, np.nan), np.full(size, np.nan)
    said = np.full((JUDGES, *size), np.nan)
    for at, some in enumerate(tests):
        for place, one in enumerate(some.values()):
            shown[at, place] = outcomes.impressions[one].sum()
            clicked[at, place] = outcomes.clicks[one].sum()
            said[:, at, place] = np.log(told[:, one] / (1 - told[:, one])).mean(1)
    first = np.array([next(iter(some.values()))[0] for some in tests])
    story = task.stories[first]
    part = story_folds(task.stories, DEV_PARTS, seed=1000)[first]
    return {
        "shown": shown,
        "clicked": clicked,
        "story": story,
        "told": said,
        "fold": folds[:, first],
        "dev": part == 0,
    }


# --------------------------------------------------------------------------------------------------
# What is believed.


def flat(shown: Floats, clicked: Floats) -> tuple[Floats, Floats]:
    """Beta(1, 1)."""
    return 1 + clicked, 1 + shown - clicked


def site(tests: Tests, rows: Whole, fold: Whole) -> Beliefs:
    """The prior of greatest likelihood of all headlines of the other folds' tests."""
    prior = np.empty((len(rows), 2))
    for one in range(FOLDS):
        past = (fold != one)[:, None] & tests.there
        found = fit_prior(tests.clicked[past], tests.shown[past])
        prior[fold[rows] == one] = found.a, found.b
    return lambda shown, clicked: (prior[:, :1] + clicked, prior[:, 1:] + shown - clicked)


def ours(tests: Tests, rows: Whole, fold: Whole, told: Floats) -> tuple[Beliefs, list[Trust]]:
    """The product's beliefs, with the trust that it learns from the other folds' tests. told:
    [T, C] of all tests."""
    there = tests.there
    items = np.broadcast_to(np.arange(len(there))[:, None], there.shape)
    offset, parent, trusts = np.zeros((len(rows), there.shape[1])), np.zeros(len(rows)), []
    for one in range(FOLDS):
        past = (fold != one)[:, None] & there
        _, code = np.unique(items[past], return_inverse=True)
        counts = tests.shown[past], tests.clicked[past]
        found = learn_trust(*counts, told[past], code, code * 0)
        trusts.append(found)
        own = fold[rows] == one
        parent[own] = levels_of(*counts, code, code * 0, found)[1][0]
        code = np.broadcast_to(np.arange(own.sum())[:, None], there[rows][own].shape)
        said = centred(told[rows][own].ravel(), code.ravel()).reshape(code.shape)
        offset[own] = found.slope * said

    def believed(shown: Floats, clicked: Floats) -> tuple[Floats, Floats]:
        a, b = np.empty_like(shown), np.empty_like(shown)
        for one, trust in enumerate(trusts):
            own = fold[rows] == one
            a[own], b[own] = beliefs(shown[own], clicked[own], offset[own], parent[own], trust)
        return a, b

    return believed, trusts


# --------------------------------------------------------------------------------------------------
# The replay.


def thompson(
    tests: Tests,
    rows: Whole,
    believed: Beliefs,
    seed: int,
    sharpness: float,
    horizons: Sequence[int] = HORIZONS,
) -> Floats:
    """Clicks lost [H, T] against the best headline, expected, until each of `horizons`."""
    rng = np.random.default_rng([seed, 7])
    config = CreativeSettings(sharpness=sharpness)
    rates, number = tests.rates[rows], tests.there[rows].sum(1)
    regret = np.where(tests.there[rows], rates.max(1, keepdims=True) - rates, 0.0)
    shown, clicked = np.zeros_like(rates), np.zeros_like(rates)
    lost, found, none, at = np.zeros(len(rows)), [], np.zeros(rates.shape[1]), 0
    while at < horizons[-1]:
        batch = LATER[max(start for start in LATER if start <= at)]
        a, b = believed(shown, clicked)
        chances = np.zeros_like(rates)
        for size in np.unique(number).tolist():
            same = number == size
            beta = a[same, :size], b[same, :size]
            chances[same, :size] = creative_chances(config, *beta, none[:size])
        now = rng.multinomial(batch, chances / chances.sum(1, keepdims=True))
        shown += now
        clicked += rng.binomial(now, rates)
        lost += (now * regret).sum(1)
        at += batch
        if at in horizons:
            found.append(lost.copy())
    return np.stack(found)


def uniform(tests: Tests, rows: Whole) -> Floats:
    """The same of equal shares."""
    rates, there = tests.rates[rows], tests.there[rows]
    mean = rates.sum(1) / there.sum(1)
    lost: Floats = np.array(HORIZONS)[:, None] * (rates.max(1) - mean)
    return lost


def editors(tests: Tests, rows: Whole, shares: Sequence[float], seed: int) -> Floats:
    """Equal shares for the first `shares` [H] of the impressions, then the one that did best."""
    rng = np.random.default_rng([seed, 11])
    rates, there = tests.rates[rows], tests.there[rows]
    equal = there / there.sum(1, keepdims=True)
    regret = rates.max(1, keepdims=True) - rates
    found = []
    for horizon, share in zip(HORIZONS, shares, strict=True):
        first = round(horizon * share)
        shown = rng.multinomial(first, equal)
        clicked = rng.binomial(shown, rates)
        rate = np.where(there, clicked / np.maximum(shown, 1), -1) + rng.random(rates.shape) * 1e-9
        best = regret[np.arange(len(rates)), np.where(there, rate, -1).argmax(1)]
        found.append((shown * regret).sum(1) + (horizon - first) * best)
    return np.stack(found)


def simulated(tests: Tests, correlation: float, seed: int) -> Floats:
    """What a judge would say [T, C] that correlates so with the observed log-odds in a test."""
    rng = np.random.default_rng([seed, 13])
    there = tests.there
    logs = np.log((tests.clicked + 0.5) / (tests.shown - tests.clicked + 0.5))
    own = logs - np.nanmean(logs, 1, keepdims=True)
    noise = np.where(there, rng.normal(size=there.shape), np.nan)
    noise -= np.nanmean(noise, 1, keepdims=True)
    spread = float(np.nanstd(own))
    wide = noise / np.nanstd(noise) * spread
    told: Floats = correlation * own + np.sqrt(1 - correlation**2) * wide
    return told


def within(tests: Tests, told: Floats, rows: Whole) -> float:
    """Correlation of what is told with the observed log-odds, both less the mean of the test."""
    logs = np.log((tests.clicked + 0.5) / (tests.shown - tests.clicked + 0.5))[rows]
    a, b = (x - np.nanmean(x, 1, keepdims=True) for x in (logs, told[rows]))
    there = tests.there[rows]
    return float(np.corrcoef(a[there], b[there])[0, 1])


def believed_by(name: str, tests: Tests, rows: Whole, seed: int) -> tuple[Beliefs, Sequence[Trust]]:
    """The beliefs of one of THOMPSON, and what was learnt for them."""
    fold, told = tests.fold[seed % JUDGES], tests.told[seed % JUDGES]
    match name.partition("_")[0]:
        case "flat":
            return flat, ()
        case "site":
            return site(tests, rows, fold), ()
        case "level":
            return ours(tests, rows, fold, told * np.nan)
        case "judge":
            return ours(tests, rows, fold, simulated(tests, int(name.split("_")[1]) / 100, seed))
        case _:
            return ours(tests, rows, fold, told)


def lost_by(name: str, tests: Tests, part: Part, seed: int) -> Floats:
    """[H, T] of a system, kept once found."""
    rows = tests.rows(part)
    if name == "uniform":
        return uniform(tests, rows)
    if name == "editors":
        return editors(tests, rows, editors_shares(tests), seed)
    sharpness = THOMPSON[name][1]
    believed, learnt = believed_by(name, tests, rows, seed)
    key = [tests.key, sharpness, HORIZONS, sorted(BATCHES.items()), repr(learnt)]
    path = KEPT / part / f"{name}-{seed}-{content_hash(key)[:8]}.npz"
    if not path.exists():
        keep(path, {"lost": thompson(tests, rows, believed, seed, sharpness)}, 0.0)
        print(f"{part} {name} seed {seed}", flush=True)
    with np.load(path, allow_pickle=False) as stored:
        lost: Floats = stored["lost"]
    return lost


@cache
def editors_shares(tests: Tests) -> list[float]:
    """The first part that loses least on the stories for choices, of each horizon."""
    rows = tests.rows("dev")
    found = [
        np.mean([editors(tests, rows, [share] * 3, seed).mean(1) for seed in range(20)], 0)
        for share in SHARES
    ]
    return [SHARES[at] for at in np.argmin(found, 0).tolist()]


# --------------------------------------------------------------------------------------------------
# The result.


def main() -> None:
    """Replay what is missing, write benchmarks/results/upworthy_creatives.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("dev", "report"), default="report")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--only", choices=TITLES, action="append", help="these alone, no result")
    asked = parser.parse_args()
    tests = open_tests()
    for seed in range(asked.seeds):
        for name in asked.only or TITLES:
            lost = lost_by(name, tests, asked.part, seed)
            print(seed, name, lost.mean(1).round(3).tolist(), flush=True)
    if asked.part == "report" and not asked.only:
        _write(tests, asked.seeds)


def _write(tests: Tests, seeds: int) -> None:
    rows = tests.rows("report")
    names, story = np.unique(tests.story[rows], return_inverse=True)
    number = np.bincount(story).astype(np.float64)
    # [S, H, U], by story.
    by_story: dict[str, Floats] = {
        name: np.array(
            [
                [
                    np.bincount(story, one, len(names))
                    for one in lost_by(name, tests, "report", seed)
                ]
                for seed in range(seeds)
            ]
        )
        for name in TITLES
    }
    by_story["uniform"] = by_story["uniform"][:1]
    result: list[dict[str, Any]] = []
    figures: dict[str, Figure] = {
        "tests": len(rows),
        "headlines": int(tests.there[rows].sum()),
        "stories": len(names),
    }
    for name, title in TITLES.items():
        row: dict[str, Any] = {"system": name, "title": title}
        for at, horizon in enumerate(HORIZONS):
            lost = two_level_ratio(_of(by_story, name, at), number, np.random.default_rng(0))
            share = _share(by_story, name, at)
            row[f"lost_{horizon}"], row[f"lost_{horizon}_ci"] = lost.value, [lost.low, lost.high]
            row[f"of_flat_{horizon}"] = share.value
            row[f"of_flat_{horizon}_ci"] = [share.low, share.high]
            figures[f"lost_{horizon}_{name}"] = lost.value
            figures[f"less_than_flat_{horizon}_{name}"] = 1 - share.value
            figures[f"less_than_flat_{horizon}_{name}_ci"] = [1 - share.high, 1 - share.low]
        result.append(row)
    shares = editors_shares(tests)
    figures |= {f"editors_share_{h}": share for h, share in zip(HORIZONS, shares, strict=True)}
    figures |= _judges(tests, rows, seeds) | _tried(tests)
    write_result(
        NAME,
        protocol=PROTOCOL,
        data=tests.key,
        seeds=range(seeds),
        rows=result,
        figures=figures,
        leads=_leads(by_story, number),
    )


def _of(by_story: Mapping[str, Floats], name: str, at: int) -> Floats:
    """[S, U], or [U] of a rule."""
    lost: Floats = by_story[name][:, at]
    return lost[0] if name == "uniform" else lost


def _share(by_story: Mapping[str, Floats], name: str, at: int) -> MethodInterval:
    """Clicks lost as a share of those that the flat prior loses."""
    below = by_story["flat"][:, at]
    top = np.broadcast_to(by_story[name][:, at], below.shape)
    return two_level_ratio(top, below, np.random.default_rng(0))


def _judges(tests: Tests, rows: Whole, seeds: int) -> dict[str, Figure]:
    """What was learnt of each judge, mean over seeds and folds."""
    found: dict[str, Figure] = {}
    for name in ("model", *(name for name in THOMPSON if name.startswith("judge_"))):
        trusts, correlations = [], []
        for seed in range(seeds):
            fold, told = tests.fold[seed % JUDGES], tests.told[seed % JUDGES]
            if name != "model":
                told = simulated(tests, int(name.split("_")[1]) / 100, seed)
            trusts += ours(tests, rows, fold, told)[1]
            correlations.append(within(tests, told, rows))
        found[f"correlation_{name}"] = float(np.mean(correlations))
        found[f"slope_{name}"] = float(np.mean([one.slope for one in trusts]))
        found[f"spread_{name}"] = float(np.mean([one.creative for one in trusts]))
    return found


def _tried(tests: Tests) -> dict[str, Figure]:
    """Clicks lost on the stories for choices, with the click model, by sharpness."""
    rows = tests.rows("dev")
    believed, _ = believed_by("model", tests, rows, 0)
    found: dict[str, Figure] = {"tried_tests": len(rows)}
    for sharpness in TRIED:
        lost = thompson(tests, rows, believed, 0, sharpness, TRIED_HORIZONS).mean(1)
        for horizon, value in zip(TRIED_HORIZONS, lost.tolist(), strict=True):
            found[f"tried_{horizon}_sharpness_{sharpness:g}"] = value
    return found


def _leads(by_story: Mapping[str, Floats], number: Floats) -> list[Lead]:
    """adwright with the click model against each other; without one against rules that have none,
    and against a judge who knows nothing."""
    others = [name for name in TITLES if name != "model" and not name.startswith("judge_")]
    leads = []
    pairs = [("model", other) for other in others]
    pairs += [("level", "flat"), ("level", "site"), ("level", "site_sharp"), ("judge_00", "level")]
    for a, b in pairs:
        for at, horizon in enumerate(HORIZONS):
            ours_, theirs = _of(by_story, a, at), _of(by_story, b, at)
            found = two_level_difference(ours_, theirs, number, np.random.default_rng(0))
            leads.append(
                Lead(
                    key=f"lost_{horizon}_{a}_minus_{b}",
                    a=TITLES[a],
                    b=TITLES[b],
                    measure=f"clicks lost in {horizon:,} impressions",
                    data="Upworthy",
                    found=found,
                    lower=True,
                )
            )
    return leads


if __name__ == "__main__":
    main()
