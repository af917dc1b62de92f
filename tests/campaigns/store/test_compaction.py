from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import time
from collections.abc import Sized
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
import sqlalchemy
from sqlalchemy import select

from adwright.campaigns.store import compaction
from adwright.campaigns.store.compaction import Compactor
from adwright.campaigns.store.store import Store
from adwright.campaigns.store.tables import COMPACTIONS, Recorded
from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError, FileUnreadableError, ResourceError
from adwright.data.schema import EVENT_SCHEMA
from adwright.data.sources.log import describe, open_log
from tests.support.store import store_processes as workers
from tests.support.store.events import START, event, events
from tests.support.store.store_processes import STEPS, start

DAY = timedelta(days=1)
END = START + 10 * DAY


def ids(log: pl.DataFrame | pl.LazyFrame) -> list[str]:
    return sorted(log.lazy().select("event_id").collect()["event_id"])


def names(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(row["event_id"] for row in rows)


def rows_of(store: Store, tenant: str) -> list[tuple[str, int]]:
    query = select(COMPACTIONS.c.state, COMPACTIONS.c.rows).where(COMPACTIONS.c.tenant == tenant)
    with store._database.read() as connection:
        return [tuple(row) for row in connection.execute(query.order_by(COMPACTIONS.c.number))]


def test_whole_days_become_files_that_data_reads(store: Store, tenant: str, tmp_path: Path) -> None:
    store.record_events(tenant, events(600))  # two days and a half
    before = store.events(tenant)
    parts = store.compact(tenant, tmp_path, before=START + 2 * DAY + timedelta(hours=5))
    assert [part.parent.name for part in parts] == ["date=2024-05-01", "date=2024-05-02"]
    assert all(pq.read_schema(part).equals(EVENT_SCHEMA) for part in parts)
    assert store.events(tenant)["event_id"].to_list() == [f"e{n}" for n in range(480, 600)]
    log = open_log(tmp_path)
    assert log.events.collect().equals(before[:480])
    assert describe(log).events == 480
    assert store.parts(tenant, tmp_path) == parts
    assert store.log(tenant, tmp_path).collect().equals(before)
    assert rows_of(store, tenant) == [("done", 240), ("done", 240)]


def test_a_day_is_settled_when_it_is_over(store: Store, tenant: str, tmp_path: Path) -> None:
    last = START + DAY - timedelta(microseconds=1)
    store.record_events(
        tenant, [event(0, time=START), event(1, time=last), event(2, time=last + DAY)]
    )
    assert store.compact(tenant, tmp_path, before=last) == []
    naive = (START + DAY).replace(tzinfo=None)
    (part,) = store.compact(tenant, tmp_path, before=naive)
    assert ids(pl.read_parquet(part)) == ["e0", "e1"]
    assert store.compact(tenant, tmp_path, before=START + DAY) == []
    assert store.compact("nobody", tmp_path / "other", before=END) == []


def test_large_days_become_several_files(store: Store, tenant: str, tmp_path: Path) -> None:
    rows = events(240)
    random.Random(1).shuffle(rows)
    store.record_events(tenant, rows)
    parts = store.compact(tenant, tmp_path, before=END, part=100)
    assert [pl.read_parquet(part).height for part in parts] == [100, 100, 40]
    assert parts == sorted(parts)
    assert open_log(tmp_path).events.collect()["event_id"].to_list() == [
        f"e{n}" for n in range(240)
    ]


def test_late_events_get_another_file(store: Store, tenant: str, tmp_path: Path) -> None:
    store.record_events(tenant, events(100))
    store.compact(tenant, tmp_path, before=END)
    store.record_events(tenant, events(20, start=90))
    (late,) = store.compact(tenant, tmp_path, before=END)
    assert late.parent.name == "date=2024-05-01"
    assert ids(pl.read_parquet(late)) == names(events(10, start=100))
    assert ids(open_log(tmp_path).events) == names(events(110))


def test_a_compacted_event_does_not_come_back(store: Store, tenant: str, tmp_path: Path) -> None:
    store.record_events(tenant, events(30))
    store.compact(tenant, tmp_path, before=END)
    again = [*events(30), event(3, value=1.0), event(30)]
    assert store.record_events(tenant, again) == Recorded(1, 31, 1)
    assert ids(store.events(tenant)) == ["e30"]
    assert ids(store.log(tenant, tmp_path)) == names(events(31))


def test_tenants_do_not_share_a_folder(store: Store, tenant: str, tmp_path: Path) -> None:
    other = f"{tenant[:90]} 2"
    store.create_tenant(other)
    for name in (tenant, other):
        store.record_events(name, events(10))
    store.compact(tenant, tmp_path, before=END)
    with pytest.raises(ConfigError, match="another tenant"):
        store.compact(other, tmp_path / ".", before=END)
    assert store.events(other).height == 10
    assert store.parts(other, tmp_path) == []


def test_a_moved_folder_is_found_and_a_lost_file_is_missed(
    store: Store, tenant: str, tmp_path: Path
) -> None:
    store.record_events(tenant, events(10))
    store.compact(tenant, tmp_path / "a", before=END)
    (tmp_path / "a").rename(tmp_path / "b")
    assert ids(store.log(tenant, tmp_path / "b")) == names(events(10))
    for read in (store.log, store.parts):
        with pytest.raises(FileUnreadableError, match="missing"):
            read(tenant, tmp_path / "a")


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_each_event_is_kept_once(
    step: str, store: Store, tenant: str, tmp_path: Path
) -> None:
    url = str(store._database.engine.url.render_as_string(hide_password=False))
    store.record_events(tenant, events(300))  # a day and a quarter
    process = start(workers.compact_and_die, url, tenant, tmp_path, END, step)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    # What counts is whole at once, before anything is repaired.
    assert ids(store.log(tenant, tmp_path)) == names(events(300))
    files = [path for path in tmp_path.rglob("part-*") if path.is_file()]
    assert len(files) == (0 if step in ("announced", "half written") else 1)
    assert len(store.parts(tenant, tmp_path)) == (1 if step == "settled" else 0)
    assert store.record_events(tenant, events(300)).accepted == 0
    written = store.compact(tenant, tmp_path, before=END)
    assert len(written) == (1 if step == "settled" else 2)
    assert store.events(tenant).height == 0
    # Now the folder alone is the log as well, and nothing lies about.
    assert ids(open_log(tmp_path).events) == names(events(300))
    assert len([p for p in tmp_path.rglob("*") if p.is_file()]) == 3  # two parts and the lock
    states = [state for state, _ in rows_of(store, tenant)]
    assert states == (["done"] if step == "settled" else ["abandoned", "done"]) + ["done"]


def test_a_part_that_was_given_up_cannot_be_finished(
    store: Store, tenant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.record_events(tenant, events(20))
    slow = Compactor(store._database, tenant, tmp_path / "a", FixedClock())
    events_of_day, numbers = slow._choose(START.date())
    number, path = slow._announce(START.date(), len(numbers))
    # Another process compacts the same tenant elsewhere before this one goes on.
    store.compact(tenant, tmp_path / "b", before=END)
    compaction._write(path, events_of_day)
    with pytest.raises(ResourceError, match="another compaction"):
        slow._settle(number, numbers)
    assert path.exists()
    store.compact(tenant, tmp_path / "a", before=END)
    assert not path.exists()
    assert ids(store.log(tenant, tmp_path / "b")) == names(events(20))


def test_a_deletion_that_finds_too_little_is_undone(
    store: Store, tenant: str, tmp_path: Path
) -> None:
    store.record_events(tenant, events(20))
    slow = Compactor(store._database, tenant, tmp_path, FixedClock())
    _, numbers = slow._choose(START.date())
    number, _ = slow._announce(START.date(), len(numbers))
    with pytest.raises(ResourceError, match="another compaction"):
        slow._settle(number, [*numbers, 2**40])
    assert store.events(tenant).height == 20


def test_a_full_disk_loses_nothing(
    store: Store, tenant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise ResourceError("the disk is full")

    store.record_events(tenant, events(20))
    with monkeypatch.context() as patch:
        patch.setattr(compaction, "atomic_write_bytes", full)
        with pytest.raises(ResourceError, match="full"):
            store.compact(tenant, tmp_path, before=END)
    assert store.events(tenant).height == 20
    assert len(store.compact(tenant, tmp_path, before=END)) == 1


def test_compacting_beside_writers_and_killed_at_random(store_url: str, tmp_path: Path) -> None:
    """Two days of events are posted while another process compacts them and is killed again and
    again; whoever reads in between sees every acknowledged event once."""
    rng = random.Random(3)
    folder, told = tmp_path / "log", tmp_path / "told"
    told.touch()
    with Store.open(store_url) as store:
        store.create_tenant("acme")
        writer = start(workers.post_and_tell, store_url, "acme", 3_000, 30, told)
        kills = 0
        deadline = time.monotonic() + 120
        while (writer.is_alive() or kills < 4) and time.monotonic() < deadline:
            compactor = start(workers.compact, store_url, "acme", folder, END + 90 * DAY, 70)
            time.sleep(rng.uniform(0.1, 0.4))
            os.kill(compactor.pid or 0, signal.SIGKILL)
            compactor.join()
            kills += 1
            acknowledged = set(told.read_text().split())
            seen = ids(store.log("acme", folder))
            assert len(seen) == len(set(seen))
            assert acknowledged <= set(seen)
        writer.join(60)
        assert writer.exitcode == 0
        store.compact("acme", folder, before=END + 90 * DAY)
        assert ids(open_log(folder).events) == names(events(3_000))
        assert store.events("acme").height == 0
        assert json.loads(open_log(folder).events.collect()["context"][0])["stage"] == "fine"


@pytest.mark.parametrize("room", [240, 30, 0])
def test_on_a_full_disk_a_few_events_at_a_time_are_moved(
    store: Store, tenant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    store.record_events(tenant, events(480))
    monkeypatch.setattr(compaction, "FEWEST", 20)
    # PostgreSQL's own driver raises nothing of SQLite's.
    monkeypatch.setattr(store._database, "_driver_error", sqlite3.Error)

    def little_room(_: object, __: object, statement: str, chosen: Sized, *___: object) -> None:
        if statement.startswith("DELETE FROM events") and len(chosen) > room:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    engine = store._database.engine
    sqlalchemy.event.listen(engine, "before_cursor_execute", little_room)
    try:
        if room:
            parts = store.compact(tenant, tmp_path, before=END, part=240)
            assert len(parts) == {240: 2, 30: 20}[room]
            assert sorted(tmp_path.rglob("*.parquet")) == sorted(parts)
        else:
            with pytest.raises(ResourceError, match=r"disk is full.*free a few MiB on the disk"):
                store.compact(tenant, tmp_path, before=END, part=240)
    finally:
        sqlalchemy.event.remove(engine, "before_cursor_execute", little_room)
    assert ids(store.log(tenant, tmp_path)) == names(events(480))
