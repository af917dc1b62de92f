"""What an experiment says: the plan before its start, and the lift of each arm while it runs.

The unit is the user, who was dealt to an arm; a user counts from the first decision after the
start. Measured are responses a user, of each arm less those of the first arm:

    lift         as a share of the first arm's mean, with CUPED: what users did in the weeks before
                 explains is taken off
    always valid its interval may be looked at at any time: at each day's end, and now
    alarms       whether users were lost (the sample ratio), whether somebody met two arms, and
                 what else became worse (visits, other responses, answers in a lesser stage)

Users come while it runs and go on to respond, so the sequential test is that of the excess of
responses, S = n d, of the difference d of means among n users (1 / n is the sum of those of both
arms): where nothing differs it has no drift, and its variance v = n^2 V grows. Robbins' mixture
in v gives

    |S| <= sqrt((v + r) (log((v + r) / r) + 2 log(1 / alpha)))      at all looks together

which is `metrics.offpolicy.always_valid` at each look with the mixture t^2 = V v / r. r is chosen
before the start, so that the interval is narrowest at the planned end.

Letters: P users, L looks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.core.errors import ConfigError, DataError
from adwright.delivery.experiments import ARM, HOLDOUT, ExperimentPlan, RunningExperiment
from adwright.metrics.arrays import normal_quantile
from adwright.metrics.bootstrap import Interval
from adwright.metrics.offpolicy import (
    ArmComparison,
    always_valid,
    best_mixture,
    compare,
    sample_ratio,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: What users did in so many days before is what CUPED takes off.
_BEFORE = timedelta(days=28)
#: p-value of the sample ratio below which users were lost.
_LOST = 0.001
#: A segment is read where each arm has so many users.
_FEWEST = 50
_DAY = timedelta(days=1)
_KEY = re.compile(r"[\w .:-]{0,64}")
#: Days of which each is looked at.
_LOOKS = 400


@dataclass(frozen=True)
class Guardrail:
    """What else may become worse. name: in words. difference: of the arm less the first, a user.
    worse: it did, by an interval at 99%."""

    name: str
    difference: Interval
    worse: bool


@dataclass(frozen=True)
class ArmReading:
    """An arm beside the first. users, responses: of it. mean: responses a user. difference: with
    CUPED, the always-valid interval; lift: the same as a share of the first arm's mean. fixed: the
    interval of one look alone. p_value: may be read at any time. decided: the interval left 0 out.
    removed: share of the variance that CUPED took off. ratio: p-value of the sample ratio."""

    name: str
    users: int
    responses: float
    mean: float
    difference: Interval
    lift: Interval
    fixed: Interval
    p_value: float
    removed: float
    ratio: float
    guardrails: tuple[Guardrail, ...] = ()
    segments: Mapping[str, Interval] | None = None
    back: bool = False

    @property
    def decided(self) -> bool:
        """Whether it is told from the first arm."""
        return self.difference.excludes(0)

    @property
    def lost(self) -> bool:
        """Whether users were lost on the way to an arm."""
        return self.ratio < _LOST

    def verdict(self) -> str:
        """In a sentence."""
        said = f"{self.name}: {self.lift.text('+.1%')}"
        if self.lost:
            return f"{said}, of which nothing can be believed: users of an arm were lost"
        if not self.decided:
            return f"{said}, not told yet"
        worse = ", ".join(one.name for one in self.guardrails if one.worse)
        found = "earns more" if self.difference.low > 0 else "earns less"
        return f"{said}, {found}" + (f", but {worse} became worse" if worse else "")


@dataclass(frozen=True)
class ExperimentReading:
    """An experiment now. users, mean: of the first arm. crossed: users who met two arms. days:
    since the start; left: until the planned effect would show at the pace so far, 0 where it would
    have, None where nothing tells."""

    name: str
    first: str
    started: datetime
    until: datetime
    days: float
    left: float | None
    response: str
    users: int
    responses: float
    mean: float
    holdout: int
    crossed: int
    arms: tuple[ArmReading, ...]
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """In sentences."""
        found = [
            f"{self.name}, {self.days:.1f} days, {self.response}s a user; {self.first}: "
            f"{self.mean:.4f} of {self.users:,} users"
        ]
        found += [one.verdict() for one in self.arms]
        if self.left is not None:
            found.append(
                f"about {math.ceil(self.left)} days more until the planned effect shows"
                if self.left > 0
                else "the planned effect would have shown by now"
            )
        if self.crossed:
            found.append(f"{self.crossed:,} users met two arms: is the salt the same everywhere?")
        return [*found, *self.notes]


def read_experiment(
    events: pl.DataFrame,
    running: RunningExperiment,
    *,
    now: datetime,
    segment: str = "",
    by_value: bool = False,
) -> ExperimentReading:
    """Read a running experiment off a log in EVENT_SCHEMA, which should begin some weeks before it.

    now: until when, or until the log ends. segment: a key of the requests' context, by whose
    values it is read as well. by_value: values of responses are summed in place of counting them.
    Raises DataError where too few users came or responded yet, and ConfigError for a key of the
    context that is none.
    """
    if not _KEY.fullmatch(segment):
        raise ConfigError("this is no key of a context", where=f"segment {segment!r:.80}")
    last = events["time"].max()
    now = min(now, last) if isinstance(last, datetime) else now
    people = _people(events, running, now, segment)
    response = running.plan.response
    first = running.settings.shown[0].name
    days = max((now - running.started) / _DAY, 1e-9)
    table = _outcomes(events, people, running, now, response, by_value=by_value)
    arms = []
    for arm in running.settings.shown[1:]:
        rows = np.isin(table.arm, (first, arm.name))
        if (table.arm == arm.name).sum() < 3 or (table.arm == first).sum() < 3:
            continue
        arms.append(_read_arm(table.some(rows), running, arm.name, first))
    if not arms:
        raise DataError(
            "too few users of two arms came since the start",
            column=ARM,
            value=f"{len(people):,} users",
            hint="wait; the arm stands in the context of each impression once the experiment runs",
        )
    mine = table.arm == first
    mean = float(table.taken[mine].mean())
    return ExperimentReading(
        name=running.settings.name,
        first=first,
        started=running.started,
        until=now,
        days=days,
        left=_days_left(arms[0], running.plan, mean, days),
        response=response,
        users=int(mine.sum()),
        responses=float(table.taken[mine].sum()),
        mean=mean,
        holdout=int((table.arm == HOLDOUT).sum()),
        crossed=int(people["met"].gt(1).sum()),
        arms=tuple(arms),
        notes=tuple(f"{name} was taken back" for name in sorted(running.back)),
    )


@dataclass(frozen=True, eq=False)
class _Table:
    """[P] users: arm, taken (responses since they came), past (covariates [P, 3]); seen, when they
    came and when: of each response [(user, days since the start, worth)]; other: measures by name,
    each with its past."""

    arm: NDArray[np.str_]
    taken: Floats
    past: Floats
    seen: Floats
    who: Ints
    when: Floats
    worth: Floats
    other: Mapping[str, tuple[Floats, bool]]
    segment: NDArray[np.str_]

    def some(self, rows: NDArray[np.bool_]) -> _Table:
        at = np.cumsum(rows) - 1
        kept = rows[self.who] if len(self.who) else np.empty(0, np.bool_)
        return replace(
            self,
            arm=self.arm[rows],
            taken=self.taken[rows],
            past=self.past[rows],
            seen=self.seen[rows],
            who=at[self.who[kept]],
            when=self.when[kept],
            worth=self.worth[kept],
            other={name: (one[rows], more) for name, (one, more) in self.other.items()},
            segment=self.segment[rows],
        )


def _people(
    events: pl.DataFrame, running: RunningExperiment, now: datetime, segment: str
) -> pl.DataFrame:
    """Users who were decided for since the start: user_id, arm they were dealt to, came, met (how
    many arms they met) and segment."""
    said = pl.col("context").str.json_path_match
    shown = events.filter(
        pl.col("kind") == "impression", pl.col("time").is_between(running.started, now)
    ).with_columns(
        said=said(f"$.{ARM}"),
        segment=said(f"$['{segment}']") if segment else pl.lit(""),
    )
    found = (
        shown.filter(pl.col("said").is_not_null())
        .sort("time")
        .group_by("user_id", maintain_order=True)
        .agg(
            came=pl.col("time").first(),
            met=pl.col("said").filter(~pl.col("said").is_in(sorted(running.back))).n_unique(),
            segment=pl.col("segment").first().fill_null(""),
        )
    )
    arms = [running.arm_of(user) for user in found["user_id"]]
    return found.with_columns(arm=pl.Series(arms, dtype=pl.String))


def _outcomes(
    events: pl.DataFrame,
    people: pl.DataFrame,
    running: RunningExperiment,
    now: datetime,
    response: str,
    *,
    by_value: bool,
) -> _Table:
    code = people.select("user_id", "came").with_row_index("who")
    joined = events.filter(pl.col("time") <= now).join(code, on="user_id")
    worth = pl.col("value").fill_null(0.0) if by_value else pl.lit(1.0)
    mine = joined.filter(pl.col("kind") == response).with_columns(worth=worth)
    size = people.height

    def summed(rows: pl.DataFrame, worth: str | None = None) -> Floats:
        weight = None if worth is None else rows[worth].to_numpy().astype(np.float64)
        return np.bincount(rows["who"].to_numpy(), weight, size).astype(np.float64)

    since, before = pl.col("time") >= pl.col("came"), pl.col("time") < running.started
    lately = pl.col("time") >= running.started - _BEFORE
    after = mine.filter(since)
    done = joined.filter(before, lately)
    past = np.stack(
        [
            summed(mine.filter(before, lately), "worth"),
            summed(done),
            (summed(done) == 0).astype(np.float64),
        ],
        axis=1,
    )
    shown = joined.filter(pl.col("kind") == "impression", since).unique("request_id")
    stage = shown["context"].str.json_path_match("$.stage").fill_null("")
    best = "fine" if (stage == "fine").any() else "coarse"
    other: dict[str, tuple[Floats, bool]] = {"visits": (summed(shown), True)}
    if stage.is_in([best]).any():
        lesser = summed(shown.filter(stage != best)) / np.maximum(summed(shown), 1)
        other["answers in a lesser stage"] = (lesser, False)
    for kind in sorted(set(joined["kind"].unique().to_list()) - {response, "impression", "stop"}):
        other[f"{kind}s"] = (summed(joined.filter(pl.col("kind") == kind, since)), kind != "return")
    return _Table(
        arm=people["arm"].to_numpy().astype(str),
        taken=summed(after, "worth"),
        past=past,
        seen=((people["came"] - running.started) / _DAY).to_numpy().astype(np.float64),
        who=after["who"].to_numpy().astype(np.int64),
        when=((after["time"] - running.started) / _DAY).to_numpy().astype(np.float64),
        worth=after["worth"].to_numpy().astype(np.float64),
        other=other,
        segment=people["segment"].to_numpy().astype(str),
    )


def _read_arm(table: _Table, running: RunningExperiment, name: str, first: str) -> ArmReading:
    treated = (table.arm == name).astype(np.int64)
    several = len(running.settings.shown) - 1
    confidence = 1 - (1 - running.plan.confidence) / several
    shares = {arm.name: arm.share for arm in running.settings.shown}
    now = compare(table.taken, treated, covariates=table.past, confidence=confidence)
    difference, p_value = _sequential(table, treated, running.plan, confidence)
    base = float(table.taken[treated == 0].mean())
    if not base > 0:
        raise DataError(
            f"nobody of the first arm did this yet: {running.plan.response}",
            column="kind",
            hint="wait for responses",
        )
    scale = 1 / base
    lift = Interval(difference.value * scale, difference.low * scale, difference.high * scale)
    guards = []
    for about, (measure, more) in table.other.items():
        one = compare(measure, treated, confidence=1 - 0.01 / several).difference
        guards.append(Guardrail(about, one, one.high < 0 if more else one.low > 0))
    return ArmReading(
        name=name,
        users=int(treated.sum()),
        responses=float(table.taken[treated == 1].sum()),
        mean=float(table.taken[treated == 1].mean()),
        difference=difference,
        lift=lift,
        fixed=now.difference,
        p_value=p_value,
        removed=now.variance_reduction,
        ratio=sample_ratio(treated, share=shares[name] / (shares[name] + shares[first])),
        guardrails=tuple(guards),
        segments=_segments(table, treated, confidence),
        back=name in running.back,
    )


def _sequential(
    table: _Table, treated: Ints, plan: ExperimentPlan, confidence: float
) -> tuple[Interval, float]:
    """The difference now with its always-valid interval, and the p-value over all looks."""
    end = float(max(table.seen.max(initial=0), table.when.max(initial=0))) + 1e-9
    whole = np.arange(1, math.floor(end) + 1, dtype=np.float64)
    looks = [*whole[whole < end][-_LOOKS:].tolist(), end]
    order = np.argsort(table.when, kind="stable")
    who, when, worth = table.who[order], table.when[order], table.worth[order]
    p_value, clock, last = 1.0, plan.clock, None
    for look in looks:
        rows = table.seen <= look
        here = np.bincount(who[: np.searchsorted(when, look, "right")], minlength=len(rows))
        if not (worth == 1).all():
            upto = np.searchsorted(when, look, "right")
            here = np.bincount(who[:upto], worth[:upto], len(rows))
        one = _at_look(here[rows].astype(np.float64), treated[rows], table.past[rows], confidence)
        if one is None:
            continue
        variance = one.standard_error**2
        grown = variance * _effective(one.people) ** 2
        if not clock:
            # Nothing was planned: it is sharpest where it was looked at first.
            clock = grown / (best_mixture(1.0, confidence=confidence) ** 2)
        found = always_valid(
            [one.difference.value],
            [one.standard_error],
            mixture=math.sqrt(variance * grown / clock),
            confidence=confidence,
        )
        p_value = min(p_value, float(found.p_value[0]))
        last = Interval(one.difference.value, float(found.low[0]), float(found.high[0]))
    if last is None:
        raise DataError(
            "nobody responded yet, or all alike", column="response", hint="wait for responses"
        )
    return last, p_value


def _at_look(taken: Floats, treated: Ints, past: Floats, confidence: float) -> ArmComparison | None:
    """The comparison at a look; None where it tells nothing yet."""
    if min(int(treated.sum()), int((1 - treated).sum())) < past.shape[1] + 2:
        return None
    one = compare(taken, treated, covariates=past, confidence=confidence)
    return one if one.standard_error > 0 else None


def _effective(people: tuple[int, int]) -> float:
    """n of a comparison: the variance of a difference is that of a user over n."""
    return 1 / (1 / people[0] + 1 / people[1])


def _segments(table: _Table, treated: Ints, confidence: float) -> Mapping[str, Interval] | None:
    """The difference by segment, of one look each; None where nothing was asked."""
    names = [one for one in np.unique(table.segment).tolist() if one]
    found = {}
    for name in names:
        rows = table.segment == name
        if min(int(treated[rows].sum()), int((1 - treated[rows]).sum())) >= _FEWEST:
            level = 1 - (1 - confidence) / len(names)
            one = compare(
                table.taken[rows], treated[rows], covariates=table.past[rows], confidence=level
            )
            found[name] = one.difference
    return found or None


def canary_fails(reading: ExperimentReading, running: RunningExperiment) -> str:
    """Why the canary is to be taken back, in words; empty where nothing speaks against it."""
    canary = running.settings.canary
    if canary is None or canary.arm in running.back:
        return ""
    for arm in reading.arms:
        if arm.name == canary.arm and arm.users >= canary.users:
            if arm.difference.high < 0:
                return arm.verdict()
            worse = [one.name for one in arm.guardrails if one.worse and "lesser" in one.name]
            if worse:
                return f"{arm.name}: {worse[0]} became worse"
    return ""


# --------------------------------------------------------------------------------------------------
# Before the start: how long it would take.


def plan_experiment(
    events: pl.DataFrame, plan: ExperimentPlan, shares: tuple[float, float], *, weeks: int = 4
) -> ExperimentPlan:
    """The plan with what the log of before says of its users: how many come, what they take, how
    far they differ, and how many days it takes until the effect shows.

    shares: of the first arm and of the smallest other one.
    Raises DataError where the log is too short or nobody responded.
    """
    last = events["time"].max()
    if not isinstance(last, datetime):
        raise DataError("the log is empty", column="time", hint="name the log of before the start")
    span = float((last - events["time"].min()) / _DAY)  # type: ignore[operator]
    days = min(7.0 * weeks, span / 2)
    if days < 1:
        raise DataError(
            f"the log is {span:.1f} days long",
            column="time",
            hint="name one of at least two days, and better of eight weeks",
        )
    start = last - timedelta(days=days)
    mine = events.filter(pl.col("time") > start)
    users = mine["user_id"].unique(maintain_order=True)
    took = _counts(mine.filter(pl.col("kind") == plan.response), users)
    past = events.filter(pl.col("time") <= start, pl.col("time") > start - timedelta(days=days))
    before = np.stack(
        [_counts(past.filter(pl.col("kind") == plan.response), users), _counts(past, users)], axis=1
    )
    mean = float(took.mean())
    if mean <= 0:
        raise DataError(
            f"nobody did this in the log: {plan.response}",
            column="kind",
            hint="name another with --response",
        )
    fitted = np.linalg.lstsq(before - before.mean(0), took - mean, rcond=None)[0]
    spread = float((took - mean - (before - before.mean(0)) @ fitted).std(ddof=1))
    per_day = len(users) / days
    # Of both arms together n users a day, as `_effective` counts them.
    rate = per_day / (1 / shares[0] + 1 / shares[1])
    mixture = best_mixture(1.0, confidence=plan.confidence)
    wide = mixture**2 + 1
    reach = math.sqrt(
        wide / mixture**2 * (math.log(wide) - 2 * math.log(1 - plan.confidence))
    ) + normal_quantile(2 * plan.power - 1)
    needed = (reach * spread / (plan.effect * mean)) ** 2
    return replace(
        plan,
        mean=mean,
        spread=spread,
        users=len(users),
        days=needed / rate,
        clock=spread**2 * needed / mixture**2,
    )


def smallest_effect(plan: ExperimentPlan, days: float) -> float:
    """The effect that would show after so many days, as a share of the mean."""
    return plan.effect * math.sqrt(plan.days / days)


def plan_lines(plan: ExperimentPlan, span: Sequence[int] = (7, 14, 28)) -> list[str]:
    """A plan in sentences."""
    shows = ", ".join(f"{smallest_effect(plan, days):.1%} in {days}" for days in span)
    return [
        f"a user takes {plan.mean:.4f} {plan.response}s; {plan.users:,} users came lately",
        f"{plan.effect:+.1%} shows after {math.ceil(plan.days):,} days, with a chance of "
        f"{plan.power:.0%}; of days: {shows}",
    ]


def _counts(events: pl.DataFrame, users: pl.Series) -> Floats:
    found = pl.DataFrame({"user_id": users}).join(
        events.group_by("user_id").len(), on="user_id", how="left", maintain_order="left"
    )
    return found["len"].fill_null(0).to_numpy().astype(np.float64)


def _days_left(arm: ArmReading, plan: ExperimentPlan, mean: float, days: float) -> float | None:
    """At the pace so far, until the interval is as narrow as the planned effect needs."""
    half = arm.difference.width / 2
    wanted = plan.effect * mean
    if not (half > 0 and wanted > 0):
        return None
    return max(0.0, days * (half / wanted) ** 2 - days)


def reading_facts(reading: ExperimentReading) -> list[dict[str, Any]]:
    """The arms as rows of a table."""
    return [
        {
            "arm": arm.name,
            "users": f"{arm.users:,}",
            f"{reading.response}s a user": f"{arm.mean:.4f}",
            "lift (always valid)": arm.lift.text("+.1%"),
            "p": f"{arm.p_value:.3f}",
            "CUPED": f"-{arm.removed:.0%} variance",
            "sample ratio": f"p {arm.ratio:.3f}{', users lost' if arm.lost else ''}",
        }
        for arm in reading.arms
    ]
