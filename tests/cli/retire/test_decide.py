"""What to stop, and the replay of it, by commands."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from adwright.creative.lifetime.stop_list import RetirementList
from tests.support.commands import call


def test_the_list_stops_what_brings_little(runs: Path) -> None:
    found = RetirementList.open(runs / "list")
    stops = found.stops
    assert 0 < stops.height < len(found)
    good = (stops["unit_id"].str.slice(1).cast(pl.Int64) % 2 == 0).sum()
    assert good < 0.2 * stops.height
    assert stops["item_id"].null_count() == 0
    assert "What to stop" in (runs / "list" / "list.html").read_text("utf-8")


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
        (("predict", "--model", "{}/nowhere"), "here"),
        (("predict", "--model", "{}/run", "--at", "June"), "is no day of this record"),
        (("predict", "--model", "{}/run", "--at", "2031-01-01"), "outside of the record"),
        (("predict", "{}/nowhere.csv", "--model", "{}/run"), "no such record of ads"),
        (("predict", "--model", "{}/run", "--out", "{}/list"), "exists already"),
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
