"""Experiments: who meets what, what is refused, and what a log says of them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError, DataError
from adwright.data.schema import validate_events
from adwright.delivery.experiment_reading import (
    ExperimentReading,
    canary_fails,
    plan_experiment,
    plan_lines,
    read_experiment,
    reading_facts,
    smallest_effect,
)
from adwright.delivery.experiments import (
    ARM,
    HOLDOUT,
    CanarySettings,
    ExperimentArm,
    ExperimentPlan,
    ExperimentSettings,
    RunningExperiment,
    Split,
    require_unchanged,
)
from adwright.delivery.policy.slate_policy import ABSplit

START = datetime(2024, 3, 1, tzinfo=UTC)
PEOPLE = [f"user-{n}" for n in range(4000)]
OLD, NEW = ExperimentArm("old", 0.5), ExperimentArm("new", 0.5)


def made(*arms: ExperimentArm, **more: Any) -> ExperimentSettings:
    return ExperimentSettings("trial", more.pop("salt", "s"), arms or (OLD, NEW), **more)


class TestSettings:
    """Who meets what, and what is refused."""

    def test_users_are_dealt_by_their_shares_and_stay(self) -> None:
        arms = (ExperimentArm("a", 0.2), ExperimentArm("b", 0.3), ExperimentArm("c", 0.4))
        found = made(*arms, holdout=0.1)
        dealt = [found.arm_of(user) for user in PEOPLE]
        assert dealt == [found.arm_of(user) for user in PEOPLE]
        shares = {name: n / len(PEOPLE) for name, n in Counter(dealt).items()}
        assert shares == pytest.approx({"a": 0.2, "b": 0.3, "c": 0.4, HOLDOUT: 0.1}, abs=0.02)
        other = [replace(found, salt="t").arm_of(user) for user in PEOPLE]
        same = np.mean([a == b for a, b in zip(dealt, other, strict=True)])
        assert same == pytest.approx(0.04 + 0.09 + 0.16 + 0.01, abs=0.03)

    def test_a_split_in_two_is_that_of_two_arms(self) -> None:
        split = Split("x", (("B", 0.3), ("A", 0.7)))
        assert [ABSplit("x", 0.3).arm(user) for user in PEOPLE] == [
            split.arm(user) for user in PEOPLE
        ]

    def test_a_shadow_decides_for_its_share_of_users_whatever_their_arm(self) -> None:
        shadow = ExperimentArm("dark", 0.25, model="v2", shadow=True)
        found = made(OLD, NEW, shadow)
        assert found.shown == (OLD, NEW)
        in_it = [bool(found.shadows_of(user)) for user in PEOPLE]
        assert np.mean(in_it) == pytest.approx(0.25, abs=0.02)
        arms = Counter(found.arm_of(u) for u, one in zip(PEOPLE, in_it, strict=True) if one)
        assert arms["old"] / sum(arms.values()) == pytest.approx(0.5, abs=0.05)
        assert found.shadows_of(PEOPLE[in_it.index(True)]) == ["dark"]

    @pytest.mark.parametrize(
        ("arms", "more", "told"),
        [
            ((OLD, replace(NEW, share=0.4)), {}, "add up to 0.9, not 1"),
            ((OLD, NEW), {"holdout": 0.1}, "add up to 1.1, not 1"),
            ((OLD, replace(NEW, name="old")), {}, "two arms are called 'old'"),
            ((OLD, replace(NEW, name=HOLDOUT)), {}, "two arms are called 'holdout'"),
            ((replace(OLD, share=1.0),), {}, "and another"),
            ((replace(OLD, shadow=True), replace(NEW, share=1.0)), {}, "the first arm is what"),
            ((OLD, replace(NEW, model="../v1")), {}, "names what lies beside"),
            ((OLD, replace(NEW, settings=".hidden")), {}, "names what lies beside"),
            ((OLD, replace(NEW, name="x" * 65)), {}, "at most 64 printable"),
            ((OLD, NEW), {"canary": CanarySettings("old")}, "no arm beside the first"),
            ((OLD, NEW), {"salt": ""}, "salt"),
        ],
    )
    def test_arms_that_do_not_add_up(
        self, arms: tuple[ExperimentArm, ...], more: dict[str, Any], told: str
    ) -> None:
        with pytest.raises(ConfigError, match=told):
            made(*arms, **more)

    def test_while_it_runs_nobody_is_dealt_anew(self) -> None:
        running = RunningExperiment(made(), START, ExperimentPlan())
        require_unchanged(made(), running)
        require_unchanged(made(salt="other"), None)
        require_unchanged(made(canary=CanarySettings("new")), running)
        for found, key in (
            (made(salt="other"), "salt"),
            (made(replace(OLD, share=0.6), replace(NEW, share=0.4)), "arms"),
            (made(OLD, replace(NEW, share=0.4), holdout=0.1), "arms"),
            (replace(made(), name="other"), "name"),
        ):
            with pytest.raises(ConfigError, match=f"{key} was changed while"):
                require_unchanged(found, running)
        with pytest.raises(ConfigError, match=r"serving\.toml has none"):
            require_unchanged(None, running)

    def test_who_was_taken_back_meets_the_first_arm(self) -> None:
        running = RunningExperiment(made(), START, ExperimentPlan(), back=frozenset({"new"}))
        assert {running.met(user) for user in PEOPLE[:50]} == {"old"}
        assert {running.arm_of(user) for user in PEOPLE[:50]} == {"old", "new"}

    def test_settings_go_through_a_file(self) -> None:
        found = made(canary=CanarySettings("new"))
        assert from_jsonable(ExperimentSettings, to_jsonable(found)) == found


def log(
    running: RunningExperiment,
    *,
    users: int = 800,
    lift: float = 0.0,
    days: int = 10,
    lost: float = 0.0,
    seed: int = 0,
) -> pl.DataFrame:
    """Users who differ, four weeks before and some days after the start; each comes a few times."""
    rng, rows = np.random.default_rng(seed), []
    taste = rng.gamma(2.0, 0.25, users)
    for n in range(users):
        arm = running.arm_of(f"u{n}")
        if arm == "new" and rng.random() < lost:
            continue
        for period, first, length in (("past", -28, 28), ("now", 0, days)):
            rate = taste[n] * (1 + lift * (arm == "new" and period == "now"))
            for visit, day in enumerate(np.sort(rng.uniform(0, length, 1 + rng.poisson(2)))):
                request = f"{period}-{n}-{visit}"
                context = {"stage": "fine", "page": f"p{n % 2}"}
                if period == "now":
                    context[ARM] = running.met(f"u{n}")
                row = {
                    "event_id": request,
                    "time": START + timedelta(days=first + day),
                    "request_id": request,
                    "user_id": f"u{n}",
                    "kind": "impression",
                    "item_id": "i",
                    "value": None,
                    "context": json.dumps(context),
                }
                rows.append(row)
                for click in range(rng.poisson(rate)):
                    clicked = {"event_id": f"{request}-{click}", "kind": "click", "value": 2.0}
                    time = row["time"] + timedelta(seconds=1 + click)  # type: ignore[operator]
                    rows.append({**row, **clicked, "context": None, "time": time})
    return validate_events(pl.DataFrame(rows, infer_schema_length=None))


def running(**changes: Any) -> RunningExperiment:
    return RunningExperiment(made(**changes), START, ExperimentPlan(clock=300.0))


def read(
    events: pl.DataFrame, one: RunningExperiment | None = None, **more: Any
) -> ExperimentReading:
    return read_experiment(events, one or running(), now=START + timedelta(days=10), **more)


@pytest.fixture(scope="module")
def better() -> pl.DataFrame:
    return log(running(), lift=0.6)


class TestReading:
    """What a log says."""

    def test_a_better_arm_is_found(self, better: pl.DataFrame) -> None:
        found = read(better)
        (arm,) = found.arms
        assert arm.decided
        assert arm.lift.low > 0
        assert not arm.lift.excludes(0.6)
        assert arm.p_value < 0.05
        assert arm.fixed.width < arm.difference.width
        assert arm.removed > 0.1
        assert not arm.lost
        assert (found.users + arm.users, found.crossed, found.holdout) == (800, 0, 0)
        assert "new: +" in found.lines()[1]
        assert "earns more" in found.lines()[1]
        assert {one.name for one in arm.guardrails} == {"visits", "answers in a lesser stage"}
        assert reading_facts(found)[0]["arm"] == "new"

    def test_the_counts_are_those_of_the_log(self, better: pl.DataFrame) -> None:
        found = read(better)
        since = better.filter(pl.col("kind") == "click", pl.col("time") >= START)
        arms = pl.Series([running().arm_of(user) for user in since["user_id"]])
        assert found.responses == (arms == "old").sum()
        assert found.arms[0].responses == (arms == "new").sum()
        assert found.arms[0].mean == pytest.approx(found.arms[0].responses / found.arms[0].users)
        by_value = read(better, by_value=True)
        assert by_value.responses == 2 * found.responses
        assert by_value.arms[0].lift.value == pytest.approx(found.arms[0].lift.value)

    def test_where_nothing_differs_nothing_is_told(self) -> None:
        found = read(log(running(), seed=1))
        assert not found.arms[0].decided
        assert "not told yet" in found.lines()[1]
        assert found.left is not None
        assert found.left > 0

    def test_segments_are_read_on_their_own(self, better: pl.DataFrame) -> None:
        arm = read(better, segment="page").arms[0]
        assert arm.segments is not None
        assert list(arm.segments) == ["p0", "p1"]
        assert all(one.low > 0 for one in arm.segments.values())
        assert read(better).arms[0].segments is None

    def test_lost_users_are_told(self) -> None:
        found = read(log(running(), lift=0.5, lost=0.5))
        assert found.arms[0].lost
        assert "nothing can be believed" in found.lines()[1]

    def test_who_met_two_arms_is_counted(self, better: pl.DataFrame) -> None:
        other = RunningExperiment(made(salt="t"), START, ExperimentPlan())
        mixed = better.with_columns(
            context=pl.when(pl.col("request_id").str.ends_with("-0"))
            .then(pl.lit('{"_arm":"old"}'))
            .otherwise("context")
        )
        assert read(mixed).crossed > 50
        assert "users met two arms" in "\n".join(read(mixed, other).lines())

    def test_a_guardrail_that_became_worse(self, better: pl.DataFrame) -> None:
        lesser = better.with_columns(
            context=pl.when(pl.col("context").str.contains('"new"'))
            .then(pl.lit('{"_arm":"new","stage":"popularity"}'))
            .otherwise("context")
        )
        found = read(lesser).arms[0]
        assert [one.name for one in found.guardrails if one.worse] == ["answers in a lesser stage"]
        assert "but answers in a lesser stage became worse" in found.verdict()

    def test_nobody_yet(self) -> None:
        with pytest.raises(DataError, match="too few users of two arms"):
            read(log(running(), users=20).filter(pl.col("time") < START))

    def test_a_canary_that_earns_less_is_found(self) -> None:
        one = running(canary=CanarySettings("new", users=100))
        worse = log(one, lift=-0.7)
        assert "earns less" in canary_fails(read(worse, one), one)
        assert not canary_fails(read(worse, one), running())
        assert not canary_fails(read(worse, one), replace(one, back=frozenset({"new"})))
        assert not canary_fails(read(log(one), one), one)
        many = running(canary=CanarySettings("new", users=10_000))
        assert not canary_fails(read(worse, many), many)


class TestPlan:
    """How long it would take."""

    def test_days_follow_from_the_log(self) -> None:
        past = log(running(), days=1).filter(pl.col("time") < START)
        plan = plan_experiment(past, ExperimentPlan(effect=0.2), (0.5, 0.5))
        assert 1 < plan.days < 200
        assert smallest_effect(plan, plan.days) == pytest.approx(0.2)
        assert smallest_effect(plan, 4 * plan.days) == pytest.approx(0.1)
        half = plan_experiment(past, ExperimentPlan(effect=0.1), (0.5, 0.5))
        assert half.days == pytest.approx(4 * plan.days)
        small = plan_experiment(past, ExperimentPlan(effect=0.2), (0.9, 0.1))
        assert small.days > 2 * plan.days
        assert "shows after" in plan_lines(plan)[1]

    def test_what_tells_nothing_is_refused(self) -> None:
        past = log(running(), users=20, days=1)
        with pytest.raises(DataError, match="nobody did this in the log: purchase"):
            plan_experiment(past, ExperimentPlan(response="purchase"), (0.5, 0.5))
        with pytest.raises(DataError, match="days long"):
            plan_experiment(past.head(1), ExperimentPlan(), (0.5, 0.5))
        with pytest.raises(DataError, match="empty"):
            plan_experiment(past.head(0), ExperimentPlan(), (0.5, 0.5))
