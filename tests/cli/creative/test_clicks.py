"""Click rates by commands, on two hundred real creatives."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

from tests.support.commands import call

COLUMNS = (
    *("--id", "index", "--title", "headline", "--words", "lede", "--words", ""),
    *("--test", "clickability_test_id", "--image-id", "eyecatcher_id"),
)


@pytest.fixture(scope="module")
def creatives(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    frame = pl.read_parquet(shared_data / "upworthy" / "creatives.parquet")
    tests = frame["clickability_test_id"].unique(maintain_order=True).head(60)
    path = tmp_path_factory.mktemp("clicks") / "creatives.csv"
    frame.filter(pl.col("clickability_test_id").is_in(tests.to_list())).write_csv(path)
    return path


@pytest.fixture(scope="module")
def run(creatives: Path) -> Path:
    out = creatives.parent / "run"
    said = call("creative", "train", "clicks", creatives, *COLUMNS, "--out", out)
    assert "Spearman's rho of click rates" in said
    return out


def test_a_judge_is_trained_and_asked(run: Path, creatives: Path) -> None:
    report = json.loads((run / "report.json").read_text("utf-8"))
    assert set(report["validation"]) == {"model", "linear part", "simple rule"}
    new = creatives.parent / "new.csv"
    new.write_text("id,headline\nx,You Will Not Believe This\ny,Tea\n", "utf-8")
    out = creatives.parent / "scores.parquet"
    call("creative", "score", new, "--model", run, "--out", out)
    found = pl.read_parquet(out)
    assert found["click_rate"].is_between(0, 0.2).all()
    assert (found["click_rate_high"] > found["click_rate_low"]).all()
    page = creatives.parent / "ads.html"
    call("creative", "explain", new, "--model", run, "--out", page)
    assert "Nearest past ads" in page.read_text("utf-8")


def test_a_dry_run_counts(creatives: Path) -> None:
    out = creatives.parent / "other"
    said = call("creative", "train", "clicks", creatives, *COLUMNS, "--out", out, "--dry-run")
    assert "creatives" in said
    assert "clicks" in said
    assert not out.exists()


def test_a_column_that_says_how_it_did_is_no_input(creatives: Path) -> None:
    told = ("--title", "headline", "--words", "winner")
    said = call("creative", "train", "clicks", creatives, *told, code=2)
    assert "winner" in said
