from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from adwright.cli import app
from adwright.core.artifacts import save_artifact
from adwright.delivery.recommend.run import recommend_all
from tests.support.delivery.sequence_parts import sasrec
from tests.support.delivery.single_models import run_folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    sasrec().save(run_folder(tmp_path) / "model")
    return tmp_path


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["--quiet", "recommend", *arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_everybody_by_defaults_alone(here: Path) -> None:
    text = run("run", "--out", "recs.parquet")
    assert "100 rows for 10 users written to recs.parquet" in text
    assert "what a user had may come again" in text
    assert pl.read_parquet("recs.parquet").equals(recommend_all("run"))


def test_each_option_counts(here: Path) -> None:
    (here / "users.txt").write_text("u1\nnobody\n")
    options = ("--users", "users.txt", "--k", "2", "--unseen", "--events", str(here / "log"))
    text = run("run", "--out", "recs.parquet", *options, "--at", "2026-01-08T00:00:00")
    assert "what a user had is left out" in text
    assert "1 of the users have no event" in text
    found = pl.read_parquet("recs.parquet")
    assert found["user_id"].unique(maintain_order=True).to_list() == ["u1", "nobody"]
    assert "exists" in run("run", "--out", "recs.parquet", code=2)
    assert "rows" in run("run", "--out", "recs.parquet", "--force", "--chunk", "3")


def test_a_dry_run_opens_all_and_writes_nothing(here: Path) -> None:
    before = sorted(here.iterdir())
    text = run("run", "--out", "recs.parquet", "--dry-run")
    assert "sequence of 12 items, 10 users" in text
    assert sorted(here.iterdir()) == before


def test_mistakes_are_told(here: Path) -> None:
    save_artifact(here / "other", kind="adapter", config={})
    for arguments, about in (
        (("other", "--out", "x.parquet"), "recommends nothing"),
        (("nowhere", "--out", "x.parquet"), "no model here"),
        (("run", "--out", "x.csv"), "name it .parquet"),
        (("run", "--out", "x.parquet", "--at", "soon"), "2026-05-31"),
        (("run", "--out", "x.parquet", "--users", "nowhere.txt"), "cannot be read"),
        (("run", "--out", "x.parquet", "--events", "nowhere"), "no such log"),
    ):
        assert about in run(*arguments, code=2)
    assert not list(here.glob("*x.*"))
