"""What a run has changed, and what changes anyway."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from adwright.agent.synthesis.disposable import (
    DisposableApp,
    RowChange,
    noise_of,
    sqlite_state,
    state_changes,
)
from adwright.core.errors import ConfigError, FileUnreadableError
from tests.support.agent.disposable_shop import DisposableShop

BEFORE = {
    "offers": {"7": {"id": "7", "name": "Spring"}, "8": {"id": "8", "name": "Autumn"}},
    "links": {"1": {"id": "1", "offer": "7"}},
    "sessions": {},
}


def test_the_shop_is_a_disposable_app() -> None:
    app: DisposableApp = DisposableShop()
    assert app.start().startswith("http")
    assert set(app.snapshot()) == {"offers", "mails", "budget"}


def test_rows_come_go_and_change() -> None:
    after = {
        "offers": {"7": {"id": "7", "name": "May"}, "9": {"id": "9", "name": "New"}},
        "links": {"1": {"id": "1", "offer": "7"}},
        "sessions": {},
    }
    found = {one.kind: one for one in state_changes(BEFORE, after)}
    assert found["changed"].fields == ("name",)
    assert found["removed"].old["name"] == "Autumn"
    assert found["added"].new["name"] == "New"
    assert state_changes(BEFORE, BEFORE) == ()


def test_a_row_under_another_key_has_not_changed() -> None:
    after = {**BEFORE, "links": {"2": {"id": "2", "offer": "7"}}}
    assert state_changes(BEFORE, after) == ()
    after = {**BEFORE, "links": {"2": {"id": "2", "offer": "8"}}}
    assert len(state_changes(BEFORE, after)) == 2


def test_noise_is_left_out_by_table_and_by_field() -> None:
    quiet = {
        **BEFORE,
        "sessions": {"a": {"who": "ann"}},
        "offers": {**BEFORE["offers"], "7": {"id": "7", "name": "Spring", "seen": "1"}},
    }
    noise = noise_of(BEFORE, quiet)
    assert noise == {"sessions", "offers.seen"}
    assert state_changes(BEFORE, quiet, noise) == ()
    assert len(state_changes(BEFORE, quiet, ["sessions"])) == 1


def test_a_database_is_read_as_texts(tmp_path: Path) -> None:
    path = tmp_path / "shop.sqlite3"
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("CREATE TABLE offers (id INTEGER PRIMARY KEY, name TEXT, share REAL, raw)")
        opened.execute("INSERT INTO offers VALUES (7, 'Spring', 2.5, x'00ff'), (8, NULL, 1, 'a')")
        opened.execute("CREATE TABLE codes (code TEXT PRIMARY KEY, n INT) WITHOUT ROWID")
        opened.execute("INSERT INTO codes VALUES ('A', 1)")
        opened.commit()
    state = sqlite_state(path)
    assert state["offers"]["7"] == {"id": "7", "name": "Spring", "share": "2.5", "raw": "00ff"}
    assert state["offers"]["8"]["name"] == ""
    assert list(state["codes"].values()) == [{"code": "A", "n": "1"}]


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadableError, match="cannot be read"):
        sqlite_state(tmp_path / "none.sqlite3")
    (tmp_path / "text").write_text("no database, but long enough to be looked at as one" * 20)
    with pytest.raises(FileUnreadableError):
        sqlite_state(tmp_path / "text")
    with pytest.raises(ConfigError):
        RowChange("moved", "offers", {}, {})  # type: ignore[arg-type]
