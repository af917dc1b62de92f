"""What a policy would have earned: its value from the log that another wrote.

    slates = logged_slates(events, response="click")
    found = value_from_log(slates, ModelTarget(recommender, policy), name="new")
    found.tells, found.value, found.lead

A log that was written with propensities says what came of each choice, and with which chance it
was made. A `PolicyTarget` says with which chance the new policy would have made it: a model that is
asked again about every request, or the shares in which the log of the other shows its items. The
estimators are those of `metrics.slates`; the one that is judged is cascade-DR with weights cut at
the root of the number of slates. Where too few slates count, or the new policy does what this log
never did, the log cannot tell, and that is what is said.

Letters: S slates, N places of all of them, C candidates, I items, F folds, P positions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.core.config import Ge, Gt, Lt, Positive, settings
from adwright.core.errors import ConfigError, DataError
from adwright.data.schema import EventKind
from adwright.delivery.decision import Candidates, Request
from adwright.delivery.policy.slate_policy import SlatePolicy
from adwright.metrics.bootstrap import Interval
from adwright.metrics.offpolicy import Estimate, WeightSummary
from adwright.metrics.slates import (
    Slates,
    cascade_dr,
    reward_interaction,
    self_normalised,
    slate_ips,
    summarise_slates,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_AT_ONCE = 64
#: Of what the new policy does so much has to be in the log.
_SUPPORT = 0.9
#: A log may be asked about a policy of one place by its shares; so near are chances the same.
_NEAR = 1e-9


@settings
class PolicyValueConfig:
    """How a policy is valued. response: the kind of event that counts, joined to what was shown by
    request and item. fewest: slates that have to count for a verdict. folds, prior: of the model
    behind the doubly robust estimate, the rate of an item, with so many expected responses of the
    mean rate. confidence: of the intervals."""

    response: EventKind = "click"
    fewest: Positive = 100.0
    folds: Annotated[int, Ge(2)] = 5
    prior: Positive = 2.0
    confidence: Annotated[float, Gt(0), Lt(1)] = 0.95
    seed: int = 0


@dataclass(frozen=True, eq=False)
class LoggedSlates:
    """What was shown with known chances. places: [N] request_id, user_id, time, context, item_id,
    position, propensity, reward (0 or 1) and slate, from 0, sorted by slate and place. left_out:
    impressions that tell nothing, without a propensity or twice at one place."""

    places: pl.DataFrame
    left_out: int

    @property
    def slates(self) -> int:
        """S."""
        return int(self.places["slate"].max()) + 1  # type: ignore[arg-type]

    def column(self, name: str) -> Floats:
        """[N] of numbers."""
        return self.places[name].to_numpy().astype(np.float64)

    def requests(self) -> list[tuple[Request, list[str]]]:
        """Each slate's request and items, in order."""
        rows = self.places.group_by("slate", maintain_order=True).agg(
            pl.col("request_id", "user_id", "time", "context").first(), pl.col("item_id")
        )
        columns = rows.select("request_id", "user_id", "time", "context", "item_id")
        return [
            (Request(request, user, time, k=len(items), context=_context(said)), items)
            for request, user, time, said, items in columns.iter_rows()
        ]


def logged_slates(
    events: pl.DataFrame, *, response: str = "click", since: datetime | None = None
) -> LoggedSlates:
    """The slates of a log in EVENT_SCHEMA. since: leave out those before this instant.

    Raises DataError where it tells no propensity, and ConfigError where it knows no such response.
    """
    shown = events.filter(pl.col("kind") == "impression")
    kinds = sorted(set(events["kind"].unique().to_list()) - {"impression"})
    if response not in kinds:
        raise ConfigError(
            f"nobody did this in the log: {response}",
            where="response",
            hint=f"it has {', '.join(kinds) or 'impressions alone'}",
        )
    taken = events.filter(pl.col("kind") == response).select("request_id", "item_id").unique()
    pair, place = ["request_id", "item_id"], ["request_id", "position"]
    # Where an ad is shown as well, its chance is in the product: it is chosen as it was.
    ad = pl.col("context").str.json_path_match("$.creative_propensity").cast(pl.Float64)
    known = shown.filter(pl.col("propensity").is_not_null()).with_columns(
        pl.col("position").fill_null(0),
        propensity=(pl.col("propensity") / ad.fill_null(1.0)).clip(upper_bound=1.0),
    )
    twice = pl.struct(pair).is_duplicated() | pl.struct(place).is_duplicated()
    known = known.filter(~twice.any().over("request_id"))
    left_out = shown.height - known.height
    if since is not None:
        known = known.filter(pl.col("time").min().over("request_id") >= since)
    if not known.height:
        raise DataError(
            "the log has no impression that says with which chance it was made"
            + (f", from {since:%Y-%m-%d %H:%M} UTC on" if since is not None else ""),
            column="propensity",
            hint="log the propensity of each place, as `adwright serve` does",
        )
    places = (
        known.join(taken.with_columns(reward=1), on=pair, how="left", maintain_order="left")
        .with_columns(pl.col("reward").fill_null(0), pl.col("time").min().over("request_id"))
        .sort("time", "request_id", "position", maintain_order=True)
        .with_columns(slate=pl.col("request_id").rle_id().cast(pl.Int64))
    )
    return LoggedSlates(places, left_out)


