"""An export of an ad platform, trained on and listed by commands."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.support.commands import call

BEGIN = date(2026, 1, 1)
DAYS = 120


def export(path: Path) -> None:
    """160 ads of a platform: those that bring little are cut out soon, the others wear out."""
    rng = np.random.default_rng(0)
    rows = []
    for ad in range(160):
        good = ad % 2 == 0
        begin = int(rng.integers(0, 115))
        life = 2 + int(rng.geometric(0.04 if good else 0.12))
        for age in range(min(life, DAYS - begin)):
            shown = int(rng.integers(500, 1500))
            clicks = int(rng.binomial(shown, 0.03 if good else 0.004))
            day = BEGIN + timedelta(days=begin + age)
            rows.append((day, f"a{ad}", f"Ad {ad}", f"k{ad % 4}", shown, clicks, shown / 100))
    pl.DataFrame(
        rows,
        schema=(
            *("Day", "Ad ID", "Ad name", "Campaign ID", "Impressions", "Link clicks"),
            "Amount spent (EUR)",
        ),
        orient="row",
    ).write_csv(path)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An imported record, a run that knows what was known before 1 April, and a list."""
    place = tmp_path_factory.mktemp("retire")
    export(place / "meta.csv")
    call("ads", "import", place / "meta.csv", place / "ads")
    train = ("retire", "train", place / "ads", "--unit-of", "ad", "--out", place / "run")
    said = call(*train, "--before", "2026-04-01", "--epochs", 2, "--dry-run")
    assert "Would write" in said
    assert not (place / "run").exists()
    assert "Next: adwright retire list" in call(*train, "--before", "2026-04-01", "--epochs", 2)
    items = pl.DataFrame({"creative_id": [f"a{n}" for n in range(160)]})
    known = pl.read_parquet(place / "ads" / "creatives.parquet")["creative_id"]
    items = pl.DataFrame({"creative_id": known}).with_columns(
        item_id=pl.format("item-{}", pl.int_range(pl.len()))
    )
    items.write_csv(place / "items.csv")
    predict = ("retire", "predict", "--model", place / "run", "--floor", 0.9)
    more = ("--creatives", place / "items.csv", "--out", place / "list")
    assert "Would write" in call(*predict, *more, "--dry-run")
    assert not (place / "list").exists()
    assert "The page to read" in call(*predict, *more)
    return place
