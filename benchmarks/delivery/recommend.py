"""Recommend to everybody: people a CPU-second, beside implicit and RecBole (10 minutes).

    python -m benchmarks.delivery.recommend
    python -m benchmarks.delivery.recommend --only item_item implicit_item_item    # others stay

Beauty (22,363 users, 12,101 items) and MovieLens 1M; the ten best items of the whole catalogue for
everybody, without those that they had, one thread. Each measurement is a process of its own, one
after the other in one run; peers run in their own environments (peers/environments.py).
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import polars as pl

from adwright.core.assets import cache_folder
from adwright.core.hashing import content_hash
from adwright.data.sequences.datasets import log_of_sequences
from adwright.data.sequences.item_sequences import ItemSequences
from adwright.delivery.recommend.models import TopItems
from adwright.training.retrieval.item_item import ItemItemArtifact, fit_item_item, search_item_item
from benchmarks.common.result import RESULTS, write_result
from benchmarks.peers.environments import build
from benchmarks.peers.harness import ALLOCATOR

Ours = Literal["item_item", "item_item_20", "popularity", "sasrec", "hstu", "two_tower"]
Theirs = Literal["implicit_als", "implicit_item_item", "implicit_item_item_100", "recbole_sasrec"]
#: How many neighbours the tables of item-item keep.
NEIGHBOURS = {"item_item": 100, "item_item_20": 20}
K, PASSES, WIDTH = 10, 3, 64
DATA = ("beauty", "ml-1m")
SCRATCH = cache_folder() / "bench" / "recommend"
PROTOCOL = (
    f"The {K} best items of the whole catalogue for every user, without those that they had; one "
    f"thread, CPU-seconds of the process for the call alone, the model loaded and the histories "
    f"in memory; the best of {PASSES} passes after one that does not count. Models have "
    f"{WIDTH} numbers an item and learned nothing or little: speed does not depend on it. "
    "implicit 0.7: AlternatingLeastSquares and CosineRecommender (item_item: 20 neighbours, its "
    "default; 100, as ours keeps), recommend() for all users in one call. RecBole 1.2: SASRec by "
    "utils.case_study's full_sort_topk, 512 users a call. Ours: adwright.delivery.recommend; "
    "item_item as `adwright train item-item` makes it (settings searched, 100 neighbours), "
    "item_item_20 with 20. Tables are counted from the same events. file_cpu_seconds: of "
    "`adwright recommend` from the saved model with its histories to the Parquet file. "
    "peer_ratio: item_item against the fastest peer, whatever it is; same_neighbours_ratio: "
    "item_item_20 against implicit's 20."
)


def main() -> None:
    """Measure what is asked for, one after the other, and write recommend.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="*", choices=DATA, default=DATA)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--only", nargs="*", default=[*get_args(Ours), *get_args(Theirs)])
    parser.add_argument("--one", help="Measure this one of ours here, and print it.")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(ours(arguments.one, arguments.data[0])))
        return
    path = arguments.results / "recommend.json"
    rows: list[dict[str, Any]] = []
    if path.exists():
        rows = json.loads(path.read_text("utf-8"))["rows"]
    new = [(data, name) for data in arguments.data for name in arguments.only]
    # Two towers need features of items, which the sequences of MovieLens 1M come without.
    new = [one for one in new if one != ("ml-1m", "two_tower")]
    rows = [row for row in rows if (row["data"], row["model"]) not in new]
    for data, name in new:
        rows.append({"data": data, "model": name, **measured(name, data)})
        print(rows[-1], flush=True)
    write_result(
        "recommend",
        protocol=PROTOCOL,
        data=content_hash({data: sequences(data).data_hash for data in DATA}),
        seeds=[0],
        rows=rows,
        figures=figures(rows),
        folder=arguments.results,
    )


