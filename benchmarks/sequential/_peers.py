"""SASRec and HSTU of RecTools on the sequences of benchmarks/sequential/hstu_quality.py, resumable.

    python -m benchmarks.sequential._peers                  what is missing, then the rows
    python -m benchmarks.sequential._peers --only hstu      this model alone
    python -m benchmarks.sequential._peers --no-train       the rows of what is there

The peer has an environment of its own (peers/environments.py) and gets the sequences as a file;
_hstu_rectools.py trains and ranks there, on one thread, and leaves each person's rank of the
test event by epoch. It trains on all but the last event of each person, so on the validation
event too, for a fixed number of epochs: nothing is chosen by what it is measured with. What a
finished training found is kept beside the results.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import fcntl
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from adwright.core.assets import cache_folder
from adwright.core.atomic import atomic_write_text
from adwright.core.hashing import content_hash
from adwright.data.sequences.item_sequences import ItemSequences
from adwright.metrics.ranking import Ranks, hit_rate_per_user, ndcg_per_user
from benchmarks.common.next_basket import by_seed, interval, keep, method_difference, read
from benchmarks.common.result import RESULTS, Lead
from benchmarks.peers.environments import build
from benchmarks.peers.harness import ALLOCATOR
from benchmarks.sequential.sequence_files import read_movielens_1m

PeerModel = Literal["hstu", "sasrec"]
SCRATCH = cache_folder() / "bench" / "hstu_peers"
KEPT = RESULTS / "cells" / "hstu_peers"
PEER_PROTOCOL = (
    "RecTools 0.19 with the settings that its HSTU tutorial has for ML-1M (sequences of 200, "
    "2 blocks of 1 head, width 50, dropout .2, cosine at temperature .05, 128 sampled negatives, "
    "batches of 128, Adam at .001, float32), without times; 100 epochs, without "
    "which there is no row. It trains on all but the last event of a person, so on the "
    "validation event too, and ranks all films but those that the person had."
)
#: Of the tutorial for HSTU; SASRec, which it lists beside it, gets the same.
SHARED: dict[str, Any] = {
    "session_max_len": 200,
    "n_blocks": 2,
    "n_heads": 1,
    "n_factors": 50,
    "dropout_rate": 0.2,
    "use_pos_emb": True,
    "loss": "sampled_softmax",
    "n_negatives": 128,
    "lightning_module_kwargs": {"logits_t": 0.05},
    "lr": 0.001,
    "batch_size": 128,
}
#: HSTUModel is cosine of itself, and a temperature of .05 asks for it.
SETTINGS: dict[PeerModel, dict[str, Any]] = {
    "hstu": SHARED | {"relative_time_attention": False, "relative_pos_attention": True},
    "sasrec": SHARED | {"similarity_module_kwargs": {"distance": "cosine"}},
}
EPOCHS = 100
TITLES: dict[PeerModel, str] = {"hstu": "HSTU", "sasrec": "SASRec"}
#: Epochs between two rankings; a checkpoint is written after each.
EVERY = 5


def main() -> None:
    """Train what is missing, one model after the other, and print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--only", choices=get_args(PeerModel))
    parser.add_argument("--no-train", action="store_true")
    asked = parser.parse_args()
    shared = os.environ.get("ADWRIGHT_DATA")
    if not shared:
        raise SystemExit("set ADWRIGHT_DATA to the folder that holds ml-1m")
    sequences = read_movielens_1m(Path(shared) / "ml-1m")
    if asked.only:
        trained(asked.only, sequences, asked.epochs)
    else:
        for row in peer_rows(sequences, asked.epochs, train=not asked.no_train):
            print(json.dumps(row, indent=1))


def peer_rows(
    sequences: ItemSequences,
    epochs: int = EPOCHS,
    *,
    only: str | None = None,
    train: bool = True,
) -> list[dict[str, Any]]:
    """The rows of hstu_quality's table, one per model; see `peers`.

    by_epoch: [epoch, CPU-seconds of training so far, NDCG@10, HR@10, HR@50] of each ranking.
    """
    rows = []
    for name, found in peers(sequences, epochs, only=only, train=train).items():
        people = np.arange(len(found["ndcg10"]))
        # One training: what stands in brackets is over people, and of it.
        measures = {key: interval(found[key][None], people) for key in ("ndcg10", "hr10", "hr50")}
        done = int(found["epochs"])
        rows.append(
            {
                "data": "ml1m",
                "model": title(name),
                **measures,
                "epochs": done,
                "seconds_epoch": float(found["seconds"]) / done,
                "peak_bytes": int(found["peak_bytes"]),
                "by_epoch": [[round(float(one), 5) for one in row] for row in found["by_epoch"]],
            }
        )
    return rows


def figures_of(sequences: ItemSequences) -> dict[str, Any]:
    """The figures of the contract, of the trainings that are there."""
    figures: dict[str, Any] = {}
    for name, values in peers(sequences, train=False).items():
        prefix = "rectools" if name == "hstu" else f"rectools_{name}"
        figures[f"{prefix}_ndcg10"] = float(values["ndcg10"].mean())
        figures[f"{prefix}_hr10"] = float(values["hr10"].mean())
        figures[f"{prefix}_epochs"] = int(values["epochs"])
    return figures


def title(name: PeerModel) -> str:
    """What the tables call it."""
    return f"{TITLES[name]} of RecTools"


