from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from adwright.authoring.writer.journal import JournalFile
from adwright.core.errors import FileUnreadableError, ResourceError


class Lines:
    """What was taken."""

    def __init__(self) -> None:
        self.found: list[tuple[int, bytes]] = []

    def __call__(self, offset: int, line: bytes) -> None:
        self.found.append((offset, line))

    @property
    def texts(self) -> list[bytes]:
        return [line for _, line in self.found]


def append(journal: JournalFile, *lines: bytes, take: Lines | None = None) -> Lines:
    take = Lines() if take is None else take
    with journal.writing(take):
        journal.append(lines, take)
    return take


def test_lines_come_in_their_order_with_their_places(tmp_path: Path) -> None:
    path = tmp_path / "new" / "j.jsonl"
    with closing(JournalFile(path)) as journal:
        append(journal, b'{"a":1}\n', b'{"b":2}\n')
        for offset, line in append(journal, b"{}\n").found:
            assert journal.line(offset, len(line)) == line
    read = Lines()
    with closing(JournalFile(path, reading_only=True)) as journal:
        journal.read(read)
        journal.read(read)
    assert read.found == [(0, b'{"a":1}'), (8, b'{"b":2}'), (16, b"{}")]


def test_two_that_write_see_each_other(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with closing(JournalFile(path)) as one, closing(JournalFile(path)) as other:
        append(one, b"1\n")
        seen = append(other, b"2\n")
        assert seen.texts == [b"1", b"2"]
        late = Lines()
        one.read(late)
        assert late.texts == [b"2"]


def test_an_unfinished_line_is_said_passed_over_and_cut(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "j.jsonl"
    path.write_bytes(b"1\n2\n{unfinished")
    take = Lines()
    with closing(JournalFile(path)) as journal, closing(JournalFile(path)) as reader:
        seen = Lines()
        reader.read(seen)
        assert (seen.texts, reader.torn) == ([b"1", b"2"], 11)
        assert "11 bytes is dropped" in capsys.readouterr().err
        append(journal, b"3\n", take=take)
        # A line that is shorter than the unfinished one is seen, too.
        reader.read(seen)
        assert (seen.texts, reader.torn) == ([b"1", b"2", b"3"], 0)
    assert path.read_bytes() == b"1\n2\n3\n"
    assert take.texts == [b"1", b"2", b"3"]


def test_a_line_may_be_longer_than_a_block(tmp_path: Path) -> None:
    path, take = tmp_path / "j.jsonl", Lines()
    long = b"x" * (40 << 20)
    path.write_bytes(long + b"\nshort\n")
    with closing(JournalFile(path)) as journal:
        journal.read(take)
    assert [len(line) for line in take.texts] == [len(long), 5]


def test_what_is_lasting_is_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = []
    monkeypatch.setattr(os, "fdatasync", flushed.append)
    with closing(JournalFile(tmp_path / "j.jsonl")) as journal:
        take = Lines()
        with journal.writing(take):
            journal.append([b"1\n"], take)
            assert flushed == []
            journal.append([b"2\n"], take, lasting=True)
            assert len(flushed) == 1
            journal.append([b"3\n"] * 300, take)
            assert len(flushed) == 2
        journal.sync()
    assert len(flushed) == 2


def test_what_cannot_be_opened_is_said(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="no journal of drafts here"):
        JournalFile(tmp_path / "j.jsonl", reading_only=True)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ResourceError, match="cannot be opened"):
        JournalFile(tmp_path / "link")
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError):
        JournalFile(tmp_path / "file" / "j.jsonl")


def test_a_file_that_shrinks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with closing(JournalFile(path)) as journal:
        append(journal, b"1\n", b"2\n")
        os.truncate(path, 2)
        with pytest.raises(FileUnreadableError, match="shorter"):
            journal.read(Lines())


def test_where_the_disk_is_full_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "j.jsonl", os.write

    def full(file: int, data: bytes) -> int:
        if len(data) > 2:
            return real(file, bytes(data)[:2])
        raise OSError(28, "No space left on device")

    with closing(JournalFile(path)) as journal:
        append(journal, b"1\n")
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(ResourceError, match="disk is full"):
            append(journal, b"long\n")
        monkeypatch.undo()
        append(journal, b"2\n")
    assert path.read_bytes() == b"1\n2\n"
