"""adwright simulate."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adwright.cli.shared import (
    Writing,
    allowed_to_replace,
    console,
    show_facts,
    show_table,
)
from adwright.core.config import Ge, Le, Natural

if TYPE_CHECKING:
    from adwright.campaigns.simulation.ab_test import SimulationRunConfig
    from adwright.campaigns.simulation.population import Population
    from adwright.campaigns.simulation.report import SimulationReport
    from adwright.campaigns.simulation.run import Plan


def simulate(
    config: Path | None = None,
    *,
    a: str | None = None,
    b: str | None = None,
    model: Path | None = None,
    days: Annotated[float, Ge(1)] | None = None,
    people: Annotated[float, Ge(0.001), Le(1)] | None = None,
    url: str | None = None,
    seed: Natural | None = None,
    offline: bool = False,
    go: Writing = Writing(Path("runs/simulation")),
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

    Options:
        config: Run file in TOML; without one, the defaults.
        a: Policy A: greedy, epsilon_greedy:EPSILON, softmax:TEMPERATURE or thompson:STRENGTH.
        b: Policy B, in the same way.
        model: Folder of what orders the items, such as a cascade; without one, a person's own
            favourites come first, which needs no training.
        days: Days to simulate.
        people: Share of them; less is faster.
        url: A service that runs already, and decides with its own policies; its key in the
            environment as ADWRIGHT_KEY, its store in the run file. Without, one is started
            here.
        out: Folder for the store, the log and the report.
        seed: The same seed gives the same people.
    """
    from adwright.campaigns.simulation.ab_test import open_world
    from adwright.campaigns.simulation.report import run_loop, write_report
    from adwright.campaigns.simulation.run import make_plan
    from adwright.training.loop.stage_timer import Stages

    stages = Stages()
    asked = _asked(config, a=a, b=b, model=model, days=days, people=people, seed=seed)
    with stages.stage("fit the people"):
        world = open_world(asked, offline=offline)
    plan = make_plan(world.people, asked.simulation)
    if go.dry_run:
        _show_plan(world.people, plan, asked, url or "started here")
        return
    from adwright.service.simulation import local_service, remote_service, two_tower_retrain

    _clear(go.out, here=url is None, force=go.force)
    service = remote_service(asked, url, go.out) if url else local_service(asked, world, go.out)
    with service as setting:
        report = run_loop(
            world.people,
            plan,
            setting,
            later=world.events,
            retrain=two_tower_retrain(world, plan, go.out) if asked.retrain else None,
            config=asked.verdict,
            stages=stages,
        )
    _show(report, write_report(go.out, report))


def _asked(
    path: Path | None,
    *,
    a: str | None,
    b: str | None,
    model: Path | None,
    days: float | None,
    people: float | None,
    seed: int | None,
) -> SimulationRunConfig:
    """The run file with the options that were given in place of its values."""
    from adwright.campaigns.simulation.ab_test import SimulationRunConfig, policy_config
    from adwright.core.config import load_toml, with_overrides

    config = SimulationRunConfig() if path is None else load_toml(path, SimulationRunConfig)
    return with_overrides(
        config,
        {
            "a": None if a is None else policy_config(a),
            "b": None if b is None else policy_config(b),
            "model": model,
            "population": with_overrides(config.population, {"people": people, "seed": seed}),
            "simulation": with_overrides(config.simulation, {"days": days, "seed": seed}),
        },
    )


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


def _show_plan(population: Population, plan: Plan, config: SimulationRunConfig, where: str) -> None:
    arms = [plan.config.split.arm(population.users[code]) for code in population.present]
    from adwright.campaigns.simulation.ab_test import arm_policy

    policies = arm_policy("A", config.a), arm_policy("B", config.b)
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


def _show(report: SimulationReport, page: Path) -> None:
    console().print(f"\n{report.title}\n{report.summary}", highlight=False, markup=False)
    for table in report.tables():
        show_table(table.header, table.rows, title=table.title)
    _show_assumptions(report.assumptions)
    console().print(f"\nThe page to read: {page}", highlight=False)


def _show_assumptions(assumptions: tuple[str, ...]) -> None:
    typer.echo("\nWhat all of this rests on")
    for sentence in assumptions:
        typer.echo(f"- {sentence}")
