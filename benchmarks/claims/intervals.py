"""Ways to an interval over seeds and users: how often each claims what is not so (two CPU-minutes).

Two equal methods, each trained on S seeds and measured on the same 800 households. A claim is an
interval of their difference that leaves 0 out.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from adwright.core.hashing import content_hash
from adwright.metrics.bootstrap import Interval, student_quantile, with_seeds
from benchmarks.common.result import write_result

Floats = np.ndarray[Any, np.dtype[np.float64]]
USERS, DRAWS = 800, 400
Z = NormalDist().inv_cdf(0.975)
#: Of a household in a method, and of a household in a training: together the standard error over
#: people that group AUC of the response task has, .0008 of a difference.
METHOD, TRAINING = 0.008, 0.010
SEEDS = (2, 3, 5)
DEVIATIONS = (0.0, 0.001, 0.002, 0.004)
#: How many times smaller the second method's deviation is.
SPREADS = (1.0, 4.0)
PROTOCOL = (
    f"Two equal methods on {USERS} households of lognormal weights. A value is the weighted mean of"
    f" noise of household and method ({METHOD}), of household and training ({TRAINING}), and of "
    "the training: its standard deviation is `deviation`, in the second method `spread` times "
    "smaller. claims: the share of {repeats} repetitions in which a nominal 95% interval of the "
    "difference leaves 0 out; width: its mean width. users: over users alone. percentile: of a "
    "bootstrap of seeds, then users. expanded: the same at the levels of Hesterberg (The American "
    "Statistician 2015), who makes up for few seeds. bootstrap_t: of the paired differences of "
    "seeds, studentised, without users. paired_t: Student's t of the same. satterthwaite: variances"
    " of users and seeds added, one quantile of Student's t. cochran_cox: each with a quantile of "
    "its own, the one of `adwright.metrics.bootstrap`; paired: the same from the differences seed "
    "by seed. The greatest share of claims counts 3 and 5 seeds with a deviation."
)


class Found(NamedTuple):
    """One repetition: the interval over users, and the values [S] of both methods."""

    people: Interval
    a: Floats
    b: Floats


def main() -> None:
    """Simulate, write benchmarks/results/intervals.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=1000)
    asked = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for seeds, deviation, spread in itertools.product(SEEDS, DEVIATIONS, SPREADS):
        if deviation or spread == 1:
            found = cell(seeds, deviation, spread, asked.repeats)
            about = {"seeds": seeds, "deviation": deviation, "spread": spread}
            rows += [about | {"way": way, **measured} for way, measured in found.items()]
    counted = [row for row in rows if row["seeds"] > 2 and row["deviation"]]
    figures = {f"most_claims_{way}": 0.0 for way in WAYS}
    for row in counted:
        key = f"most_claims_{row['way']}"
        figures[key] = max(figures[key], row["claims"])
    write_result(
        "intervals",
        protocol=PROTOCOL.format(repeats=f"{asked.repeats:,}"),
        data=content_hash({"users": USERS, "noise": [METHOD, TRAINING]}),
        seeds=[0],
        rows=rows,
        figures=figures,
    )


def cell(seeds: int, deviation: float, spread: float, repeats: int) -> dict[str, dict[str, float]]:
    """Share of false claims and mean width of each way."""
    rng = np.random.default_rng(0)
    weight = rng.lognormal(0, 1, USERS).astype(np.float32)
    weight /= weight.sum()
    claims, width = dict.fromkeys(WAYS, 0), dict.fromkeys(WAYS, 0.0)
    for _ in range(repeats):
        found = repetition(seeds, np.array([deviation, deviation / spread]), weight, rng)
        for name, way in WAYS.items():
            low, high = way(found, rng)
            claims[name] += not low <= 0 <= high
            width[name] += high - low
    return {n: {"claims": claims[n] / repeats, "width": width[n] / repeats} for n in WAYS}


