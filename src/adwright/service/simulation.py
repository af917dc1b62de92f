"""What a simulation drives: a service started here, or one that runs elsewhere.

with local_service(config, world, out) as setting:
    report = run_loop(world.people, plan, setting)
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import polars as pl

from adwright.campaigns.simulation.ab_test import (
    SimulationRunConfig,
    World,
    arm_policy,
    asked_again,
)
from adwright.campaigns.simulation.purchase_model import PersonalFrequency
from adwright.campaigns.simulation.report import Retrain, Setting
from adwright.campaigns.simulation.run import Client, HttpClient, Plan, Source, SplitClient
from adwright.campaigns.store.store import Store
from adwright.core.clock import SystemClock
from adwright.core.errors import ConfigError
from adwright.core.hashing import content_hash
from adwright.delivery.decision import Request
from adwright.delivery.policy.rules import GreedyConfig, reads_probabilities
from adwright.delivery.policy.settings import require_probabilities
from adwright.delivery.policy.slate_policy import SplitPolicy, build_policy
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.registry.deployed import Deployed, Hurried
from adwright.service.registry.publishing import load_deployed, sample_of
from adwright.service.registry.registry import FixedModels
from adwright.training.retrieval.run import retrain_two_tower
from adwright.web.server import on_loopback

_TENANT = "simulation"


@contextmanager
def local_service(config: SimulationRunConfig, world: World, out: Path) -> Iterator[Setting]:
    """Serve on a free port of this machine, from a store of its own in the folder `out`.

    Raises what `load_deployed` and `Store.open` raise, and ConfigError for a policy that reads the
    model's scores as probabilities where they are none.
    """
    policies = arm_policy("A", config.a), arm_policy("B", config.b)
    made = _personal_frequency(world) if config.model is None else load_deployed(config.model)
    for policy in policies:
        if reads_probabilities(policy.rule.config):
            asked = [Request("visit-0", "nobody", world.people.start)]
            sample = sample_of(made.recommender, asked, SystemClock())
            require_probabilities(
                [one for some in sample.values() for one in some], f"policy {policy.policy_id}"
            )
    chosen = SplitPolicy(*policies, config.simulation.split)
    deployed = replace(made, policy=chosen, seed=config.simulation.seed)
    with Store.open(f"sqlite:///{out.resolve() / 'store.db'}") as store:
        key = store.create_key(_TENANT)
        models = FixedModels({_TENANT: deployed}, SystemClock())
        with (
            on_loopback(create_app(ServiceConfig(), store, models)) as url,
            HttpClient(url, key) as client,
        ):
            yield Setting(
                model=deployed.name,
                client=client,
                sources=[Source(store, _TENANT, out / "log")],
                odds=asked_again(deployed.recommender, *policies),
                retries=lambda: client.retries,
                notes=_known_ahead(deployed, world),
            )


@contextmanager
def remote_service(config: SimulationRunConfig, url: str, out: Path) -> Iterator[Setting]:
    """Connect to a service that runs at `url`, and to the store behind it.

    Its key is read from ADWRIGHT_KEY; users of B go to the tenant of ADWRIGHT_KEY_B where it is
    set. Raises ConfigError without a key or a store, and for a key that the store lacks.
    """
    keys = [os.environ.get("ADWRIGHT_KEY", ""), os.environ.get("ADWRIGHT_KEY_B", "")]
    if not keys[0] or not config.store:
        raise ConfigError(
            "a service at --url needs its key, and the store that its log is read from",
            where=url,
            hint="set ADWRIGHT_KEY, and `store` in the run file; or leave --url out",
        )
    with ExitStack() as stack:
        store = stack.enter_context(Store.open(config.store))
        sources, clients = [], []
        for key, folder in zip(keys, ("log", "log-b"), strict=True):
            if key:
                caller = store.caller_of_key(key)
                if caller is None:
                    raise ConfigError(
                        "the store does not know a key", where=config.store, hint="check both"
                    )
                sources.append(Source(store, caller.tenant, out / folder))
                clients.append(stack.enter_context(HttpClient(url, key)))
        client: Client = SplitClient(clients[0], clients[-1], config.simulation.split)
        yield Setting(url, client, sources, retries=lambda: sum(c.retries for c in clients))


def two_tower_retrain(world: World, plan: Plan, out: Path) -> Retrain:
    """Return the function that trains two towers on the log and on what the service wrote."""

    def retrain(written: pl.DataFrame) -> dict[str, str]:
        found = retrain_two_tower(
            world.events,
            written,
            world.log.catalogue.items,
            start=plan.start,
            end=plan.end,
            run=out / "retrained",
        )
        facts = {
            "model": "two towers, a small budget",
            "purchases of the log before the start": f"{found.before:,}",
            "purchases that the service wrote": f"{found.written:,}",
        }
        if found.recall is not None and found.popular is not None:
            where = f"recall@{found.k} of {found.visits:,} real baskets after the simulation"
            facts[where] = f"{found.recall:.4f}"
            facts["the same of the most popular items"] = f"{found.popular:.4f}"
        return facts

    return retrain


def _personal_frequency(world: World) -> Deployed:
    """Deploy the model of the log's past that needs no training."""
    population = world.people
    past = world.events.filter(pl.col("time") < population.start)
    recommender = PersonalFrequency(past, population.items)
    return Deployed(
        name="favourites",
        artifact_id=content_hash({"items": list(population.items), "events": past.height}),
        kind="favourites",
        recommender=recommender,
        policy=build_policy(GreedyConfig()),
        fallback=Hurried(recommender, SystemClock()),
        observe=recommender.observe,
        kinds=frozenset({"purchase"}),
        known_until=population.start,
        item_ids=population.items,
    )


def _known_ahead(deployed: Deployed, world: World) -> tuple[str, ...]:
    """The note of a report where the model knows days that the simulation lives anew."""
    until = deployed.known_until
    if until is None or until <= world.people.start:
        return ()
    return (
        f"The model knows the log up to {until:%Y-%m-%d %H:%M} UTC, later than the start: it has "
        "seen what real people did in days that the simulated ones live anew.",
    )
