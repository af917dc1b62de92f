"""The simple rules on five logs, item-item beside implicit's; ten minutes of CPU time."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from adwright.core.hashing import content_hash
from adwright.data.sequences.datasets import NextLog, NextQuestions
from adwright.data.sequences.pasts import Pasts
from adwright.metrics.bootstrap import two_level_difference, two_level_ratio
from adwright.metrics.ranking import Ranks, ndcg_per_user, recall_per_user
from adwright.models.retrieval.item_item import ItemItem
from adwright.training.retrieval.item_item import fit_item_item, listed_ranks, search_item_item
from adwright.training.retrieval.rules import fit_rules, new_targets, rules_ranks
from adwright.training.sequential.run import next_log
from adwright.training.sequential.runfile import SequenceData, SequenceDataConfig, open_sequences
from benchmarks.common.result import ROOT, Lead, write_result
from benchmarks.peers.environments import build
from benchmarks.sequential.sequence_files import read_movielens_1m, read_movielens_small

Row = dict[str, Any]
RUNNER = ROOT / "benchmarks" / "peers" / "run_implicit.py"
#: Of implicit: its default, and as many as ours keeps.
NEIGHBOURS = (20, 100)
K, DEPTH, RUNS = 10, 50, 3
#: Ends of the keys of what is kept by user, and not written.
_SUMS = " by user"
PROTOCOL = (
    "Leave one out: the last event of a person tests, the one before it validates, all items but "
    "those that the person had are candidates; of Complete Journey the baskets of weeks 49-53 "
    "test, weeks 45-48 validate, and every item sold is a candidate. Settings of item-item are "
    "searched on validation; popularity, frequency and the peers have none. implicit's item-item "
    "models count the same training events and answer from the same histories. 95% intervals by "
    "bootstrap over people. Search, counting and answering: CPU-seconds of one thread; answering: "
    f"the {K} best of the whole catalogue for everybody at once, after all of their events, the "
    f"fastest of {RUNS}."
)


def main() -> None:
    """Measure the logs that are asked for, and write item_item.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(LOGS), action="append", help="these logs alone")
    parser.add_argument("--no-peers", action="store_true", help="adwright alone")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Row] = []
    hashes = []
    for name in chosen.only or LOGS:
        data = LOGS[name]()
        hashes.append(data.sequences.data_hash)
        rows += _ours(name, data)
        if not chosen.no_peers:
            rows += [row for number in NEIGHBOURS for row in _peers(name, data, number)]
        for row in rows:
            if row["log"] == name:
                told = {k: v for k, v in row.items() if not k.endswith(("settings", _SUMS))}
                print(told, flush=True)
    write_result(
        "item_item",
        protocol=PROTOCOL,
        data=content_hash(hashes),
        seeds=(0,),
        rows=[{k: v for k, v in row.items() if not k.endswith(_SUMS)} for row in rows],
        figures=_figures(rows),
        leads=_leads(rows),
    )


def _folder() -> Path:
    return Path(os.environ["ADWRIGHT_DATA"])


def _items(name: str) -> Callable[[], SequenceData]:
    return lambda: open_sequences(SequenceDataConfig(kind="items", path=_folder() / name))


LOGS: Mapping[str, Callable[[], SequenceData]] = {
    "beauty": _items("beauty"),
    "lastfm": _items("lastfm"),
    "ml-latest-small": lambda: SequenceData(
        read_movielens_small(_folder() / "ml-latest-small" / "ratings.csv"), None, False
    ),
    "ml-1m": lambda: SequenceData(read_movielens_1m(_folder() / "ml-1m"), None, False),
    "complete-journey": lambda: open_sequences(SequenceDataConfig()),
}


def _ours(name: str, data: SequenceData) -> list[Row]:
    """A row of each rule."""
    log, repeats = next_log(data), data.allow_repeats
    search = search_item_item(log, repeats=repeats)
    print(search.text(), flush=True)
    start = time.process_time()
    model = fit_item_item(log.whole, search.config)
    counted = time.process_time() - start
    start = time.process_time()
    rules = fit_rules(log, repeats=repeats, item_item=search.config)
    asked = _asked(log, repeats=repeats)
    ranks = rules_ranks(rules, log, asked, unseen=not repeats, depth=DEPTH)
    print(f"ranked in {time.process_time() - start:.1f} CPU-s", flush=True)
    rows = [
        {"log": name, "rule": rule, **_quality(found, asked.user)} for rule, found in ranks.items()
    ]
    speed = {
        "settings": search.text(),
        "search_seconds": search.seconds,
        "trials": len(search.trials),
        "count_seconds": counted,
        "events": len(log.item),
        "people": len(log.users),
        "people_per_cpu_second": _rate(model, log, repeats=repeats),
    }
    return [row | speed if row["rule"] == "Item-item" else row for row in rows]


def _asked(log: NextLog, *, repeats: bool) -> NextQuestions:
    asked = log.test if repeats else new_targets(log, log.test)
    return asked.some(np.flatnonzero(np.diff(asked.offsets) > 0))