def repetition(
    seeds: int,
    deviations: Floats,
    weight: np.ndarray[Any, np.dtype[np.float32]],
    rng: np.random.Generator,
) -> Found:
    """Values of both methods, and the interval of their difference over users."""
    noise = rng.standard_normal((2, seeds + 1, USERS), np.float32)
    each = TRAINING * noise[:, 1:] + METHOD * noise[:, :1]
    of_seed = rng.standard_normal((2, seeds)) * deviations[:, None]
    a, b = (each @ weight).astype(np.float64) + of_seed
    means = each.mean(1, dtype=np.float64) + of_seed.mean(1)[:, None]
    gap = means[0] - means[1]
    lead = float(gap @ weight)
    reach = Z * math.sqrt(float(weight**2 @ (gap - lead) ** 2))
    return Found(Interval(lead, lead - reach, lead + reach), a, b)


def _users(found: Found, _: np.random.Generator) -> tuple[float, float]:
    return found.people.low, found.people.high


def _drawn(found: Found, rng: np.random.Generator, tail: float) -> tuple[float, float]:
    """Users are drawn from the normal distribution of their part."""
    seeds = len(found.a)
    chosen = rng.integers(0, seeds, (2, DRAWS, seeds))
    drawn = found.a[chosen[0]].mean(1) - found.b[chosen[1]].mean(1)
    drawn += rng.normal(0, found.people.width / 2 / Z, DRAWS)
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def _percentile(found: Found, rng: np.random.Generator) -> tuple[float, float]:
    return _drawn(found, rng, 0.025)


def _expanded(found: Found, rng: np.random.Generator) -> tuple[float, float]:
    seeds = len(found.a)
    reach = math.sqrt(seeds / (seeds - 1)) * student_quantile(seeds - 1)
    return _drawn(found, rng, NormalDist().cdf(-reach))


def _bootstrap_t(found: Found, rng: np.random.Generator) -> tuple[float, float]:
    gaps = found.a - found.b
    drawn = gaps[rng.integers(0, len(gaps), (DRAWS, len(gaps)))]
    error = drawn.std(1, ddof=1)
    apart = error > 1e-12 * np.abs(gaps).max()  # a draw of one seed alone says nothing
    t = (drawn.mean(1)[apart] - gaps.mean()) / error[apart]
    low, high = np.quantile(t, [0.025, 0.975]) if apart.any() else (-np.inf, np.inf)
    spread = float(gaps.std(ddof=1))
    return float(gaps.mean() - high * spread), float(gaps.mean() - low * spread)


def _paired_t(found: Found, _: np.random.Generator) -> tuple[float, float]:
    gaps = found.a - found.b
    reach = student_quantile(len(gaps) - 1) * float(gaps.std(ddof=1)) / math.sqrt(len(gaps))
    return found.people.value - reach, found.people.value + reach


def _satterthwaite(found: Found, _: np.random.Generator) -> tuple[float, float]:
    parts = [float(one.var(ddof=1)) / len(one) for one in (found.a, found.b)]
    total = sum(parts) + (found.people.width / 2 / Z) ** 2
    freedom = total**2 / sum(part**2 / (len(found.a) - 1) for part in parts)
    reach = student_quantile(freedom) * math.sqrt(total)
    return found.people.value - reach, found.people.value + reach


def _cochran_cox(found: Found, _: np.random.Generator) -> tuple[float, float]:
    both = with_seeds(found.people, found.a, found.b)
    return both.low, both.high


def _paired(found: Found, _: np.random.Generator) -> tuple[float, float]:
    both = with_seeds(found.people, found.a - found.b)
    return both.low, both.high


Way = Callable[[Found, np.random.Generator], tuple[float, float]]
WAYS: Mapping[str, Way] = {
    "users": _users,
    "percentile": _percentile,
    "expanded": _expanded,
    "bootstrap_t": _bootstrap_t,
    "paired_t": _paired_t,
    "satterthwaite": _satterthwaite,
    "cochran_cox": _cochran_cox,
    "paired": _paired,
}


if __name__ == "__main__":
    main()
