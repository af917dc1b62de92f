"""Compare A with B from the log of a simulation: items taken per user, with intervals.

The unit is the user, since users were assigned to the arms: everyone who might have come counts,
those who never came with nothing. Measured are

    plain        mean responses per user in B less those in A
    CUPED        the same, less what visits and purchases of the weeks before the start explain
    looks        the same per user and week at the end of each day, with an interval that holds
                 however often one looks (`metrics.offpolicy`)

Looks at the same users have independent increments where a user's behaviour does not change:
the mean over more days has the covariance with that over fewer that it has with itself.

Letters: P users, D days.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.campaigns.simulation.population import Population, PopulationConfig
from adwright.campaigns.simulation.run import Plan, SimulationConfig
from adwright.core.config import Count, Gt, Lt, Positive, settings
from adwright.core.errors import ConfigError, DataError
from adwright.data.sources.complete_journey import STORE_TIME_ZONE
from adwright.data.sources.log import Log, open_log
from adwright.data.time import SECONDS_PER_DAY, SECONDS_PER_WEEK
from adwright.delivery.decision import Candidates, Request
from adwright.delivery.policy.rules import (
    EpsilonGreedyConfig,
    GreedyConfig,
    PolicyConfig,
    SoftmaxConfig,
    ThompsonConfig,
)
from adwright.delivery.policy.slate_policy import ABSplit, Arm, SlatePolicy, build_policy
from adwright.metrics.bootstrap import Interval, bootstrap_ratio
from adwright.metrics.offpolicy import (
    AlwaysValid,
    ArmComparison,
    Estimate,
    Rounds,
    always_valid,
    best_mixture,
    clipped_ips,
    compare,
    ips,
    sample_ratio,
    snips,
    summarise_weights,
)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_ARMS: tuple[Arm, Arm] = ("A", "B")


@settings
class VerdictConfig:
    """How arms are compared. before_weeks: of the pre-period that CUPED uses. planned: responses
    per visit that were expected when the sequential test was planned; it sets where the test is
    sharpest, never whether it is valid. draws, seed: of the bootstrap.
    """

    before_weeks: Count = 8
    planned: Positive = 0.5
    confidence: Annotated[float, Gt(0), Lt(1)] = 0.95
    draws: Count = 1000
    seed: int = 0


@settings
class ArmResult:
    """Counts of one arm. people: assigned to it; visitors: of them, who came. stages: share
    of the visits that were answered in each order (fine, coarse, popularity). per_person,
    per_visit: responses."""

    arm: Arm
    policy_id: str
    people: int
    visitors: int
    visits: int
    impressions: int
    clicks: int
    responses: int
    stages: dict[str, float]
    per_person: Interval
    per_visit: Interval


@dataclass(frozen=True)
class Look:
    """After so many days: B less A in responses per user and week, with the always-valid
    interval and p-value."""

    day: int
    difference: Interval
    p_value: float


@dataclass(frozen=True)
class Verdict:
    """difference, adjusted: B less A in responses per user, plain and with CUPED.
    variance_reduction: share of the plain variance that CUPED removed. sample_ratio: p-value of
    the arms' sizes. looks: one per day, empty where too little happened. stopped: the day after
    which the test had decided; None where it had not.
    """

    a: ArmResult
    b: ArmResult
    difference: Interval
    adjusted: Interval
    variance_reduction: float
    sample_ratio: float
    looks: tuple[Look, ...]
    stopped: int | None

    @property
    def lift(self) -> Interval:
        """`adjusted` as a share of A's responses per user; NaN where A had none."""
        base = self.a.per_person.value or math.nan
        found = self.adjusted
        return Interval(found.value / base, found.low / base, found.high / base)


