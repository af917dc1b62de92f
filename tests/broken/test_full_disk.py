"""A disk that is full."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from adwright.core.errors import (
    ResourceError,
)
from adwright.data.sources.tables import write_events
from adwright.training.ranking.scoring import score_file
from tests.broken.cases import LOG, Shop, task_of


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one page of 4 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(disk)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command, so no small disk to fill")
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here (it needs root): {done.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def csv_through_a_full_scratch(disk: Path, shop: Shop) -> object:
    rows = disk.parent / "rows.csv"
    pl.concat([shop.rows] * 20).write_csv(rows, datetime_format="%Y-%m-%dT%H:%M:%SZ")
    tempfile.tempdir = str(disk)  # the fixture puts it back
    return score_file(
        shop.ranker, rows, shop.folder / "events.parquet", disk.parent / "scores.parquet"
    )


FULL: dict[str, Callable[[Path, Shop], object]] = {
    "artifact": lambda disk, shop: shop.ranker.save(disk / "ranker"),
    "task": lambda disk, shop: task_of(lambda rows: rows)(disk, shop)(),
    "scores": lambda disk, shop: score_file(
        shop.ranker,
        shop.folder / "rows.parquet",
        shop.folder / "events.parquet",
        disk / "s.parquet",
    ),
    "scores from CSV": csv_through_a_full_scratch,
    "events": lambda disk, shop: write_events(disk / "log.parquet", pl.concat(many())),
    "CSV": lambda disk, shop: write_events(disk / "log.csv", pl.concat(many())),
}


def many() -> list[pl.DataFrame]:
    return [LOG.with_columns(event_id=pl.format("{}-{}", "event_id", n)) for n in range(500)]


@pytest.mark.parametrize("name", FULL)
def test_full_disk(name: str, full_disk: Path, shop: Shop) -> None:
    with pytest.raises(ResourceError, match=r"the disk is full \[.*\] -> free some space"):
        FULL[name](full_disk, shop)
    assert list(full_disk.iterdir()) == []
    assert not (full_disk.parent / "scores.parquet").exists()
    assert not list(full_disk.parent.glob(".*"))
