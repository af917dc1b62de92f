"""A small shop, and scratch files where the cases look."""

from __future__ import annotations

import tempfile
from pathlib import Path

import polars as pl
import pytest
import torch

from adwright.training.ranking.ranker import Ranker
from tests.broken.cases import Shop
from tests.support.data.ranking_task import shop_task, untrained


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("shop")
    task = shop_task(folder / "task", users=8)
    ranker = Ranker(untrained(task), task.spec, task.items)
    ranker.save(folder / "ranker")
    rows = task.rows("test").collect().drop("visible", "frequency")
    rows.write_parquet(folder / "rows.parquet", compression="uncompressed")
    events = pl.read_parquet(task.events_path("test"))
    events.write_parquet(folder / "events.parquet", compression="uncompressed")
    return Shop(task, ranker, folder)


@pytest.fixture(autouse=True)
def _scratch(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scratch files of the library lie below the folder that is compared, torch's elsewhere."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "torch"))
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