def compare_arms(
    population: Population, plan: Plan, events: pl.DataFrame, config: VerdictConfig | None = None
) -> Verdict:
    """Compare the arms on the events of a simulation, as `read_back` returns them.

    Raises DataError where people of one arm met several policies, or an arm has too few people.
    """
    config = config or VerdictConfig()
    split = plan.config.split
    people = _people(population, split, events)
    treated = (people["arm"] == "B").to_numpy().astype(np.int64)
    taken = people["responses"].to_numpy().astype(np.float64)
    at = int(population.start.timestamp())
    since = at - config.before_weeks * SECONDS_PER_WEEK
    before = population.history_features.activity(population.present, since, at)
    covariates = np.stack(before, axis=1).astype(np.float64)
    plain = compare(taken, treated, confidence=config.confidence)
    cuped = compare(taken, treated, covariates=covariates, confidence=config.confidence)
    looks, stopped = _looks(population, plan, events, people, treated, covariates, config)
    ids = {arm: _policy_of(arm, split, events) for arm in _ARMS}
    a, b = (_arm_result(arm, ids[arm], people, events, config) for arm in _ARMS)
    return Verdict(
        a=a,
        b=b,
        difference=plain.difference,
        adjusted=cuped.difference,
        variance_reduction=cuped.variance_reduction,
        sample_ratio=sample_ratio(treated, share=split.share) if 0 < split.share < 1 else 1.0,
        looks=looks,
        stopped=stopped,
    )


def assigned_arm(events: pl.DataFrame, split: ABSplit) -> pl.Series:
    """The arm of each event's user, A or B."""
    users = events["user_id"].unique()
    arms = pl.Series([split.arm(user) for user in users], dtype=pl.String)
    return events["user_id"].replace_strict(users, arms, return_dtype=pl.String)


def counts_per_user(events: pl.DataFrame) -> pl.DataFrame:
    """Visits, impressions, clicks and responses of each user_id, in the order of the events."""
    kind = pl.col("kind")
    return events.group_by("user_id", maintain_order=True).agg(
        visits=pl.col("request_id").filter(kind == "impression").n_unique(),
        impressions=(kind == "impression").sum(),
        clicks=(kind == "click").sum(),
        responses=(kind == "purchase").sum(),
    )


def _people(population: Population, split: ABSplit, events: pl.DataFrame) -> pl.DataFrame:
    """[P] all who might have come: user_id, arm, and counts of what they did."""
    users = [population.users[code] for code in population.present.tolist()]
    counts = counts_per_user(events)
    table = pl.DataFrame({"user_id": users, "arm": [split.arm(user) for user in users]})
    joined = table.join(counts, on="user_id", how="left", maintain_order="left")
    return joined.with_columns(pl.col(pl.UInt32, pl.Int64).cast(pl.Int64).fill_null(0))


def _policy_of(arm: Arm, split: ABSplit, events: pl.DataFrame) -> str:
    shown = events.filter(pl.col("kind") == "impression")
    ids = shown.filter(assigned_arm(shown, split) == arm)["policy_id"].unique().sort()
    if len(ids) > 1:
        raise DataError(
            f"people of arm {arm} met several policies",
            column="policy_id",
            value=", ".join(str(one) for one in ids),
            hint="deal people with the salt and share that the service uses",
        )
    return str(ids[0]) if len(ids) else "(nobody came)"


def _arm_result(
    arm: Arm, policy_id: str, people: pl.DataFrame, events: pl.DataFrame, config: VerdictConfig
) -> ArmResult:
    mine = people.filter(pl.col("arm") == arm)
    rng = np.random.default_rng(config.seed)
    taken, visits = mine["responses"].to_numpy(), mine["visits"].to_numpy()
    total = {name: int(mine[name].sum()) for name in ("visits", "impressions", "clicks")}

    def per(denominators: NDArray[np.integer]) -> Interval:
        if not denominators.sum():
            return Interval(0.0, 0.0, 0.0)
        return bootstrap_ratio(taken, denominators, rng, config.draws, confidence=config.confidence)

    shown = events.filter(
        pl.col("kind") == "impression", pl.col("user_id").is_in(mine["user_id"].implode())
    ).unique("request_id")
    stages = shown["context"].str.json_path_match("$.stage").fill_null("unknown").value_counts()
    return ArmResult(
        arm=arm,
        policy_id=policy_id,
        people=mine.height,
        visitors=int((visits > 0).sum()),
        responses=int(taken.sum()),
        stages={str(name): n / max(shown.height, 1) for name, n in sorted(stages.iter_rows())},
        per_person=per(np.ones(mine.height, np.int64)),
        per_visit=per(visits),
        **total,
    )


