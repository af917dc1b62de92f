from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError, DataError
from adwright.creative.editor.edit_kinds import Exposure
from adwright.creative.editor.edit_plan import EditPlan
from adwright.creative.editor.guard import EditLog, EditRecord, MovedFace

HASHES = [f"{at:064x}" for at in range(1, 9)]


def record(at: int, moved: float = 0.5) -> EditRecord:
    """From picture `at` to the next; its face is 10 pixels further to the left each time."""
    box = (100 - 10 * at, 20, 140 - 10 * at, 60)
    after = (90 - 10 * at, 20, 130 - 10 * at, 60)
    face = MovedFace(box, after, {"smile": moved}, {"age": 0.25}, "c" * 64)
    plan = EditPlan((Exposure(0.1 * at),))
    return EditRecord(HASHES[at], HASHES[at + 1], plan, "Ada", "faces-1", (face,))


@pytest.fixture
def log(tmp_path: Path) -> EditLog:
    made = EditLog(tmp_path / "deep" / "edits.jsonl", FixedClock())
    for at in range(3):
        made.append(record(at))
    return made


def test_what_was_written_is_read(log: EditLog) -> None:
    check = log.check()
    assert (check.entries, check.whole) == (3, True)
    records = log.records()
    assert [one for _, one in records] == [record(at) for at in range(3)]
    assert records[0][0] == FixedClock().now()
    seal = log.append(record(3))
    assert log.check(head=seal).whole
    assert log.check().head == seal
    assert log.check(head=check.head).whole


def lines_of(log: EditLog) -> list[bytes]:
    return log.path.read_bytes().splitlines(keepends=True)


def approver(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[1].replace(b"Ada", b"Eve"), lines[2]]


def resealed(lines: list[bytes]) -> list[bytes]:
    """One entry changed, and its own seal made anew."""
    from adwright.core.hashing import content_hash

    values = json.loads(lines[1])
    values["record"]["approver"] = "Eve"
    del values["seal"]
    values["seal"] = content_hash(values)
    return [lines[0], json.dumps(values).encode() + b"\n", lines[2]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (approver, "line 2: it was changed after it was sealed"),
        (resealed, "line 3: the entry before it was changed"),
        (lambda lines: [lines[0], lines[2]], "line 2: the entry before"),
        (lambda lines: [lines[0], lines[2], lines[1]], "line 2: the entry before"),
        (lambda lines: [lines[0], lines[0], *lines[1:]], "line 2: the entry before"),
        (lambda lines: lines[1:], "line 1: the entry before"),
        (lambda lines: [*lines, b"\xff\xfe\n"], "line 4: it is no entry"),
        (lambda lines: [*lines, b"[1]\n"], "line 4: it is no entry"),
    ],
)
def test_every_change_is_found_and_nothing_is_added_to_it(
    log: EditLog, change: Callable[[list[bytes]], list[bytes]], said: str
) -> None:
    log.path.write_bytes(b"".join(change(lines_of(log))))
    assert log.check().problems[0].startswith(said)
    before = log.path.read_bytes()
    with pytest.raises(DataError, match="the log is broken"):
        log.append(record(3))
    with pytest.raises(DataError, match="the log is broken"):
        log.records()
    assert log.path.read_bytes() == before


def test_a_last_line_that_was_never_sealed_ends_no_log(log: EditLog) -> None:
    """As a killed process or a full disk leaves it."""
    lines = lines_of(log)
    log.path.write_bytes(b"".join([*lines[:2], lines[2][:-20]]))
    assert log.check().entries == 2
    log.append(record(3))
    assert log.check().whole
    assert lines_of(log)[:2] == lines[:2]
    assert log.check().entries == 3


def test_lines_cut_off_at_the_end_are_found_by_the_head(log: EditLog) -> None:
    head = log.check().head
    log.path.write_bytes(b"".join(lines_of(log)[:2]))
    assert log.check().whole
    assert "ends before" in log.check(head=head).problems[0]
    log.path.unlink()
    assert not log.check(head=head).whole
    assert log.check().whole


def test_a_face_is_traced_to_its_first_picture(log: EditLog) -> None:
    trace = log.traced(HASHES[3], (71, 21, 112, 61))
    assert (trace.source, trace.steps) == (HASHES[0], 3)
    assert trace.box == (100, 20, 140, 60)
    assert trace.moved == {"smile": 1.5}
    assert trace.drift == {"age": 0.75}
    assert log.traced(HASHES[3], (300, 20, 340, 60)).steps == 0
    stranger = log.traced("f" * 64, (1, 2, 30, 40))
    assert (stranger.source, stranger.moved) == ("f" * 64, {})


def test_an_edit_that_changed_nothing_hides_none(log: EditLog) -> None:
    log.append(replace(record(2), source=HASHES[3], faces=()))
    assert log.traced(HASHES[3], (71, 21, 112, 61)).steps == 3


def test_a_ring_of_pictures_ends(tmp_path: Path) -> None:
    log = EditLog(tmp_path / "ring.jsonl", FixedClock())
    face = MovedFace((0, 0, 9, 9), (0, 0, 9, 9), {"smile": 0.25})
    for source, result in ((0, 1), (1, 0)):
        log.append(EditRecord(HASHES[source], HASHES[result], EditPlan(), "Ada", faces=(face,)))
    assert log.traced(HASHES[0], (0, 0, 9, 9)).moved == {"smile": 0.5}


def test_what_is_no_record_or_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nobody approves"):
        EditRecord(HASHES[0], HASHES[1], EditPlan(), " ")
    (tmp_path / "edits.jsonl").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        EditLog(tmp_path / "edits.jsonl", FixedClock()).check()
