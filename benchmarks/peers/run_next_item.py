"""Fits a peer on training events and answers for many histories; runs in that peer's environment.

    python run_next_item.py implicit DATA.npz OUT.npz SEED
    python run_next_item.py recbole  DATA.npz OUT.npz SEED
    python run_next_item.py rectools-sasrec  DATA.npz OUT.npz SEED    or -esasrec, or -hstu

DATA: train_row, train_item (events in order, items from 0, the rows rising), train_end (how many
events of each row train; those behind it validate), ask_row, ask_item, rows, items, k, unseen, and
for HSTU train_time, in seconds.
OUT: NAME_items int32 [rows, k] of each model, -1 where there are no more; NAME_cpu, the
CPU-seconds of fitting; NAME_note. One thread.

implicit: AlternatingLeastSquares and CosineRecommender with the library's defaults, and the latter
with 100 neighbours; they count training events alone. RecBole: SASRec with the settings of its
SASRec.yaml and overall.yaml and the loss over the whole catalogue. Each user's last event
validates after every epoch, as in its own leave-one-out, and the best epoch answers. It stops
where RecBole stops: ten validations that are no better. RecTools: SASRec, SASRec with LiGR layers
(eSASRec) and HSTU, each with the sampled softmax and the settings that eSASRec's authors chose for
Beauty, or for MovieLens 1M where half of the histories are longer than SHORT. HSTU reads the times
of events, and is asked for the moment of the last one that it is shown. The last event of
each row validates after every epoch, until PATIENCE of them are no better; then a model is fitted
to all events for the epochs found, and answers.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

_EPOCHS, _TOGETHER = 300, 256
SHORT, PATIENCE = 20, 10


def main(peer: str, source: str, out: str, seed: int) -> None:
    """Write what the module says."""
    with np.load(source, allow_pickle=False) as stored:
        data = {name: stored[name] for name in stored.files}
    name, _, model = peer.partition("-")
    match name:
        case "implicit":
            found = implicit(data, seed)
        case "recbole":
            found = sasrec(data, seed)
        case _:
            found = rectools(model, data, seed)
    np.savez(out, **found)


def implicit(data: dict[str, Any], seed: int) -> dict[str, Any]:
    """The answers of implicit's models."""
    from implicit.als import AlternatingLeastSquares
    from implicit.nearest_neighbours import CosineRecommender

    trains = place_in_row(data["train_row"]) < data["train_end"][data["train_row"]]
    train = matrix(data["train_row"][trains], data["train_item"][trains], data)
    asked = matrix(data["ask_row"], data["ask_item"], data, rows=int(data["rows"]))
    models = {
        "als": AlternatingLeastSquares(num_threads=1, use_gpu=False, random_state=seed),
        "item_item_20": CosineRecommender(K=20, num_threads=1),
        "item_item_100": CosineRecommender(K=100, num_threads=1),
    }
    people, found = np.arange(asked.shape[0]), {}
    for name, model in models.items():
        began = time.process_time()
        model.fit(train, show_progress=False)
        more = {"recalculate_user": True} if name == "als" else {}
        ids, _ = model.recommend(
            people,
            asked,
            N=int(data["k"]),
            filter_already_liked_items=bool(data["unseen"]),
            **more,
        )
        found |= {
            f"{name}_items": ids.astype(np.int32),
            f"{name}_cpu": time.process_time() - began,
            f"{name}_note": "",
        }
    return found


def matrix(row: Any, item: Any, data: dict[str, Any], rows: int | None = None) -> Any:
    """How often each row has each item."""
    from scipy.sparse import csr_matrix

    shape = (len(data["train_end"]) if rows is None else rows, int(data["items"]))
    return csr_matrix((np.ones(len(row), np.float32), (row, item)), shape)


def place_in_row(row: Any) -> Any:
    """Of each event, how many of its row lie before it; row: rising."""
    return np.arange(len(row)) - np.searchsorted(row, row)