def _looks(
    population: Population,
    plan: Plan,
    events: pl.DataFrame,
    people: pl.DataFrame,
    treated: Ints,
    covariates: Floats,
    config: VerdictConfig,
) -> tuple[tuple[Look, ...], int | None]:
    """A look at the end of each whole day at which something can be told."""
    days = max(1, math.floor(plan.config.days))
    grown = _by_day(events, people, plan, days).cumsum(axis=1)
    found: list[tuple[int, ArmComparison]] = []
    for day in range(1, days + 1):
        weekly = grown[:, day - 1] * (7 / day)
        one = compare(weekly, treated, covariates=covariates, confidence=config.confidence)
        if one.standard_error > 0:
            found.append((day, one))
    if not found:
        return (), None
    mixture = best_mixture(_planned_error(population, treated, plan, config))
    valid: AlwaysValid = always_valid(
        [one.difference.value for _, one in found],
        [one.standard_error for _, one in found],
        mixture=mixture,
        confidence=config.confidence,
    )
    looks = tuple(
        Look(
            day,
            Interval(one.difference.value, float(valid.low[at]), float(valid.high[at])),
            float(valid.p_value[at]),
        )
        for at, (day, one) in enumerate(found)
    )
    return looks, None if valid.stopped is None else looks[valid.stopped].day


