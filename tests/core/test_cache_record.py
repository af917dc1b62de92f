from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from adwright.core import assets as module
from adwright.core.assets import RECORD, is_complete, write_record


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a").write_bytes(b"12345")
    (tmp_path / "b").write_bytes(b"")
    write_record(tmp_path, ["deep/a", "b"])
    return tmp_path


def test_what_was_recorded_is_complete(kept: Path) -> None:
    assert is_complete(kept)
    assert not is_complete(kept / "deep")


def unchanged_size(kept: Path) -> None:
    status = (kept / "deep" / "a").stat()
    (kept / "deep" / "a").write_bytes(b"12344")
    os.utime(kept / "deep" / "a", ns=(status.st_atime_ns, status.st_mtime_ns))


def exchanged(kept: Path) -> None:
    (kept / "deep" / "a").rename(kept / "aside")
    (kept / "deep" / "a").symlink_to(kept / "aside")


@pytest.mark.parametrize(
    "spoil",
    [
        unchanged_size,
        exchanged,
        lambda kept: (kept / "deep" / "a").write_bytes(b"1"),
        lambda kept: (kept / "b").unlink(),
        lambda kept: (kept / RECORD).unlink(),
        lambda kept: ((kept / "b").unlink(), os.mkfifo(kept / "b")),
        lambda kept: ((kept / RECORD).unlink(), os.mkfifo(kept / RECORD)),
    ],
)
def test_a_folder_that_was_changed_is_not(kept: Path, spoil: Callable[[Path], object]) -> None:
    spoil(kept)
    assert not is_complete(kept)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "{}", "[]", "null", "3", '"b"', "[" * 100_000),
        *('{"b": null}', '{"b": []}', '{"b": {}}', '{"b": true}', '{"b": "0"}', '{"b": -1}'),
        *('{"../x": 0}', '{"/dev/null": 0}', '{"": 0}', '{".": 0}', '{"a//b": 0}'),
        '{"b": {"bytes": 0, "sha256": "0"}}',
    ],
)
def test_a_record_that_is_none(kept: Path, text: str) -> None:
    (kept / RECORD).write_text(text)
    assert not is_complete(kept)


def test_sizes_of_an_earlier_version_are_believed_once(kept: Path) -> None:
    (kept / RECORD).write_text(json.dumps({"deep/a": 5, "b": 0}))
    assert is_complete(kept)
    assert json.loads((kept / RECORD).read_text())["deep/a"]["bytes"] == 5
    unchanged_size(kept)
    assert not is_complete(kept)


def test_a_file_is_hashed_again_only_where_it_was_touched(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed, whole = list[str](), module.sha256_file

    def spy(path: Path) -> str:
        hashed.append(path.name)
        return whole(path)

    monkeypatch.setattr(module, "sha256_file", spy)
    assert is_complete(kept)
    assert hashed == []
    os.utime(kept / "b")
    for _ in range(2):
        assert is_complete(kept)
        assert hashed == ["b"]
