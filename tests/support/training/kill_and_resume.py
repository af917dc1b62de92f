"""Train in child processes that are killed by SIGKILL, and resume them until they end.

    python kill_and_resume.py TASK FOLDER

Children are forked, so that torch is imported once; the parent itself starts no thread. No
curves are drawn, since that takes a new process a second and nothing depends on them. Each
scenario leaves FOLDER/NAME/run and FOLDER/NAME/final (an artifact of the weights after fit);
how often its children were killed is printed as JSON.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import torch

from adwright.core import atomic
from adwright.core.artifacts import save_artifact
from adwright.core.errors import ResourceError
from adwright.data.batches.stream import StreamConfig
from adwright.data.tasks.task import Task
from adwright.models.calibration import EmbeddingConfig
from adwright.models.ranking.din import DIN, DINConfig
from adwright.training.loop import run_folder
from adwright.training.ranking.fit import FitConfig, fit

CONFIG = FitConfig(
    epochs=2,
    learning_rate=5e-3,
    embedding_rule="adam",
    decay=0.01,
    validations_per_epoch=2,
    checkpoint_every=2,
    stream=StreamConfig(groups_per_batch=20, rows_per_group=16, window=2, negative_rate=0.7),
)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def train(task_folder: str, folder: Path, on_step: Callable[[int], None]) -> None:
    """Start, or resume where there is a run; the weights at the end go to folder/final."""
    task = Task.open(task_folder)
    resume = (folder / "run" / "config.json").exists()
    # Where the run is resumed, the weights come from the checkpoint alone.
    torch.manual_seed(1 if resume else 0)
    embedding = EmbeddingConfig(width=4)
    config = DINConfig(attention_hidden=8, mlp_hidden=(16, 8), embedding=embedding)
    model = DIN(config, task.spec, task.item_table)
    fit(model, task, CONFIG, folder / "run", resume=resume, on_step=on_step)
    tensors = {name: value.numpy() for name, value in model.state_dict().items()}
    save_artifact(folder / "final", kind="weights", config={}, tensors=tensors)


def in_child(work: Callable[[], None], seconds: float = 600) -> bool:
    """Whether a forked child did `work`; it is killed after `seconds`."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    end = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            break
        time.sleep(0.002)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        sys.exit("a child failed")
    return os.WIFEXITED(status)


def at_batch(number: int) -> Callable[[int], None]:
    return lambda batches: die() if batches == number else None


def nothing(_: int) -> None:
    pass


def patched(module: object, name: str, call: int, *, half: bool = False) -> Callable[[], None]:
    """Die in the `call`-th call of module.name; `half`: with half of the bytes written."""

    def patch() -> None:
        original, calls = getattr(module, name), [0]

        def deadly(*arguments: object, **keywords: object) -> object:
            calls[0] += 1
            if calls[0] == call:
                if half:
                    path, data = arguments
                    original(path, data[: len(data) // 2])  # type: ignore[index]
                die()
            return original(*arguments, **keywords)

        setattr(module, name, deadly)

    return patch


def refusals(task_folder: str, folder: Path) -> int:
    """From batch 7 on no file may be larger than 1,000 bytes; without the limit, resumed."""

    def shrink(batches: int) -> None:
        if batches == 7:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    def work() -> None:
        try:
            train(task_folder, folder, shrink)
        except ResourceError as error:
            if "checkpoint-000000008" in error.where:
                die()

    refused = not in_child(work)
    in_child(lambda: train(task_folder, folder, nothing))
    return int(refused)


def main(task_folder: str, top: Path) -> None:
    def run(name: str, on_step: Callable[[int], None], patch: Callable[[], None]) -> None:
        """Killed once, then resumed."""

        def first() -> None:
            patch()
            train(task_folder, top / name, on_step)

        killed = not in_child(first)
        in_child(lambda: train(task_folder, top / name, nothing))
        counts[name] = int(killed)

    counts: dict[str, int] = {}
    begin = time.monotonic()
    in_child(lambda: train(task_folder, top / "whole", nothing))
    duration = time.monotonic() - begin
    # Before and after checkpoints, at the last batch of a window and of an epoch.
    for number in (1, 6, 12, 19):
        run(f"batch-{number}", at_batch(number), lambda: None)
    # At the start, then in the third checkpoint and around it.
    run("half-start", nothing, patched(Path, "write_bytes", 1, half=True))
    run("half-tensors", nothing, patched(Path, "write_bytes", 3, half=True))
    run("at-rename", nothing, patched(atomic, "_move_into_place", 4))
    run("before-removal", nothing, patched(run_folder.shutil, "rmtree", 2))
    run("before-metrics", nothing, patched(run_folder, "atomic_write_text", 4))
    counts["disk-full"] = refusals(task_folder, top / "disk-full")
    # Again and again, wherever it happens to be.
    generator, kills = random.Random(5), 0
    while not in_child(
        lambda: train(task_folder, top / "random", nothing),
        generator.uniform(0.05, 0.3) * duration if kills < 5 else 600,
    ):
        kills += 1
    counts["random"] = kills
    print(json.dumps(counts))


if __name__ == "__main__":
    torch.set_num_threads(1)
    # Both import much on first use: better once here than in each child.
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    pc.fill_null(pa.array([0]), 0)
    run_folder.RunFolder.draw = lambda *_: None  # type: ignore[method-assign]
    main(sys.argv[1], Path(sys.argv[2]))