def _by_day(events: pl.DataFrame, people: pl.DataFrame, plan: Plan, days: int) -> Floats:
    """[P, D] responses of each user on each day, the days counted from the start."""
    taken = events.filter(pl.col("kind") == "purchase")
    row = {user: place for place, user in enumerate(people["user_id"])}
    who = np.array([row[user] for user in taken["user_id"]], np.int64)
    seconds = taken["time"].dt.epoch("s").to_numpy() - int(plan.start.timestamp())
    found = np.zeros((people.height, days))
    day = np.minimum(seconds // SECONDS_PER_DAY, days - 1).astype(np.int64)
    np.add.at(found, (who, day), 1.0)
    return found


def _planned_error(
    population: Population, treated: Ints, plan: Plan, config: VerdictConfig
) -> float:
    """Standard error at the end that one would plan with before the start: responses per visit
    as config.planned, counts that vary like Poisson's, users' own rates taken off by CUPED."""
    rate = float(population.arrivals.rate[population.present].mean())
    weeks = plan.config.days / 7
    sizes = [int((treated == arm).sum()) for arm in (0, 1)]
    return math.sqrt(rate * config.planned / weeks * sum(1 / max(size, 1) for size in sizes))


# --------------------------------------------------------------------------------------------------
# Estimate B from A's log beside what B did itself: off-policy evaluation that can be checked.
#
# The log keeps with which probability A placed each item. What B would have done with the same
# requests follows from asking the recommender again, since a request sees only what lay before its
# own time. The response at place j depends on the items of places 1 to j at most, so its weight is
#
#     w_j = prod of B's propensities of places 1 to j / prod of A's          (McInerney et al.,
# 2020)
#
# "Counterfactual evaluation of slate recommendations with sequential reward interactions",
# KDD 2020. The value of a visit is the sum over its places; users are resampled whole.
#
# A slate counts only if A's propensities, computed again, are those of the log: a decision under a
# deadline, or with caps that have counted on since, cannot be asked again.

#: For requests and their slates: the propensities of A and those of B, one array per slate.
Odds = Callable[
    [Sequence[Request], Sequence[Sequence[str]]], tuple[Sequence[Floats], Sequence[Floats]]
]

_AT_ONCE = 64
_NEAR = 1e-9
_LARGEST = 10.0  # weight at which the clipped estimate cuts


@dataclass(frozen=True)
class OffPolicy:
    """B estimated from A's log. estimates: name -> B's responses per visit, from A's log. own: B's
    own. visits: of A's log that could be asked again; recomputed: their share. effective: as many
    of B's own places would tell as much. unseen: share of A's places that B would never fill so."""

    estimates: dict[str, Interval]
    own: Interval
    visits: int
    recomputed: float
    effective: float
    unseen: float


class _Recommender(Protocol):
    def recommend_many(self, requests: Sequence[Request], deadline: None) -> Sequence[Candidates]:
        """Candidates of each request."""
        ...


def asked_again(recommender: _Recommender, a: SlatePolicy, b: SlatePolicy) -> Odds:
    """Propensities by asking the recommender for the candidates and each policy for its
    propensities."""

    def odds(
        requests: Sequence[Request], slates: Sequence[Sequence[str]]
    ) -> tuple[list[Floats], list[Floats]]:
        found: tuple[list[Floats], list[Floats]] = ([], [])
        for at in range(0, len(requests), _AT_ONCE):
            some = requests[at : at + _AT_ONCE]
            answers = recommender.recommend_many(some, None)
            for request, candidates, slate in zip(some, answers, slates[at:], strict=False):
                for policy, kept in zip((a, b), found, strict=True):
                    kept.append(policy.propensity(request, candidates, slate))
        return found

    return odds


def judge_from_log(
    events: pl.DataFrame,
    split: ABSplit,
    odds: Odds,
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> OffPolicy | None:
    """Estimate B from A's part of the events; None where nothing of A can be asked again or no
    interval can be told (nobody took anything).

    events: of a simulation, in EVENT_SCHEMA.
    """
    arm = assigned_arm(events, split)
    slates = _slates(events.filter(arm == "A"))
    own = _own(events.filter(arm == "B"), confidence, seed)
    if not slates.height or own is None:
        return None
    requests = _requests(slates)
    of_a, of_b = odds(requests, slates["item_id"].to_list())
    rounds = []
    for row, again, other in zip(slates.iter_rows(named=True), of_a, of_b, strict=True):
        logged = np.array(row["propensity"])
        if np.allclose(again, logged, rtol=1e-6, atol=_NEAR):
            rounds.append((row["user_id"], row["taken"], np.cumprod(logged), np.cumprod(other)))
    if not rounds:
        return None
    users, taken, propensity, target = zip(*rounds, strict=True)
    made = Rounds(
        reward=np.concatenate(taken).astype(np.float64),
        propensity=np.concatenate(propensity),
        target=np.minimum(np.concatenate(target), 1.0),
        group=np.repeat(np.array(users), [len(one) for one in taken]),
    )
    try:
        estimates = _estimates(made, len(rounds), confidence)
    except DataError:
        return None
    weights = summarise_weights(made)
    return OffPolicy(
        estimates=estimates,
        own=own,
        visits=len(rounds),
        recomputed=len(rounds) / slates.height,
        effective=weights.effective,
        unseen=weights.unseen,
    )


def _estimates(rounds: Rounds, visits: int, confidence: float) -> dict[str, Interval]:
    """Per visit: places per visit times the value of a place."""
    scale = len(rounds) / visits
    made: dict[str, Estimate] = {
        "IPS": ips(rounds),
        "self-normalised IPS": snips(rounds),
        f"IPS, weights cut at {_LARGEST:g}": clipped_ips(rounds, largest=_LARGEST),
    }
    found = {name: one.likelihood(confidence=confidence) for name, one in made.items()}
    return {
        name: Interval(one.value * scale, one.low * scale, one.high * scale)
        for name, one in found.items()
    }


def _slates(events: pl.DataFrame) -> pl.DataFrame:
    """One row per request: user_id, time, context, and lists by place: item_id, propensity,
    taken."""
    taken = events.filter(pl.col("kind") == "purchase").select("request_id", "position", taken=1)
    shown = events.filter(pl.col("kind") == "impression")
    return (
        shown.join(taken, on=["request_id", "position"], how="left")
        .with_columns(pl.col("taken").fill_null(0))
        .sort("request_id", "position")
        .group_by("request_id", maintain_order=True)
        .agg(
            pl.col("user_id", "time").first(),
            pl.col("item_id", "propensity", "taken"),
        )
    )


def _requests(slates: pl.DataFrame) -> list[Request]:
    rows = slates.select("request_id", "user_id", "time", pl.col("item_id").list.len())
    return [Request(request, user, time, k=k) for request, user, time, k in rows.iter_rows()]


def _own(events: pl.DataFrame, confidence: float, seed: int) -> Interval | None:
    """Responses per visit in B's own log."""
    counts = counts_per_user(events)
    if not counts["visits"].sum():
        return None
    taken, visits = counts["responses"].to_numpy(), counts["visits"].to_numpy()
    return bootstrap_ratio(taken, visits, np.random.default_rng(seed), confidence=confidence)


# --------------------------------------------------------------------------------------------------
# The run file of a simulation, and the users that it fits.
#
# log = "complete-journey" model = "models/acme/v12" [a] kind = "softmax" temperature = 1.0
# [population] people = 0.5 [simulation] days = 28

POLICIES = "greedy, epsilon_greedy:EPSILON, softmax:TEMPERATURE or thompson:STRENGTH"
_BY_KIND: Mapping[str, Any] = {
    "greedy": GreedyConfig,
    "epsilon_greedy": EpsilonGreedyConfig,
    "softmax": SoftmaxConfig,
    "thompson": ThompsonConfig,
}
_WEEKS = 8  # left at the end of a log, to compare the people with


@dataclass(frozen=True)
class SimulationRunConfig:
    """A simulation. log: of the users, a name or a path that `open_log` takes. a, b: the policies.
    model: folder of what orders the items; None: favourites first, which need no training. store:
    URL of the database behind a service that runs elsewhere. retrain: train the two towers again on
    what was written. The population's start is by default eight weeks before the log's end."""

    log: str = "complete-journey"
    a: PolicyConfig = field(default_factory=lambda: SoftmaxConfig(temperature=1.0))
    b: PolicyConfig = field(default_factory=lambda: SoftmaxConfig(temperature=0.5))
    model: Path | None = None
    store: str = ""
    retrain: bool = True
    population: PopulationConfig = field(default_factory=PopulationConfig)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    verdict: VerdictConfig = field(default_factory=VerdictConfig)


@dataclass(frozen=True, eq=False)
class World:
    """A log and the users fitted on it. log: with its catalogue. events: its purchases, also those
    after the start. people: fitted on what lies before it."""

    log: Log
    events: pl.DataFrame
    people: Population


def open_world(config: SimulationRunConfig, *, offline: bool = False) -> World:
    """Open the log and fit the users. Raises as `open_log` and `Population.fit`."""
    log = open_log(config.log, offline=offline)
    events = log.events.filter(pl.col("kind").is_in(config.population.kinds)).collect()
    wanted = config.population
    last = events["time"].max() if events.height else None
    if wanted.start is None and isinstance(last, datetime):
        start = (last - timedelta(weeks=_WEEKS)).replace(microsecond=0)
        wanted = replace(wanted, start=start.astimezone(UTC))
    if config.log == "complete-journey" and wanted.zone == "UTC":
        wanted = replace(wanted, zone=STORE_TIME_ZONE)
    return World(log, events, Population.fit(events, log.catalogue.items, wanted))


def policy_config(text: str) -> PolicyConfig:
    """The policy of "kind" or "kind:number". Raises ConfigError where it is none."""
    kind, _, value = text.partition(":")
    known = _BY_KIND.get(kind)
    try:
        numbers = [float(value)] if value else []
    except ValueError:
        known = None
    if known is not None and (known.named_by or not numbers):
        made: PolicyConfig = known(**dict(zip(known.named_by[-1:], numbers, strict=False)))
        return made
    raise ConfigError("this is not a policy", where=text, hint=f"write {POLICIES}")


def policy_text(config: PolicyConfig) -> str:
    """A policy in the form that `policy_config` reads."""
    numbers = [f"{getattr(config, name):g}" for name in config.named_by[-1:]]
    return ":".join([config.kind, *numbers])


def arm_policy(arm: Arm, config: PolicyConfig) -> SlatePolicy:
    """The policy of an arm, whose id begins with the arm so that a policy can meet itself."""
    return build_policy(config, policy_id=f"{arm} {policy_text(config)}")
