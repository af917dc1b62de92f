"""Fits the item-item models of implicit and answers for many; runs in implicit's environment.

    python run_implicit.py DATA.npz OUT.npz K

DATA: train_row, train_item (events that the table is counted from), ask_row, ask_item (histories
that are answered for), rows and items (sizes), k (items of an answer), unseen (0 or 1). OUT: for
each model the answers int32 [rows, k], and the CPU-seconds of fitting and of answering all people
in one call. One thread.
"""

from __future__ import annotations

import sys
import time

import implicit
import numpy as np
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender
from scipy.sparse import csr_matrix

MODELS = {"cosine": CosineRecommender, "tfidf": TFIDFRecommender, "bm25": BM25Recommender}


def main(source: str, out: str, neighbours: int) -> None:
    """Write what the module says."""
    with np.load(source, allow_pickle=False) as stored:
        data = {name: stored[name] for name in stored.files}
    items, k, unseen = int(data["items"]), int(data["k"]), bool(data["unseen"])
    train = matrix(data["train_row"], data["train_item"], items)
    asked = matrix(data["ask_row"], data["ask_item"], items, rows=int(data["rows"]))
    people = np.arange(asked.shape[0])
    found: dict[str, object] = {"version": implicit.__version__}
    for name, kind in MODELS.items():
        model = kind(K=neighbours, num_threads=1)
        start = time.process_time()
        model.fit(train, show_progress=False)
        fitted = time.process_time()
        ids, _ = model.recommend(people, asked, N=k, filter_already_liked_items=unseen)
        found |= {
            f"{name}_items": ids.astype(np.int32),
            f"{name}_fit_seconds": fitted - start,
            f"{name}_answer_seconds": time.process_time() - fitted,
        }
    np.savez(out, **found)


def matrix(row: np.ndarray, item: np.ndarray, items: int, *, rows: int | None = None) -> csr_matrix:
    """How often each row has each item."""
    shape = (int(row.max()) + 1 if rows is None else rows, items)
    return csr_matrix((np.ones(len(row), np.float32), (row, item)), shape)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
