"""Judged by clicks: which click rate would each kind of description have, from a log of both.

    found = clicks_from_log(events, {"c1": "original", "c2": "written"})
    found.lead                                     # written less original, paired

A log in which each impression has the probability with which its description was chosen (its
propensity) tells what showing one kind to everybody would have brought; see `metrics.offpolicy`.
The policy that is valued shows one kind always, so e(a | x) is 1 for it and 0 for the others.

The model of the doubly robust estimate is the click rate of a product with a kind of description,
drawn towards the rate of the kind: (clicks + prior * rate) / (impressions + prior), fitted on the
users of other folds. Groups of rounds are users.

Letters: N impressions, A kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from adwright.authoring.describe.search import INDEXES, DescriptionSearch, Index
from adwright.core.config import Count, Ge, Gt, Lt, settings
from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.metrics.bootstrap import (
    Interval,
    MethodInterval,
    bootstrap_difference,
    two_level_difference,
    two_level_ratio,
)
from adwright.metrics.offpolicy import (
    Estimate,
    Rounds,
    WeightSummary,
    dr,
    ips,
    snips,
    summarise_weights,
)

Estimator = Literal["dr", "ips", "snips"]
Floats = npt.NDArray[np.float64]

_FAR = 0.1  # a mean weight is 1 in expectation


@settings
class ClickConfig:
    """estimator: of the value; see `metrics.offpolicy`. prior: impressions that the rate of the
    kind is worth against a product's own. folds: of users. draws, confidence, seed: of the
    intervals and of who is in which fold.

    Raises ConfigError that names the setting.
    """

    estimator: Estimator = "dr"
    prior: Annotated[float, Gt(0)] = 50.0
    folds: Annotated[int, Ge(2)] = 5
    draws: Count = 1000
    confidence: Annotated[float, Gt(0), Lt(1)] = 0.95
    seed: int = 0


@dataclass(frozen=True)
class ArmClicks:
    """Of one kind. rate: estimated click rate if it were shown always. logged: the plain rate of
    its impressions in the log, which holds what the log's policy favoured. impressions, clicks: in
    the log. weights: how far the log is from showing it always."""

    arm: str
    rate: Interval
    logged: float
    impressions: int
    clicks: int
    weights: WeightSummary


@settings
class ClickResult:
    """arms: of each kind. lead: the second kind less the first, paired over users. warnings: what
    speaks against the estimate, in sentences. left_out: impressions of no kind, or without a
    propensity."""

    arms: tuple[ArmClicks, ...]
    lead: Interval
    estimator: Estimator
    impressions: int
    users: int
    left_out: int
    warnings: tuple[str, ...] = ()
    simulated: bool = False


def clicks_from_log(
    events: pl.DataFrame | pl.LazyFrame,
    arms: Mapping[str, str],
    config: ClickConfig | None = None,
    *,
    compared: tuple[str, str] = ("original", "written"),
) -> ClickResult:
    """Estimate the click rate of both kinds.

    events: in EVENT_SCHEMA. arms: creative_id to kind; kinds beside the two that are compared are
    part of the log, too. A click belongs to the impression of its request, item and creative (of
    its request and item where it names no creative).

    Raises DataError where nothing is left, one of the kinds was never shown, or no click is there;
    ValueInvalidError for a propensity outside 0 to 1.
    """
    config = config or ClickConfig()
    rounds, left_out = _rounds(events, arms)
    _require_kinds(rounds, compared)
    kinds = sorted({*rounds["arm"].unique(), *compared})
    code = {kind: at for at, kind in enumerate(kinds)}
    action = np.array([code[one] for one in rounds["arm"]], np.int64)
    reward = rounds["reward"].to_numpy().astype(np.float64)
    users = rounds["user_id"].rank("dense").to_numpy().astype(np.int64) - 1
    model = _cross_fitted(rounds, action, reward, users, len(kinds), config)

    def valued(kind: str) -> tuple[Estimate, Rounds]:
        policy = np.zeros((len(reward), len(kinds)))
        policy[:, code[kind]] = 1
        made = Rounds.of_tables(
            action=action,
            reward=reward,
            propensity=rounds["propensity"].to_numpy(),
            policy=policy,
            model=model,
            group=users,
        )
        return {"dr": dr, "ips": ips, "snips": snips}[config.estimator](made), made

    found = {kind: valued(kind) for kind in compared}
    told = [
        _arm(kind, estimate, made, action == code[kind], reward, config)
        for kind, (estimate, made) in found.items()
    ]
    first, second = (found[kind][0] for kind in compared)
    lead = bootstrap_difference(
        second.numerators,
        first.numerators,
        second.denominators,
        np.random.default_rng(config.seed),
        config.draws,
        denominators_b=first.denominators,
        confidence=config.confidence,
    )
    return ClickResult(
        tuple(told),
        lead,
        config.estimator,
        impressions=len(reward),
        users=int(users.max()) + 1,
        left_out=left_out,
        warnings=tuple(_warnings(told, rounds, compared)),
    )


def _require_kinds(rounds: pl.DataFrame, compared: tuple[str, str]) -> None:
    """Raise DataError where a kind was never shown, or nothing was clicked."""
    shown = set(rounds["arm"])
    for kind in compared:
        if kind not in shown:
            raise DataError(
                f"no impression shows a description of the kind {kind!r}",
                column="creative_id",
                hint="name the kind of each creative; one that was never shown cannot be valued",
            )
    if not rounds["reward"].sum():
        raise DataError("there is no click in the log", column="kind", hint="check the log")


def _rounds(
    events: pl.DataFrame | pl.LazyFrame, arms: Mapping[str, str]
) -> tuple[pl.DataFrame, int]:
    """Impressions of the kinds with arm and reward, and how many others there are."""
    table = events.lazy().filter(pl.col("kind").is_in(["impression", "click"])).collect()
    shown = table.filter(kind="impression")
    clicked = table.filter(kind="click")
    kind = pl.col("creative_id").replace_strict(dict(arms), default=None, return_dtype=pl.String)
    known = shown.with_columns(arm=kind).filter(
        pl.col("arm").is_not_null() & pl.col("propensity").is_not_null()
    )
    if not known.height:
        raise DataError(
            "no impression has both a known creative and a propensity",
            column="creative_id",
            hint=f"the log has {shown.height:,} impressions; name their creatives, and log the "
            "probability with which each was chosen",
        )
    outside = known.filter(~pl.col("propensity").is_between(0, 1, closed="right"))
    if outside.height:
        raise ValueInvalidError(
            "a propensity must be above 0 and at most 1",
            column="propensity",
            value=outside["propensity"][0],
        )
    pair = ["request_id", "item_id"]
    named = clicked.drop_nulls("creative_id").select(*pair, "creative_id").unique()
    plain = clicked.filter(pl.col("creative_id").is_null()).select(pair).unique()
    by_name = pl.struct(*pair, "creative_id").is_in(named.to_struct().implode())
    by_pair = pl.struct(pair).is_in(plain.to_struct().implode())
    known = known.with_columns(reward=by_name | by_pair)
    return known, shown.height - known.height


def _cross_fitted(
    rounds: pl.DataFrame,
    action: npt.NDArray[np.int64],
    reward: Floats,
    users: npt.NDArray[np.int64],
    kinds: int,
    config: ClickConfig,
) -> Floats:
    """Predicted click rate [N, A] of each impression's product with each kind, by other folds."""
    item = rounds["item_id"].rank("dense").to_numpy().astype(np.int64) - 1
    items = int(item.max()) + 1
    fold = np.random.default_rng(config.seed).permutation(int(users.max()) + 1) % config.folds
    mine = fold[users]
    cell = item * kinds + action
    model = np.empty((len(reward), kinds))
    for each in range(config.folds):
        train, test = mine != each, mine == each
        if not test.any():
            continue
        number = np.bincount(action[train], minlength=kinds)
        # One click in two impressions of nobody's keeps an unseen kind finite.
        rate = (np.bincount(action[train], reward[train], minlength=kinds) + 0.5) / (number + 1)
        shown = np.bincount(cell[train], minlength=items * kinds).reshape(items, kinds)
        clicks = np.bincount(cell[train], reward[train], minlength=items * kinds)
        fitted = (clicks.reshape(items, kinds) + config.prior * rate) / (shown + config.prior)
        model[test] = fitted[item[test]]
    return model


