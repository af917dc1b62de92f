"""adwright simulate."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adwright.cli.shared import (
    DryRun,
    Force,
    Offline,
    allowed_to_replace,
    console,
    show_facts,
    show_table,
)

if TYPE_CHECKING:
    import polars as pl

    from adwright.campaigns.simulation.client import Client
    from adwright.campaigns.simulation.config import RunConfig, Village
    from adwright.campaigns.simulation.loop import Retrain, Setting
    from adwright.campaigns.simulation.population import Population
    from adwright.campaigns.simulation.report import Report
    from adwright.campaigns.simulation.run import Plan
    from adwright.delivery.policy.slate_policy import PolicyConfig, SlatePolicy
    from adwright.service.registry.deployed import Deployed

__all__ = ["register", "simulate"]

_TENANT = "simulation"
_POLICIES = "greedy, epsilon_greedy:EPSILON, softmax:TEMPERATURE or thompson:STRENGTH"

Model = Annotated[
    Path | None,
    typer.Option(
        "--model",
        help="Folder of what orders the items, such as a cascade; without one, a person's own "
        "favourites come first, which needs no training.",
    ),
]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="A service that runs already, and decides with its own policies; its key in the "
        "environment as ADWRIGHT_KEY, its store in the run file. Without, one is started here.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("simulate")(simulate)


def simulate(
    config: Annotated[
        Path | None, typer.Argument(help="Run file in TOML; without one, the defaults.")
    ] = None,
    a: Annotated[str | None, typer.Option("--a", help=f"Policy A: {_POLICIES}.")] = None,
    b: Annotated[str | None, typer.Option("--b", help="Policy B, in the same way.")] = None,
    model: Model = None,
    days: Annotated[float | None, typer.Option("--days", min=1.0, help="Days to simulate.")] = None,
    people: Annotated[
        float | None,
        typer.Option("--people", min=0.001, max=1.0, help="Share of them; less is faster."),
    ] = None,
    url: Url = None,
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the store, the log and the report.")
    ] = Path("runs/simulation"),
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="The same seed gives the same people.")
    ] = None,
    offline: Offline = False,
    force: Force = False,
    dry_run: DryRun = False,
) -> None:
    """Let simulated people meet two policies through the service, and compare them.

    The people are those of a real log with their real pasts. Who comes when, and who takes
    what, follows models fitted on that log; what is assumed beside them is printed with every
    result. Each person meets A or B, by a hash. The service decides and logs, people click and
    buy, and their events go back to it. Then its store is compacted to Parquet, read as any log
    is read, trained on, and A is compared with B: items taken a person with CUPED, a sequential
    test that may be looked at daily, and B estimated from A's log alone.

    Begin with `adwright simulate --dry-run`, then `adwright simulate --days 3`. A policy against
    itself, `--a greedy --b greedy`, shows what chance alone does. At a service of yours, the
    people of B go to a second tenant where ADWRIGHT_KEY_B holds its key.
    """
    from adwright.campaigns.simulation.config import open_village
    from adwright.campaigns.simulation.loop import run_loop
    from adwright.campaigns.simulation.report import write_report
    from adwright.campaigns.simulation.run import make_plan
    from adwright.training.loop.stage_timer import Stages

    stages = Stages()
    asked = _asked(config, a=a, b=b, model=model, days=days, people=people, seed=seed)
    with stages.stage("fit the people"):
        village = open_village(asked, offline=offline)
    plan = make_plan(village.people, asked.simulation)
    if dry_run:
        _show_plan(village.people, plan, asked, url or "started here")
        return
    _clear(out, here=url is None, force=force)
    with _local(asked, village, out) if url is None else _remote(asked, url, out) as setting:
        report = run_loop(
            village.people,
            plan,
            setting,
            later=village.events,
            retrain=_retrain(village, plan, out) if asked.retrain else None,
            config=asked.verdict,
            stages=stages,
        )
    _show(report, write_report(out, report))


def _asked(
    path: Path | None,
    *,
    a: str | None,
    b: str | None,
    model: Path | None,
    days: float | None,
    people: float | None,
    seed: int | None,
) -> RunConfig:
    """The run file with the options that were given in place of its values."""
    from adwright.campaigns.simulation.config import RunConfig, policy_config
    from adwright.core.config import load_toml

    config = RunConfig() if path is None else load_toml(path, RunConfig)
    population = {"people": people, "seed": seed}
    simulation = {"days": days, "seed": seed}
    whole = {
        "a": None if a is None else policy_config(a),
        "b": None if b is None else policy_config(b),
        "model": model,
        "population": replace(config.population, **_given(population)),
        "simulation": replace(config.simulation, **_given(simulation)),
    }
    return replace(config, **_given(whole))


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _policy(arm: str, config: PolicyConfig) -> SlatePolicy:
    from adwright.campaigns.simulation.config import policy_text
    from adwright.delivery.policy.slate_policy import build_policy

    # The arm in front, so that a policy can be compared with itself.
    return build_policy(config, policy_id=f"{arm} {policy_text(config)}")


def _clear(out: Path, *, here: bool, force: bool) -> None:
    """Make room for a new run.

    The log of a store that lies in the folder goes together with it. The log of a store that
    lies elsewhere stays whatever is said: its events are nowhere else.
    """
    from adwright.core.errors import ResourceError

    own = (out / "store.db").exists()
    if here and not own and (out / "log").exists():
        raise ResourceError(
            "this folder holds the log of a service elsewhere",
            where=str(out),
            hint="name another folder with --out",
        )
    if allowed_to_replace(out, force=force):
        old = [*out.glob("report.*"), *(out.glob("store.db*") if own else ())]
        for path in old:
            path.unlink()
        for folder in ("retrained", *(("log",) if own else ())):
            shutil.rmtree(out / folder, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)


@contextmanager
def _local(config: RunConfig, village: Village, out: Path) -> Iterator[Setting]:
    """A service on a port of this machine, with its own store."""
    from adwright.campaigns.simulation.client import HttpClient
    from adwright.campaigns.simulation.loop import Setting
    from adwright.campaigns.simulation.replay import asked_again
    from adwright.campaigns.simulation.run import Source
    from adwright.campaigns.store.store import Store
    from adwright.core.clock import SystemClock
    from adwright.delivery.policy.split_policy import SplitPolicy
    from adwright.service.app import create_app
    from adwright.service.config import ServiceConfig
    from adwright.service.registry.loading import load_deployed
    from adwright.service.registry.registry import FixedModels
    from adwright.web.loopback import on_loopback

    policies = _policy("A", config.a), _policy("B", config.b)
    made = _favourites(village) if config.model is None else load_deployed(config.model)
    chosen = SplitPolicy(*policies, config.simulation.split)
    deployed = replace(made, policy=chosen, seed=config.simulation.seed)
    with Store.open(f"sqlite:///{out.resolve() / 'store.db'}") as kept:
        secret = kept.create_key(_TENANT)
        models = FixedModels({_TENANT: deployed}, SystemClock())
        with (
            on_loopback(create_app(ServiceConfig(), kept, models)) as url,
            HttpClient(url, secret) as client,
        ):
            yield Setting(
                model=deployed.name,
                client=client,
                sources=[Source(kept, _TENANT, out / "log")],
                odds=asked_again(deployed.recommender, *policies),
                retries=lambda: client.retries,
                notes=_ahead(deployed, village.people.start),
            )


def _ahead(deployed: Deployed, start: datetime) -> tuple[str, ...]:
    """What to say where the model knows of a time that is still to come for the people."""
    until = deployed.known_until
    if until is None or until <= start:
        return ()
    return (
        f"The model knows the log up to {until:%Y-%m-%d %H:%M} UTC, later than the start: it has "
        "seen what real people did in days that the simulated ones live anew.",
    )


@contextmanager
def _remote(config: RunConfig, url: str, out: Path) -> Iterator[Setting]:
    """A service that runs elsewhere, and the store behind it."""
    from adwright.campaigns.simulation.client import HttpClient, SplitClient
    from adwright.campaigns.simulation.loop import Setting
    from adwright.campaigns.simulation.run import Source
    from adwright.campaigns.store.store import Store
    from adwright.core.errors import ConfigError

    keys = [os.environ.get("ADWRIGHT_KEY", ""), os.environ.get("ADWRIGHT_KEY_B", "")]
    if not keys[0] or not config.store:
        raise ConfigError(
            "a service at --url needs its key, and the store that its log is read from",
            where=url,
            hint="set ADWRIGHT_KEY, and `store` in the run file; or leave --url out",
        )
    with ExitStack() as stack:
        kept = stack.enter_context(Store.open(config.store))
        sources, clients = [], []
        for secret, folder in zip(keys, ("log", "log-b"), strict=True):
            if secret:
                tenant = kept.tenant_of_key(secret)
                if tenant is None:
                    raise ConfigError(
                        "the store does not know a key", where=config.store, hint="check both"
                    )
                sources.append(Source(kept, tenant, out / folder))
                clients.append(stack.enter_context(HttpClient(url, secret)))
        client: Client = SplitClient(clients[0], clients[-1], config.simulation.split)
        yield Setting(url, client, sources, retries=lambda: sum(c.retries for c in clients))


def _favourites(village: Village) -> Deployed:
    """A model of the log's past that needs no training."""
    import polars as pl

    from adwright.campaigns.simulation.personal_frequency import Favourites
    from adwright.core.hashing import content_hash
    from adwright.delivery.policy.slate_policy import GreedyConfig, build_policy
    from adwright.delivery.popularity import Popularity
    from adwright.service.registry.deployed import Deployed

    population = village.people
    past = village.events.filter(pl.col("time") < population.start)
    recommender = Favourites(past, population.items)
    return Deployed(
        name="favourites",
        artifact_id=content_hash({"items": list(population.items), "events": past.height}),
        kind="favourites",
        recommender=recommender,
        policy=build_policy(GreedyConfig()),
        fallback=Popularity(population.items, recommender.weight),
        observe=recommender.observe,
        kinds=frozenset({"purchase"}),
        known_until=population.start,
    )