def sasrec(data: dict[str, Any], seed: int) -> dict[str, Any]:
    """The answers of RecBole's SASRec."""
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    torch.set_num_threads(1)
    # RecBole loads its own checkpoints, which hold more than tensors.
    plain = torch.load
    torch.load = lambda *a, **k: plain(*a, **{**k, "weights_only": False})
    folder = Path(tempfile.mkdtemp(prefix="recbole-"))
    write_atomic(folder / "peer", data)
    config = Config(model="SASRec", dataset="peer", config_dict=settings(folder, seed))
    init_seed(seed, reproducibility=True)
    dataset = create_dataset(config)
    train, valid, _ = data_preparation(config, dataset)
    network = get_model("SASRec")(config, train.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], "SASRec")(config, network)
    began, epochs, best = time.process_time(), 0, 0.0

    def told(epoch: int, score: float) -> None:
        nonlocal epochs, best
        epochs, best = epoch + 1, max(best, float(score))
        print(f"epoch {epochs}: {score:.4f}, {time.process_time() - began:.0f} s", flush=True)

    trainer.fit(train, valid, verbose=False, saved=True, callback_fn=told)
    spent = time.process_time() - began
    network.load_state_dict(torch.load(trainer.saved_model_file)["state_dict"])
    return {
        "sasrec_items": answers(network, dataset, data),
        "sasrec_cpu": spent,
        "sasrec_note": f"{epochs} epochs; validation {best:.4f}",
    }


def settings(folder: Path, seed: int) -> dict[str, Any]:
    """What differs from RecBole's defaults: where the data are, full ranking, one thread."""
    return {
        "data_path": str(folder),
        "checkpoint_dir": str(folder),
        "seed": seed,
        "use_gpu": False,
        "show_progress": False,
        "state": "ERROR",
        "epochs": _EPOCHS,
        "loss_type": "CE",
        "train_neg_sample_args": None,
        "eval_args": {"split": {"LS": "valid_only"}, "order": "TO", "mode": "full"},
        "metrics": ["NDCG", "Recall"],
        "topk": [10],
        "valid_metric": "NDCG@10",
        "eval_batch_size": 1 << 20,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    }


def write_atomic(folder: Path, data: dict[str, Any]) -> None:
    """The events as RecBole's atomic file."""
    folder.mkdir(parents=True)
    with (folder / "peer.inter").open("w") as out:
        out.write("user_id:token\titem_id:token\ttimestamp:float\n")
        place = place_in_row(data["train_row"]).tolist()
        rows = zip(data["train_row"].tolist(), data["train_item"].tolist(), place, strict=True)
        out.writelines(f"{user}\t{item}\t{n}\n" for user, item, n in rows)


def answers(network: Any, dataset: Any, data: dict[str, Any]) -> Any:
    """The k best items of each history that is asked: int32 [rows, k]."""
    import torch
    from recbole.data.interaction import Interaction

    tokens = dataset.field2id_token["item_id"]
    ours = np.array([-1, *(int(token) for token in tokens[1:])])
    theirs = np.zeros(int(data["items"]), np.int64)
    theirs[ours[1:]] = np.arange(1, len(ours))
    longest, rows, k = network.max_seq_length, int(data["rows"]), int(data["k"])
    bounds = np.searchsorted(data["ask_row"], np.arange(rows + 1))
    found = np.full((rows, k), -1, np.int32)
    network.eval()
    for start in range(0, rows, _TOGETHER):
        some = range(start, min(start + _TOGETHER, rows))
        items = np.zeros((len(some), longest), np.int64)
        length, had = np.ones(len(some), np.int64), []
        for n, row in enumerate(some):
            past = theirs[data["ask_item"][bounds[row] : bounds[row + 1]]]
            had.append(past)
            last = past[past > 0][-longest:]
            items[n, : len(last)], length[n] = last, max(len(last), 1)
        asked = Interaction(
            {"item_id_list": torch.from_numpy(items), "item_length": torch.from_numpy(length)}
        )
        with torch.no_grad():
            score = network.full_sort_predict(asked).view(len(some), -1).numpy().copy()
        score[:, 0] = -np.inf
        for n, past in enumerate(had):
            if data["unseen"]:
                score[n, past] = -np.inf
        size = min(k, score.shape[1])
        top = np.argsort(-score, axis=1, kind="stable")[:, :size]
        kept = np.take_along_axis(score, top, 1) > -np.inf
        found[start : some.stop, :size] = np.where(kept, ours[top], -1)
    return found


