from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from adwright.core.atomic import aside_of, new_file, new_folder, remove_dead


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def left_behind(path: Path) -> Path:
    with new_folder(path) as temporary:
        (temporary / "half").write_text("half")
    return temporary


def test_what_is_written_is_hidden_beside_its_name(tmp_path: Path) -> None:
    with new_file(tmp_path / "a") as (temporary, descriptor):
        os.write(descriptor, b"1")
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".a.")
        assert temporary.read_bytes() == b"1"
    with new_folder(tmp_path / "a") as folder:
        assert list(folder.iterdir()) == []
    assert len(names(tmp_path)) == 2


def test_only_what_nobody_writes_any_more_is_removed(tmp_path: Path) -> None:
    dead = left_behind(tmp_path / "a")
    others = [left_behind(tmp_path / "a.b"), left_behind(tmp_path / "b"), tmp_path / ".a.lock"]
    others[-1].touch()
    (tmp_path / ".a.zzz.tmp").mkdir()
    with new_folder(tmp_path / "a") as folder, new_file(tmp_path / "a") as (file, _):
        remove_dead(tmp_path / "a")
        kept = [folder, file, *others, tmp_path / ".a.zzz.tmp"]
        assert names(tmp_path) == sorted(path.name for path in kept)
        assert not dead.exists()
    remove_dead(tmp_path / "a")
    assert not folder.exists()
    assert not file.exists()
    remove_dead(tmp_path / "none" / "a")


def test_the_only_copy_of_a_folder_stays(tmp_path: Path) -> None:
    old = aside_of(tmp_path / "a")
    old.mkdir()
    remove_dead(tmp_path / "a")
    assert old.exists()
    (tmp_path / "a").mkdir()
    remove_dead(tmp_path / "a")
    assert names(tmp_path) == ["a"]


def test_who_loses_its_folder_before_it_is_locked_makes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, lost = fcntl.flock, list[str]()

    def slow(descriptor: int, how: int) -> Any:
        if how == fcntl.LOCK_EX and not lost:
            lost.extend(names(tmp_path))
            remove_dead(tmp_path / "a")
        return flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", slow)
    with new_folder(tmp_path / "a") as folder:
        assert folder.is_dir()
        assert lost
        assert folder.name not in lost
    lost.clear()
    with new_file(tmp_path / "a") as (file, descriptor):
        os.write(descriptor, b"1")
        assert file.read_bytes() == b"1"


def test_without_locks_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    dead = left_behind(tmp_path / "a")
    remove_dead(tmp_path / "a")
    assert dead.exists()


def test_who_loses_its_folder_before_it_is_opened_makes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir, lost = Path.mkdir, list[str]()

    def slow(path: Path) -> None:
        mkdir(path)
        if not lost:
            lost.extend(names(tmp_path))
            remove_dead(tmp_path / "a")

    monkeypatch.setattr(Path, "mkdir", slow)
    with new_folder(tmp_path / "a") as folder:
        assert names(tmp_path) == [folder.name]
        assert folder.name not in lost
