"""The service at 50 to 200 requests per second, beyond capacity, and under kill -9 (20 minutes).

    python -m benchmarks.service.service                 with the cascade, built where missing
    python -m benchmarks.service.service --popular       with the most popular items as the model
    python -m benchmarks.service.service --part load|kill

Each part writes its rows beside what the other one wrote before.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from adwright.campaigns.store.store import Store
from adwright.core.hashing import content_hash
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.delivery.popularity import save_popularity
from adwright.service.registry.registry import publish
from benchmarks.common.processes import command
from benchmarks.common.result import RESULTS, ROOT, write_result
from benchmarks.service._kill import TENANT, Killed, kill_repeatedly
from benchmarks.service._process import Service

DEADLINE_MS = 40
BOUND_MS = 50.0
RATES = (50, 100, 200)
LADDER = (100, 150, 200, 250, 300, 400, 500, 600, 800, 1000)
SECONDS = 15
WARM_SECONDS = 4
KILLS = 20
FINE = 0.99
SEED = 20240501
CASCADE = "the cascade with a faiss index and the histories of all households"
PROTOCOL = (
    "Requests of Complete Journey: household and time of each basket of weeks 49-53, 10 places, "
    "catalogue of all sold items. The model is {model}. The service is one process on the "
    "machine's cores, with SQLite (synced at each commit) on its disk; the load comes from a "
    "second process bound to the last core, at times drawn from a Poisson process beforehand; "
    "latency counts from "
    f"the time at which a request was to be sent. Deadline {DEADLINE_MS} ms: a stage that would "
    f"not end in time is left out, and the shares say which stage answered. {SECONDS} s a rate "
    f"after {WARM_SECONDS} s of warming. capacity_rps: the highest rate of the ladder at which "
    f"nothing was shed and the 99th percentile stayed within {BOUND_MS:g} ms; capacity_fine_rps: "
    f"the same with {FINE:.0%} of the answers by the fine stage. overload: 3 times "
    "that rate; recovered: half of it, right after. kill: SIGKILL at random moments under 12 "
    "callers who send events and ask for decisions, half of them sending again what was not "
    "answered; every acknowledged event, the impressions of answered decisions included, is "
    "looked for in the log of compacted Parquet files and the store. PostgreSQL itself, a server "
    "of its own on this machine, is not killed."
)


def main() -> None:
    """Run the parts, write benchmarks/results/service.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--popular", action="store_true", help="serve the most popular items")
    parser.add_argument("--part", choices=["all", "load", "kill"], default="all")
    parser.add_argument("--kills", type=int, default=KILLS, help="for each kind of store")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--folder", type=Path, default=RESULTS, help="for the result")
    asked = parser.parse_args()
    source = CompleteJourney.open()
    bodies = requests_of(source)
    runs = ROOT / "runs"  # on the disk of this checkout: a folder in memory has nothing to sync
    runs.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=runs, prefix="service-") as scratch:
        folder = Path(scratch)
        make = popular_model if asked.popular else cascade_model
        models = make(source, folder / "models")
        rows: list[dict[str, Any]] = []
        figures: dict[str, Any] = {}
        if asked.part in ("all", "load"):
            rows, figures = load_part(models, bodies, folder, asked.seconds)
        if asked.part in ("all", "kill"):
            more, counted = kill_part(models, bodies, folder, asked.kills)
            rows, figures = rows + more, figures | counted
    rows, figures = beside_earlier(asked.folder / "service.json", rows, figures)
    write_result(
        "service",
        protocol=PROTOCOL.replace("{model}", "popularity" if asked.popular else CASCADE),
        data=content_hash(bodies),
        seeds=[SEED],
        rows=rows,
        figures=figures,
        folder=asked.folder,
    )


def requests_of(source: CompleteJourney) -> list[dict[str, Any]]:
    """One body for /v1/decide for each basket of the test weeks."""
    events = source.events().filter(pl.col("kind") == "purchase")
    baskets = (
        events.with_columns(
            week=pl.col("context").str.json_path_match("$.week").cast(pl.Int64),
        )
        .filter(pl.col("week") >= 49)
        .group_by("request_id")
        .agg(pl.col("user_id").first(), pl.col("time").first())
        .sort("time", "request_id")
        .collect()
    )
    return [
        {"user_id": row["user_id"], "time": row["time"].isoformat(), "k": 10}
        for row in baskets.iter_rows(named=True)
    ]


def cascade_model(_: CompleteJourney, root: Path) -> Path:
    """The cascade with an approximate index as a published model."""
    from benchmarks.common.deployment import built

    deployment = built()[1]
    replace(deployment, index="faiss").save(root / TENANT / "cascade")
    publish(root, TENANT, "cascade")
    return root


def popular_model(source: CompleteJourney, root: Path) -> Path:
    """The most popular of all sold items as a published model."""
    counts = (
        source.events()
        .filter(pl.col("kind") == "purchase")
        .group_by("item_id")
        .len()
        .sort("item_id")
        .collect()
    )
    weight = counts["len"].to_numpy().astype(np.float64)
    save_popularity(root / TENANT / "popular", counts["item_id"].to_list(), weight)
    publish(root, TENANT, "popular")
    return root


