"""What the four peer runners share: reading the exchange folder, measuring, writing the result.

Imported inside the peers' environments, so it needs NumPy and PyArrow only. The exchange folder:

- `train.parquet`, `valid.parquet`, `test.parquet`: label int8, user int32, item int32, further
  int32 context columns and float32 numeric columns (named in meta.json), history_start and
  history_end int64: the row's history is `events[history_start:history_end]`, oldest first.
- `events.npy`: int32 item ids. `items.npz`: one int32 array [n_items] for each side feature.
- `meta.json`: n_users, n_items, side {name: cardinality}, context {name: cardinality},
  numeric [names], max_history. Ids run from 1 to n - 1; 0 is padding.

Letters: N rows, B batch, L padded history length.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from peer_meter import Meter, cpu_seconds

Array = np.ndarray[Any, Any]
# A run stays below 12 GiB: this much for padded histories (above it they stay lazy or are fed in
# pieces), this much for what a training step keeps of a batch, and the rest for the libraries.
DENSE_LIMIT_BYTES = 2 * 2**30
BATCH_LIMIT_BYTES = 6 * 2**30


@dataclass(frozen=True)
class Config:
    """The settings that all peers share; `l2` is c in `mean loss + c * sum(embedding ** 2)`.

    `max_train_rows` and `max_score_rows` bound the rows by `sample_rows`; None takes all.
    """

    embedding_dim: int
    attention_hidden: list[int]
    mlp_hidden: list[int]
    batch_size: int
    epochs: int
    learning_rate: float
    seed: int
    l2: float = 0.0
    threads: int = 1
    max_train_rows: int | None = None
    max_score_rows: int | None = None


@dataclass(frozen=True)
class Meta:
    """meta.json: cardinalities count the padding id 0."""

    n_users: int
    n_items: int
    side: dict[str, int]
    context: dict[str, int]
    numeric: list[str]
    max_history: int


@dataclass(frozen=True)
class Rows:
    """One split as columns [N]; `start` is already cut to the last max_history events."""

    label: Array
    user: Array
    item: Array
    start: Array
    end: Array
    first: Array  # history_start as written, before the cut
    columns: dict[str, Array]  # context and numeric

    def __len__(self) -> int:
        return len(self.label)

    @property
    def lengths(self) -> Array:
        """History length of each row, after the cut, int64 [N]."""
        return self.end - self.start


@dataclass(frozen=True)
class Folder:
    """An opened exchange folder; `events` is mapped, not read."""

    path: Path
    meta: Meta
    events: Array
    side: dict[str, Array]

    def item_columns(self) -> dict[str, Array]:
        """Item id and side features as lookups [n_items], the item id first."""
        return {"item": np.arange(self.meta.n_items, dtype=np.int32), **self.side}


@dataclass(frozen=True)
class Histories:
    """Padded histories of one item column, built when asked: events first, then zeros.

    Indexing by a row number gives int32 [L]; `batch` gives int32 [B, L].
    """

    events: Array
    lookup: Array
    start: Array
    end: Array
    width: int

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, row: int) -> Array:
        padded = np.zeros(self.width, dtype=np.int32)
        start, end = self.start[row], self.end[row]
        padded[: end - start] = self.lookup[self.events[start:end]]
        return padded

    def batch(self, rows: Array) -> Array:
        """Histories of `rows` [B], int32 [B, L]."""
        offsets = self.start[rows][:, None] + np.arange(self.width)[None, :]
        inside = offsets < self.end[rows][:, None]
        offsets[~inside] = 0
        found = self.lookup[self.events[offsets]] if len(self.events) else offsets
        return np.where(inside, found, 0).astype(np.int32)

    def dense(self, rows: Array | None = None, *, dtype: type = np.int32) -> Array:
        """Histories of `rows` (default all) in memory, [N, L], filled in pieces."""
        chosen = np.arange(len(self)) if rows is None else rows
        padded = np.empty((len(chosen), self.width), dtype=dtype)
        for begin in range(0, len(chosen), 4096):
            padded[begin : begin + 4096] = self.batch(chosen[begin : begin + 4096])
        return padded


@dataclass(frozen=True)
class Job:
    """What a runner gets: the data, the settings, where to write and what to measure with."""

    folder: Folder
    config: Config
    out: Path
    meter: Meter

    def rows(self, split: str) -> Rows:
        """Rows of `train` or `test`, bounded by the config."""
        config = self.config
        limit = config.max_train_rows if split == "train" else config.max_score_rows
        return read_rows(self.folder, split, limit=limit, seed=config.seed)

    def batch_size(self, width: int, *, units: int, keeps: int) -> int:
        """The batch size asked for, or what fits in BATCH_LIMIT_BYTES if that is less.

        A padded attention unit keeps about 10 floats for each number of its key and `keeps` for
        each of its hidden numbers, at each of the B * L positions; `units` is how many units there
        are, each with the keys' width divided by it. `keeps` was measured for each library.
        """
        keys = self.config.embedding_dim * (1 + len(self.folder.meta.side))
        floats = 10 * keys + keeps * units * sum(self.config.attention_hidden)
        return max(2, min(self.config.batch_size, BATCH_LIMIT_BYTES // (4 * floats * width)))

    def loader_seconds(self, loader: Any, batches: int = 100) -> float:
        """CPU seconds that one epoch of `loader` takes without a model, from its first batches."""
        began = cpu_seconds()
        done = sum(1 for _ in islice(iter(loader), batches))
        return (cpu_seconds() - began) / max(done, 1) * len(loader)


def sample_rows(count: int, limit: int | None, seed: int) -> Array:
    """Row numbers that a bound of `limit` leaves of `count`: seeded, without repeats, ascending.

    Whoever compares with a bounded peer must use the same rows.
    """
    if limit is None or limit >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, limit, replace=False))


def open_folder(path: Path) -> Folder:
    """Open an exchange folder. Raises FileNotFoundError or KeyError where a part is missing."""
    raw = json.loads((path / "meta.json").read_text(encoding="utf-8"))
    meta = Meta(
        n_users=raw["n_users"],
        n_items=raw["n_items"],
        side=raw["side"],
        context=raw["context"],
        numeric=raw["numeric"],
        max_history=raw["max_history"],
    )
    with np.load(path / "items.npz", allow_pickle=False) as stored:
        side = {name: stored[name] for name in meta.side}
    events = np.load(path / "events.npy", mmap_mode="r", allow_pickle=False)
    return Folder(path, meta, events, side)


def read_rows(folder: Folder, split: str, *, limit: int | None, seed: int) -> Rows:
    """Read one split, bounded by `sample_rows`, with histories cut to the last max_history."""
    table = pq.read_table(folder.path / f"{split}.parquet")
    if limit is not None and limit < table.num_rows:
        table = table.take(sample_rows(table.num_rows, limit, seed))
    columns = {name: table[name].to_numpy() for name in table.column_names}
    first, end = columns.pop("history_start"), columns.pop("history_end")
    start = np.maximum(first, end - folder.meta.max_history)
    label, user, item = (columns.pop(name) for name in ("label", "user", "item"))
    wanted = [*folder.meta.context, *folder.meta.numeric]
    return Rows(label, user, item, start, end, first, {name: columns[name] for name in wanted})


def histories(folder: Folder, rows: Rows, lookup: Array, width: int) -> Histories:
    """The padded histories of `rows`, each event replaced by `lookup[event]`."""
    return Histories(folder.events, lookup, rows.start, rows.end, width)


def without_lonely_row(rows: Rows, batch: int) -> Rows:
    """`rows` less the last, where that would be alone in its batch.

    Batch normalisation, which three of the four peers use, cannot train on one row.
    """
    return _take(rows, np.arange(len(rows) - 1)) if len(rows) % batch == 1 else rows


def padded_width(*parts: Rows) -> int:
    """L: the longest history of any row given, at least 1."""
    return max(1, *(int(rows.lengths.max(initial=0)) for rows in parts))


def dense_bytes(rows: int, width: int, columns: int, item_size: int) -> int:
    """Bytes of `columns` padded histories of `rows` rows."""
    return rows * width * columns * item_size


def bucket_edges(values: Array, buckets: int = 20) -> Array:
    """Inner quantile edges of `values`, for peers that take no numeric column."""
    return np.unique(np.quantile(values, np.linspace(0, 1, buckets + 1)[1:-1]))


def bucket_ids(values: Array, edges: Array) -> Array:
    """Bucket of each value, int32 from 1 to len(edges) + 1."""
    return (np.searchsorted(edges, values, side="right") + 1).astype(np.int32)


def auc(label: Array, score: Array) -> float:
    """Area under the ROC curve; ties count one half. NaN where one class is missing."""
    _, inverse, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[inverse]
    positive = label > 0
    n, m = int(positive.sum()), int((~positive).sum())
    if n == 0 or m == 0:
        return float("nan")
    return float((rank[positive].sum() - n * (n + 1) / 2) / (n * m))


def main(
    peer: str,
    packages: Sequence[str],
    notes: dict[str, str],
    run: Callable[[Job], tuple[Array, dict[str, Any]]],
) -> None:
    """Command line of a runner: `--data FOLDER --config FILE --out FOLDER`.

    `run` uses the phases preprocess, train and score of the job's meter and returns the scores
    float [N] of the test rows and further keys for result.json: train_rows, batch_size (the one
    used), padded_width and loader_cpu_seconds_per_epoch (None where it cannot be told apart).
    """
    parser = argparse.ArgumentParser(description=f"Train and score the DIN of {peer}.")
    for name in ("data", "config", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    arguments = parser.parse_args()
    raw = json.loads(arguments.config.read_text(encoding="utf-8"))
    out: Path = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    job = Job(open_folder(arguments.data.resolve()), Config(**raw), out, Meter())
    scores, further = run(job)
    test = job.rows("test")
    scores = np.asarray(scores, dtype=np.float32).reshape(-1)
    if scores.shape != test.label.shape or not np.isfinite(scores).all():
        raise ValueError(f"{peer} gave {scores.shape} scores for {len(test)} rows, or not finite")
    np.save(out / "scores.npy", scores)
    result = _figures(job, further["train_rows"], len(test))
    result |= {"peer": peer, "auc": auc(test.label, scores), "config": asdict(job.config)}
    result |= {"versions": _versions(packages), "notes": notes, **further}
    shutil.rmtree(out / "data", ignore_errors=True)  # the library's own copy of the rows
    temporary = out / "result.json.part"
    temporary.write_text(json.dumps(result, indent=2), encoding="utf-8")
    temporary.replace(out / "result.json")


def _figures(job: Job, train_rows: int, score_rows: int) -> dict[str, Any]:
    seen = job.meter.figures
    train, score = seen["train"], seen["score"]
    return {
        "train_rows": train_rows,
        "epochs": job.config.epochs,
        "train_cpu_seconds": train["cpu"],
        "train_system_seconds": train["system"],
        "train_wall_seconds": train["wall"],
        "train_rows_per_cpu_second": train_rows * job.config.epochs / max(train["cpu"], 1e-9),
        "score_rows": score_rows,
        "score_cpu_seconds": score["cpu"],
        "score_system_seconds": score["system"],
        "score_wall_seconds": score["wall"],
        "score_rows_per_cpu_second": score_rows / max(score["cpu"], 1e-9),
        "preprocess_cpu_seconds": seen["preprocess"]["cpu"],
        "peak_rss_bytes": {name: int(figures["rss"]) for name, figures in seen.items()},
    }


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {name: importlib.metadata.version(name) for name in ("torch", "numpy", *packages)}
    return {"python": platform.python_version(), **found}


def _take(rows: Rows, chosen: Array) -> Rows:
    columns = {name: values[chosen] for name, values in rows.columns.items()}
    parts = (rows.label, rows.user, rows.item, rows.start, rows.end, rows.first)
    return Rows(*(part[chosen] for part in parts), columns)
