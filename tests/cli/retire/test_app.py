"""From an export of an ad platform to stops in a store, and back, by commands."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from adwright.campaigns.store.store import Store
from adwright.cli import app
from adwright.core.clock import SystemClock
from adwright.creative.lifetime.retirement.stop_list import RetirementList

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


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An imported record, a run that knows what was known before 1 April, and a list."""
    place = tmp_path_factory.mktemp("retire")
    export(place / "meta.csv")
    call("ads", "import", place / "meta.csv", place / "ads")
    train = ("retire", "train", place / "ads", "--unit-of", "ad", "--out", place / "run")
    said = call(*train, "--before", "2026-04-01", "--epochs", 2, "--dry-run")
    assert "Would write" in said
    assert not (place / "run").exists()
    assert "Next: adwright retire predict" in call(*train, "--before", "2026-04-01", "--epochs", 2)
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


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_the_list_stops_what_brings_little(runs: Path) -> None:
    found = RetirementList.open(runs / "list")
    stops = found.stops
    assert 0 < stops.height < len(found)
    good = stops["unit_id"].str.slice(1).cast(pl.Int64) % 2 == 0
    assert good.mean() < 0.2
    assert stops["item_id"].null_count() == 0
    assert "What to stop" in (runs / "list" / "list.html").read_text("utf-8")


def test_a_list_is_applied_once_and_taken_back_in_a_file(runs: Path, tmp_path: Path) -> None:
    stops = RetirementList.open(runs / "list").stops.height
    events = tmp_path / "stops.jsonl"
    apply = ("retire", "apply", runs / "list", "--events", events)
    assert f"would be stopped: {stops}" in call(*apply, "--record", runs / "ads", "--dry-run")
    assert not events.exists()
    assert f"stopped: {stops} units" in call(*apply, "--record", runs / "ads")
    assert "stopped: 0 units" in call(*apply)
    assert "taken back" in call("retire", "undo", runs / "list", "--events", events)
    values = [json.loads(line)["value"] for line in events.read_text().splitlines()]
    assert values == [1.0] * stops + [0.0] * stops


def test_a_list_reaches_a_store_and_leaves_it(runs: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ads.db'}"
    with Store.open(url, create=True) as store:
        store.create_tenant("shop")
    found = RetirementList.open(runs / "list")
    kept, *others = found.stops["unit_id"].to_list()
    target = ("--store", url, "--tenant", "shop", "--leave-out", kept)
    call("retire", "apply", runs / "list", *target, "--by", "anna", "--dry-run")
    call("retire", "apply", runs / "list", *target, "--by", "anna")
    with Store.open(url) as store:
        now = store.stops_at("shop", SystemClock().now())
    assert now.table.height == len(others)
    assert set(now.table["user_id"]) == {"anna"}
    call("retire", "undo", runs / "list", *target)
    with Store.open(url) as store:
        assert store.stops_at("shop", SystemClock().now()).table.is_empty()


def test_a_replay_of_days_that_training_has_not_seen(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "replay.json"
    said = call("retire", "replay", "--model", runs / "run", "--out", out)
    assert "best fatigue rule" in said
    found = json.loads(out.read_text("utf-8"))
    assert found["cost_name"] == "spend"
    assert found["value_name"] == "clicks"
    early = call("retire", "replay", "--model", runs / "run", "--from", "2026-02-01", code=2)
    assert "may know what it is judged by" in early.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("apply", "{}/list"), "a file of events, or into a store"),
        (("apply", "{}/list", "--store", "sqlite:///none.db"), "a store has tenants"),
        (("apply", "{}/nowhere", "--events", "a.jsonl"), "no readable list"),
        (("apply", "{}/list", "--events", "a.txt"), "Parquet or to JSON lines"),
        (("apply", "{}/list", "--events", "a.jsonl", "--leave-out", "a9999"), "no unit"),
        (("predict", "--model", "{}/nowhere"), "here"),
        (("predict", "--model", "{}/run", "--at", "June"), "is no day of this record"),
        (("predict", "--model", "{}/run", "--at", "2031-01-01"), "outside of the record"),
        (("predict", "{}/nowhere.csv", "--model", "{}/run"), "no such record of ads"),
        (("predict", "--model", "{}/run", "--out", "{}/list"), "exists already"),
        (("train", "{}/ads", "--out", "{}/run"), "exists already"),
        (("train", "{}/ads", "--before", "2020-01-01", "--out", "{}/new"), "early"),
        (("train", "{}/ads", "--value", "conversions", "--out", "{}/new"), "none of this value"),
        (("train", "{}/ads", "--currency", "USD", "--out", "{}/new"), "none of this currency"),
    ],
)
def test_mistakes_are_named(
    runs: Path,
    arguments: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    text = call("retire", *(each.format(runs) for each in arguments), code=2)
    assert said in text.replace("\n", " ")
    assert "to do:" in text or "where:" in text
    assert not (runs / "new" / "model").exists()
