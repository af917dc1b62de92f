from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from adwright.core.regular import memory_bytes, open_regular, read_regular


def test_a_file_is_read_with_its_size(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_regular(tmp_path / "a", most=5) == read_regular(str(tmp_path / "a"), most=99)
    with open_regular(tmp_path / "a") as (stream, size):
        assert (stream.read(), size) == (b"12345", 5)


@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        os.mkdir,
        lambda path: path.symlink_to("/etc/hostname"),
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: socket.socket(socket.AF_UNIX).bind(str(path)),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_is_no_plain_file_is_refused_at_once(
    tmp_path: Path, make: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket has to be short
    make(Path("a"))
    with pytest.raises(OSError, match="no regular file"):
        read_regular("a", most=10)
    with pytest.raises(OSError, match="no regular file"), open_regular("/dev/null"):
        pass


def test_what_takes_its_place_before_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"1")
    as_before = os.lstat(tmp_path / "a")
    for make in (os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/null")):
        if (tmp_path / "a").is_dir():
            (tmp_path / "a").rmdir()
        else:
            (tmp_path / "a").unlink()
        make(tmp_path / "a")
        monkeypatch.setattr(os, "lstat", lambda _: as_before)
        with pytest.raises(OSError, match=r"no regular file|symbolic links|directory"):
            read_regular(tmp_path / "a", most=10)
        monkeypatch.undo()


def test_the_size_is_known_before_anything_is_read(tmp_path: Path) -> None:
    with open(tmp_path / "a", "wb") as stream:
        os.truncate(stream.fileno(), 1 << 42)
    with pytest.raises(OSError, match="more than 1,000 bytes"):
        read_regular(tmp_path / "a", most=1000)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none", most=1000)


def test_the_memory_of_this_machine() -> None:
    assert 1 << 28 < memory_bytes() < 1 << 50