def _arm(
    kind: str,
    estimate: Estimate,
    rounds: Rounds,
    mine: npt.NDArray[np.bool_],
    reward: Floats,
    config: ClickConfig,
) -> ArmClicks:
    rng = np.random.default_rng(config.seed)
    rate = estimate.bootstrap(rng, draws=config.draws, confidence=config.confidence)
    return ArmClicks(
        kind,
        rate,
        logged=float(reward[mine].mean()),
        impressions=int(mine.sum()),
        clicks=int(reward[mine].sum()),
        weights=summarise_weights(rounds),
    )


def _warnings(arms: list[ArmClicks], rounds: pl.DataFrame, compared: tuple[str, str]) -> list[str]:
    found = [
        f"the weights of {arm.arm} have a mean of {arm.weights.mean:.2f}, not 1: the propensities "
        "are not those with which it was shown"
        for arm in arms
        if abs(arm.weights.mean - 1) > _FAR
    ]
    for kind in compared:
        has = rounds.group_by("item_id").agg((pl.col("arm") == kind).any().alias("has"), pl.len())
        share = has.filter(~pl.col("has"))["len"].sum() / rounds.height
        if share > _FAR:
            found.append(
                f"{share:.0%} of the impressions are of products that never showed {kind}: there "
                "the estimate rests on the model alone"
            )
    return found


