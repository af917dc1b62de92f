"""What ads, campaigns and arms add to a decision: CPU, and latency at 100 requests a second.

    nice -n 15 python -m benchmarks.service.decision_cost             5 minutes

Two services in processes of their own, on stores of their own, with the same model: A has neither
ads nor campaigns nor an experiment, B has them all. Both are warm and get the same requests in
turn: A, B, A, B ...
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sqlalchemy import insert

from adwright.campaigns.store.store import Store
from adwright.campaigns.store.tables import CREATIVE_COUNTS
from adwright.core.hashing import content_hash
from adwright.data.creatives import Creative, CreativeState
from adwright.data.sequences.datasets import log_of_sequences, sequences_of_task
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.tasks.next_basket_sources import build_next_basket
from adwright.delivery.counted import sequence_histories, with_histories
from adwright.delivery.experiments import ExperimentPlan
from adwright.service.registry.experiments import start_experiment
from adwright.service.registry.publishing import load_settings
from adwright.service.registry.registry import SETTINGS, publish
from adwright.training.retrieval.item_item import ItemItemArtifact, fit_item_item
from benchmarks.common.result import RESULTS, ROOT, write_result
from benchmarks.service._kill import TENANT
from benchmarks.service._process import Service
from benchmarks.service.service import drive, popular_model, requests_of

ADS, ITEMS, CAMPAIGNS = 1_000, 300, 20
SEEN = 2_000
RATE, SECONDS, WARM_SECONDS, PAIRS = 50, 12.0, 4.0, 4
FAST, FAST_SECONDS = 100, 12.0
SEED = 20240501
EXPERIMENT = """
[experiment]
name = "cost"
salt = "s"
[[experiment.arms]]
name = "present"
share = 0.5
[[experiment.arms]]
name = "new"
share = 0.5
settings = "new.toml"
"""
PROTOCOL = (
    "Requests of Complete Journey: household and time of each basket of weeks 49-53, moved to "
    "the present, 10 places, catalogue of all sold items. Two services, each one process with "
    "SQLite (synced at each commit), both warm; the load comes from a further process, at times "
    "drawn from a Poisson process beforehand. A: the model alone. B: also "
    f"{ADS:,} live ads of the {ITEMS} most popular items, each shown {SEEN:,} times before, "
    f"{CAMPAIGNS} campaigns with budgets and prices, half of them with caps and a quarter with "
    "targeting, and an experiment of two arms that choose ads in different ways. CPU: of the "
    f"service's process, user and system, at {RATE} requests a second for {SECONDS:g} s a run, in "
    f"turns A B A B; more_cpu: the median over {PAIRS} pairs of B over A, less 1. p99: of both at "
    f"{FAST} requests a second. shown: places of B that had an ad. load: of the "
    "operating system, at the end of each run."
)


def main() -> None:
    """Measure, write benchmarks/results/decision_cost.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--models", nargs="*", choices=list(MODELS), help="all by default")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="for the result")
    asked = parser.parse_args()
    source = CompleteJourney.open()
    bodies = [{**one, "time": moved} for one, moved in zip(*_present(source), strict=True)]
    runs = ROOT / "runs"  # on the disk of this checkout: a folder in memory has nothing to sync
    runs.mkdir(exist_ok=True)
    rows = list[dict[str, Any]]()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=runs, prefix="cost-") as scratch:
        folder = Path(scratch)
        file = folder / "requests.jsonl"
        file.write_text("\n".join(map(json.dumps, bodies)), encoding="utf-8")
        for name in asked.models or MODELS:
            more, counted = measured(folder / name, name, file, asked)
            rows, figures = rows + more, figures | counted
    write_result(
        "decision_cost",
        protocol=PROTOCOL,
        data=content_hash(bodies),
        seeds=[SEED],
        rows=rows,
        figures=figures,
        folder=asked.folder,
    )


def _present(source: CompleteJourney) -> tuple[list[dict[str, Any]], list[str]]:
    """The requests, and their times an hour ago at most: campaigns and caps are of the present."""
    bodies = requests_of(source)
    start = datetime.now(UTC) - timedelta(hours=1)
    step = timedelta(hours=1) / len(bodies)
    return bodies, [(start + n * step).isoformat() for n in range(len(bodies))]


def item_item_model(source: CompleteJourney, root: Path) -> Path:
    """The item-item rule over all purchases, with the histories of all households, published."""
    task = build_next_basket(source)
    sequences = sequences_of_task(task)
    rule = ItemItemArtifact(fit_item_item(log_of_sequences(sequences)), sequences.ids, repeats=True)
    with_histories(rule, sequence_histories(sequences)).save(root / TENANT / "item-item")
    publish(root, TENANT, "item-item")
    return root


MODELS: dict[str, Callable[[CompleteJourney, Path], Path]] = {
    "popularity": popular_model,
    "item-item": item_item_model,
}


