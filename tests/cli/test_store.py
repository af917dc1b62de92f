from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from adwright.campaigns.store.store import Store
from adwright.cli import app
from adwright.data.sources.tables import read_events
from adwright.delivery.popularity import save_popularity
from adwright.service.registry.registry import publish
from tests.support.store.events import START, decision, event, events

URL = "sqlite:///adwright.db"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a store: 250 events on two days of long ago, one of today."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    with Store.open(URL) as store:
        store.create_key("acme")
        store.record_events("acme", [*events(250), event(900, kind="click", time=now())])
        store.record_decisions("acme", [decision(1)])
        store.create_tenant("new")
    return tmp_path


def now() -> datetime:
    return datetime.now(UTC)


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["store", *arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_show_counts_what_there_is_of_each_tenant(here: Path) -> None:
    save_popularity(here / "models" / "acme" / "v1", ["tea"], np.array([1.0]))
    publish(here / "models", "acme", "v1")
    text = run("show")
    for words in ("2 tenants", "acme", "new", "1 in use, 0 revoked", "251 in the store"):
        assert words in text
    assert "impression 250, click 1" in text
    assert "acme: v1 (popularity) decides" in text
    assert "none in models" in text
    one = run("show", "--tenant", "acme")
    assert "new" not in one.replace("newest", "")
    assert str(START.date()) in one
    with Store.open(URL) as store:
        (key,) = store.keys("acme")
    assert key.key_id in one
    assert "adw_" not in one


def test_events_are_written_as_any_log(here: Path) -> None:
    assert "251 events written" in run("events", "--tenant", "acme", "--out", "a.parquet")
    found = read_events(here / "a.parquet").collect()
    with Store.open(URL) as store:
        assert found.equals(store.events("acme"))
    run("compact", "--tenant", "acme", "--out", "log")
    text = run("events", "--tenant", "acme", "--out", "b.csv")
    assert "1 events written" in text
    assert "250 more were compacted" in text
    assert "251" in run("events", "--tenant", "acme", "--out", "c.parquet", "--folder", "log")
    every = read_events(here / "c.parquet").collect()
    assert set(every["event_id"]) == set(found["event_id"])
    assert "exists" in run("events", "--tenant", "acme", "--out", "b.csv", code=2)
    run("events", "--tenant", "acme", "--out", "b.csv", "--force")


def test_days_that_are_over_are_compacted_and_the_rest_is_said(here: Path) -> None:
    text = run("compact", "--tenant", "acme", "--out", "log")
    assert len(re.findall(r"wrote .*\.parquet", text)) == 2
    assert "250 events are compacted, 1 are still in the store" in text
    assert read_events(here / "log").collect().height == 250
    again = run("compact", "--tenant", "acme", "--out", "log")
    today = now().date()
    assert f"nothing to compact yet: the oldest of 1 events is of {today}" in again
    tomorrow = str(today + timedelta(days=1))
    assert f"--before {tomorrow}" in again
    assert "wrote" in run("compact", "--tenant", "acme", "--out", "log", "--before", tomorrow)
    assert pl.read_parquet(here / "log" / f"date={today}").height == 1
    assert "holds no event" in run("compact", "--tenant", "new", "--out", "other")


@pytest.mark.parametrize(
    ("arguments", "about"),
    [
        (["show", "--store", "sqlite:///typo.db"], "there is no such store"),
        (["show", "--tenant", "acne"], "no such tenant"),
        (["events", "--tenant", "acne", "--out", "x.parquet"], "it has acme, new"),
        (["events", "--tenant", "acme", "--out", "x.txt"], ".txt"),
        (["compact", "--tenant", "acne", "--out", "x"], "no such tenant"),
        (["compact", "--tenant", "acme", "--out", "x", "--before", "1.5.2024"], "2026-05-31"),
        (["compact", "--tenant", "acme", "--out", "x", "--store", "sqlite:///x.db"], "no such"),
    ],
)
def test_a_mistake_is_one_message_and_makes_nothing(
    here: Path, arguments: list[str], about: str
) -> None:
    before = sorted(path.name for path in here.iterdir() if "-" not in path.name)
    assert about in run(*arguments, code=2)
    assert sorted(path.name for path in here.iterdir() if "-" not in path.name) == before