def _quality(ranks: Ranks, user: NDArray[np.int64]) -> Row:
    """NDCG@10 and recall@50, each with its interval over people."""
    found: Row = {}
    people, owner = np.unique(user, return_inverse=True)
    number = np.bincount(owner).astype(np.float64)
    values = {"ndcg10": ndcg_per_user(ranks, 10), "recall50": recall_per_user(ranks, DEPTH)}
    for measure, one in values.items():
        sums = np.bincount(owner, one, minlength=len(people)).astype(np.float64)
        interval = two_level_ratio(sums, number, np.random.default_rng(0), 500)
        found |= {measure: interval.value, f"{measure}_ci": [interval.low, interval.high]}
        found[f"{measure}{_SUMS}"] = sums
    return found | {f"number{_SUMS}": number}


def _leads(rows: list[Row]) -> list[Lead]:
    """Item-item beside every other rule of its log, on the same users."""
    leads = []
    for mine in (row for row in rows if row["rule"] == "Item-item"):
        for row in (row for row in rows if row["log"] == mine["log"] and row is not mine):
            log, name = Lead.word(mine["log"]), Lead.word(row["rule"])
            key = f"{log}_ndcg10_item_item_minus_{name}"
            sums = (mine[f"ndcg10{_SUMS}"], row[f"ndcg10{_SUMS}"], mine[f"number{_SUMS}"])
            found = two_level_difference(*sums, np.random.default_rng(0), 500)
            leads.append(Lead(key, "item-item", row["rule"], "NDCG@10", row["log"], found))
    return leads


def _everybody(log: NextLog) -> Pasts:
    return Pasts.between(log.item, log.moment, log.offsets[:-1], log.offsets[1:])


def _rate(model: ItemItem, log: NextLog, *, repeats: bool) -> float:
    """People a CPU-second, the K best of the catalogue each."""
    taken = []
    for _ in range(RUNS):
        start = time.process_time()
        pasts = _everybody(log)
        model.best(pasts, K, unseen=not repeats)
        taken.append(time.process_time() - start)
    return len(log.users) / min(taken)


def _peers(name: str, data: SequenceData, neighbours: int) -> list[Row]:
    """A row of each of implicit's item-item models: quality on the test, then its rate."""
    log, repeats = next_log(data), data.allow_repeats
    asked = _asked(log, repeats=repeats)
    place, offsets = log.training
    owner = np.repeat(np.arange(len(log.users)), np.diff(offsets))
    train = owner, log.item[place]
    tested = _implicit(train, log.pasts(asked), log, neighbours, k=DEPTH, unseen=not repeats)
    everybody = _everybody(log)
    whole = everybody.owner, everybody.item
    answered = _implicit(whole, everybody, log, neighbours, k=K, unseen=not repeats)
    rows = []
    for model in ("cosine", "tfidf", "bm25"):
        # Codes of the peer begin at 0; what it lacks is -1 there and 0 here.
        ranks = listed_ranks(tested[f"{model}_items"].astype(np.int64) + 1, asked)
        rows.append(
            {
                "log": name,
                "rule": f"implicit {tested['version']}, {model}, K = {neighbours}",
                **_quality(ranks, asked.user),
                "count_seconds": float(answered[f"{model}_fit_seconds"]),
                "people_per_cpu_second": len(log.users)
                / float(answered[f"{model}_answer_seconds"]),
            }
        )
    return rows


def _implicit(
    train: tuple[NDArray[np.int64], NDArray[np.int64]],
    pasts: Pasts,
    log: NextLog,
    neighbours: int,
    *,
    k: int,
    unseen: bool,
) -> Mapping[str, Any]:
    python = build("implicit")
    with tempfile.TemporaryDirectory() as scratch:
        source, out = Path(scratch) / "data.npz", Path(scratch) / "out.npz"
        np.savez(
            source,
            train_row=train[0],
            train_item=train[1] - 1,
            ask_row=pasts.owner,
            ask_item=pasts.item - 1,
            rows=len(pasts),
            items=log.items,
            k=k,
            unseen=int(unseen),
        )
        command = [str(python), "-W", "ignore", str(RUNNER), str(source), str(out), str(neighbours)]
        subprocess.run(command, check=True)
        with np.load(out, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}


def _figures(rows: list[Row]) -> dict[str, float]:
    """Per log: the two measures of item-item, and its rate beside the fastest of the peers'."""
    figures: dict[str, float] = {}
    for row in rows:
        if row["rule"] != "Item-item":
            continue
        log = row["log"]
        key = log.replace("-", "_")
        figures |= {f"{key}_{m}": row[m] for m in ("ndcg10", "recall50", "people_per_cpu_second")}
        peers = [r for r in rows if r["log"] == log and r["rule"].startswith("implicit")]
        if peers:
            fastest = max(r["people_per_cpu_second"] for r in peers)
            figures[f"{key}_times_implicit"] = row["people_per_cpu_second"] / fastest
            figures[f"{key}_ndcg10_implicit"] = max(r["ndcg10"] for r in peers)
    return figures


if __name__ == "__main__":
    main()
