"""?"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import numpy as np
import pytest
from numba.core import types
from numba.extending import intrinsic

from adwright.core.clock import FixedClock
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
from adwright.core.progress import Rhythm, duration, progress, say
from adwright.core.tenant_queue import TenantCounts, TenantQueue
from adwright.core.vector_code import LANES, Code, has_pairs, has_wide_registers
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


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_elsewhere_one_line_at_the_end(clock: FixedClock) -> None:
    out = io.StringIO()
    with progress(3000, "read", stream=out, clock=clock) as bar:
        for _ in range(3):
            clock.advance(0.5)
            bar.advance(1000)
            assert out.getvalue() == ""
    assert bar.done == 3000
    assert out.getvalue() == "read: 3,000 rows in 1.5 s (2,000 rows/s)\n"


def test_unit_and_default_step(clock: FixedClock) -> None:
    out = io.StringIO()
    with progress(None, "train", "batches", stream=out, clock=clock) as bar:
        bar.advance()
    assert out.getvalue() == "train: 1 batches in 0.0 s\n"


def test_default_stream_is_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(1, "read"):
        pass
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("read: 0 rows in ")


def fail_after_two(out: io.StringIO, clock: FixedClock) -> None:
    with progress(5, "read", stream=out, clock=clock) as bar:
        bar.advance(2)
        clock.advance(1)
        raise ValueError("stop")


def test_error_passes_and_says_how_far_it_came(clock: FixedClock) -> None:
    out = io.StringIO()
    with pytest.raises(ValueError, match="stop"):
        fail_after_two(out, clock)
    assert out.getvalue() == "read: stopped after 2 rows in 1.0 s (2 rows/s)\n"


def test_terminal_shows_count_rate_and_time_left(
    clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    out = Terminal()
    with progress(4000, "read", stream=out, clock=clock) as bar:
        clock.advance(1)
        bar.advance(1000)
        clock.advance(1)
        bar.advance(1000)
    text = out.getvalue()
    assert "2,000/4,000 rows" in text
    assert "1,000 rows/s" in text
    assert "0:00:02" in text  # both the time so far and the time left


def test_terminal_with_unknown_total(clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    out = Terminal()
    with progress(None, "read", stream=out, clock=clock) as bar:
        bar.advance(7)
    assert "7 rows" in out.getvalue()


def test_dumb_terminal_gets_the_line(clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    out = Terminal()
    with progress(1, "read", stream=out, clock=clock) as bar:
        bar.advance()
    assert out.getvalue() == "read: 1 rows in 0.0 s\n"


def test_does_not_go_back() -> None:
    with progress(1, "read", stream=io.StringIO()) as bar:
        with pytest.raises(ValueError, match="go back"):
            bar.advance(-1)
        assert bar.done == 0


def test_a_long_job_speaks_in_between(clock: FixedClock) -> None:
    """Every ten seconds in the first minute, then once a minute."""
    out, seen = io.StringIO(), []
    with progress(4000, "read", stream=out, clock=clock) as bar:
        for second in range(1, 241):
            clock.advance(1)
            bar.advance(10)
            if len(out.getvalue().splitlines()) > len(seen):
                seen.append(second)
    assert seen == [10, 20, 30, 40, 50, 60, 120, 180, 240]
    assert out.getvalue().splitlines()[:2] == [
        "read: 100/4,000 rows (2%), 10 rows/s, 6 min left",
        "read: 200/4,000 rows (5%), 10 rows/s, 6 min left",
    ]


def test_jobs_that_make_a_whole_share_a_rhythm(clock: FixedClock) -> None:
    out, rhythm = io.StringIO(), Rhythm(clock)
    for _ in range(3):
        with progress(None, "epoch", stream=out, rhythm=rhythm, clock=clock) as bar:
            for _ in range(4):
                clock.advance(4)
                bar.advance(2)
    told = [line for line in out.getvalue().splitlines() if " in " not in line]
    assert told == [
        "epoch: 6 rows, 0.5 rows/s",
        "epoch: 4 rows, 0.5 rows/s",
        "epoch: 2 rows, 0.5 rows/s",
        "epoch: 8 rows, 0.5 rows/s",
    ]


def test_what_else_there_is_to_say(clock: FixedClock) -> None:
    out, losses = io.StringIO(), iter((0.5, 0.25))
    with progress(
        4, "train", "batches", note=lambda: f"loss {next(losses)}", stream=out, clock=clock
    ) as bar:
        clock.advance(20)
        bar.advance(2)
    assert out.getvalue().splitlines() == [
        "train: 2/4 batches (50%), 0.1 batches/s, 20 s left, loss 0.5",
        "train: 2 batches in 20.0 s (0.1 batches/s), loss 0.25",
    ]


def test_the_bar_has_the_note(clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    out = Terminal()
    with progress(9, "train", note=lambda: "loss [0.5]", stream=out, clock=clock) as bar:
        clock.advance(1)
        bar.advance(2)
    assert "loss [0.5]" in out.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_what_strangers_wrote_commands_nothing(
    clock: FixedClock,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    terminal: bool,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    out = Terminal() if terminal else io.StringIO()
    hostile, shown = (
        "\u0928\u200c\x1b]0;p\x07\u202e\x9b",
        "\u0928\u200c" + r"\x1b]0;p\x07\u202e\x9b",
    )
    told = f"at {hostile}"
    with progress(9, f"on {hostile}", note=lambda: told, stream=out, clock=clock) as bar:
        clock.advance(1)
        bar.advance(2)
    say(hostile)
    assert capsys.readouterr().err == f"{shown}\n"
    assert f"on {shown}" in out.getvalue()
    assert f"at {shown}" in out.getvalue()
    assert hostile not in out.getvalue()


class Notebook:
    """Stands in for IPython in a notebook: the texts of each place on the page."""

    kernel = "one"

    def __init__(self) -> None:
        self.places: list[list[str]] = []

    def display(self, shown: dict[str, str], raw: bool, display_id: bool) -> Any:
        assert raw
        assert display_id
        place = [shown["text/plain"]]
        self.places.append(place)

        class Handle:
            def update(self, shown: dict[str, str], raw: bool) -> None:
                assert raw
                place.append(shown["text/plain"])

        return Handle()


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    found, shell, display = Notebook(), ModuleType("IPython"), ModuleType("IPython.display")
    shell.get_ipython = lambda: found  # type: ignore[attr-defined]
    display.display = found.display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return found


def test_a_notebook_has_one_line_that_changes(
    clock: FixedClock, notebook: Notebook, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress(4, "train", "batches", clock=clock) as bar:
        for _ in range(4):
            clock.advance(0.25)
            bar.advance()
    assert notebook.places == [
        [
            "train: 2/4 batches (50%), 4 batches/s, 0 s left",
            "train: 4/4 batches (100%), 4 batches/s, 0 s left",
            "train: 4 batches in 1.0 s (4 batches/s)",
        ]
    ]
    say("measured")
    assert notebook.places[1] == ["measured"]
    assert capsys.readouterr().err == ""


def test_a_shell_of_ipython_is_no_notebook(
    notebook: Notebook, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shell: Any = sys.modules["IPython"]
    monkeypatch.setattr(shell, "get_ipython", lambda: None)
    say("measured")
    with progress(1, "read"):
        pass
    assert notebook.places == []
    assert capsys.readouterr().err.startswith("measured\nread: 0 rows")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (99.4, "99 s"), (100, "2 min"), (3600, "60 min"), (7200, "2.0 h")],
)
def test_durations_are_read_at_a_glance(seconds: float, text: str) -> None:
    assert duration(seconds) == text


Cost = Callable[[int], int]


def free(lines: TenantQueue[int], busy: str = "") -> str | None:
    return lines.next(lambda tenant: tenant not in busy)


def turns(
    lines: TenantQueue[int], size: int, cost: Cost = lambda _: 1
) -> list[tuple[str, list[int]]]:
    """All turns until nothing waits."""
    found = []
    while (tenant := free(lines)) is not None:
        found.append((tenant, lines.take(tenant, size, cost)))
    return found


def test_who_has_nothing_is_not_counted() -> None:
    counts = TenantCounts()
    counts.add("a", 2)
    counts.add("a", -2)
    counts.add("b")
    assert dict(counts) == {"b": 1}


def test_the_owner_says_who_comes_first() -> None:
    lines: TenantQueue[int] = TenantQueue()
    for tenant, item in (("a", 1), ("b", 2), ("b", 3)):
        lines.put(tenant, item)
    assert lines.next(lambda _: True, rank=lambda tenant: -lines.waits(tenant)) == "b"
    assert (lines.pop("b"), lines.tenants) == (2, ("a", "b"))
    lines.put("a", 4)
    assert (lines.drop_last("a"), list(lines)) == (4, [1, 3])


def test_a_long_line_of_one_tenant_does_not_stand_before_another() -> None:
    lines: TenantQueue[int] = TenantQueue()
    for item in range(5):
        lines.put("a", item)
    lines.put("b", 10)
    lines.put("c", 20)
    assert (len(lines), lines.tenants, lines.waits("a"), lines.waits("x")) == (
        7,
        ("a", "b", "c"),
        5,
        0,
    )
    assert turns(lines, 2) == [("a", [0, 1]), ("b", [10]), ("c", [20]), ("a", [2, 3]), ("a", [4])]
    assert (len(lines), lines.tenants) == (0, ())


def test_turns_are_equal_in_cost_and_a_heavy_item_goes_alone() -> None:
    lines: TenantQueue[int] = TenantQueue()
    for item in (4, 6, 7, 3, 1, 30, 2):
        lines.put("a", item)
    for item in (9, 8):
        lines.put("b", item)
    assert turns(lines, 10, lambda item: item) == [
        ("a", [4, 6]),
        ("b", [9]),
        ("a", [7, 3]),
        ("b", [8]),
        ("a", [1]),
        ("a", [30]),
        ("a", [2]),
    ]


def test_a_busy_tenant_is_passed_over_and_keeps_its_turn() -> None:
    lines: TenantQueue[int] = TenantQueue()
    for tenant, item in (("a", 1), ("b", 2)):
        lines.put(tenant, item)
    assert free(lines, "a") == "b"
    assert free(lines, "ab") is None
    assert free(lines) == "a"


def test_whoever_comes_back_comes_last() -> None:
    lines: TenantQueue[int] = TenantQueue()
    for tenant, item in (("a", 1), ("b", 2), ("b", 3)):
        lines.put(tenant, item)
    assert lines.take("a", 1) == [1]
    lines.put("a", 4)
    assert turns(lines, 1) == [("b", [2]), ("a", [4]), ("b", [3])]


def test_items_can_be_taken_back() -> None:
    lines: TenantQueue[int] = TenantQueue()
    for item in range(3):
        lines.put("a", item)
    assert lines.drop("a", 1)
    assert not lines.drop("a", 1)
    assert not lines.drop("b", 1)
    assert lines.drain("a") == [0, 2]
    assert lines.drain("a") == []
    assert free(lines) is None
    lines.put("b", 7)
    assert lines.drop("b", 7)
    assert free(lines) is None
    assert lines.take("b", 5) == []


@intrinsic
def _powers(typing: Any, to: Any, x: Any, steps: Any) -> Any:
    """to = x to the power of steps + 1, by a loop that carries a vector."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        code = Code(builder)
        to, x, steps = args
        base = code.load(x)
        zero = code.fill(0.0)
        (last,) = code.loop(steps, [base], lambda i, old: [code.multiply_add(old, base, zero)])
        code.store(last, code.at(to, 0))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@numba.njit