# --------------------------------------------------------------------------------------------------
# Clicks by a simulator, where no log has them: SIMULATED, and said so wherever it is told.
#
# A position-based model of what people do with a list of results:
#
#     P(click on rank r) = r^-decay * a(grade_r),   a(g) = floor + (1 - floor) (2^g - 1) / 2^highest
#
# The first factor is whether rank r is looked at (Joachims, Swaminathan and Schnabel, WSDM 2017),
# the second whether a product that is looked at is clicked, which grows with its grade as in
# expected reciprocal rank (Chapelle et al., CIKM 2009). floor: clicks on what is not relevant.
#
# Such clicks follow from the grades and from where products stand: they tell in another unit what
# NDCG tells, and nothing of whether people like the texts. Only a log or an experiment does. The
# expected number is exact; nothing is drawn but the queries of the interval.
#
# Letters: S seeds, Q queries, k length of the lists.


@settings
class SimulatedClickConfig:
    """decay: how fast attention falls, 0 for not at all. floor: chance of a click on a product
    that is looked at and not relevant. highest: the best grade there is. draws, confidence, seed:
    of the intervals.

    Raises ConfigError that names the setting.
    """

    decay: Annotated[float, Ge(0)] = 1.0
    floor: Annotated[float, Ge(0), Lt(1)] = 0.02
    highest: Count = 3
    draws: Count = 1000
    confidence: Annotated[float, Gt(0), Lt(1)] = 0.95
    seed: int = 0


@dataclass(frozen=True)
class SimulatedClicks:
    """Of a ranker. clicks: index to the expected clicks of a search. leads: index to its distance
    from the original index, paired over queries. simulated: always True."""

    ranker: str
    clicks: Mapping[Index, MethodInterval]
    leads: Mapping[Index, MethodInterval]
    simulated: bool = True


def expected_clicks(grades: npt.ArrayLike, config: SimulatedClickConfig) -> Floats:
    """Expected clicks of a search, [...] of grades [..., k] in the order shown; NaN is a rank at
    which nothing is shown.

    Raises ConfigError where a grade is above `highest`.
    """
    shown = np.asarray(grades, np.float64)
    there = ~np.isnan(shown)
    best = shown[there].max(initial=0.0)
    if best > config.highest:
        raise ConfigError(
            f"there is a grade of {best:g}, above the highest",
            where=f"highest {config.highest}",
            hint="say what the best grade is",
        )
    looked_at = np.arange(1, shown.shape[-1] + 1) ** -config.decay
    liked = config.floor + (1 - config.floor) * (np.exp2(shown) - 1) / 2.0**config.highest
    found: Floats = np.where(there, looked_at * liked, 0.0).sum(-1)
    return found


def simulate_clicks(
    search: DescriptionSearch, config: SimulatedClickConfig | None = None
) -> tuple[SimulatedClicks, ...]:
    """The clicks that each ranker's lists would get, over the queries that the writer had not
    seen; ranks beyond k are not shown."""
    config = config or SimulatedClickConfig()
    found = []
    for ranker in dict.fromkeys(name for name, _ in search.grades):
        by_index: dict[Index, Floats] = {}
        for index in INDEXES:
            clicks = expected_clicks(search.grades[ranker, index], config)
            by_index[index] = clicks if index in ("written", "both") else clicks[0]
        ones = np.ones(by_index["title"].shape[-1])

        def told(values: Floats, ones: Floats = ones) -> MethodInterval:
            rng = np.random.default_rng(config.seed)
            return two_level_ratio(values, ones, rng, config.draws, confidence=config.confidence)

        def lead(
            values: Floats, ones: Floats = ones, base: Floats = by_index["original"]
        ) -> MethodInterval:
            rng = np.random.default_rng(config.seed)
            return two_level_difference(
                values, base, ones, rng, config.draws, confidence=config.confidence
            )

        found.append(
            SimulatedClicks(
                ranker,
                {index: told(values) for index, values in by_index.items()},
                {i: lead(values) for i, values in by_index.items() if i != "original"},
            )
        )
    return tuple(found)
