"""The way of a user: slogans whose recall was counted, a judge, scores, a page."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

from tests.support.commands import call


@pytest.fixture(scope="module")
def slogans(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recall") / "slogans.csv"
    pl.read_csv(shared_data / "slogans" / "slogans.csv").head(60).write_csv(path)
    return path


@pytest.fixture(scope="module")
def run(slogans: Path) -> Path:
    out = slogans.parent / "run"
    said = call("creative", "train", "recall", slogans, "--out", out)
    assert "60 ads of 60 brands" in said
    assert "held out" in said
    return out


def test_a_run_keeps_its_report(run: Path, slogans: Path) -> None:
    report = json.loads((run / "report.json").read_text("utf-8"))
    assert -1 <= report["told"][0] <= 1
    assert "exists already" in call("creative", "train", "recall", slogans, "--out", run, code=2)


def test_scores_have_a_row_an_ad(run: Path, slogans: Path) -> None:
    new = slogans.parent / "new.csv"
    new.write_text("id,slogan,brand\nx,Taste the Rainbow,Skittles\ny,,\n", "utf-8")
    out = slogans.parent / "scores.csv"
    call("creative", "score", new, "--model", run, "--out", out)
    found = pl.read_csv(out)
    assert found["creative_id"].to_list() == ["x", "y"]
    assert found["memorability"].is_between(0, 1).all()
    assert (found["memorability_low"] <= found["memorability"]).all()
    assert found["memorability_unlike"][1]
    assert "unlike" in call("creative", "score", new, "--model", run)


def test_a_page_explains(run: Path, slogans: Path) -> None:
    new = slogans.parent / "page.csv"
    new.write_text("id,slogan,brand\nx,Taste the Rainbow,Skittles\ny,Just tea,Leaf\n", "utf-8")
    page = slogans.parent / "ads.html"
    said = call("creative", "explain", new, "--model", run, "--out", page, "--most", 1)
    assert "2 ads, 1 explained" in said
    text = page.read_text("utf-8")
    assert "Taste the Rainbow" in text
    assert text.count("the answer loses") == 1


def test_dry_runs_write_nothing(run: Path, slogans: Path) -> None:
    out = slogans.parent / "other"
    said = call("creative", "train", "recall", slogans, "--out", out, "--dry-run")
    assert "60 ads of 60 brands, measured as d_prime" in said
    assert not out.exists()
    said = call("creative", "score", slogans, "--model", run, "--out", out / "s.csv", "--dry-run")
    assert "would be judged: memorability" in said


def test_what_is_refused(run: Path, slogans: Path) -> None:
    assert "CSV or Parquet" in call(
        "creative", "score", slogans, "--model", run, "--out", "a.txt", code=2
    )
    assert "one name" in call(
        "creative", "score", slogans, "--model", run, "--model", run, "--model", run, code=2
    )
    nothing = slogans.parent / "nothing"
    assert "Error" in call("creative", "score", slogans, "--model", nothing, code=2)
