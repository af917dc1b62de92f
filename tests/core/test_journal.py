from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from adwright.core.errors import FileUnreadableError, ResourceError
from adwright.core.hashing import content_hash
from adwright.core.journal import (
    Journal,
    SealedChain,
    append_rows,
    line_of,
    read_chain,
    read_rows,
    write_rows,
)
from tests.support.forks import python


class Lines:
    """What was taken."""

    def __init__(self) -> None:
        self.found: list[tuple[int, bytes]] = []

    def __call__(self, offset: int, line: bytes) -> None:
        self.found.append((offset, line))

    @property
    def texts(self) -> list[bytes]:
        return [line for _, line in self.found]


def append(journal: Journal, *lines: bytes, take: Lines | None = None) -> Lines:
    take = Lines() if take is None else take
    with journal.writing(take):
        journal.append(lines, take)
    return take


def test_lines_come_in_their_order_with_their_places(tmp_path: Path) -> None:
    path = tmp_path / "new" / "j.jsonl"
    with closing(Journal(path)) as journal:
        append(journal, b'{"a":1}\n', b'{"b":2}\n')
        found = append(journal, b'{"c":3}\n').found
        assert [journal.parsed(at, len(line), dict) for at, line in found] == [{"c": 3}]
        with pytest.raises(FileUnreadableError, match="line 2 cannot be read"):
            journal.parsed(8, 7, int)
    read = Lines()
    with closing(Journal(path, reading_only=True)) as journal:
        journal.read(read)
        journal.read(read)
    assert read.found == [(0, b'{"a":1}'), (8, b'{"b":2}'), (16, b'{"c":3}')]


def test_two_that_write_see_each_other(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with closing(Journal(path)) as one, closing(Journal(path)) as other:
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
    with closing(Journal(path)) as journal, closing(Journal(path)) as reader:
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
    with closing(Journal(path)) as journal:
        journal.read(take)
    assert [len(line) for line in take.texts] == [len(long), 5]


def test_what_is_lasting_is_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = []
    monkeypatch.setattr(os, "fdatasync", flushed.append)
    with closing(Journal(tmp_path / "j.jsonl")) as journal:
        take = Lines()
        with journal.writing(take):
            journal.append([b"1\n"], take)
            assert flushed == []
            journal.append([b"2\n"], take, flush="now")
            assert len(flushed) == 1
            journal.append([b"3\n"] * 300, take)
            assert len(flushed) == 2
            journal.append([b"4\n"] * 300, flush="system")
        journal.sync()
    assert len(flushed) == 2


def test_what_cannot_be_opened_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadableError, match="cannot be read: No such file"):
        Journal(tmp_path / "j.jsonl", reading_only=True)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(FileUnreadableError, match="no regular file"):
        read_rows(tmp_path / "fifo", dict)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ResourceError, match="cannot be opened"):
        Journal(tmp_path / "link")
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError):
        Journal(tmp_path / "file" / "j.jsonl")
    with pytest.raises(ResourceError):
        Journal(tmp_path / "file", new=True)


def test_a_file_that_shrinks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with closing(Journal(path)) as journal:
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

    with closing(Journal(path)) as journal:
        append(journal, b"1\n")
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(ResourceError, match="disk is full"):
            append(journal, b"long\n")
        monkeypatch.undo()
        append(journal, b"2\n")
    assert path.read_bytes() == b"1\n2\n"


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.jsonl"
    assert read_rows(path, dict) == []
    append_rows(path, [{"a": 1}, {"a": "two\nlines"}], private=True)
    append_rows(path, [{"a": "\ud800é"}])
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_rows(path, lambda row: row["a"]) == [1, "two\nlines", "\ud800é"]
    write_rows(path, [{"a": "é"}])
    assert path.read_bytes() == '{"a":"é"}\n'.encode()


def test_an_append_behind_a_torn_line_never_spoils_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.jsonl"
    whole = b"".join(line_of({"a": "x" * 1000}) for _ in range(200))
    path.write_bytes(whole + b'{"a":"' + b"y" * 100_000)
    append_rows(path, [{"b": 1}])
    assert "100,006 bytes is dropped" in capsys.readouterr().err
    assert path.read_bytes() == whole + b'{"b":1}\n'
    path.write_bytes(b'{"a"')
    append_rows(path, [{"b": 1}])
    assert read_rows(path, dict) == [{"b": 1}]


