"""The run file of a simulation, and the users that it fits.

log = "complete-journey"
model = "models/acme/v12"
[a]
kind = "softmax"
temperature = 1.0
[population]
people = 0.5
[simulation]
days = 28
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from adwright.campaigns.simulation.ab_test import VerdictConfig
from adwright.campaigns.simulation.population import Population, PopulationConfig
from adwright.campaigns.simulation.run import SimulationConfig
from adwright.core.errors import ConfigError
from adwright.data.sources.complete_journey import STORE_TIME_ZONE
from adwright.data.sources.log import Log, open_log
from adwright.delivery.policy.rules import (
    EpsilonGreedyConfig,
    GreedyConfig,
    PolicyConfig,
    SoftmaxConfig,
    ThompsonConfig,
)
from adwright.delivery.policy.slate_policy import Arm, SlatePolicy, build_policy

__all__ = [
    "POLICIES",
    "SimulationRunConfig",
    "World",
    "arm_policy",
    "open_world",
    "policy_config",
    "policy_text",
]

POLICIES = "greedy, epsilon_greedy:EPSILON, softmax:TEMPERATURE or thompson:STRENGTH"
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
    try:
        number = float(value) if value else None
    except ValueError:
        kind = ""
    match kind:
        case "greedy" if number is None:
            return GreedyConfig()
        case "epsilon_greedy":
            plain = EpsilonGreedyConfig()
            return plain if number is None else EpsilonGreedyConfig(epsilon=number)
        case "softmax":
            return SoftmaxConfig() if number is None else SoftmaxConfig(temperature=number)
        case "thompson":
            return ThompsonConfig() if number is None else ThompsonConfig(strength=number)
    raise ConfigError("this is not a policy", where=text, hint=f"write {POLICIES}")


def policy_text(config: PolicyConfig) -> str:
    """A policy in the form that `policy_config` reads."""
    match config:
        case GreedyConfig():
            return "greedy"
        case EpsilonGreedyConfig():
            return f"epsilon_greedy:{config.epsilon:g}"
        case SoftmaxConfig():
            return f"softmax:{config.temperature:g}"
        case ThompsonConfig():
            return f"thompson:{config.strength:g}"


def arm_policy(arm: Arm, config: PolicyConfig) -> SlatePolicy:
    """The policy of an arm, whose id begins with the arm so that a policy can meet itself."""
    return build_policy(config, policy_id=f"{arm} {policy_text(config)}")
