"""The three data sets of recall, and the rows of them that each system is measured on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adwright.core.assets import cache_folder
from adwright.core.hashing import sha256_file
from adwright.creative.memory.block_ridge import AdBlocks, BlockConfig, group_folds
from adwright.creative.memory.outcomes import RecallTable, read_recall
from adwright.creative.records.encoders import VectorStore

FILES: Mapping[str, str] = {
    "slogans": "slogans/slogans.csv",
    "ads": "lambda/ads.jsonl",
    "sentences": "sentences/sentences.csv",
}
PARTS = tuple(FILES)
FOLDS = 5
#: So many sentences, drawn once, are what a language model is tuned on and asked.
SENTENCES_READ = 300


def _path(part: str) -> Path:
    home = os.environ.get("ADWRIGHT_DATA")
    if not home:
        raise SystemExit("set ADWRIGHT_DATA to the folder with slogans/, lambda/ and sentences/")
    return Path(home) / FILES[part]


@cache
def table_of(part: str) -> RecallTable:
    """The ads of a part with their scores."""
    return read_recall(_path(part))


@cache
def blocks_of(part: str) -> Mapping[str, NDArray[np.float32]]:
    """What the encoder form reads of them; vectors are kept in the cache folder."""
    store = VectorStore(cache_folder() / "bench" / "memorability" / "vectors", shard=128)
    encoders = AdBlocks(BlockConfig(), store)
    found = encoders.of(table_of(part).records)
    encoders.close()
    return found


def folds_of(part: str, seed: int) -> NDArray[np.int64]:
    """Fold of each row, whole brands in one; sentences are each by itself."""
    return group_folds(table_of(part).groups, FOLDS, seed=seed)


def read_rows(part: str) -> NDArray[np.int64]:
    """The rows that language models are asked about."""
    rows = len(table_of(part))
    if part != "sentences":
        return np.arange(rows)
    return np.sort(np.random.default_rng(0).permutation(rows)[:SENTENCES_READ])


def data_hash() -> str:
    """Of the three files."""
    return " ".join(sha256_file(_path(part))[:16] for part in PARTS)