def _context(text: str | None) -> dict[str, str | float]:
    """What a request said: not the stage of its answer, nor what is logged of an experiment."""
    found: dict[str, Any] = json.loads(text) if text else {}
    return {
        key: what
        for key, what in found.items()
        if isinstance(what, str | int | float) and key != "stage" and not key.startswith("_")
    }


# --------------------------------------------------------------------------------------------------
# The model of the reward: how often an item is taken at a position, by others than who is asked.


@dataclass(frozen=True, eq=False)
class RewardModel:
    """rate: [F, I + 1], of each item, the last of those that the log never showed. factor: [F, P],
    of each position. fold: [N], of each place; what was learned of it is in no row of its fold."""

    items: Mapping[str, int]
    rate: Floats
    factor: Floats
    fold: Ints
    position: Ints

    @classmethod
    def fit(cls, slates: LoggedSlates, config: PolicyValueConfig) -> RewardModel:
        """Rates shrunk to the mean, of all folds of users but one each."""
        places = slates.places
        names = places["item_id"].unique(maintain_order=True).to_list()
        items = {name: code for code, name in enumerate(names)}
        item = np.array([items[name] for name in places["item_id"]], np.int64)
        _, position = np.unique(places["position"].to_numpy(), return_inverse=True)
        _, user = np.unique(places["user_id"].to_numpy(), return_inverse=True)
        dealt = np.random.default_rng(config.seed).permutation(int(user.max()) + 1) % config.folds
        fold, reward = dealt[user], slates.column("reward")
        rate = np.empty((config.folds, len(items) + 1))
        factor = np.empty((config.folds, int(position.max()) + 1))
        for one in range(config.folds):
            rows = fold != one
            mean = max(float(reward[rows].mean()), 1e-9) if rows.any() else 1e-9
            shown = np.bincount(item[rows], minlength=len(items) + 1)
            took = np.bincount(item[rows], reward[rows], len(items) + 1)
            rate[one] = (took + config.prior) / (shown + config.prior / mean)
            # What is expected at a position of the items that stood there.
            level = np.bincount(position[rows], rate[one][item[rows]], factor.shape[1])
            took = np.bincount(position[rows], reward[rows], factor.shape[1])
            factor[one] = (took + config.prior) / (level + config.prior)
        return cls(items, rate, factor, fold.astype(np.int64), position.astype(np.int64))

    def of_shown(self, places: pl.DataFrame) -> Floats:
        """[N], of what was shown."""
        item = self.codes(places["item_id"].to_list())
        return np.asarray(self.rate[self.fold, item] * self.factor[self.fold, self.position])

    def codes(self, item_ids: Sequence[str]) -> Ints:
        """[C]; the last row of `rate` for what the log never showed."""
        return np.array([self.items.get(one, len(self.items)) for one in item_ids], np.int64)


class PolicyTarget(Protocol):
    """A policy that a log is asked about."""

    def judge(self, slates: LoggedSlates, model: RewardModel) -> tuple[Floats, Floats]:
        """[N] its chance of each item that was shown, given those above, and [N] what the model
        expects of its own choice there."""


class _AskedAgain(Protocol):
    def recommend_many(self, requests: Sequence[Request], deadline: None) -> Sequence[Candidates]:
        """Candidates of each request."""


@dataclass(frozen=True, eq=False)
class ModelTarget:
    """A recommender that is asked again about each request, and a policy."""

    recommender: _AskedAgain
    policy: SlatePolicy

    def judge(self, slates: LoggedSlates, model: RewardModel) -> tuple[Floats, Floats]:
        """Of a request the recommender sees what lay before it, so that this is what it would have
        offered then."""
        asked, target, expected = slates.requests(), [], []
        at = 0
        for start in range(0, len(asked), _AT_ONCE):
            some = asked[start : start + _AT_ONCE]
            answers = self.recommender.recommend_many([request for request, _ in some], None)
            for (request, items), candidates in zip(some, answers, strict=True):
                row = {item_id: n for n, item_id in enumerate(candidates.item_ids)}
                chances = self.policy.chances(request, candidates, items)
                target += [
                    chances[k, row[one]] if one in row else 0.0 for k, one in enumerate(items)
                ]
                place = slice(at, at + len(items))
                at += len(items)
                rate = model.rate[model.fold[place.start], model.codes(candidates.item_ids)]
                factor = model.factor[model.fold[place], model.position[place]]
                expected.append(factor * (chances @ rate))
        return np.minimum(np.array(target, np.float64), 1.0), np.concatenate(expected)


