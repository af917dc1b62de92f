from __future__ import annotations

import os
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ResourceError
from adwright.creative.records.seeing.cache import SeenCache

KEY = "9f" + "0" * 62
PLAIN = st.recursive(
    st.booleans() | st.integers(-(10**9), 10**9) | st.floats(-1e6, 1e6) | st.text(),
    lambda one: st.lists(one, max_size=4) | st.dictionaries(st.text(), one, max_size=4),
    max_leaves=8,
)


@given(value=PLAIN)
def test_what_is_kept_comes_back(value: object, tmp_path_factory: pytest.TempPathFactory) -> None:
    cache = SeenCache(tmp_path_factory.getbasetemp() / "kept")
    cache.put("words", "1", KEY, value)
    assert cache.get("words", "1", KEY) == value


def test_another_part_version_or_content_finds_nothing(tmp_path: Path) -> None:
    cache = SeenCache(tmp_path / "new")
    assert cache.get("words", "1", KEY) is None
    cache.put("words", "1", KEY, ["Fresh bread"])
    assert cache.get("faces", "1", KEY) is None
    assert cache.get("words", "2", KEY) is None
    assert cache.get("words", "1", "00" + KEY[2:]) is None
    assert SeenCache(tmp_path / "new").get("words", "1", KEY) == ["Fresh bread"]


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def changed(path: Path) -> None:
    path.write_text(path.read_text().replace("bread", "bears"))


def binary(path: Path) -> None:
    path.write_bytes(b"\xff\x00" * 99)


def nested(path: Path) -> None:
    path.write_text("[" * 100_000)


def another(path: Path) -> None:
    path.write_text("[1, 2]")


def linked(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("harm", [emptied, cut, changed, binary, nested, another, linked, piped])
def test_a_damaged_file_counts_as_missing_and_is_written_anew(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    cache = SeenCache(tmp_path)
    cache.put("words", "1", KEY, ["Fresh bread"])
    (path,) = tmp_path.rglob("*.json")
    harm(path)
    assert cache.get("words", "1", KEY) is None
    cache.put("words", "1", KEY, ["Fresh bread"])
    assert cache.get("words", "1", KEY) == ["Fresh bread"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="file"):
        SeenCache(tmp_path / "file" / "seen").put("words", "1", KEY, [])


def _write(folder: str, value: int) -> None:
    cache = SeenCache(folder)
    for _ in range(20):
        cache.put("words", "1", KEY, [value] * 500)
        found = cache.get("words", "1", KEY)
        if found not in ([0] * 500, [1] * 500):
            raise SystemExit(1)


def test_processes_that_write_the_same_never_read_half(tmp_path: Path) -> None:
    context = get_context("fork")
    workers = [context.Process(target=_write, args=(str(tmp_path), at)) for at in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
