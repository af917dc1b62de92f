"""implicit and RecBole on the task of a log: what they rank for the same visits, from the same
training events and histories."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adwright.data.ranges import ranges
from adwright.data.sequences.datasets import NextLog, NextQuestions
from adwright.metrics.ranking import ndcg_per_user, recall_per_user
from adwright.training.retrieval.item_item import listed_ranks
from adwright.training.retrieval.rules import new_targets
from benchmarks.common.result import ROOT
from benchmarks.peers.environments import PeerName, build
from benchmarks.peers.harness import ALLOCATOR

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
RUNNER = ROOT / "benchmarks" / "peers" / "run_next_item.py"
DEPTH, FIRST = 50, 10
PEER_NAMES = {
    "als": "implicit ALS",
    "item_item_20": "implicit item-item, 20 neighbours",
    "item_item_100": "implicit item-item, 100 neighbours",
    "sasrec": "RecBole SASRec",
    "rectools_sasrec": "RecTools SASRec",
    "rectools_esasrec": "RecTools eSASRec",
    "rectools_hstu": "RecTools HSTU",
}
Peer = Literal["implicit", "recbole", "rectools-sasrec", "rectools-esasrec", "rectools-hstu"]


@dataclass(frozen=True, eq=False)
class PeerRow:
    """What a peer does. ndcg, recall: of each visit [V]. cpu: seconds of fitting. note: how its
    training ended."""

    name: str
    ndcg: Floats
    recall: Floats
    cpu: float
    note: str


def peer_rows(
    peer: Literal["implicit", "recbole"],
    log: NextLog,
    places: Ints,
    folder: Path,
    *,
    repeats: bool,
    seed: int,
) -> list[PeerRow]:
    """The models of a peer on some test questions of `log`.

    places: int64 [V], of the questions. folder: keeps what was answered. repeats: whether what a
    user had stays a candidate.
    """
    asked = log.test.some(places)
    out = answers_of(peer, folder, seed)
    if not out.exists():
        _exchange(log, asked, folder / "exchange.npz", repeats=repeats)
        answer_peer(peer, folder / "exchange.npz", out, seed)
    known = asked if repeats else new_targets(log, asked)
    with np.load(out, allow_pickle=False) as stored:
        found: Mapping[str, NDArray[np.generic]] = {name: stored[name] for name in stored.files}
    rows = []
    for key, name in PEER_NAMES.items():
        if f"{key}_items" not in found:
            continue
        # Codes of the peers begin at 0, and -1 is none.
        ranks = listed_ranks(found[f"{key}_items"].astype(np.int64) + 1, known)
        rows.append(
            PeerRow(
                name,
                ndcg_per_user(ranks, FIRST),
                recall_per_user(ranks, DEPTH),
                float(found[f"{key}_cpu"]),
                str(found[f"{key}_note"]),
            )
        )
    return rows


def answers_of(peer: Literal["implicit", "recbole"], folder: Path, seed: int) -> Path:
    """Where the answers of a peer are kept."""
    return folder / f"{peer}-{seed}.npz"


def _exchange(log: NextLog, asked: NextQuestions, path: Path, *, repeats: bool) -> None:
    """Everything before the test, and the histories that are asked."""
    first = log.offsets[:-1].copy()
    end = log.offsets[1:].copy()
    # A user's test begins where the first test question ends.
    np.minimum.at(end, log.test.user, log.test.end)
    end = np.maximum(end, log.train_end)
    place, offsets = ranges(first, end - first)
    pasts = log.pasts(asked)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        train_row=np.repeat(np.arange(len(first)), np.diff(offsets)),
        train_item=log.item[place] - 1,
        train_end=log.train_end - first,
        ask_row=pasts.owner,
        ask_item=pasts.item - 1,
        rows=len(asked),
        items=log.items,
        k=DEPTH,
        unseen=int(not repeats),
    )


def answer_peer(peer: Peer, source: Path, out: Path, seed: int) -> None:
    """Let a peer answer what `source` asks, see `RUNNER`."""
    kept: PeerName
    match peer:
        case "implicit" | "recbole":
            kept = peer
        case _:
            kept = "rectools"
    python = build(kept)
    command = [str(python), "-W", "ignore", str(RUNNER), peer, str(source), str(out), str(seed)]
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = {**os.environ, **ALLOCATOR, **one}
    subprocess.run(command, check=True, env=environment, cwd=out.parent)