@dataclass(frozen=True, eq=False)
class LogTarget:
    """The policy that wrote another log, the same for everybody: its chance of each item at each
    position. exact: whether the log says so; else it is the share in which it shows the item."""

    chance: Mapping[float, Mapping[str, float]]
    exact: bool

    @classmethod
    def of(cls, slates: LoggedSlates) -> LogTarget:
        """Raises ConfigError where a request has several places."""
        places = slates.places
        _require_one_place(slates, "the log of the new policy")
        by = ["position", "item_id"]
        counted = places.group_by(by).agg(
            pl.len(), pl.col("propensity").first(), spread=pl.col("propensity").std().fill_null(0)
        )
        totals = counted.group_by("position").agg(
            pl.col("len").sum().alias("all"), said=pl.col("propensity").sum()
        )
        exact = bool(
            (counted["spread"] <= _NEAR).all() and ((totals["said"] - 1).abs() < 1e-4).all()
        )
        shares = counted.join(totals, on="position").with_columns(
            share=pl.col("propensity") if exact else pl.col("len") / pl.col("all")
        )
        found: dict[float, dict[str, float]] = {}
        for position, item_id, share in shares.select(*by, "share").iter_rows():
            found.setdefault(position, {})[item_id] = share
        return cls(found, exact)

    def judge(self, slates: LoggedSlates, model: RewardModel) -> tuple[Floats, Floats]:
        """Raises ConfigError where a request has several places."""
        _require_one_place(slates, "the log")
        position, items = slates.places["position"].to_list(), slates.places["item_id"].to_list()
        target = [
            self.chance.get(p, {}).get(item, 0.0) for p, item in zip(position, items, strict=True)
        ]
        expected = np.zeros(len(items))
        at = slates.places["position"].to_numpy()
        for place, chances in self.chance.items():
            rows = np.flatnonzero(at == place)
            if len(rows):
                level = model.rate[:, model.codes(list(chances))] @ np.array(list(chances.values()))
                fold = model.fold[rows]
                expected[rows] = level[fold] * model.factor[fold, model.position[rows]]
        return np.array(target, np.float64), expected


def _require_one_place(slates: LoggedSlates, what: str) -> None:
    if slates.slates != slates.places.height:
        raise ConfigError(
            f"{what} has several places a request, and shares tell the chance of one alone",
            where="the new policy",
            hint="name a model with a policy in place of a log",
        )


# --------------------------------------------------------------------------------------------------
# The value, and whether the log tells it.


@dataclass(frozen=True)
class PolicyValue:
    """name: of the new policy. requests, places, responses: that were asked about; left_out:
    impressions that tell nothing. logged: what the log itself earned a request. estimates: name ->
    what the new policy would have earned. value: the one that is judged, lead: it less `logged`,
    both None where nothing can be told. weights: of the slates, cut at `cut`. confidence: of the
    intervals. why: the log cannot tell; empty where it does. needed: requests from which it
    would."""

    name: str
    response: str
    requests: int
    places: int
    responses: int
    left_out: int
    logged: float
    estimates: Mapping[str, Interval]
    value: Interval | None
    lead: Interval | None
    weights: WeightSummary
    cut: float
    confidence: float
    why: str
    needed: int
    notes: tuple[str, ...] = ()

    @property
    def tells(self) -> bool:
        """Whether this log tells the value."""
        return not self.why

    def no_worse(self, margin: float) -> bool:
        """Whether it is told, and the lower end of the lead lies above minus this share of what
        the log earned."""
        return self.tells and self.lead is not None and self.lead.low > -margin * self.logged

    def verdict(self) -> str:
        """In a sentence."""
        if self.why or self.value is None or self.lead is None:
            more = f"; {self.needed:,} requests such as these would tell" if self.needed else ""
            return f"this log cannot tell: {self.why}{more}"
        said = "is better than" if self.lead.low > 0 else "earns less than"
        if not self.lead.excludes(0):
            said = "cannot be told from"
        return (
            f"{self.name} {said} what the log did: {self.value.text('.4f')} {self.response}s a "
            f"request in place of {self.logged:.4f}, {self.lead.text('+.4f')}"
        )

    def rows(self) -> list[tuple[str, str]]:
        """Estimates as a table: the estimator, responses a request."""
        return [(name, one.text(".4f")) for name, one in self.estimates.items()]

    def facts(self) -> dict[str, str]:
        """How far the log and the new policy are apart."""
        weights = self.weights
        cut = "" if weights.largest <= self.cut else f", cut at {self.cut:,.0f}"
        found = {
            "requests": f"{self.requests:,} of {self.places:,} places, {self.responses:,} "
            f"{self.response}s, {self.logged:.4f} a request",
            "as good as": f"{weights.effective:,.0f} requests of the new policy's own",
            "largest weight": f"{weights.largest:,.1f}{cut}",
            "mean weight": f"{weights.mean:.3f} (1 where the log holds all that the new one does)",
            "never shown": f"{weights.unseen:.1%} of what was shown, by the new policy",
        }
        if self.left_out:
            found["left out"] = f"{self.left_out:,} impressions without a propensity, or twice"
        return found


