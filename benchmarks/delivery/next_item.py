"""What `train cascade` serves of the next item, beside peers, on five logs (a night).

    python -m benchmarks.delivery.next_item --set beauty --minutes 30 --seed 0    one; others stay
    python -m benchmarks.delivery.next_item --peer implicit --set beauty
    python -m benchmarks.delivery.next_item --service --set beauty    what thirty minutes left

The last event of each user with three or more is taken out of the log before it is imported. The
rest goes through data import, train cascade and recommend, each a process of its own, by their
defaults but for --minutes, which are those of the processor. NDCG@10 is of the event that was taken
out, over the whole catalogue less what the user had, as `recommend` wrote it. The calibration error
is of the probability that an item shown is taken next, in twentieths, on the test of `train`. Peers
learn from the same events, answer for the same users, and are trained until their own validation is
no better: implicit by its defaults, RecBole's SASRec by its own with the loss over all items,
RecTools' models by what the authors of eSASRec chose, and then fitted again to all events.
The service: one process on two cores, as `benchmarks.service.service` has it, asked for a thousand
people, whom the first runs warm; full_share: answers by all that serves, in time; differ: of ten
thousand answers, with an event before each tenth, those that are not the same to the last bit where
nothing is kept. heard: what a person took in by one process, until another no longer shows it.
Intervals: 95%, over seeds and users; differences on the same users. Others have published, for
Beauty on the same sequences and each by its own evaluation: SASRec with a sampled softmax .0531,
eSASRec .0523, FuXi-a .0451, HSTU .0439, ActionPiece .0424, TIGER .0384. Cells that were not
measured have no row.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args
from urllib.request import Request as HttpRequest
from urllib.request import urlopen
from uuid import uuid4

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.campaigns.store.store import Store
from adwright.core.assets import cache_folder
from adwright.core.atomic import atomic_write_text
from adwright.core.hashing import content_hash
from adwright.delivery.decision import Request
from adwright.delivery.funnel.funnel import Funnel
from adwright.delivery.funnel.measure import mean_distance
from adwright.metrics.bootstrap import MethodInterval, two_level_difference, two_level_ratio
from adwright.service.registry.registry import publish
from benchmarks.common.result import PICTURES, RESULTS, Figure, write_result
from benchmarks.delivery.funnel_parts.peers import DEPTH, PEER_NAMES, Peer, answer_peer
from benchmarks.delivery.refit import command, gain, prepared
from benchmarks.service._kill import TENANT
from benchmarks.service._process import Service
from benchmarks.service.service import drive

NAME = "next_item"
#: People whom the service is asked for, requests that are compared, and loads: a second, seconds.
#: The first two are cold and warm them.
PEOPLE, REQUESTS, SEED = 1_000, 10_000, 20240501
#: Of these, those of whom an event is taken in by another process.
HEARD = 50
LOADS = ((50, 10), (50, 20), (100, 15), (200, 15), (300, 15))
SETS = ("beauty", "ml-1m", "lastfm", "ml-latest-small", "movietweetings")
Floats = NDArray[np.float64]


def main() -> None:
    """Do what was asked for, and write it beside what was done before."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--set", dest="names", choices=SETS, action="append")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peer", choices=get_args(Peer))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--service", action="store_true")
    asked = parser.parse_args()
    kept = asked.results / NAME
    kept.mkdir(parents=True, exist_ok=True)
    for name in asked.names or SETS:
        kind = asked.peer or ("service" if asked.service else f"{asked.minutes:g}")
        cell = f"{name}_{kind}_{asked.seed}"
        if not (kept / f"{cell}.json").exists():
            path = cache_folder() / "bench" / NAME / cell
            shutil.rmtree(path, ignore_errors=True)
            made = peer_row if asked.peer else service_row if asked.service else served_row
            row = {"set": name, "kind": kind, "seed": asked.seed, **made(name, path, asked)}
            atomic_write_text(kept / f"{cell}.json", json.dumps(row) + "\n")
        written(kept, asked.results)


def coded(gains: Floats) -> str:
    """The ranks that NDCG@10 [users] comes from, a byte each, 0 for none among the ten: as text."""
    ranks = np.where(gains > 0, np.round(2 ** (1 / np.maximum(gains, 0.1)) - 1), 0)
    return base64.b64encode(zlib.compress(ranks.astype(np.uint8).tobytes(), 9)).decode()