def rectools(kind: str, data: dict[str, Any], seed: int) -> dict[str, Any]:
    """The answers of one of RecTools' models."""
    import torch

    torch.set_num_threads(1)
    began = time.process_time()
    row, place = data["train_row"], place_in_row(data["train_row"])
    trains = place < data["train_end"][row]
    people = np.arange(int(data["rows"]))
    length = np.bincount(row)
    # Of those who are asked, whose event after the training it is, and whom the model knows.
    held = np.flatnonzero(~trains & (place == data["train_end"][row]) & (row < len(people)))
    held = held[data["train_end"][row[held]] >= 2]
    timed = kind == "hstu"
    known = dataset_of(data, trains, timed=timed)
    whole = dataset_of(data, np.ones(len(row), bool), timed=timed)
    long = float(np.median(length)) > SHORT
    fitted = recommender(kind, seed, long=long)
    best, best_epoch, epoch = 0.0, 0, 0
    while epoch < _EPOCHS and epoch - best_epoch < PATIENCE:
        fitted.fit_partial(known, 1, 1)
        epoch += 1
        shown = shown_by(fitted, known, row[held], data, 10)
        hit = shown == data["train_item"][held][:, None]
        score = float((hit / np.log2(np.arange(10) + 2)).sum(1).mean())
        best, best_epoch = (score, epoch) if score > best else (best, best_epoch)
        print(f"epoch {epoch}: {score:.4f}, {time.process_time() - began:.0f} s", flush=True)
    again = recommender(kind, seed, long=long)
    again.fit_partial(whole, best_epoch, best_epoch)
    key = f"rectools_{kind}"
    return {
        f"{key}_items": shown_by(again, whole, people, data, int(data["k"])),
        f"{key}_cpu": time.process_time() - began,
        f"{key}_note": f"{best_epoch} of {epoch} epochs; validation {best:.4f}",
    }


def dataset_of(data: dict[str, Any], chosen: Any, *, timed: bool) -> Any:
    """RecTools' form of some events: at their times, or with a second between two of a row."""
    import pandas as pd
    from rectools.dataset import Dataset

    place = place_in_row(data["train_row"])
    # A microsecond keeps the order of those at one time.
    seconds = data["train_time"] + place / 1e6 if timed else place
    moment = pd.to_datetime(seconds, unit="s")
    table = {"user_id": data["train_row"], "item_id": data["train_item"], "weight": 1.0}
    return Dataset.construct(pd.DataFrame({**table, "datetime": moment})[chosen])


def recommender(kind: str, seed: int, *, long: bool) -> Any:
    """A new model."""
    from pytorch_lightning import Trainer, seed_everything
    from rectools.models import HSTUModel, SASRecModel
    from rectools.models.nn.item_net import IdEmbeddingsItemNet
    from rectools.models.nn.transformers.ligr import LiGRLayers

    def trainer() -> Any:
        quiet = dict.fromkeys(
            ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
        )
        return Trainer(max_epochs=1, accelerator="cpu", devices=1, **quiet)

    seed_everything(seed, verbose=False)
    more = {"transformer_layers_type": LiGRLayers} if kind == "esasrec" else {}
    return (HSTUModel if kind == "hstu" else SASRecModel)(
        n_blocks=2 if long else 1,
        n_heads=1,
        n_factors=64,
        dropout_rate=0.1 if long else 0.2,
        session_max_len=200 if long else 50,
        loss="sampled_softmax",
        n_negatives=256,
        lr=1e-3,
        batch_size=128,
        item_net_block_types=(IdEmbeddingsItemNet,),
        get_trainer_func=trainer,
        recommend_torch_device="cpu",
        **more,
    )


def shown_by(model: Any, dataset: Any, people: Any, data: dict[str, Any], k: int) -> Any:
    """The k best items of people: int32 [P, k], -1 where there are no more."""
    context = None
    if model.require_recommend_context:
        context = (
            dataset.get_raw_interactions().groupby("user_id", as_index=False)["datetime"].max()
        )
        context = context[context["user_id"].isin(people)]
        context["weight"] = 1.0
    table = model.recommend(people, dataset, k, filter_viewed=bool(data["unseen"]), context=context)
    place = {person: at for at, person in enumerate(people.tolist())}
    found = np.full((len(people), k), -1, np.int32)
    rows = table["user_id"].map(place).to_numpy()
    found[rows, table["rank"].to_numpy() - 1] = table["item_id"].to_numpy()
    return found


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
