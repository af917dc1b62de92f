"""Creatives as plain arrays for AutoInt of DeepCTR-Torch, and what it says of them.

The peer gets what is known of an ad before it runs: the words of headline and text by hash, six
categories of how they are written, and the vectors of headline, lede and excerpt, which enter its
deep branch and its linear part as numbers, as AdSEE's click rate predictor has it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from benchmarks.common.result import ROOT
from benchmarks.creative._clickrate_cells import SCRATCH, Answer, Cell, Task, log_rates
from benchmarks.peers import environments

Whole = NDArray[np.int64]
#: Places of hashed words, and how many of a headline and of the other text are read.
PLACES, TITLE_WORDS, TEXT_WORDS = 8192, 24, 64
_SETTINGS: dict[str, Any] = {
    "width": 8,
    "heads": 2,
    "layers": 3,
    "hidden": [256, 128],
    "batch": 256,
    "epochs": 18,
    "patience": 3,
    "rates": [1e-4, 1e-3],
    "l2": 1e-5,
}
PEER_KEY = json.dumps(_SETTINGS, sort_keys=True)
_WORD = re.compile(r"\w+")


def hashed_words(texts: Sequence[str], most: int) -> NDArray[np.int32]:
    """int32 [N, most]: the first words of each text as places from 1 on; 0 where it has ended."""
    made = np.zeros((len(texts), most), np.int32)
    for row, text in enumerate(texts):
        words = _WORD.findall(text.lower())[:most]
        made[row, : len(words)] = [crc32(word.encode()) % (PLACES - 1) + 1 for word in words]
    return made


def codes_of(titles: Sequence[str], texts: Sequence[str]) -> tuple[NDArray[np.int32], list[int]]:
    """int32 [N, 6] and the size of each: words of the headline and of the text in steps, and
    whether the headline asks, exclaims, quotes or has a digit."""
    steps = [[len(_WORD.findall(text)) for text in side] for side in (titles, texts)]
    columns = [np.minimum(steps[0], 31), np.minimum(np.array(steps[1]) // 8, 31)]
    for signs in ("?", "!", "'\"“‘", "0123456789"):
        columns.append(np.array([any(sign in title for sign in signs) for title in titles]))
    return np.stack(columns, 1).astype(np.int32), [32, 32, 2, 2, 2, 2]


def autoint(
    task: Task,
    cell: Cell,
    parts: Mapping[str, Whole],
    vectors: NDArray[np.float32],
    slots: Sequence[Sequence[str]],
) -> Answer:
    """Train on the rows `train`, end by the rows `valid`, answer for `test`, in the environment of
    the peer. vectors: float32 [N, 3, 384]. slots: headline, lede and excerpt of each."""
    texts = [" ".join(pair) for pair in zip(*slots[1:], strict=True)]
    codes, sizes = codes_of(slots[0], texts)
    y = log_rates(task.outcomes)
    known = y[parts["train"]]
    folder = SCRATCH / "peer" / f"{cell.seed}-{cell.part}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    fields = {
        "title": hashed_words(slots[0], TITLE_WORDS),
        "text": hashed_words(texts, TEXT_WORDS),
        "codes": codes,
        "vectors": vectors.reshape(len(vectors), -1),
        "y": ((y - known.mean()) / known.std()).astype(np.float32),
    }
    for name, rows in parts.items():
        np.savez(folder / f"{name}.npz", **{key: value[rows] for key, value in fields.items()})
    meta = _SETTINGS | {"places": PLACES, "sizes": sizes, "seed": cell.seed}
    (folder / "meta.json").write_text(json.dumps(meta), "utf-8")
    python = environments.build("deepctr")
    script = ROOT / "benchmarks" / "peers" / "run_autoint.py"
    subprocess.run([str(python), str(script), str(folder)], check=True, cwd=folder)
    result = json.loads((folder / "result.json").read_text("utf-8"))
    logs = np.load(folder / "scores.npy").astype(np.float64) * known.std() + known.mean()
    learnt = np.load(folder / "train.npy").astype(np.float64) * known.std() + known.mean()
    some = task.outcomes.take(parts["train"])
    level = np.log(some.clicks.sum() / (some.impressions @ np.exp(learnt)))
    shutil.rmtree(folder)
    return Answer(np.exp(logs + level), result["train_seconds"], result["score_seconds"])