def figures(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The rate of each, and how many times as fast item-item is as the fastest peer."""
    found: dict[str, float] = {}
    for data in sorted({row["data"] for row in rows}):
        rates = {r["model"]: r["users"] / r["cpu_seconds"] for r in rows if r["data"] == data}
        short = data.replace("-", "")
        for name, rate in rates.items():
            found[f"{short}_{name}_users_per_cpu_second"] = rate
        peers = [rate for name, rate in rates.items() if name in get_args(Theirs)]
        if peers and "item_item" in rates:
            found[f"{short}_peer_ratio"] = rates["item_item"] / max(peers)
        if {"item_item_20", "implicit_item_item"} <= set(rates):
            ratio = rates["item_item_20"] / rates["implicit_item_item"]
            found[f"{short}_same_neighbours_ratio"] = ratio
    # The names under which these two are compared with what was asked for.
    for key, name in (
        ("recommend_users_per_cpu_second", "beauty_item_item_users_per_cpu_second"),
        ("recommend_peer_ratio", "beauty_peer_ratio"),
    ):
        if name in found:
            found[key] = found[name]
    return found


def measured(name: str, data: str) -> dict[str, Any]:
    """The measurement of one model, in a process of its own."""
    environment = {**os.environ, **ALLOCATOR}
    if name in get_args(Ours):
        command = [sys.executable, "-m", "benchmarks.delivery.recommend", "--one", name]
        command += ["--data", data]
    else:
        peer: Literal["implicit", "recbole"] = (
            "implicit" if name.startswith("implicit") else "recbole"
        )
        script = Path(__file__).parents[1] / "peers" / "run_recommend.py"
        command = [str(build(peer)), str(script), name, str(exchanged(data)), str(K), str(PASSES)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stdout}\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def ours(name: Ours, data: str) -> dict[str, Any]:
    """Time one of our own models."""
    from adwright.data.time import MICROSECONDS_PER_DAY
    from adwright.delivery.recommend.people import People

    known = sequences(data)
    place = np.arange(len(known.item)) - np.repeat(known.offsets[:-1], np.diff(known.offsets))
    people = People(
        pl.Series("user_id", known.users, pl.String),
        known.item,
        place * MICROSECONDS_PER_DAY,
        known.offsets,
        np.diff(known.offsets) * MICROSECONDS_PER_DAY,
    )
    top = _top(name, known, data)
    seconds = _timed(lambda: top.best(people, K))
    found = {"users": len(people), "cpu_seconds": min(seconds), "passes": seconds}
    if name == "item_item":
        found["file_cpu_seconds"] = min(_into_a_file(known))
    return found


def _into_a_file(known: ItemSequences) -> list[float]:
    """What `adwright recommend` takes, from the saved rule to the file."""
    from adwright.delivery.counted import sequence_histories, with_histories
    from adwright.delivery.recommend.run import recommend_file

    saved = SCRATCH / "item-item"
    with_histories(_rule(known, 100), sequence_histories(known)).save(saved, overwrite=True)
    return _timed(lambda: recommend_file(saved, SCRATCH / "recs.parquet", k=K, overwrite=True))


def _rule(known: ItemSequences, neighbours: int) -> ItemItemArtifact:
    """The rule of everything that is known, with settings as its training finds them."""
    log = log_of_sequences(known)
    config = search_item_item(log, repeats=False).config
    config = replace(config, neighbours=replace(config.neighbours, neighbours=neighbours))
    return ItemItemArtifact(fit_item_item(log.whole, config), known.ids, False)


def _timed(call: Callable[[], object]) -> list[float]:
    call()
    seconds = []
    for _ in range(PASSES):
        began = time.process_time()
        call()
        seconds.append(time.process_time() - began)
    return seconds


def _top(name: Ours, known: ItemSequences, data: str) -> TopItems:
    import torch

    from adwright.delivery.popularity import Popularity
    from adwright.delivery.recommend.models import (
        ItemItemTop,
        PopularityTop,
        RetrieverTop,
        SequenceTop,
    )
    from adwright.models.sequential.hstu import HSTUConfig, SASRecConfig
    from adwright.models.sequential.union import sequence_retriever
    from adwright.training.retrieval.fit import RetrieverArtifact
    from adwright.training.sequential.artifact import SequenceArtifact

    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"width": WIDTH, "max_length": 50, "blocks": 2, "heads": 2}
    match name:
        case "item_item" | "item_item_20":
            return ItemItemTop(_rule(known, NEIGHBOURS[name]), unseen=True)
        case "popularity":
            # In the order of the codes, which the histories have.
            rule = Popularity(known.ids, -np.arange(len(known.ids), dtype=np.float64))
            return PopularityTop(rule, unseen=True)
        case "sasrec" | "hstu":
            config = SASRecConfig(**sizes)
            if name == "hstu":
                config = HSTUConfig(**sizes, qk_width=32, v_width=32).without_time()  # type: ignore[assignment]
            model = sequence_retriever(config, known.items, count=known.count)
            return SequenceTop(SequenceArtifact.of(model, known), unseen=True)
        case "two_tower":
            from adwright.data.tasks.next_basket_sources import build_next_item
            from adwright.models.retrieval.two_tower import TwoTower, TwoTowerConfig

            task = build_next_item(Path(os.environ["ADWRIGHT_DATA"]) / data)
            towers = TwoTower(TwoTowerConfig(width=WIDTH), task.spec, task.items, task.count)
            return RetrieverTop(RetrieverArtifact.of(towers, task), unseen=True)


def sequences(data: str) -> ItemSequences:
    """The histories of everybody, whole."""
    from adwright.data.sequences.datasets import sequences_of_task
    from adwright.data.tasks.next_basket_sources import build_next_item
    from benchmarks.sequential.sequence_files import read_movielens_1m

    folder = Path(os.environ["ADWRIGHT_DATA"]) / data
    if data == "ml-1m":
        return read_movielens_1m(folder)
    return replace(sequences_of_task(build_next_item(folder)), time=None)


def exchanged(data: str) -> Path:
    """The histories as a file for the peers: user and item, codes from 0, in order."""
    known = sequences(data)
    path = SCRATCH / f"{data}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    user = np.repeat(np.arange(len(known)), np.diff(known.offsets))
    np.savez(path, user=user, item=known.item - 1)
    return path


if __name__ == "__main__":
    main()
