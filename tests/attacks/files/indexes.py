"""Indexes whose bytes were altered under a valid manifest: refused, or searched in peace."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from adwright.core.artifacts import TENSORS, load_artifact, save_artifact
from adwright.core.errors import ArtifactError
from adwright.delivery.index.index import FaissConfig, IndexConfig, build_index
from adwright.delivery.index.index import load_index as load
from tests.attacks.attack import Area, Attack
from tests.attacks.files.forging import forge

N, D, K = 400, 8, 5
KINDS: dict[str, IndexConfig] = {
    **{
        name: FaissConfig(name, lists=4, exact_below=0)
        for name in ("ivf_fast", "ivf_flat", "hnsw", "hnsw_int8")
    }
}
Alter = Callable[[Path, int], object]


def flipped(start: float, end: float, bits: int) -> Alter:
    """So many bits of a stretch of the tensor file, by a seed."""

    def alter(folder: Path, seed: int) -> None:
        data = bytearray((folder / TENSORS).read_bytes())
        rng = np.random.default_rng(seed)
        for place in rng.integers(int(start * len(data)), int(end * len(data)), bits):
            data[place] ^= 1 << int(rng.integers(8))
        forge(folder, TENSORS, bytes(data))

    return alter


def replaced(**changes: Any) -> Alter:
    """Settings, or arrays where they are callables of the array and the generator."""

    def alter(folder: Path, seed: int) -> None:
        saved, rng = load_artifact(folder), np.random.default_rng(seed)
        config, tensors = dict(saved.config), dict(saved.tensors)
        for name, value in changes.items():
            if callable(value):
                tensors[name] = value(tensors.get(name), rng)
            else:
                config[name] = value
        save_artifact(folder, kind=saved.kind, config=config, tensors=tensors, overwrite=True)

    return alter


def some_large(vectors: Any, rng: Any) -> Any:
    return np.where(rng.random(vectors.shape) < 0.1, np.float32(9e14), vectors)


def shuffled(ids: Any, rng: Any) -> Any:
    return np.where(rng.random(ids.shape) < 0.5, -1, ids)


#: What earlier versions stored, and gave to the native library as it was.
OLD = "structure.bytes"
ALTERED: dict[str, Alter] = {
    "a bit of the header": flipped(0, 0.005, 1),
    "two bits of the ids": flipped(0.02, 0.2, 2),
    "two bits of the vectors": flipped(0.3, 1, 2),
    "200 bits of everything": flipped(0.01, 1, 200),
    "a third of the bits of the vectors": flipped(0.3, 1, 40_000),
    "half of the ids dead": replaced(ids=shuffled),
    "ids twice": replaced(ids=lambda ids, _: ids // 2),
    "vectors of 9e14": replaced(vectors=some_large),
    "equal vectors": replaced(vectors=lambda vectors, _: np.zeros_like(vectors)),
    "a structure of 300 vectors": replaced(built=300),
    "a structure of one vector": replaced(built=1),
    "links of 2^30": replaced(links=2**30),
    "more threads than there are": replaced(threads=2**31),
    "a structure of noise": replaced(**{OLD: lambda _, rng: rng.integers(0, 256, 9999, np.uint8)}),
}


def attack(kind: str, seed: int, what: str, alter: Alter) -> Attack:
    def run(shared: Path) -> None:
        whole = shared / kind
        vectors = np.random.default_rng(0).standard_normal((N, D), np.float32)
        if not whole.exists():
            made = build_index(KINDS[kind], D)
            made.add(np.arange(N), vectors)
            made.save(whole)
        folder = shared / "altered"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        alter(folder, seed)
        try:
            index = load(folder)
        except ArtifactError:
            return
        found = index.search(vectors[:50], K)
        ids = load_artifact(folder).tensors["ids"]
        assert np.isin(found.ids[found.ids >= 0], ids).all(), "an id that is not there"

    return Attack(f"{kind}: {what}", run, quick=seed % 3 == 0)


ATTACKS = [
    attack(kind, seed, what, alter)
    for kind in KINDS
    for seed, (what, alter) in enumerate(ALTERED.items())
]
AREAS = [Area("indexes", ATTACKS)]
