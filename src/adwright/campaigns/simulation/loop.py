"""One round of the loop: users come, a service decides and logs, the log is read, a model is
trained on it, and A is compared with B.

    report = run_loop(people, plan, Setting("cascade v12", client, sources), later=log.events)

What decides and what learns are passed in, so the same loop runs against a service elsewhere,
one in this process, and a few lines of a test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import polars as pl

from adwright.campaigns.simulation.ab_test import VerdictConfig, compare_arms
from adwright.campaigns.simulation.client import Client
from adwright.campaigns.simulation.population import Population
from adwright.campaigns.simulation.realism import check_population
from adwright.campaigns.simulation.replay import Odds, judge_from_log
from adwright.campaigns.simulation.report import Logged, SimulationReport
from adwright.campaigns.simulation.run import Plan, Source, drive, read_back
from adwright.core.errors import DataError
from adwright.training.loop.stage_timer import Stages

__all__ = ["Retrain", "Setting", "run_loop"]

#: Trains on the events that were written; facts about the result, name -> value as text.
Retrain = Callable[[pl.DataFrame], Mapping[str, str]]


@dataclass(frozen=True, eq=False)
class Setting:
    """The service that decides. model: its name in the report. client: speaks to it. sources: where
    it keeps what it is sent. odds: computes the propensities of both policies again, for off-policy
    evaluation; None leaves that out. retries: calls that had to be sent again, so far. notes: what
    the numbers rest on beside the population's assumptions, in sentences."""

    model: str
    client: Client
    sources: Sequence[Source]
    odds: Odds | None = None
    retries: Callable[[], int] = lambda: 0
    notes: tuple[str, ...] = ()


def run_loop(
    population: Population,
    plan: Plan,
    setting: Setting,
    *,
    later: pl.LazyFrame | pl.DataFrame | None = None,
    retrain: Retrain | None = None,
    config: VerdictConfig | None = None,
    stages: Stages | None = None,
) -> SimulationReport:
    """Drive the service, read its log back, train on it, and report.

    later: a log that goes on after the population's start, to check the population against;
    None, or one that does not, leaves that out. retrain: called with the events of this
    simulation out of the Parquet log. stages: keeps the times.
    Raises what `drive`, `read_back`, `compare_arms` and `retrain` raise.
    """
    config, stages = config or VerdictConfig(), stages or Stages()
    realism = None
    if later is not None:
        # A log that ends at the start leaves nothing to compare with.
        with stages.stage("check the population"), suppress(DataError):
            realism = check_population(population, later)
    with stages.stage("drive the service"):
        driven = drive(population, setting.client, plan)
    with stages.stage("read the log back"):
        read = read_back(setting.sources, plan, driven)
    learned: Mapping[str, str] = {}
    if retrain is not None:
        with stages.stage("train again"):
            learned = retrain(read.events)
    with stages.stage("compare the policies"):
        verdict = compare_arms(population, plan, read.events, config)
        off_policy = None
        if setting.odds is not None:
            off_policy = judge_from_log(
                read.events,
                plan.config.split,
                setting.odds,
                confidence=config.confidence,
                seed=config.seed,
            )
    return SimulationReport(
        name=plan.config.name,
        model=setting.model,
        start=population.start,
        days=plan.config.days,
        places=plan.config.places,
        seed=plan.config.seed,
        assumptions=(*population.assumptions(), *setting.notes),
        logged=Logged(
            visits=len(driven.shown),
            acknowledged=len(driven.event_ids),
            impressions=sum(map(len, driven.shown)),
            clicks=driven.count("click"),
            purchases=driven.count("purchase"),
            retries=setting.retries(),
            files=read.files,
            others=read.others,
        ),
        verdict=verdict,
        off_policy=off_policy,
        realism=realism,
        retrained=dict(learned),
        seconds=dict(stages.seconds),
        confidence=config.confidence,
    )
