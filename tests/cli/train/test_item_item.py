"""adwright train item-item, from a small file of events to a served model."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from adwright.cli import app
from adwright.service.registry.publishing import load_deployed
from tests.support.data.small_sequences import small_sequences


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    walks = small_sequences()
    user = [walks.users[u] for u in range(len(walks)) for _ in range(*walks.offsets[u : u + 2])]
    items = [walks.ids[code - 1] for code in walks.item]
    table = pl.DataFrame({"user_id": user, "item_id": items, "time": walks.time})
    table.write_csv(tmp_path / "events.csv")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["train", "item-item", *arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_a_file_of_events_becomes_a_model_that_is_served(here: Path) -> None:
    text = run("events.csv", "--out", "out", "--seed", "4")
    first = next(line for line in text.splitlines() if "Item-item" in line)
    assert first.startswith("Item-item ")
    assert json.loads((here / "out" / "report.json").read_text())["verdict"] == first
    for word in ("Popularity", "Saved in out/model as"):
        assert word in text
    assert load_deployed(here / "out" / "model").kind == "item-item"
    assert "exists already" in run("events.csv", "--out", "out", code=2)
    assert "Saved in" in run("events.csv", "--out", "out", "--force")


def test_a_dry_run_reads_and_writes_nothing(here: Path) -> None:
    text = run("events.csv", "--dry-run")
    assert "users:" in text
    assert not (here / "runs").exists()


def test_mistakes_are_told(here: Path) -> None:
    assert "there is no such log" in run("nowhere.csv", code=2)
    (here / "few.csv").write_text("user_id,item_id\na,b\n")
    assert "needed columns are missing" in run("few.csv", code=2)
    assert not (here / "runs").exists()