def measured(
    folder: Path, name: str, file: Path, asked: argparse.Namespace
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """One model with and without ads: rows of each run, and what they come to."""
    rows = list[dict[str, Any]]()
    source = CompleteJourney.open()
    popular = _popular_items(source)
    cores = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        keys, services = {}, {}
        for which in "AB":
            models = MODELS[name](source, folder / which)
            url = f"sqlite:///{folder}/{which}.db"
            with Store.open(url) as store:
                keys[which] = store.create_key(TENANT)
                if which == "B":
                    furnish(store, models, popular)
            service = Service(url, models, settings={"deadline_ms": 40})
            services[which] = service
            stack.callback(service.close)
            service.start()

        def run(which: str, part: str, rate: float, seconds: float) -> dict[str, Any]:
            done = drive(services[which], keys[which], file, rate, seconds, cores)
            row = {"model": name, "part": part, "which": which, "rate": rate, **done}
            row["load"] = round(os.getloadavg()[0], 2)
            if part != "warm":
                rows.append(row)
                print(json.dumps(row), flush=True)
            return row

        for which in "AB":
            run(which, "warm", RATE, WARM_SECONDS)
        more = []
        for _ in range(asked.pairs):
            a, b = (run(which, "cpu", RATE, asked.seconds)["cpu_ms_a_request"] for which in "AB")
            more.append(b / a - 1)
        fast = {which: run(which, "fast", FAST, asked.seconds) for which in "AB"}
    word = name.replace("-", "_")
    figures: dict[str, Any] = {f"{word}_more_cpu": round(float(np.median(more)), 4)}
    figures[f"{word}_more_cpu_range"] = [round(min(more), 4), round(max(more), 4)]
    for which in "AB":
        cpu = [row["cpu_ms_a_request"] for row in rows if row["which"] == which]
        figures[f"{word}_cpu_ms_{which}"] = round(float(np.median(cpu[: asked.pairs])), 3)
        figures[f"{word}_p50_ms_{which}"] = fast[which]["p50_ms"]
        figures[f"{word}_p99_ms_{which}"] = fast[which]["p99_ms"]
    with Store.open(f"sqlite:///{folder}/B.db") as store:
        shown = store.events(TENANT, kinds=["impression"])
        figures[f"{word}_shown"] = round(1 - shown["creative_id"].null_count() / len(shown), 3)
    return rows, figures


def _popular_items(source: CompleteJourney) -> list[str]:
    counts = source.events().filter(pl.col("kind") == "purchase").group_by("item_id").len()
    return counts.sort("len", "item_id", descending=True).collect()["item_id"].to_list()[:ITEMS]


def furnish(store: Store, models: Path, items: list[str]) -> None:
    """Give the tenant ads, campaigns and an experiment that runs."""
    start = datetime.now(UTC) - timedelta(days=1)
    for n in range(CAMPAIGNS):
        terms: dict[str, Any] = {"budget": 1e6, "price": 0.002}
        terms |= {"cap": 50} if n % 2 else {}
        terms |= {"targeting": {"page": ["home"]}} if n % 4 == 0 else {}
        store.put_campaign(TENANT, {"campaign_id": f"c{n}", "start": start, **terms})
    ads = [
        Creative(
            headline=f"Fresh every day, number {n}",
            body="Baked at six in the morning, and gone by noon.",
            call_to_action="Have a look",
            item_id=items[n % len(items)],
            campaign_id=f"c{n % CAMPAIGNS}",
            landing=f"https://shop.example/{n}",
            maker="model:m",
        )
        for n in range(ADS)
    ]
    store.write_creatives(TENANT, ads, author="bench")
    ids = [one.creative_id for one in ads]
    states: list[CreativeState] = ["in review", "approved", "live"]
    for state in states:
        store.move_creatives(TENANT, ids, state, author="bench")
    _seen_before(store, ids)
    folder = models / TENANT
    (folder / SETTINGS).write_text(EXPERIMENT)
    (folder / "new.toml").write_text('[creatives]\nkind = "epsilon"\n')
    version = (folder / "current").read_text().strip()
    settings = load_settings(folder / version).experiment
    if settings is not None:
        start_experiment(folder, settings, ExperimentPlan())


def _seen_before(store: Store, ids: list[str]) -> None:
    """Let the ads have been shown before, as if their events were compacted."""
    rng = np.random.default_rng(SEED)
    clicks = rng.binomial(SEEN, rng.uniform(0.005, 0.03, len(ids))).tolist()
    rows = [
        {"tenant": TENANT, "creative_id": one, "kind": kind, "events": events}
        for one, clicked in zip(ids, clicks, strict=True)
        for kind, events in (("impression", SEEN), ("click", clicked))
    ]
    with store._database.write() as connection:
        connection.execute(insert(CREATIVE_COUNTS), rows)


if __name__ == "__main__":
    main()
