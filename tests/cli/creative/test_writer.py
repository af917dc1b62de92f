"""The commands of SEED; its rounds are tested in creative/seed."""

from __future__ import annotations

from pathlib import Path

from tests.support.commands import call


def test_a_dry_run_tells_the_plan_and_its_cost(shared_data: Path, tmp_path: Path) -> None:
    slogans = shared_data / "slogans" / "slogans.csv"
    out = tmp_path / "writer"
    said = call("creative", "train", "writer", slogans, "--out", out, "--dry-run")
    assert "CPU" in said
    assert f"Would write {out}" in said.replace("\n", "")
    assert not out.exists()


def test_improve_needs_a_writer(shop: Path) -> None:
    said = call("creative", "improve", shop / "ads.csv", "--model", shop, code=2)
    assert "no writer that was trained on recall" in said
    said = call("creative", "improve", shop / "ads.csv", "--model", shop, "--dry-run")
    assert "3 ads, 8 would be written for each" in said
    said = call("creative", "improve", shop / "ads.csv", "--model", shop, "--out", "a.md", code=2)
    assert "CSV or Parquet" in said