def leads_of(sequences: ItemSequences, ours: Mapping[str, Sequence[Any]]) -> list[Lead]:
    """Ours, over its seeds, beside RecTools' one training."""
    leads = []
    for name, values in peers(sequences, train=False).items():
        prefix = "rectools" if name == "hstu" else f"rectools_{name}"
        for mine in (f"{name}", f"{name}_large"):
            if runs := ours.get(mine, []):
                a = by_seed(runs)["ndcg10"]
                found = method_difference(a, values["ndcg10"][None], np.arange(a.shape[1]))
                about = (mine, title(name), "NDCG@10", "ml1m", found)
                leads.append(Lead(f"ml1m_{mine}_minus_{prefix}_ndcg10", *about))
    return leads


def peers(
    sequences: ItemSequences,
    epochs: int = EPOCHS,
    *,
    only: str | None = None,
    train: bool = True,
) -> dict[PeerModel, Mapping[str, Any]]:
    """What was measured of each model after `epochs`, each trained or taken up where missing.

    ndcg10, hr10, hr50, rank: [U] of the test events, in the order of the people, for paired
    differences. epochs, seconds (CPU, of training), peak_bytes. by_epoch: [K, 5], see above.
    train: False trains nothing, and leaves out what is not finished.
    """
    names = [name for name in get_args(PeerModel) if only in (None, name)]
    if train:
        return {name: read([trained(name, sequences, epochs)])[0] for name in names}
    found = {name: read([kept(name, sequences, epochs)]) for name in names}
    return {name: values[0] for name, values in found.items() if values}


def kept(name: PeerModel, sequences: ItemSequences, epochs: int, seed: int = 0) -> Path:
    """Where the measures of a finished training lie."""
    return KEPT / f"{run_folder(name, sequences, seed).name}-{epochs}.npz"


def trained(name: PeerModel, sequences: ItemSequences, epochs: int, seed: int = 0) -> Path:
    """The measures of a model after `epochs`, which is trained or taken up where it is missing.

    Two processes that want the same model wait for each other. Raises CalledProcessError where
    the peer fails; its output lies in log.txt of the run.
    """
    folder, path = run_folder(name, sequences, seed), kept(name, sequences, epochs, seed)
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        train(name, folder, sequences, epochs=epochs, seed=seed)
    values = measured(folder, epochs)
    if not values:
        raise SystemExit(f"{name} has no ranking of epoch {epochs}: ask for a multiple of {EVERY}")
    seconds = values.pop("seconds")
    keep(path, values, seconds)
    return path


def measured(folder: Path, epochs: int) -> dict[str, Any]:
    """The measures of a run at the ranking after `epochs`; none, no key."""
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    with np.load(folder / "ranks.npz", allow_pickle=False) as stored:
        ranks = {int(key): stored[key] for key in stored}
    if epochs not in ranks:
        return {}
    spent = np.cumsum(state["epoch_seconds"])
    curve = []
    for epoch in sorted(one for one in ranks if one <= epochs):
        means = [float(values.mean()) for values in measures(ranks[epoch]).values()]
        curve.append([epoch, spent[epoch - 1], *means])
    return {
        **measures(ranks[epochs]),
        "rank": ranks[epochs],
        "epochs": np.array(epochs),
        "seconds": float(spent[epochs - 1]),
        "peak_bytes": np.array(state["peak_bytes"]),
        "by_epoch": np.array(curve),
    }


def measures(rank: Any) -> dict[str, Any]:
    """float64 [U] each, of one rank per user."""
    tied = np.zeros(len(rank), dtype=bool)
    ranks = Ranks(rank.astype(np.float64), np.arange(len(rank) + 1), tied)
    return {
        "ndcg10": ndcg_per_user(ranks, 10),
        "hr10": hit_rate_per_user(ranks, 10),
        "hr50": hit_rate_per_user(ranks, 50),
    }


def run_folder(name: PeerModel, sequences: ItemSequences, seed: int) -> Path:
    """Where a run lies, whatever its number of epochs, so that it can go on."""
    about = {"m": name, "s": SETTINGS[name], "d": sequences.data_hash}
    return SCRATCH / f"{name}-{seed}-{content_hash(about)[:12]}"


def exported(sequences: ItemSequences) -> Path:
    """The sequences as the peer reads them."""
    path = SCRATCH / f"{sequences.name}-{sequences.data_hash[:12]}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez_compressed(
            part, item=sequences.item, offsets=sequences.offsets, items=np.array(sequences.items)
        )
        part.replace(path)
    return path


def train(
    name: PeerModel, folder: Path, sequences: ItemSequences, *, epochs: int, seed: int
) -> None:
    """Train up to `epochs` in the peer's environment, from the folder's checkpoint on."""
    config = {"model": name, "settings": SETTINGS[name], "seed": seed}
    text = json.dumps(config | {"epochs": epochs, "every": EVERY}, indent=1)
    atomic_write_text(folder / "config.json", text)
    command = [str(build("rectools")), str(Path(__file__).with_name("_rectools.py"))]
    command += [str(exported(sequences)), str(folder / "config.json"), str(folder)]
    # The allocator keeps its blocks, as for the other peers; padded steps gain from that.
    environment = os.environ | ALLOCATOR | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    environment |= {"PYTHONNOUSERSITE": "1", "PYTHONUNBUFFERED": "1"}
    environment.pop("PYTHONPATH", None)
    with (folder / "log.txt").open("ab") as log:
        subprocess.run(
            command, check=True, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT
        )


if __name__ == "__main__":
    main()
