"""CPU-seconds of an epoch of ML-1M, of our models and RecTools' in turns on one machine.

Trainings of days were made on whatever machine there was and beside other work, so their own
seconds cannot be compared. Here each model trains one epoch, one after the other on one thread,
and again; the least counts. What was found lies beside the results, with the machine.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from adwright.core.atomic import atomic_write_text
from adwright.data.sequences.item_sequences import ItemSequences
from adwright.training.sequential.fit import fit_sequential
from benchmarks.common.result import machine
from benchmarks.sequential import _peers as rectools
from benchmarks.sequential._ml1m import MODELS
from benchmarks.sequential._runs import KEPT, Variant, build

FILE = KEPT / "pace.json"
ROUNDS = 2
PACE = (
    "CPU-seconds an epoch: each model, RecTools' too, trained one epoch on one thread, in turns "
    "on one machine, the least of two rounds; ratios of whole trainings are of these times epochs."
)


def take_pace(sequences: ItemSequences, only: str | None = None) -> None:
    """Train an epoch of each model, or of `only`, ROUNDS times, and write what it took."""
    asked: dict[str, Callable[[], float]] = {}
    for name, choice in MODELS.items():
        variant = choice.variant(choice.candidates[0], final=True)
        asked[choice.about] = partial(_ours, variant, sequences)
        if only not in (None, name):
            del asked[choice.about]
    if only is None:
        title = rectools.title("hstu")
        asked[title] = partial(_theirs, "hstu", sequences)
    found: dict[str, list[float]] = {about: [] for about in asked}
    for number in range(ROUNDS):
        for about, measure in asked.items():
            found[about].append(measure())
            print(f"round {number + 1}, {about}: {found[about][-1]:.1f} CPU-s", flush=True)
    if only is None:
        atomic_write_text(FILE, json.dumps({"machine": machine(), "rounds": found}, indent=1))


def paced(rows: list[dict[str, Any]], figures: dict[str, Any]) -> None:
    """Put what was measured in the place of the trainings' own seconds, in rows and figures."""
    if not FILE.exists():
        return
    rounds: Mapping[str, list[float]] = json.loads(FILE.read_text("utf-8"))["rounds"]
    whole = {}
    for row in rows:
        if row["model"] not in rounds:
            continue
        seconds = min(rounds[row["model"]])
        if row["data"] == "ml1m":
            row["seconds_epoch"] = seconds
            whole[row["model"]] = seconds * row["epochs"]
        if row["data"] == "ml1m-valid":
            row["curve"] = [[e, round(e * seconds / 3600, 3), goal] for e, _, goal in row["curve"]]
    peer = rectools.title("hstu")
    figures["rectools_cpu_seconds_epoch"] = min(rounds[peer])
    for name, choice in MODELS.items():
        if choice.about not in whole:
            continue
        figures[f"ml1m_{name}_cpu_seconds_epoch"] = min(rounds[choice.about])
        if peer in whole:
            key = f"ml1m_{name}_minus_rectools"
            figures[f"{key}_speed_ratio"] = min(rounds[peer]) / min(rounds[choice.about])
            figures[f"{key}_total_cpu_ratio"] = whole[peer] / whole[choice.about]


def _ours(variant: Variant, sequences: ItemSequences) -> float:
    """CPU-seconds an epoch of a new model; the first step, which compiles, is left out."""
    model = build(variant.model, sequences, 0)
    marks: list[float] = []
    fit = replace(variant.fit, epochs=1)
    fit_sequential(model, sequences, fit, on_step=lambda _: marks.append(time.process_time()))
    return (marks[-1] - marks[0]) * len(marks) / (len(marks) - 1)


def _theirs(name: rectools.PeerModel, sequences: ItemSequences) -> float:
    """CPU-seconds of a first epoch in the peer's environment, its ranking left out."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        rectools.train(name, path, sequences, epochs=1, seed=0)
        state = json.loads((path / "state.json").read_text("utf-8"))
    return float(state["epoch_seconds"][0])
