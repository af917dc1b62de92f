"""Disks that are full: what does not fit is refused, and what was there stays."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.assets import asset, pins
from adwright.core.atomic import atomic_write_bytes
from adwright.core.errors import ResourceError
from adwright.data.sources.tables import write_events
from tests.attacks.attack import Area, Attack, scratch_folder
from tests.attacks.files.assets import fresh, pinned, wheel_of


@contextmanager
def full_disk() -> Iterator[Path]:
    """A file system of 24 MB in memory; mounting needs root."""
    with scratch_folder() as scratch:
        line = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(scratch)]
        subprocess.run(line, check=True, capture_output=True)
        try:
            yield scratch
        finally:
            subprocess.run(["umount", "--lazy", str(scratch)], check=True)


def filling(
    write: Callable[[Path], object], keeps: Callable[[Path], object]
) -> Callable[[Path], None]:
    """What does not fit is refused in plain words, leaves nothing, and harms nothing."""

    def run(disk: Path) -> None:
        folder = fresh(disk)
        folder.mkdir()
        try:
            keeps(folder)
            before = sorted(one.name for one in folder.rglob("*"))
            try:
                write(folder)
            except ResourceError as error:
                if "the disk is full" not in str(error):
                    raise
            else:
                raise AssertionError("so much cannot have been written")
            assert sorted(one.name for one in folder.rglob("*")) == before
        finally:
            shutil.rmtree(folder)

    return run


def artifact(folder: Path, megabytes: int) -> None:
    tensors = {"w": np.random.default_rng(0).random(megabytes << 17)}
    save_artifact(folder / "model", kind="x", config={}, tensors=tensors, overwrite=True)


def small_artifact(folder: Path) -> None:
    artifact(folder, 1)
    assert load_artifact(folder / "model").tensors["w"].nbytes == 1 << 20


def events(folder: Path, number: int) -> None:
    rng = np.random.default_rng(0)
    table = pl.select(event_id=pl.int_range(number)).select(
        event_id=pl.Series(rng.integers(0, 1 << 62, number)).cast(pl.String)
        + pl.Series(rng.integers(0, 1 << 62, number)).cast(pl.String),
        time=pl.lit(datetime(2024, 1, 1, tzinfo=UTC)),
        **{name: pl.lit("a") for name in ("request_id", "user_id", "item_id")},
        kind=pl.lit("view"),
    )
    write_events(folder / "log.parquet", table)


def checkpoint(folder: Path, megabytes: int) -> None:
    import torch

    from adwright.training.loop.run_folder import RunFolder, RunPosition

    run = RunFolder(folder / "run", {"data_hash": ""}, "x")
    tensors = {"w": torch.rand(megabytes << 18)}
    run.save(RunPosition(steps=megabytes), {}, tensors)


def large_wheel(folder: Path) -> None:
    data = np.random.default_rng(0).bytes(16 << 20)
    with scratch_folder() as scratch, pinned(scratch):
        wheel = wheel_of(fresh(scratch), {"tiny/data/a.csv": data})
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        pins()["obp"] = replace(pins()["obp"], sha256=digest)
        try:
            asset("obp", path=wheel, cache=folder)
        finally:
            for lock in folder.glob(".*.lock"):
                lock.unlink()


FULL = [
    Attack("an artifact", filling(lambda folder: artifact(folder, 40), small_artifact)),
    Attack("a table", filling(lambda f: events(f, 2_000_000), lambda f: events(f, 1000))),
    Attack("a checkpoint", filling(lambda f: checkpoint(f, 40), lambda f: checkpoint(f, 1))),
    Attack("a wheel unpacked", filling(large_wheel, lambda _: None)),
    Attack(
        "a file written over",
        filling(
            lambda folder: atomic_write_bytes(folder / "a", bytes(40 << 20)),
            lambda folder: atomic_write_bytes(folder / "a", b"old"),
        ),
    ),
]
AREAS = [Area("full disk", FULL, shared=full_disk)]
