"""Where the events of a list go."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adwright.campaigns.store.store import Store
from adwright.core.clock import SystemClock
from adwright.creative.lifetime.stop_list import RetirementList
from tests.support.commands import call
from tests.support.data.small_stop_list import small_stop_list


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
        now = store.stops_at("shop")
    assert now.table.height == len(others)
    assert set(now.table["user_id"]) == {"anna"}
    # What somebody else stopped, by order of a court, is not the list's to take back.
    court = now.table.head(1).select("item_id", "creative_id").to_dicts()[0]
    order = {"event_id": "court", "request_id": "r", "user_id": "legal", "kind": "stop"}
    with Store.open(url) as store:
        store.record_events("shop", [{**order, **court, "time": SystemClock().now()}])
    said = call("retire", "undo", runs / "list", *target)
    with Store.open(url) as store:
        left = store.stops_at("shop")
    assert left.table["event_id"].to_list() == ["court"]
    if left.items:
        assert f"still stopped by others: 1 items ({court['item_id']}), by legal" in said


def test_units_that_share_an_item_are_held_back_and_said(tmp_path: Path) -> None:
    rows = [
        ("u1", "tea", None, "stop"),
        ("u2", "jam", "c2", "stop"),
        ("u3", "tea", None, "keep"),
    ]
    small_stop_list(rows).save(tmp_path / "list")
    out = tmp_path / "stops.jsonl"
    said = call("retire", "apply", tmp_path / "list", "--events", out)
    assert "held back: 1 units" in said
    assert [json.loads(line)["item_id"] for line in out.read_text().splitlines()] == ["jam"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("apply", "{}/list"), "a file of events, or into a store"),
        (("apply", "{}/list", "--store", "sqlite:///none.db"), "a store has tenants"),
        (("apply", "{}/nowhere", "--events", "a.jsonl"), "no readable list"),
        (("apply", "{}/list", "--events", "a.txt"), "Parquet or to JSON lines"),
        (("apply", "{}/list", "--events", "a.jsonl", "--leave-out", "a9999"), "no unit"),
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
