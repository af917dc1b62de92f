"""How often a reading of an experiment says what is not so, on made-up shops (5 minutes).

python -m benchmarks.delivery.experiments
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from adwright.core.hashing import content_hash
from adwright.data.schema import validate_events
from adwright.delivery.experiment_reading import plan_experiment, read_experiment
from adwright.delivery.experiments import (
    ARM,
    ExperimentArm,
    ExperimentPlan,
    ExperimentSettings,
    RunningExperiment,
)
from benchmarks.common.result import write_result

START = datetime(2024, 3, 1, tzinfo=UTC)
USERS, DAYS, WORLDS = 1_000, 28, 400
#: Visits a week of a user who comes again and again, and of one who hardly does.
PACES = {"regulars": 2.0, "passers-by": 0.1}
PROTOCOL = (
    "Made-up shops: 1,000 users whose clicks a visit are Poisson about an own rate (gamma of "
    "shape 2), who come 2 or 0.1 times a week, in four weeks before the start and four weeks "
    "after it. Two arms of a half each; the effect multiplies clicks of the second one. plan: "
    "from the four weeks before, 95%, for an effect of 20%. The reading looks at the end of "
    "each of the 28 days. told: share of 400 shops in which all looks together leave 0 out: "
    "without an effect these are false alarms; with one, by the planned day (at most 28). "
    "fixed: the same of intervals of one look each, at the end of every fourth day without an "
    "effect, of the last alone with one. covered: the last interval holds the true difference. "
    "removed: share of the variance that CUPED took off."
)


def main() -> None:
    """Measure and write benchmarks/results/experiments.json."""
    rows = [row(pace, effect) for pace in PACES for effect in (0.0, 0.2)]
    figures = {
        "false_alarm_most": max(one["told"] for one in rows if not one["effect"]),
        "fixed_false_alarm_most": max(one["fixed"] for one in rows if not one["effect"]),
        "found_regulars": next(
            one["told"] for one in rows if one["effect"] and one["pace"] == "regulars"
        ),
        "covered_least": min(one["covered"] for one in rows),
    }
    write_result(
        "experiments",
        protocol=PROTOCOL,
        data=content_hash({"users": USERS, "days": DAYS}),
        seeds=[0],
        rows=rows,
        figures=figures,
    )


def row(pace: str, effect: float) -> dict[str, Any]:
    """What readings of shops of one kind say."""
    told = fixed = covered = 0
    removed, days = [], []
    arms = (ExperimentArm("old", 0.5), ExperimentArm("new", 0.5))
    for seed in range(WORLDS):
        settings = ExperimentSettings("trial", f"salt-{seed}", arms)
        events, truth = shop(settings, PACES[pace], effect, np.random.default_rng(seed))
        plan = plan_experiment(
            events.filter(pl.col("time") < START), ExperimentPlan(effect=0.2), (0.5, 0.5), weeks=2
        )
        last = min(float(DAYS), max(1.0, plan.days)) if effect else float(DAYS)
        one = RunningExperiment(settings, START, plan)
        found = read_experiment(events, one, now=START + timedelta(days=last)).arms[0]
        told += found.p_value < 0.05
        fixed += any_look_alone(events, one) if not effect else found.fixed.excludes(0)
        covered += not found.difference.excludes(truth * last / DAYS)
        removed.append(found.removed)
        days.append(plan.days)
    return {
        "pace": pace,
        "effect": effect,
        "told": told / WORLDS,
        "fixed": fixed / WORLDS,
        "covered": covered / WORLDS,
        "removed": float(np.mean(removed)),
        "planned_days": float(np.median(days)),
    }


def any_look_alone(events: pl.DataFrame, running: RunningExperiment) -> bool:
    """Whether the interval of a single look leaves 0 out at the end of any fourth day."""
    return any(
        read_experiment(events, running, now=START + timedelta(days=day)).arms[0].fixed.excludes(0)
        for day in range(4, DAYS + 1, 4)
    )


def shop(
    settings: ExperimentSettings, pace: float, effect: float, rng: np.random.Generator
) -> tuple[pl.DataFrame, float]:
    """The events of a shop, and the true difference of clicks a user who came, after all days."""
    rate = rng.gamma(2.0, 0.25, USERS)
    new = np.array([settings.arm_of(f"u{n}") == "new" for n in range(USERS)])
    tables, differences = [], []
    for first, lift in ((-DAYS, 0.0), (0, effect)):
        visits = rng.poisson(pace * DAYS / 7, USERS)
        who = np.repeat(np.arange(USERS), visits)
        day = first + rng.uniform(0, DAYS, len(who))
        clicks = rng.poisson(rate[who] * (1 + lift * new[who]))
        if first == 0:
            came = np.unique(who)
            differences.append(effect * float((rate * pace * DAYS / 7)[came].mean()))
        context = np.where(new[who], f'{{"{ARM}":"new"}}', f'{{"{ARM}":"old"}}')
        seen = pl.DataFrame(
            {
                "user_id": [f"u{n}" for n in who.tolist()],
                "time": START + pl.Series(day * 86_400e6).cast(pl.Duration("us")),
                "request_id": [f"{first}-{n}" for n in range(len(who))],
                "context": context if first == 0 else np.full(len(who), "{}"),
                "clicks": clicks,
            }
        )
        one = seen.with_columns(kind=pl.lit("impression"), event_id=pl.col("request_id"))
        two = seen.select(pl.all().repeat_by("clicks").explode()).drop_nulls("user_id")
        two = two.with_columns(
            kind=pl.lit("click"),
            event_id=pl.format("{}-{}", "request_id", pl.int_range(pl.len())),
            time=pl.col("time") + timedelta(seconds=5),
        )
        tables.append(pl.concat([one, two]).drop("clicks").with_columns(item_id=pl.lit("i")))
    return validate_events(pl.concat(tables).sort("time")), differences[0]


if __name__ == "__main__":
    main()
