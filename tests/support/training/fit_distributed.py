"""Train one epoch, alone or as one of the processes of torchrun.

    [torchrun ...] fit_distributed.py TASK FOLDER NAME...

For each NAME, "sum" or "attention": FOLDER/NAME/run, FOLDER/NAME/final (an artifact of the
weights) and FOLDER/NAME/result. With "-few" at its end: a few batches of one group each, fewer
than there are processes, and no result. At last the first run is begun anew, which is refused:
the error is in FOLDER/again-RANK.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import torch

from adwright.core.artifacts import save_artifact
from adwright.core.errors import AdwrightError
from adwright.data.batches.stream import StreamConfig
from adwright.data.tasks.task import Task
from adwright.models.calibration import EmbeddingConfig
from adwright.models.ranking.din import DIN, DINConfig
from adwright.training.loop.distributed import process_group
from adwright.training.loop.run_folder import RunFolder
from adwright.training.ranking.fit import FitConfig, FitResult, fit


class Stop(Exception):
    pass


def train(task: Task, folder: Path, name: str, rank: int) -> None:
    few = name.endswith("-few")
    stream = StreamConfig(groups_per_batch=1 if few else 10, rows_per_group=16, window=2)

    def stop(batches: int) -> None:
        if few and batches == 8:
            raise Stop

    config = FitConfig(
        epochs=1,
        learning_rate=2e-3,
        decay=0.5,
        validations_per_epoch=2,
        checkpoint_every=10,
        stream=stream,
    )
    # Each process begins elsewhere: all of them must take the weights of the first.
    torch.manual_seed(rank)
    model = DIN(
        DINConfig(
            interest="attention" if name.startswith("attention") else "sum",
            attention_activation="dice",
            attention_hidden=8,
            mlp_hidden=(16, 8),
            embedding=EmbeddingConfig(width=4),
        ),
        task.spec,
        task.item_table,
    )
    result: FitResult | None = None
    with suppress(Stop):
        result = fit(model, task, config, folder / name / "run", on_step=stop)
    if rank == 0:
        tensors = {key: value.numpy() for key, value in model.state_dict().items()}
        save_artifact(folder / name / "final", kind="weights", config={}, tensors=tensors)
        text = json.dumps(result and asdict(result), default=str)
        (folder / name / "result").write_text(text, encoding="utf-8")


def main(task: Task, folder: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    # Drawing takes a new process a second.
    RunFolder.draw = lambda *_: None  # type: ignore[method-assign]
    # One process group for all runs; fit() would start one for itself.
    with process_group():
        rank = int(os.environ.get("RANK", "0"))
        for name in names:
            train(task, folder, name, rank)
        try:
            train(task, folder, names[0], rank)
        except AdwrightError as error:
            (folder / f"again-{rank}").write_text(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(Task.open(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
    # All results are on disk. On a busy machine about one process in twenty is aborted by a
    # thread of the communication library while the interpreter shuts down; leave without that.
    sys.stderr.flush()
    os._exit(0)
