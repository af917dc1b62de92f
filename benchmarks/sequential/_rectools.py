"""Trains and ranks one model of RecTools; runs inside that peer's environment.

    python _rectools.py DATA.npz CONFIG.json OUT

DATA: item int64 [E] (codes from 1), offsets int64 [U + 1], items. CONFIG: see _peers.py.
Its own path: `Dataset.construct` on events with artificial times (their order is all that is
read), `fit_partial` an epoch at a time, Lightning's checkpoint in between. Every few epochs each
person's last event is ranked among all items; OUT holds what was measured so far.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.callbacks import LambdaCallback
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import HSTUModel, SASRecModel
from rectools.models.nn.item_net import IdEmbeddingsItemNet

MODELS = {"hstu": HSTUModel, "sasrec": SASRecModel}
PACKAGES = ("rectools", "torch", "pytorch-lightning", "numpy", "pandas")


def main(data: Path, config: dict[str, Any], out: Path) -> None:
    """Train up to config["epochs"], from the last checkpoint on where there is one."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    with np.load(data, allow_pickle=False) as stored:
        item, offsets, items = stored["item"], stored["offsets"], int(stored["items"])
    known = events(item, offsets)
    state, ranks = read(out)
    model = opened(config, out, state["epochs"]) if state["epochs"] else made(config)
    clock: list[float] = []
    trainer = model.fit_trainer if state["epochs"] else model._trainer
    # A function is not copied with the trainer, so that the list stays ours.
    trainer.callbacks += [
        LambdaCallback(
            on_train_epoch_start=lambda *_: clock.append(cpu_seconds()),
            on_train_epoch_end=lambda *_: clock.append(cpu_seconds()),
        )
    ]
    while state["epochs"] < config["epochs"]:
        # Seeded anew each epoch, so that a run that was cut off ends with the same numbers.
        seed_everything(config["seed"] + state["epochs"], verbose=False)
        model.fit_partial(known, 1, 1)
        state["epochs"] += 1
        state["epoch_seconds"].append(clock[-1] - clock[-2])
        state["peak_bytes"] = max(state["peak_bytes"], peak_bytes())
        line = f"epoch {state['epochs']}: {state['epoch_seconds'][-1]:.1f} CPU-s"
        if state["epochs"] % config["every"] == 0 or state["epochs"] == config["epochs"]:
            start = cpu_seconds()
            places = ranked(model, known, item, offsets, items)
            state["rank_seconds"] = cpu_seconds() - start
            ranks[str(state["epochs"])] = places
            line += f", HR@10 {np.mean(places <= 10):.4f}"
        state["versions"] = {name: version(name) for name in PACKAGES}
        write(out, model, state, ranks)
        print(line)


def events(item: np.ndarray[Any, Any], offsets: np.ndarray[Any, Any]) -> Dataset:
    """Everything but the last event of each person; a second lies between two events."""
    length = np.diff(offsets)
    person = np.repeat(np.arange(len(length)), length)
    place = np.arange(len(item)) - offsets[person]
    table = pd.DataFrame(
        {
            Columns.User: person,
            Columns.Item: item,
            Columns.Weight: 1.0,
            Columns.Datetime: pd.to_datetime(place, unit="s"),
        }
    )
    return Dataset.construct(table[place < length[person] - 1])


def made(config: dict[str, Any]) -> Any:
    """A new model."""
    seed_everything(config["seed"], verbose=False)
    return MODELS[config["model"]](
        item_net_block_types=(IdEmbeddingsItemNet,),
        get_trainer_func=trainer_of,
        get_trainer_func_kwargs={"epochs": 0},
        **config["settings"],
    )


def trainer_of(epochs: int) -> Trainer:
    """Their default trainer, on the processor and silent; fit_partial sets its own epochs."""
    return Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def opened(config: dict[str, Any], out: Path, epochs: int) -> Any:
    """The model of the last checkpoint, with its optimiser's state."""
    done = {"get_trainer_func_kwargs.epochs": epochs}
    return MODELS[config["model"]].load_from_checkpoint(
        out / "model.ckpt", model_params_update=done
    )


def ranked(
    model: Any,
    known: Dataset,
    item: np.ndarray[Any, Any],
    offsets: np.ndarray[Any, Any],
    items: int,
) -> np.ndarray[Any, Any]:
    """int64 [U], the place of each person's last event among all items less those they had.

    An item outside of all training windows has no vector, and stands behind those that have
    one; ties in the order of the codes.
    """
    scores = scored(model, known, len(offsets) - 1, items)
    target = item[offsets[1:] - 1] - 1
    places = np.empty(len(target), dtype=np.int64)
    for person, one in enumerate(target):
        row = scores[person]
        had = item[offsets[person] : offsets[person + 1] - 1] - 1
        row[had] = np.nan
        own = row[one]
        if np.isnan(own):
            raise ValueError(f"person {person} had the target before, so it is no candidate")
        places[person] = 1 + (row > own).sum() + (row[:one] == own).sum()
    return places


def scored(model: Any, known: Dataset, people: int, items: int) -> np.ndarray[Any, Any]:
    """float32 [U, N], what their `recommend` ranks by; -inf for an item without a vector."""
    asked = model.data_preparator.transform_dataset_u2i(known, np.arange(people))
    loader = model.data_preparator.get_dataloader_recommend(asked, model.recommend_batch_size)
    users, vectors = model.lightning_model._get_user_item_embeddings(loader, "cpu")
    with torch.no_grad():
        found = model.torch_model.similarity_module(users, vectors).numpy()
    codes = model.data_preparator.get_known_item_ids().astype(np.int64)
    inside = model.data_preparator.get_known_items_sorted_internal_ids()
    person = asked.user_id_map.external_ids.astype(np.int64)
    scores = np.full((people, items), -np.inf, dtype=np.float32)
    scores[person[:, None], codes[None] - 1] = found[:, inside]
    return scores


def read(out: Path) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """What was measured before, and the ranks by epoch."""
    if not (out / "state.json").exists():
        return {"epochs": 0, "epoch_seconds": [], "peak_bytes": 0}, {}
    state = json.loads((out / "state.json").read_text(encoding="utf-8"))
    with np.load(out / "ranks.npz", allow_pickle=False) as stored:
        return state, dict(stored)


def write(out: Path, model: Any, state: dict[str, Any], ranks: dict[str, Any]) -> None:
    """The checkpoint, then the measures; state.json last, it says what counts."""
    model.fit_trainer.save_checkpoint(out / "model.part")
    np.savez_compressed(out / "ranks.part.npz", **ranks)
    (out / "state.part").write_text(json.dumps(state), encoding="utf-8")
    (out / "model.part").replace(out / "model.ckpt")
    (out / "ranks.part.npz").replace(out / "ranks.npz")
    (out / "state.part").replace(out / "state.json")


def cpu_seconds() -> float:
    """CPU-seconds of this process, user and system."""
    return time.process_time()


def peak_bytes() -> int:
    """The most memory that this process held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    source, settings, target = (Path(argument) for argument in sys.argv[1:])
    main(source, json.loads(settings.read_text(encoding="utf-8")), target)