def load_part(
    models: Path, bodies: list[dict[str, Any]], folder: Path, seconds: float
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Latency by rate, capacity, overload and recovery."""
    file = folder / "requests.jsonl"
    file.write_text("\n".join(map(json.dumps, bodies)), encoding="utf-8")
    url = f"sqlite:///{folder}/load.db"
    with Store.open(url) as store:
        key = store.create_key(TENANT)
    cores = sorted(os.sched_getaffinity(0))
    settings = {"deadline_ms": DEADLINE_MS}
    service = Service(url, models, settings=settings)
    rows: list[dict[str, Any]] = []

    def run(name: str, rate: float, seconds: float) -> dict[str, Any]:
        row = {"part": name, "rate": rate, **drive(service, key, file, rate, seconds, cores)}
        if name != "warm":
            rows.append(row)
            print(json.dumps(row))
        return row

    try:
        service.start()
        run("warm", 50, WARM_SECONDS)
        at = {rate: run("rate", rate, seconds) for rate in RATES}
        capacity = fine = 0.0
        for rate in LADDER:
            row = at[rate] if rate in at else run("ladder", rate, seconds)
            if row["statuses"].keys() != {"200"} or row["p99_ms"] > BOUND_MS:
                break
            capacity = rate
            if row["stages"].get("fine", 0) >= FINE * row["requests"]:
                fine = rate
        over = run("overload", 3 * max(capacity, RATES[0]), seconds)
        recovered = run("recovered", max(capacity, RATES[0]) / 2, seconds)
        service.stop()
    finally:
        service.close()
    figures: dict[str, Any] = {"capacity_rps": capacity, "capacity_fine_rps": fine}
    for rate, row in at.items():
        figures |= {f"p50_ms_{rate}": row["p50_ms"], f"p99_ms_{rate}": row["p99_ms"]}
        figures[f"cpu_ms_{rate}"] = row["cpu_ms_a_request"]
        figures[f"fine_share_{rate}"] = row["stages"].get("fine", 0) / row["requests"]
    others = {code: n for code, n in over["statuses"].items() if code not in ("200", "429")}
    figures["overload_shed_share"] = over["statuses"].get("429", 0) / over["requests"]
    figures["overload_other_errors"] = sum(others.values())
    figures["recovered_p99_ms"] = recovered["p99_ms"]
    figures["recovered_shed"] = recovered["statuses"].get("429", 0)
    return rows, figures


def drive(
    service: Service, key: str, file: Path, rate: float, seconds: float, cores: list[int]
) -> dict[str, Any]:
    """One run of the load in its own process, on the last core."""
    prefix = os.urandom(4).hex()
    arguments = [service.port, key, file, rate, seconds, SEED, prefix]
    before = service.cpu_seconds()
    done = subprocess.run(
        command("benchmarks.service._load", *arguments),
        cwd=ROOT,
        check=True,
        capture_output=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {cores[-1]}),
    )
    used = service.cpu_seconds() - before
    row: dict[str, Any] = json.loads(done.stdout)
    answered = max(1, row["statuses"].get("200", 0))
    return {**row, "cpu_ms_a_request": round(used / answered * 1e3, 3)}


def kill_part(
    models: Path, bodies: list[dict[str, Any]], folder: Path, kills: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The trial on SQLite and on PostgreSQL."""
    rows, total = [], Killed()
    with postgres() as address:
        for kind, url in (("sqlite", f"sqlite:///{folder}/kill.db"), ("postgresql", address)):
            found = kill_repeatedly(
                url, models, bodies, kills=kills, seed=SEED, folder=folder / f"log-{kind}"
            )
            row = {"part": "kill", "store": kind, **vars(found)}
            row["statuses"] = {str(code): n for code, n in sorted(found.statuses.items())}
            rows.append(row)
            print(json.dumps(row))
            for name in ("kills", "acknowledged", "found_once", "found_more"):
                setattr(total, name, getattr(total, name) + getattr(found, name))
    names = ("kills", "acknowledged", "found_once", "found_more")
    return rows, {name: getattr(total, name) for name in names}


@contextmanager
def postgres() -> Iterator[str]:
    """The address of an empty database in a server of its own."""
    from tests.support.store.postgres import ABSENT, programs, running

    found = programs()
    if found is None:
        raise SystemExit(ABSENT)
    with running(found) as server:
        yield server.new_database()


def beside_earlier(
    path: Path, rows: list[dict[str, Any]], figures: dict[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The new rows and figures, and the earlier ones of the part that did not run."""
    if not path.exists():
        return rows, figures
    earlier = json.loads(path.read_text("utf-8"))
    killed = {row["part"] == "kill" for row in rows}
    kept = [row for row in earlier["rows"] if (row["part"] == "kill") not in killed]
    return kept + rows, earlier["figures"] | figures


if __name__ == "__main__":
    main()