def test_a_whole_object_that_lacks_its_line_end_counts(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a":1}\n\n{"a":2}')
    assert read_rows(path, dict) == [{"a": 1}, {"a": 2}]
    with closing(Journal(path)) as journal:
        seen = Lines()
        journal.read(seen)
        append_rows(path, [{"a": 3}])
        journal.read(seen)
        append(journal, b'{"a":4}\n', take=seen)
    assert seen.texts == [b'{"a":%d}' % n for n in (1, 2, 3, 4)]
    assert read_rows(path, dict) == [{"a": n} for n in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("no json", "Expecting value"),
        ("[1]", "it is no object"),
        ('{"b": 1}', "it lacks 'a'"),
        ("[" * 100_000, "recursion"),
        ("\xff", "decode"),
    ],
)
def test_damage_in_the_middle_names_the_line(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a":1}\n' * 2 + line.encode("latin-1") + b'\n{"a":2}\n')
    with pytest.raises(FileUnreadableError, match=f"line 3 cannot be read: .*{said}") as told:
        read_rows(path, lambda row: row["a"], hint="mend it")
    assert (told.value.file, told.value.hint) == (str(path), "mend it")


def test_lines_that_an_older_version_ended_may_be_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"a":1}\n{"a"\n{"a":2}\n')
    assert read_rows(path, dict, ended_torn=True) == [{"a": 1}, {"a": 2}]


def chained(path: Path, rows: int = 3) -> SealedChain:
    chain = SealedChain()
    for at in range(rows):
        with closing(Journal(path)) as journal, journal.writing():
            journal.append([chain.add({"number": at, "name": "é"})], flush="now")
    return chain


def test_a_chain_is_read_as_it_was_made(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    made, found = chained(path), read_chain(path)
    assert (found.rows, found.heads, found.problem) == (made.rows, made.heads, "")
    assert found.rows[1] == {"number": 1, "name": "é"}
    empty = read_chain(tmp_path / "none")
    assert (empty.head, empty.rows, empty.problem) == ("0" * 64, [], "")


@pytest.mark.parametrize(("key", "ascii_only"), [("hash", True), ("seal", False)])
def test_chains_of_older_versions_are_read(tmp_path: Path, key: str, ascii_only: bool) -> None:
    path, before = tmp_path / "c.jsonl", "0" * 64
    for at in range(3):
        line = {"before": before, "number": at, "name": "é"}
        if ascii_only:
            text = json.dumps(line, sort_keys=True, separators=(",", ":"))
            before = sha256(text.encode()).hexdigest()
        else:
            before = content_hash(line)
        append_rows(path, [line | {key: before}])
    chain = read_chain(path)
    assert (len(chain.rows), chain.head, chain.problem) == (3, before, "")
    append_rows(path, [json.loads(chain.add({"number": 3}))])
    assert read_chain(path).rows[3] == {"number": 3}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: [one[0], one[1].replace(b"1", b"7", 1), one[2]], "line 2: it was changed"),
        (lambda one: [one[0], one[2]], "line 2: the entry before it was changed"),
        (lambda one: [one[0], one[2], one[1]], "line 2: the entry before"),
        (lambda one: [one[0], one[0], *one[1:]], "line 2: the entry before"),
        (lambda one: one[1:], "line 1: the entry before"),
        (lambda one: [*one, b"[1]\n"], "line 4: it is no entry"),
        (lambda one: [*one, b"\xff\xfe\n"], "line 4: it is no entry"),
    ],
)
def test_a_broken_chain_names_its_line(
    tmp_path: Path, change: Callable[[list[bytes]], list[bytes]], said: str
) -> None:
    path = tmp_path / "c.jsonl"
    chained(path)
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    assert read_chain(path).problem.startswith(said)


def kill_at(path: Path, seed: int) -> int:
    """Lines that a process says it has appended before it is killed."""
    code = (
        "import sys; from adwright.core.journal import append_rows\n"
        "for at in range(10_000):\n"
        f" append_rows({str(path)!r}, [{{'at': at, 'x': 'y' * 5000}}], flush='system')\n"
        " print(at, flush=True)\n"
    )
    with subprocess.Popen([python(), "-c", code], stdout=subprocess.PIPE) as process:
        out = process.stdout
        assert out is not None
        for _ in range(seed):
            said = int(out.readline())
        process.kill()
        rest = out.read().split()
    return int(rest[-1]) if rest else said


def test_what_was_appended_outlives_a_kill(tmp_path: Path) -> None:
    path, done = tmp_path / "x.jsonl", 0
    for seed in (3, 20, 7):
        done += kill_at(path, seed) + 1
        rows = read_rows(path, dict)
        assert done <= len(rows) <= done + 1
        done = len(rows)
        append_rows(path, [{"at": "behind"}])
        done += 1
    assert len(read_rows(path, dict)) == done
