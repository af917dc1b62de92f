"""Times how a peer recommends to everybody. Runs inside that peer's environment.

    run_recommend.py MODEL HISTORIES K PASSES

HISTORIES is an .npz of user and item, codes from 0, in the order in which things happened.
Prints one line of JSON: users, cpu_seconds (the best pass), passes.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_WIDTH, _BATCH = 64, 512


def main(model: str, path: str, k: str, passes: str) -> None:
    """Time one model."""
    with np.load(path, allow_pickle=False) as stored:
        user, item = stored["user"], stored["item"]
    make = recbole_sasrec if model == "recbole_sasrec" else implicit_model
    call = make(model, user, item, int(k))
    call()
    seconds = []
    for _ in range(int(passes)):
        began = time.process_time()
        call()
        seconds.append(time.process_time() - began)
    users = int(user.max()) + 1
    print(json.dumps({"users": users, "cpu_seconds": min(seconds), "passes": seconds}))


def implicit_model(model: str, user: Any, item: Any, k: int) -> Callable[[], object]:
    """implicit's own recommend() for all users in one call."""
    from implicit.als import AlternatingLeastSquares
    from implicit.nearest_neighbours import CosineRecommender
    from scipy.sparse import csr_matrix

    ones = np.ones(len(user), np.float32)
    taken = csr_matrix((ones, (user, item)))
    if model == "implicit_als":
        found = AlternatingLeastSquares(
            factors=_WIDTH, iterations=2, num_threads=1, use_gpu=False, random_state=0
        )
    else:
        # implicit_item_item has the 20 neighbours that are its default.
        found = CosineRecommender(K=100 if model.endswith("_100") else 20, num_threads=1)
    found.fit(taken, show_progress=False)
    everybody = np.arange(taken.shape[0])
    return lambda: found.recommend(everybody, taken, N=k, filter_already_liked_items=True)


def recbole_sasrec(model: str, user: Any, item: Any, k: int) -> Callable[[], object]:
    """RecBole's full_sort_topk over batches of users; the test item is the last of each."""
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, init_seed
    from recbole.utils.case_study import full_sort_topk

    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix="recommend-"))
    (folder / "peer").mkdir()
    with (folder / "peer" / "peer.inter").open("w") as out:
        out.write("user_id:token\titem_id:token\ttimestamp:float\n")
        rows = zip(user.tolist(), item.tolist(), range(len(user)), strict=True)
        out.writelines(f"{u}\t{i}\t{n}\n" for u, i, n in rows)
    settings = {
        "data_path": str(folder),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "use_gpu": False,
        "show_progress": False,
        "state": "ERROR",
        "MAX_ITEM_LIST_LENGTH": 50,
        "hidden_size": _WIDTH,
        "n_layers": 2,
        "n_heads": 2,
        "loss_type": "CE",
        "train_neg_sample_args": None,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
        "eval_batch_size": _BATCH * 16,
    }
    config = Config(model="SASRec", dataset="peer", config_dict=settings)
    init_seed(0, True)
    dataset = create_dataset(config)
    train, _, test = data_preparation(config, dataset)
    network = get_model("SASRec")(config, train.dataset)
    network.eval()
    users = np.arange(1, dataset.user_num)

    def call() -> None:
        for start in range(0, len(users), _BATCH):
            full_sort_topk(users[start : start + _BATCH], network, test, k=k, device="cpu")

    return call


if __name__ == "__main__":
    main(*sys.argv[1:])