def _retrain(village: Village, plan: Plan, out: Path) -> Retrain:
    from adwright.training.retrieval.retrain import retrain_two_tower

    def again(written: pl.DataFrame) -> dict[str, str]:
        found = retrain_two_tower(
            village.events,
            written,
            village.log.catalogue.items,
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

    return again


def _show_plan(population: Population, plan: Plan, config: RunConfig, where: str) -> None:
    arms = [plan.config.split.arm(population.users[code]) for code in population.present]
    policies = _policy("A", config.a), _policy("B", config.b)
    show_facts(
        {
            "service": where,
            "people": f"{len(arms):,}, of whom {arms.count('A'):,} meet {policies[0].policy_id} "
            f"and {arms.count('B'):,} meet {policies[1].policy_id}",
            "visits": f"{len(plan):,} from {plan.start:%Y-%m-%d %H:%M} UTC, "
            f"in {len(plan.bounds) - 1:,} batches",
            "decisions": f"{plan.config.places} places each",
        }
    )
    rows = [
        (each.request_id, each.user_id, f"{each.time:%Y-%m-%d %H:%M:%S}")
        for each in plan.requests(population.users, 0, min(5, len(plan)))
    ]
    show_table(("request_id", "user_id", "time"), rows, title="The first that would be sent")
    _show_assumptions(population.assumptions())


def _show(report: Report, page: Path) -> None:
    console().print(f"\n{report.title}\n{report.summary}", highlight=False, markup=False)
    for table in report.tables():
        show_table(table.header, table.rows, title=table.title)
    _show_assumptions(report.assumptions)
    console().print(f"\nThe page to read: {page}", highlight=False)


def _show_assumptions(assumptions: tuple[str, ...]) -> None:
    typer.echo("\nWhat all of this rests on")
    for sentence in assumptions:
        typer.echo(f"- {sentence}")