def gains_of(text: str) -> Floats:
    """NDCG@10 [users] of what `coded` wrote."""
    ranks = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).astype(np.float64)
    return np.where(ranks > 0, 1 / np.log2(np.maximum(ranks, 1) + 1), 0.0)


def served_row(name: str, path: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """One log, from the file to what each user's hidden event got."""
    options, hidden = prepared(name, path)
    command(path, "data", "import", "events.csv", "log", *options)
    minutes = ("--minutes", str(asked.minutes), "--seed", str(asked.seed))
    cpu, wall = command(path, "train", "cascade", "log", "--out", "cascade", *minutes)
    command(path, "recommend", "cascade", "--out", "shown.parquet")
    report = json.loads((path / "cascade" / "report.json").read_text())
    plan = json.loads((path / "cascade" / "plan.json").read_text())
    return {
        "names": ["served"],
        "ranks": [coded(gain(pl.read_parquet(path / "shown.parquet"), hidden))],
        "cpu": cpu,
        "wall": wall,
        "notes": report["notes"],
        "curves": {one["model"]: one["curve"] for one in plan["models"]},
        "reliability": report["reliability"],
        "data": report["data_hash"],
    }


def peer_row(name: str, path: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """What the models of a peer show the same users, after the same events."""
    _, hidden = prepared(name, path)
    events = pl.read_csv(path / "events.csv", schema_overrides=dict.fromkeys(_KEYS, pl.String))
    users = hidden["user_id"].unique(maintain_order=True)
    ids = events["item_id"].unique(maintain_order=True)
    # The users that are asked first, so that a row of the answers is a row of `hidden`.
    order = pl.concat([users, events["user_id"]]).unique(maintain_order=True)
    row = events["user_id"].replace_strict(order, range(len(order)), return_dtype=pl.Int64)
    item = events["item_id"].replace_strict(ids, range(len(ids)), return_dtype=pl.Int64)
    place = np.argsort(row.to_numpy(), kind="stable")
    rows, items = row.to_numpy()[place], item.to_numpy()[place]
    ends = np.bincount(rows, minlength=len(order))
    mine = rows < len(users)
    repeated = len(np.unique(rows * len(ids) + items)) < 0.99 * len(rows)
    np.savez(
        path / "exchange.npz",
        train_row=rows, train_item=items,
        train_time=events["timestamp"].to_numpy()[place],
        train_end=np.where(ends > 2, ends - 1, ends),
        ask_row=rows[mine], ask_item=items[mine],
        rows=len(users), items=len(ids), k=DEPTH, unseen=int(not repeated),
    )  # fmt: skip
    answer_peer(asked.peer, path / "exchange.npz", path / "out.npz", asked.seed)
    names, ranks, cpu = [], [], 0.0
    with np.load(path / "out.npz", allow_pickle=False) as stored:
        for key, called in PEER_NAMES.items():
            if f"{key}_items" in stored.files:
                shown = stored[f"{key}_items"]
                table = pl.DataFrame(
                    {
                        "user_id": np.repeat(users.to_numpy(), shown.shape[1]),
                        "item_id": ids.gather(np.maximum(shown, 0).ravel()),
                        "rank": np.tile(np.arange(1, shown.shape[1] + 1), len(shown)),
                    }
                ).filter(pl.Series(shown.ravel() >= 0))
                names.append(called)
                ranks.append(coded(gain(table, hidden)))
                cpu += float(stored[f"{key}_cpu"])
    return {"names": names, "ranks": ranks, "cpu": cpu}


def service_row(name: str, path: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """What `serve` does with what thirty minutes left: answers with what is kept beside those
    without, then load. Warm: after each person was asked for at a low rate."""
    deployment = path.parent / f"{name}_{asked.minutes:g}_{asked.seed}" / "cascade" / "deployment"
    funnel = Funnel.load(deployment)
    rng = np.random.default_rng(SEED)
    people = rng.permutation(funnel.histories.users() if funnel.histories else [])[:PEOPLE].tolist()
    row: dict[str, Any] = {"differ": _differ(funnel, Funnel.load(deployment), people, rng)}
    shutil.copytree(deployment, path / "models" / TENANT / "cascade")
    publish(path / "models", TENANT, "cascade")
    bodies = [{"user_id": user, "k": 10} for user in people]
    (path / "requests.jsonl").write_text("\n".join(map(json.dumps, bodies)))
    url = f"sqlite:///{path}/service.db"
    with Store.open(url) as store:
        key = store.create_key(TENANT)
    cores = sorted(os.sched_getaffinity(0))
    service = Service(url, path / "models", settings={"deadline_ms": 40})
    try:
        service.start()
        for rate, seconds in LOADS:
            load = os.getloadavg()[0]
            found = drive(service, key, path / "requests.jsonl", rate, seconds, cores)
            shown = {stage: n for stage, n in found["stages"].items() if stage != "popularity"}
            share = sum(shown.values()) / found["requests"]
            one = {"rate": rate, "full_share": share, "load_before": load, **found}
            print(json.dumps(one), flush=True)
            row.setdefault("loads", []).append(one)
        other = Service(url, path / "models", settings={"deadline_ms": 1000})
        try:
            other.start()
            row["heard_ms"] = _heard(service, other, key, people[:HEARD])
        finally:
            other.close()
    finally:
        service.close()
    return row


def _heard(one: Service, other: Service, key: str, people: list[str]) -> list[float]:
    """Milliseconds from the answer of `one` to what a person took until `other` no longer shows
    it to them."""

    def ask(service: Service, path: str, body: dict[str, Any]) -> Any:
        headers = {"X-API-Key": key, "Content-Type": "application/json"}
        url = f"http://127.0.0.1:{service.port}{path}"
        with urlopen(HttpRequest(url, json.dumps(body).encode(), headers), timeout=20) as answer:
            return json.load(answer)

    def shown(user: str) -> list[str]:
        asked = {"request_id": uuid4().hex, "user_id": user, "k": 10}
        return [item["item_id"] for item in ask(other, "/v1/decide", asked)["items"]]

    found = []
    for user in people:
        item, at = shown(user)[0], datetime.now(UTC).isoformat()
        event = {"event_id": uuid4().hex, "time": at, "request_id": "r", "kind": "rating"}
        ask(one, "/v1/events", {"events": [{**event, "user_id": user, "item_id": item}]})
        began = time.monotonic()
        while item in shown(user) and time.monotonic() < began + 10:
            time.sleep(0.01)
        found.append(1e3 * (time.monotonic() - began))
    return found


def _differ(kept: Funnel, plain: Funnel, people: list[str], rng: np.random.Generator) -> int:
    """Of REQUESTS answers, with an event of somebody before each tenth, those that are not the
    same to the last bit where nothing is kept."""
    serving = replace(plain.serving, cascade=replace(plain.serving.cascade, kept=0))
    with_, without = kept.cascade(), replace(plain, serving=serving).cascade()
    for source, _ in without.sources:
        if (queries := getattr(source, "queries", None)) is not None:
            queries._kept.keep = 0
    at, differ = datetime.now(UTC), 0
    for number in range(REQUESTS):
        at += timedelta(seconds=1)
        if number % 10 == 0:
            event = str(rng.choice(people)), [str(rng.choice(kept.parts.ids))], [at]
            for one in (with_, without):
                one.histories.append(*event)
        asked = Request(f"r{number}", str(rng.choice(people)), at, k=10)
        a, b = with_.recommend(asked), without.recommend(asked)
        differ += a.item_ids != b.item_ids or a.score.tobytes() != b.score.tobytes()
    return differ


_KEYS = ("user_id", "item_id")


def written(kept: Path, folder: Path) -> None:
    """Write next_item.json and its plot from all cells, which are kept beside it."""
    every = [json.loads(path.read_text()) for path in sorted(kept.glob("*.json"))]
    cells = [one for one in every if one["kind"] != "service"]
    rows, figures = [], dict[str, Figure]()
    gains: dict[tuple[str, str, str], Floats] = {}
    for name, kind in sorted({(one["set"], one["kind"]) for one in cells}):
        some = [one for one in cells if (one["set"], one["kind"]) == (name, kind)]
        for at, called in enumerate(some[0]["names"]):
            gains[name, kind, called] = np.array([gains_of(one["ranks"][at]) for one in some])
            found = over_seeds(gains[name, kind, called])
            rows.append(
                {
                    "set": name, "kind": kind, "name": called, "seeds": len(some),
                    "users": gains[name, kind, called].shape[1],
                    "ndcg10": [found.value, found.low, found.high],
                    "cpu": [one["cpu"] for one in some],
                    "notes": [one["notes"] for one in some if "notes" in one],
                    "calibration_error": [
                        mean_distance(one["reliability"]) for one in some if one.get("reliability")
                    ],
                }
            )  # fmt: skip
            if called == "served":
                figures[f"{name.replace('-', '_')}_{kind}_ndcg10"] = found.value
    ours = {row["set"]: row for row in rows if row["kind"] == "30"}
    figures["sets"] = len(ours)
    beside = {
        (name, called): behind(gains[name, "30", "served"], peer)
        for (name, _, called), peer in gains.items()
        if name in ours and called != "served"
    }
    figures["sets_beside_peers"] = len({name for name, _ in beside})
    if beside:
        figures["sets_behind_any_peer"] = len({name for (name, _), one in beside.items() if one})
    figures["minutes_over_worst"] = max(
        (cpu / 60 / float(row["kind"]) for row in rows if row["name"] == "served"
         for cpu in row["cpu"]), default=0.0,
    )  # fmt: skip
    off = [one for row in ours.values() for one in row["calibration_error"]]
    if off:
        figures["calibration_error_worst"] = max(off)
    if "beauty" in ours:
        figures["beauty_ndcg10"] = ours["beauty"]["ndcg10"][0]
    fives = {row["set"]: row["ndcg10"][0] for row in rows if row["kind"] == "5"}
    shares = [fives[name] / row["ndcg10"][0] for name, row in ours.items() if name in fives]
    if shares:
        figures["five_minute_share_worst"] = min(shares)
    for one in every:
        if one["kind"] == "service":
            rows.append(one)
            loads = {load["rate"]: load for load in one["loads"]}  # of a rate the last
            figures |= {f"fine_share_{rate}": load["full_share"] for rate, load in loads.items()}
            figures |= {f"p99_ms_{rate}": load["p99_ms"] for rate, load in loads.items()}
            figures["warm_cpu_ms"] = loads[100]["cpu_ms_a_request"]
            figures["kept_answers_differ"] = one["differ"]
            if "heard_ms" in one:
                figures["heard_ms_p50"] = float(np.median(one["heard_ms"]))
                figures["heard_ms_worst"] = max(one["heard_ms"])
    write_result(
        NAME,
        protocol=str(__doc__).rpartition("\n\n")[2].replace("\n", " ").strip(),
        data=content_hash({one["set"]: len(gains_of(one["ranks"][0])) for one in cells}),
        seeds=sorted({one["seed"] for one in cells}),
        rows=rows,
        figures=figures,
        folder=folder,
    )
    if folder == RESULTS:
        drawn(cells)


def drawn(cells: Sequence[Mapping[str, Any]]) -> None:
    """docs/_static/next_item.svg: recall of validation by minutes, each network of the longest
    build of each log."""
    from adwright.metrics.reports.charts import learning_curves, to_svg

    rows = []
    for name in SETS:
        mine = [one for one in cells if one["set"] == name and "curves" in one]
        longest: Mapping[str, Any] = max(
            mine, key=lambda one: float(one["kind"]), default={"curves": {}}
        )
        for model, curve in longest["curves"].items():
            # What the fine ranker validates is of another measure.
            rows += [
                {"minutes": seconds / 60, "series": f"{name}, {model}", "value": value}
                for seconds, value in curve
                if model != "fine"
            ]
    if rows:
        chart = learning_curves(
            rows,
            x="minutes",
            title="What each network learned in its minutes of a cascade",
            x_title="Minutes of the processor",
            y_title="Recall@50, validation",
        )
        atomic_write_text(PICTURES / f"{NAME}.svg", to_svg(chart))


def over_seeds(gains: Floats) -> MethodInterval:
    """The mean of gains [S, U] with its interval over seeds and users."""
    return two_level_ratio(gains, np.ones(gains.shape[1]), np.random.default_rng(0))


def behind(ours: Floats, peer: Floats) -> bool:
    """Whether ours [S, U] lies below the peer's beyond the interval of the difference."""
    ones, seeds = np.ones(ours.shape[1]), min(len(ours), len(peer))
    found = two_level_difference(ours[:seeds], peer[:seeds], ones, np.random.default_rng(0))
    return found.high < 0


if __name__ == "__main__":
    main()