ESTIMATORS: Mapping[str, Callable[[Slates], Estimate]] = {
    "whole slates (IPS)": slate_ips,
    "IPS": reward_interaction,
    "self-normalised (SNIPS)": self_normalised,
    "doubly robust (DR)": cascade_dr,
}


def value_from_log(
    slates: LoggedSlates,
    target: PolicyTarget,
    *,
    name: str = "the new policy",
    config: PolicyValueConfig | None = None,
    notes: Sequence[str] = (),
) -> PolicyValue:
    """The value of a policy, in responses a request, users on their own."""
    config = config or PolicyValueConfig()
    model = RewardModel.fit(slates, config)
    chance, expected = target.judge(slates, model)
    places = slates.places
    later = _to_come(places, expected)
    made = Slates(
        reward=slates.column("reward"),
        propensity=slates.column("propensity"),
        target=chance,
        predicted=model.of_shown(places) + later,
        expected=expected + later,
        slate=places["slate"].to_numpy(),
        group=places["user_id"].to_numpy(),
    )
    cut = max(1.0, math.sqrt(made.slates))
    judged = cascade_dr(made, largest=cut)
    earned = made.per_slate(made.reward)
    lead = Estimate(judged.numerators - earned.numerators, judged.denominators)
    several = made.slates < len(made)
    estimates = {
        key: one
        for key, estimator in ESTIMATORS.items()
        if (several or estimator is not slate_ips)
        and (one := _interval(estimator, made, config)) is not None
    }
    value = _interval(lambda _: judged, made, config)
    if value is not None:
        estimates[f"DR, weights cut at {cut:,.0f}"] = value
    found = PolicyValue(
        name=name,
        response=config.response,
        requests=made.slates,
        places=len(made),
        responses=int(made.reward.sum()),
        left_out=slates.left_out,
        logged=earned.value,
        estimates=estimates,
        value=value,
        lead=_interval(lambda _: lead, made, config),
        weights=summarise_slates(made, largest=cut),
        cut=cut,
        confidence=config.confidence,
        why="",
        needed=0,
        notes=tuple(notes),
    )
    return _told(found, made, config)


def _told(found: PolicyValue, made: Slates, config: PolicyValueConfig) -> PolicyValue:
    """With what speaks against a verdict."""
    weights = found.weights
    if not found.responses:
        return replace(found, why=f"nobody did this: {found.response}")
    if weights.effective < config.fewest:
        needed = math.ceil(found.requests * config.fewest / max(weights.effective, 1e-9))
        count = f"{weights.effective:,.0f} of its {found.requests:,} requests count"
        why = f"only {count} for {found.name}"
        return replace(found, why=why, needed=needed if weights.effective else 0)
    size = np.bincount(made.slate)[made.slate]
    share = made.per_slate(made.down_to[0] / size)
    if share.value + 2 * share.standard_error < _SUPPORT:
        why = (
            f"{1 - share.value:.0%} of what {found.name} does was never done in such a moment; "
            "explore more, or ask about a policy that is nearer"
        )
        return replace(found, why=why)
    if found.value is None or found.lead is None:
        return replace(found, why="all requests agree, so that there is no interval")
    return found


def _interval(
    estimator: Callable[[Slates], Estimate], made: Slates, config: PolicyValueConfig
) -> Interval | None:
    try:
        return estimator(made).likelihood(confidence=config.confidence)
    except DataError:
        return None


def _to_come(places: pl.DataFrame, expected: Floats) -> Floats:
    """[N]: what the new policy is expected to earn below a place, in the mean over slates."""
    place = places.select(pl.int_range(pl.len()).over("slate")).to_series().to_numpy()
    left = places.select(pl.len().over("slate")).to_series().to_numpy() - 1
    counts = np.bincount(place)
    mean = np.concatenate([[0.0], np.cumsum(np.bincount(place, expected) / counts)])
    return np.asarray(mean[left + 1] - mean[place + 1])
