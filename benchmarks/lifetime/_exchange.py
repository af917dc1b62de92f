"""Spells as plain arrays for the survival models of other libraries, and their answers.

The peers get what the networks of ours get: numbers (a log where they are skewed, then
standardised; a gap is the mean, and a column says so; none that tells the week alone), categories
as codes, and of the words the frequent ones as columns of 0 and 1. All spells of a task have one
landmark, so their time counts from it and nobody enters late.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adwright.creative.lifetime.spell_table import SpellTable
from adwright.creative.lifetime.survival_fit import clocks_of
from benchmarks.common.result import ROOT
from benchmarks.peers import environments

Floats = NDArray[np.float32]
#: Of run_survival.py, and what each is.
PEERS = {
    "cox": "Cox, lifelines",
    "logistic_hazard": "logistic hazard, pycox",
    "deephit": "DeepHit, pycox",
    "torchsurv": "Cox network, torchsurv",
    "boosting": "boosting on the hazard, scikit-learn",
}
_WORDS, _MIN_COUNT, _SKEWED = 32, 30, 2.0


@dataclass(frozen=True)
class PeerModel:
    """What a peer is built with, as ours is. rates: learning rates, of which the validation spells
    choose. rows: most spells that it is trained on."""

    hidden: tuple[int, ...] = (128, 64)
    width: int = 8
    batch: int = 1024
    epochs: int = 6
    rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    rows: int | None = None


class _Columns:
    """The columns of a table, by what training has."""

    def __init__(self, train: SpellTable) -> None:
        clocks = clocks_of(train)
        self._kept = np.array([name not in clocks for name in train.number_names])
        numbers = train.numbers[:, self._kept]
        with np.errstate(invalid="ignore"):
            mean, spread = np.nanmean(numbers, 0), np.nanstd(numbers, 0)
            skew = np.nanmean(((numbers - mean) / np.maximum(spread, 1e-9)) ** 3, 0)
        self._log = (np.abs(skew) > _SKEWED) & (np.nanmin(numbers, 0) >= 0)
        found = self._even(numbers)
        self._mean, self._spread = np.nanmean(found, 0), np.nanstd(found, 0)
        self._gaps = np.isnan(numbers).any(0)
        self._used = self._spread > 1e-9
        self._codes = [
            _codes(train.categories[:, at], len(texts))
            for at, texts in enumerate(train.category_values)
        ]
        counts = np.bincount(train.words, minlength=len(train.vocabulary))
        self._words = np.argsort(-counts, kind="stable")[:_WORDS]

    @property
    def sizes(self) -> list[int]:
        """Of the codes."""
        return [int(codes.max()) + 1 for codes in self._codes]

    def of(self, table: SpellTable) -> tuple[NDArray[Any], ...]:
        """x, codes, time and event of a part."""
        numbers = table.numbers[:, self._kept]
        found = (self._even(numbers) - self._mean) / np.maximum(self._spread, 1e-9)
        gaps = np.isnan(numbers)[:, self._gaps].astype(np.float32)
        unit = np.repeat(np.arange(len(table)), np.diff(table.offsets))
        place = np.full(len(table.vocabulary), -1)
        place[self._words] = np.arange(len(self._words))
        known = place[table.words]
        words = np.zeros((len(table), len(self._words)), np.float32)
        words[unit[known >= 0], known[known >= 0]] = 1
        x = np.concatenate([np.nan_to_num(found[:, self._used]), gaps, words], 1)
        codes = [own[table.categories[:, at]] for at, own in enumerate(self._codes)]
        since = (table.time - table.entry).astype(np.float32)
        return x.astype(np.float32), np.stack(codes, 1).astype(np.int32), since, table.ended

    def _even(self, numbers: Floats) -> Floats:
        return np.where(self._log, np.log1p(np.maximum(numbers, 0)), numbers)


def _codes(values: NDArray[np.int32], size: int) -> NDArray[np.int64]:
    """From a value, and -1 at the end, to its code: 0 where training has it rarely."""
    counts = np.bincount(values[values >= 0], minlength=size)
    codes = np.zeros(size + 1, np.int64)
    kept = np.flatnonzero(counts >= _MIN_COUNT)
    codes[kept] = np.arange(1, len(kept) + 1)
    return codes


def write_exchange(
    folder: Path,
    parts: dict[str, SpellTable],
    edges: tuple[float, ...],
    model: PeerModel,
) -> None:
    """train.npz, valid.npz, test.npz and meta.json for `run_survival.py`. edges: of the bins, as
    ages of the spells; there they count from the landmark."""
    columns = _Columns(parts["train"])
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in parts.items():
        x, codes, time, event = columns.of(table)
        np.savez(folder / f"{name}.npz", x=x, codes=codes, time=time, event=event)
    meta = {**model.__dict__, "edges": [edge - edges[0] for edge in edges], "sizes": columns.sizes}
    (folder / "meta.json").write_text(json.dumps(meta), "utf-8")


def answers_of(folder: Path, peer: str, seed: int, *, run: bool = True) -> dict[str, Any] | None:
    """What the peer says of the test spells: risk [N], perhaps survival [N, T], and CPU-seconds.
    Kept beside the exchange; None where it is not there and `run` is not set."""
    out = folder / f"{peer}-{seed}"
    if not (out / "result.json").is_file():
        if not run:
            return None
        scratch = out.with_suffix(".part")
        shutil.rmtree(scratch, ignore_errors=True)
        script = ROOT / "benchmarks" / "peers" / "run_survival.py"
        python = environments.build("survival")
        command = [str(python), str(script), str(folder), str(scratch), peer, str(seed)]
        subprocess.run(command, check=True, cwd=folder)  # pycox leaves weights where it runs
        shutil.rmtree(out, ignore_errors=True)
        scratch.rename(out)
    result: dict[str, Any] = json.loads((out / "result.json").read_text("utf-8"))
    with np.load(out / "scores.npz") as scores:
        return result | {name: scores[name] for name in scores.files}
