"""adwright train popularity, from a small file of events to a served model."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from adwright.data.schema import Catalogue
from adwright.data.sources.log import Log, save_log
from adwright.service.registry.publishing import load_deployed
from tests.support.commands import quietly
from tests.support.store.small_world import ITEMS, events


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    save_log(tmp_path / "log", Log(events(people=30).lazy(), Catalogue.checked(ITEMS)))
    return tmp_path


def test_a_log_becomes_a_model_that_is_served_and_asked(here: Path) -> None:
    text = quietly("train", "popularity", "log", "--out", "out", "--seed", "4")
    for words in ("Default: repeats", "validation visits", "Item-item", "Saved in out/model as"):
        assert words in text
    assert "Next: adwright publish out/model" in text
    assert load_deployed(here / "out" / "model").kind == "popularity"
    assert "exists already" in quietly("train", "popularity", "log", "--out", "out", code=2)
    assert "Saved in" in quietly("train", "popularity", "log", "--out", "out", "--force")
    assert "300 rows for 30 users" in quietly("recommend", "out", "--out", "recs.parquet")
    assert pl.read_parquet("recs.parquet")["rank"].max() == 10
    assert "has seen what it would be asked" in quietly("evaluate", "out", "--log", "log", code=2)
    assert "Item-item" in quietly("evaluate", "out")


def test_a_dry_run_writes_nothing(here: Path) -> None:
    text = quietly("train", "popularity", "log", "--dry-run")
    assert "users:" in text
    assert "items: " in text
    assert not (here / "runs").exists()


def test_mistakes_are_told(here: Path) -> None:
    assert "there is no such log" in quietly("train", "popularity", "nowhere", code=2)
    assert not (here / "runs").exists()
