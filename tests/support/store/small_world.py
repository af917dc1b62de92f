"""A small invented log: villagers who come about once a week and each like a few things."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl

from adwright.campaigns.simulation.population import Population, PopulationConfig
from adwright.campaigns.simulation.purchase_model import PersonalFrequency
from adwright.campaigns.simulation.run import (
    Driven,
    Plan,
    Simulated,
    SimulationConfig,
    Source,
    drive,
    make_plan,
    read_back,
)
from adwright.campaigns.store.store import Store
from adwright.data.schema import validate_events
from adwright.delivery.policy.rules import PolicyConfig
from adwright.delivery.policy.slate_policy import SlatePolicy, SplitPolicy, build_policy
from tests.support.store.local_client import LocalClient

FIRST = datetime(2024, 1, 1, tzinfo=UTC)  # a Monday
WEEKS = 24
START = FIRST + timedelta(weeks=20)
ITEMS = pl.DataFrame(
    {
        "item_id": [f"i{n:02}" for n in range(40)],
        "department": [f"d{n % 4}" for n in range(40)],
        "type": [f"t{n % 8}" for n in range(40)],
    }
)
SMALL = PopulationConfig(start=START, fit_visits=1500, other_negatives=20, past_negatives=15)


@cache
def events(people: int = 150, seed: int = 0) -> pl.DataFrame:
    """The purchases of 24 weeks: evenings, more on Saturdays, each person at an own rate."""
    rng = np.random.default_rng(seed)
    rows = []
    for person in range(people):
        rate = rng.gamma(4.0, 0.3)
        likes = np.where(np.arange(40) % 4 == person % 4, 0.12, 0.02)
        likes[rng.choice(40, 3, replace=False)] = 0.5
        for week in range(WEEKS):
            for visit in range(rng.poisson(rate)):
                day = int(rng.choice(7, p=[0.1, 0.1, 0.1, 0.1, 0.1, 0.4, 0.1]))
                time = FIRST + timedelta(
                    weeks=week, days=day, hours=17 + int(rng.integers(4)), seconds=visit
                )
                taken = np.flatnonzero(rng.random(40) < likes)
                rows += [(f"v-{person}-{week}-{visit}", f"u{person}", time, n) for n in taken]
    request, user, time, item = zip(*rows, strict=True)
    frame = pl.DataFrame({"request_id": request, "user_id": user, "time": time, "n": item})
    frame = frame.with_columns(
        event_id=pl.format("{}-{}", "request_id", "n"),
        item_id=pl.lit("i") + pl.col("n").cast(pl.String).str.zfill(2),
        kind=pl.lit("purchase"),
        value=1.0 + pl.col("n") / 10,
    )
    return validate_events(frame.drop("n").sort("time"))


def before(start: datetime = START) -> pl.DataFrame:
    """The events before the start."""
    return events().filter(pl.col("time") < start)


def population(config: PopulationConfig = SMALL) -> Population:
    """A new population each time, since it remembers."""
    return Population.fit(events(), ITEMS, config)


@dataclass(frozen=True, eq=False)
class Round:
    """One simulation of the world, in this process."""

    people: Population
    plan: Plan
    store: Store
    recommender: PersonalFrequency
    policies: tuple[SlatePolicy, SlatePolicy]
    driven: Driven
    read: Simulated


@contextmanager
def played(
    folder: Path, a: PolicyConfig, b: PolicyConfig, config: SimulationConfig, *, seed: int = 0
) -> Iterator[Round]:
    """Play a round; the store is open until the block ends."""
    people = population(replace(SMALL, seed=seed))
    recommender = PersonalFrequency(before(), people.items)
    policies = build_policy(a, policy_id="A it"), build_policy(b, policy_id="B it")
    folder.mkdir(parents=True, exist_ok=True)
    with Store.open(f"sqlite:///{folder / 'store.db'}") as store:
        client = LocalClient(
            recommender,
            SplitPolicy(*policies, config.split),
            store,
            "world",
            seed=seed,
            observe=recommender.observe,
        )
        plan = make_plan(people, config)
        driven = drive(people, client, plan)
        read = read_back([Source(store, "world", folder / "log")], plan, driven)
        yield Round(people, plan, store, recommender, policies, driven, read)
