"""Off-policy: each Open Bandit policy valued from the other's log, beside its own (2 minutes).

    python -m benchmarks.delivery.offpolicy

Two directions in three campaigns, six estimators; the doubly robust one is the judged one. Also
how often its intervals cover in simulated logs of the same size and rarity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.core.hashing import content_hash, sha256_file
from adwright.data.sources.open_bandit import (
    USER_FEATURES,
    BanditCampaign,
    BanditPolicy,
    OpenBandit,
)
from adwright.metrics.bootstrap import Interval, interval_of
from adwright.metrics.offpolicy import (
    Estimate,
    Rounds,
    clipped_ips,
    dm,
    dr,
    ips,
    snips,
    summarise_weights,
    switch_dr,
)
from benchmarks.common.result import write_result

Floats = NDArray[np.float64]

LARGEST = 10.0  # weight at which clipping and switching set in
CLICKS = 2.0  # what the model's prior is worth, in expected clicks an item
FOLDS = 5
DRAWS = 400
WORLDS = 200
ESTIMATORS: Mapping[str, Callable[[Rounds], Estimate]] = {
    "dm": dm,
    "ips": ips,
    "clipped_ips": lambda rounds: clipped_ips(rounds, largest=LARGEST),
    "snips": snips,
    "dr": dr,
    "switch_dr": lambda rounds: switch_dr(rounds, threshold=LARGEST),
}
PROTOCOL = (
    "Open Bandit, six logs of 10,000 impressions with 38 to 69 clicks each. The click rate of "
    "one policy is estimated from the log of the other and compared with the click rate of its "
    "own log. random_to_bts: the propensities of the random log are exact (1 / items). The bts "
    "policy learned during the week, and its log holds the probability of the shown item only, "
    "so its probability of an item at a position is taken to be the share in which its log "
    "shows the item there: its average over the week. That is exact if an item's click rate "
    "did not move within the week in step with the policy. Rows with policy 'harmonic' take "
    "the harmonic mean of the logged propensities instead (normalised). bts_to_random: the "
    "uniform policy is known, so nothing is assumed; the propensities are the published ones. "
    "Those come in steps of 5e-6 (as shares of simulated draws would), save five; one of the "
    "five, in the women's log, is 1e-6, and its weight of 21,739 decides alone what dr and "
    "snips say there: dr's interval covers because it is too wide to be of use. clipped_ips and "
    "switch_dr (weights up to 10) show the rest. Model of dm, dr, switch_dr: click rate of the "
    "item, shrunk to the mean by 2 expected clicks, fitted on the other four of five folds. "
    "Interval: 95%, empirical likelihood over impressions; bootstrap beside it. covered counts "
    "dr's intervals that hold the other log's click rate; dm's leave the error of the model "
    "out. That rate is itself a sample (its 95% interval stands in on_policy_ci), so even a "
    "perfect interval for the true value misses it at times: the rows of direction simulated "
    "say how often, on 200 logs each of the same size with known click rates, the uniform "
    "policy, and bts's shares with 1% uniform mixed in (whose weights are shorter than those of "
    "the real bts log). difference_ci: of the estimate minus the on-policy rate, bootstrapping "
    "both logs, with policy and model fitted anew in each draw."
)


def main() -> None:
    """Measure and write benchmarks/results/offpolicy.json."""
    bandit = OpenBandit.open()
    rows = [row for campaign in get_args(BanditCampaign) for row in campaign_rows(bandit, campaign)]
    worlds = [row for row in rows if row["direction"].startswith("simulated")]
    real = [row for row in rows if row not in worlds and row["policy"] != "harmonic"]
    judged = [row for row in real if row["estimator"] == "dr"]
    figures: dict[str, Any] = {
        "covered": sum(row["covered"] for row in judged),
        "tried": len(judged),
        "difference_covers_zero": sum(not row["difference_excludes_zero"] for row in judged),
    }
    for name in ESTIMATORS:
        figures[f"covered_{name}"] = sum(row["covered"] for row in real if row["estimator"] == name)
    for row in judged:
        about = f"dr_{row['direction']}_{row['campaign']}"
        figures |= {
            f"{about}_ci": row["ci"],
            f"{about}": row["value"],
            f"{about}_on_policy": row["on_policy"],
        }
    for key in ("covers_value", "covers_sample", "bootstrap_covers_value"):
        figures[f"simulated_dr_{key}"] = float(np.mean([row[key] for row in worlds]))
    write_result(
        "offpolicy",
        protocol=PROTOCOL,
        data=content_hash(
            {
                path.relative_to(bandit.folder).as_posix(): sha256_file(path)
                for path in bandit.folder.rglob("*.csv")
            }
        ),
        seeds=[0],
        rows=rows,
        figures=figures,
    )


def campaign_rows(bandit: OpenBandit, campaign: BanditCampaign) -> Iterator[dict[str, Any]]:
    """The rows of one campaign: both directions, then the simulated logs."""
    random, bts = arrays_of(bandit, "random", campaign), arrays_of(bandit, "bts", campaign)
    uniform = np.full((4, random.items), 1 / random.items)
    ways = {
        ("random_to_bts", "share"): (random, bts, shares),
        ("random_to_bts", "harmonic"): (random, bts, harmonic),
        ("bts_to_random", "uniform"): (bts, random, lambda _: uniform),
    }
    for (direction, policy), (log, other, policy_of) in ways.items():
        rounds = rounds_of(log, policy_of(other), np.arange(len(log.item)))
        own = Estimate(other.click.astype(np.float64), np.ones(len(other.click)))
        weights = summarise_weights(rounds)
        differences = joint_intervals(log, other, policy_of)
        for name, estimator in ESTIMATORS.items():
            estimate = estimator(rounds)
            interval, on_policy = estimate.likelihood(), own.likelihood()
            drawn = estimate.bootstrap(np.random.default_rng(0), draws=DRAWS)
            yield {
                "campaign": campaign,
                "direction": direction,
                "policy": policy,
                "estimator": name,
                "value": estimate.value,
                "ci": [interval.low, interval.high],
                "bootstrap_ci": [drawn.low, drawn.high],
                "on_policy": own.value,
                "on_policy_ci": [on_policy.low, on_policy.high],
                "covered": not interval.excludes(own.value),
                "difference_ci": [differences[name].low, differences[name].high],
                "difference_excludes_zero": differences[name].excludes(0.0),
                "mean_weight": weights.mean,
                "largest_weight": weights.largest,
                "effective_rounds": weights.effective,
            }
    rate = pooled_rates(random, bts)
    learned = 0.99 * shares(bts) + 0.01 * uniform  # every item has a chance
    for direction, logging, target in (
        ("random_to_bts", uniform, learned),
        ("bts_to_random", learned, uniform),
    ):
        yield {
            "campaign": campaign,
            "direction": f"simulated_{direction}",
            "policy": "known",
            "estimator": "dr",
            **coverage(logging, target, rate, len(random.item)),
        }


@dataclass(frozen=True)
class BanditArrays:
    """One log as arrays for off-policy evaluation, N impressions of a campaign of C items.

    item: (N,) int64, 0 to C - 1, the item that was shown.
    position: (N,) int64, 1 left, 2 centre, 3 right.
    click: (N,) int64, 0 or 1.
    propensity: (N,) float64, the policy's probability of that item at that position.
    user_features: (N, 4) int64 codes, the same for both policies of a campaign.
    affinity: (N, C) float64, how often the user clicked each item before, scaled.
    items: C.
    """

    item: NDArray[np.int64]
    position: NDArray[np.int64]
    click: NDArray[np.int64]
    propensity: NDArray[np.float64]
    user_features: NDArray[np.int64]
    affinity: NDArray[np.float64]
    items: int


def arrays_of(bandit: OpenBandit, policy: BanditPolicy, campaign: BanditCampaign) -> BanditArrays:
    """One log as arrays, in the order of its impressions, with the affinities that the EventLog
    leaves out."""
    log = bandit.log(policy, campaign)
    policies: tuple[BanditPolicy, ...] = get_args(BanditPolicy)
    # Codes over both logs of the campaign, so that they mean the same in each.
    known = pl.concat([bandit.log(each, campaign).select(USER_FEATURES) for each in policies])
    codes = [
        log[name].cast(pl.Enum(known[name].unique().sort())).to_physical().cast(pl.Int64)
        for name in USER_FEATURES
    ]
    affinity = log.select(pl.col("^user-item_affinity_.*$")).cast(pl.Float64)
    return BanditArrays(
        item=log["item_id"].to_numpy(),
        position=log["position"].to_numpy(),
        click=log["click"].to_numpy(),
        propensity=log["propensity_score"].to_numpy(),
        user_features=np.stack([code.to_numpy() for code in codes], axis=1),
        affinity=affinity.to_numpy(),
        items=affinity.width,
    )


def shares(log: BanditArrays) -> Floats:
    """[4, C]: by position (row 0 is unused), the share of each item among what was shown."""
    counts = np.zeros((4, log.items))
    np.add.at(counts, (log.position, log.item), 1)
    counts[0] = 1
    found: Floats = counts / counts.sum(1, keepdims=True)
    return found


def harmonic(log: BanditArrays) -> Floats:
    """[4, C]: by position, the harmonic mean of the item's logged propensities, normalised.

    Among impressions that showed the item, 1 / propensity averages 1 / (mean propensity).
    """
    counts, inverse = np.zeros((4, log.items)), np.zeros((4, log.items))
    np.add.at(counts, (log.position, log.item), 1)
    np.add.at(inverse, (log.position, log.item), 1 / log.propensity)
    mean = np.divide(counts, inverse, out=np.zeros_like(counts), where=inverse > 0)
    mean[0] = 1
    found: Floats = mean / mean.sum(1, keepdims=True)
    return found


def rounds_of(log: BanditArrays, policy: Floats, rows: NDArray[np.int64]) -> Rounds:
    """The impressions `rows` of a log, for a policy [4, C], with cross-fitted click rates.

    An impression stays in its fold however often it is drawn, so no model sees its own rounds.
    """
    item, click = log.item[rows], log.click[rows]
    fold = np.random.default_rng(0).permutation(len(log.item))[rows] % FOLDS
    model = np.stack(
        [shrunk_rates(item[fold != k], click[fold != k], log.items) for k in range(FOLDS)]
    )
    chance = policy[log.position[rows]]
    return Rounds(
        reward=click.astype(np.float64),
        propensity=log.propensity[rows],
        target=chance[np.arange(len(rows)), item],
        predicted=model[fold, item],
        expected=(chance * model[fold]).sum(1),
    )


def shrunk_rates(item: NDArray[np.int64], click: NDArray[np.int64], items: int) -> Floats:
    """[C]: (clicks + c) / (impressions + c / mean rate)."""
    strength = CLICKS / max(click.mean(), 1e-9)
    clicks = np.bincount(item, click, items)
    found: Floats = (clicks + CLICKS) / (np.bincount(item, minlength=items) + strength)
    return found


def joint_intervals(
    log: BanditArrays, other: BanditArrays, policy_of: Callable[[BanditArrays], Floats]
) -> dict[str, Interval]:
    """Of each estimate minus the on-policy rate; percentile bootstrap of both logs."""
    rng = np.random.default_rng(0)
    size = len(log.item)

    def differences(rows: NDArray[np.int64], others: NDArray[np.int64]) -> list[float]:
        drawn = BanditArrays(
            item=other.item[others],
            position=other.position[others],
            click=other.click[others],
            propensity=other.propensity[others],
            user_features=other.user_features[others],
            affinity=other.affinity[:0],
            items=other.items,
        )
        rounds = rounds_of(log, policy_of(drawn), rows)
        on_policy = float(drawn.click.mean())
        return [estimator(rounds).value - on_policy for estimator in ESTIMATORS.values()]

    everything = np.arange(size)
    draws = np.array(
        [
            differences(rng.integers(0, size, size), rng.integers(0, size, size))
            for _ in range(DRAWS)
        ]
    )
    values = differences(everything, everything)
    return {
        name: interval_of(value, drawn)
        for name, value, drawn in zip(ESTIMATORS, values, draws.T, strict=True)
    }


def pooled_rates(random: BanditArrays, bts: BanditArrays) -> Floats:
    """[C]: click rates of both logs together, the truth of the simulated ones."""
    return shrunk_rates(
        np.concatenate([random.item, bts.item]),
        np.concatenate([random.click, bts.click]),
        random.items,
    )


def coverage(logging: Floats, target: Floats, rate: Floats, size: int) -> dict[str, float]:
    """How often dr's intervals hold the true value, and the rate of a log of the target."""
    value = float((target[1:] * rate).sum(1).mean())
    found = {"covers_value": 0, "covers_sample": 0, "bootstrap_covers_value": 0}
    for seed in range(WORLDS):
        rng = np.random.default_rng(seed)
        log = simulated(logging, rate, size, rng)
        estimate = dr(rounds_of(log, target, np.arange(size)))
        interval = estimate.likelihood()
        sample = float(simulated(target, rate, size, rng).click.mean())
        found["covers_value"] += not interval.excludes(value)
        found["covers_sample"] += not interval.excludes(sample)
        drawn = estimate.bootstrap(rng, draws=200)
        found["bootstrap_covers_value"] += not drawn.excludes(value)
    return {name: count / WORLDS for name, count in found.items()}


def simulated(policy: Floats, rate: Floats, size: int, rng: np.random.Generator) -> BanditArrays:
    """A log of a policy [4, C] with click rates [C]."""
    position = rng.integers(1, 4, size)
    ladder = policy.cumsum(1)[position]
    item = (rng.random(size)[:, None] > ladder[:, :-1]).sum(1)
    return BanditArrays(
        item=item,
        position=position,
        click=(rng.random(size) < rate[item]).astype(np.int64),
        propensity=policy[position, item],
        user_features=np.empty((0, 4), np.int64),
        affinity=np.empty((0, len(rate))),
        items=len(rate),
    )


if __name__ == "__main__":
    main()