def _run(to: Any, x: Any, steps: Any) -> None:
    _powers(to, x, steps)


def test_a_loop_carries_vectors() -> None:
    x, to = np.linspace(0.5, 2, LANES, dtype=np.float32), np.zeros(LANES, np.float32)
    _run(to.ctypes.data, x.ctypes.data, 3)
    np.testing.assert_allclose(to, x**4, rtol=1e-6)


@intrinsic
def _summed(typing: Any, to: Any, x: Any) -> Any:
    """to, a bfloat16: the sum of x."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        code = Code(builder)
        to, x = args
        code.fetch(code.at(x, 1 << 40))
        code.store_half(code.total(code.load(x)), to)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@numba.njit
def _sum(to: Any, x: Any) -> None:
    _summed(to, x)


def test_a_sum_is_rounded_to_a_half() -> None:
    if not has_pairs():
        pytest.skip("this processor rounds to no bfloat16")
    to = np.zeros(1, np.uint32)
    for x in (np.linspace(0.5, 2, LANES), np.full(LANES, np.nan), np.full(LANES, -np.inf)):
        own = x.astype(np.float32)
        _sum(to.ctypes.data + 2, own.ctypes.data)  # the upper half of a float32
        np.testing.assert_allclose(to.view(np.float32)[0], own.sum(), rtol=2**-8)


def test_pairs_need_wide_registers() -> None:
    if not has_pairs():
        pytest.skip("this processor multiplies no pairs of bfloat16")
    assert has_wide_registers()
