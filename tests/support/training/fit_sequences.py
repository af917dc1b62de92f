"""Train sequential models, alone or as one of the processes of torchrun.

    [torchrun ...] fit_sequences.py FOLDER

For each name of RUNS: FOLDER/NAME-RANK.json, the result, and of the first process
FOLDER/NAME/final, an artifact of the weights. "cut" is killed in its middle and taken up. At
last, what has to be refused: FOLDER/refused-RANK.json.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from adwright.core.artifacts import save_artifact
from adwright.core.errors import AdwrightError, DataError
from adwright.data.sequences.stochastic_length import StochasticLength
from adwright.models.sequential.hstu import HSTU, HSTUConfig
from adwright.models.sequential.hstu_ranker import HSTURanker, HSTURankerConfig
from adwright.models.sequential.losses import LossConfig
from adwright.training.loop.distributed import process_group, rank
from adwright.training.loop.run_folder import RunFolder
from adwright.training.sequential.fit import SequentialConfig, SequentialResult, fit_sequential
from tests.support.data.small_sequences import small_sequences

DATA = small_sequences(people=41, items=20)
SIZE = {
    "width": 8,
    "max_length": 16,
    "blocks": 1,
    "qk_width": 8,
    "v_width": 8,
    "dropout": 0.0,
    "context": True,
    "kernel": "bucketed",
}
CONFIG = SequentialConfig(epochs=2, batch=14, learning_rate=0.02, clip_norm=0.5)
RUNS = {
    "plain": replace(CONFIG, weight_decay=0.1, stochastic_length=StochasticLength(1.2)),
    "ranker": replace(CONFIG, optimiser="rowwise"),
    "cut": replace(CONFIG, weight_decay=0.1, stochastic_length=StochasticLength(1.2)),
    # Fewer sequences in a batch than processes.
    "few": replace(CONFIG, epochs=1, batch=1, train_on_validation=True),
}


class Stop(Exception):
    pass


def built(name: str) -> HSTU | HSTURanker:
    # Each process begins elsewhere: all of them must take the weights of the first.
    torch.manual_seed(rank())
    sizes = DATA.context_sizes
    if name == "ranker":
        tasks = (("followed", (2,)),)
        config = HSTURankerConfig(**SIZE, actions=3, tasks=tasks)
        return HSTURanker(config, DATA.items, context_sizes=sizes)
    config = HSTUConfig(**SIZE, loss=LossConfig(temperature=0.2))
    return HSTU(config, DATA.items, count=DATA.count, context_sizes=sizes)


def stop(step: int) -> None:
    if step == 4:
        raise Stop


def train(folder: Path, name: str) -> None:
    model, config, run = built(name), RUNS[name], folder / name / "run"
    result: SequentialResult | None = None
    if name == "cut":
        try:
            fit_sequential(model, DATA, config, run, checkpoint_every=2, on_step=stop)
        except Stop:
            model = built(name)
            result = fit_sequential(model, DATA, config, run, checkpoint_every=2, resume=True)
    else:
        result = fit_sequential(model, DATA, config, run)
    text = json.dumps(asdict(result) if result else None)
    (folder / f"{name}-{rank()}.json").write_text(text)
    weights = {key: value.numpy() for key, value in model.state_dict().items()}
    save_artifact(folder / name / f"final-{rank()}", kind="weights", config={}, tensors=weights)


def refused(folder: Path) -> dict[str, str]:
    def failing() -> tuple[float, dict[str, float]]:
        raise DataError("nothing to measure")

    def fit(name: str, config: SequentialConfig) -> None:
        fit_sequential(built(name), DATA, config, folder / name / "run")

    asked: dict[str, Callable[[], object]] = {
        "again": lambda: fit("plain", RUNS["plain"]),
        "seeds": lambda: fit("other", replace(CONFIG, seed=rank())),
        "folders": lambda: fit(f"other-{rank()}", CONFIG),
        "validate": lambda: fit_sequential(built(""), DATA, CONFIG, validate=failing),
        "goal": lambda: fit_sequential(built(""), DATA, CONFIG, validate=lambda: (np.nan, {})),
    }
    said = {}
    for name, act in asked.items():
        try:
            act()
        except AdwrightError as error:
            said[name] = f"{type(error).__name__}: {error}"
    return said


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    folder.mkdir(exist_ok=True)
    with process_group():
        for name in RUNS:
            train(folder, name)
        (folder / f"refused-{rank()}.json").write_text(json.dumps(refused(folder)))


if __name__ == "__main__":
    RunFolder.draw = lambda *_: None  # type: ignore[method-assign]
    main(Path(sys.argv[1]))
    # As in fit_distributed.py.
    sys.stderr.flush()
    os._exit(0)
