"""Traces whose lines prove each other."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.agent.policy.confirmation import PendingChange
from adwright.agent.run.trace import (
    RunTrace,
    SentChanges,
    TraceRequest,
    TraceStep,
    read_sending,
    read_trace,
)
from adwright.core.errors import ArtifactCorruptError, ResourceError

REQUEST = TraceRequest("GET", "u", "page", "allowed", 200)
STEPS = (
    TraceStep(1, "tap", "a__b", "script", requests=(REQUEST,)),
    TraceStep(2, "set_text", "a__c", "script", value="é\u202e"),
    TraceStep(3, "tap", "a__d", "healed", verdict="effect", note="no"),
)


def written(folder: Path) -> Path:
    path = folder / "trace.jsonl"
    trace = RunTrace(path)
    for one in STEPS:
        trace.add(one)
    trace.end("stopped")
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_trace(written(tmp_path)) == (STEPS, "stopped")


def test_what_is_about_to_be_sent_is_on_the_disk_before_and_known_after_a_kill(
    tmp_path: Path,
) -> None:
    path = tmp_path / "trace.jsonl"
    changes = tuple(
        PendingChange("save", "commit", "POST", f"http://h/{n}", (), n, documented=True)
        for n in (1, 2, 3)
    )
    assert read_sending(path) == SentChanges()
    trace = RunTrace(path)
    assert read_sending(path) == SentChanges()
    trace.about_to_send(changes[0])
    assert read_sending(path) == SentChanges((), changes[:1])
    trace.add(STEPS[0])
    trace.about_to_send(changes[1])
    trace.about_to_send(changes[2])
    cut = path.read_text("utf-8")
    for text in (cut, f'{cut}{{"before": "', cut + cut.splitlines()[-1] + "\n"):
        path.write_text(text, "utf-8")
        assert read_sending(path) == SentChanges(changes[:1], changes[1:])
    path.write_text(cut, "utf-8")
    with pytest.raises(ArtifactCorruptError):
        read_trace(path)
    trace.end("done")
    assert read_trace(path) == (STEPS[:1], "done")


def test_a_trace_is_not_written_over(tmp_path: Path) -> None:
    path = written(tmp_path)
    with pytest.raises((ResourceError, FileExistsError)):
        RunTrace(path)


def change(lines: list[str], kind: str) -> list[str]:
    match kind:
        case "word":
            return [lines[0], lines[1].replace("a__c", "a__x"), *lines[2:]]
        case "left out":
            return [lines[0], *lines[2:]]
        case "moved":
            return [lines[1], lines[0], *lines[2:]]
        case "doubled":
            return [lines[0], *lines]
        case "cut off":
            return lines[:-1]
        case "no end of line":
            return [*lines[:-1], lines[-1][:-5]]
        case "after the end":
            return [*lines, lines[-1]]
        case "no object":
            return ["[]", *lines]
    return []


@pytest.mark.parametrize(
    "kind",
    [
        "word",
        "left out",
        "moved",
        "doubled",
        "cut off",
        "no end of line",
        "after the end",
        "no object",
        "empty",
    ],
)
def test_any_change_is_seen(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path)
    lines = change(path.read_text().splitlines(), kind)
    path.write_text("".join(f"{one}\n" for one in lines))
    with pytest.raises(ArtifactCorruptError, match="broken"):
        read_trace(path)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A trace as it stands in its file."""
    return written(tmp_path_factory.mktemp("trace")).read_bytes()


@settings(deadline=None)
@given(at=st.integers(0, 5_000), by=st.integers(1, 255))
def test_no_byte_can_be_changed(
    tmp_path_factory: pytest.TempPathFactory, kept: bytes, at: int, by: int
) -> None:
    data = bytearray(kept)
    data[at % len(data)] = (data[at % len(data)] + by) % 256
    path = tmp_path_factory.getbasetemp() / "changed.jsonl"
    path.write_bytes(bytes(data))
    with suppress(ArtifactCorruptError):
        # Blanks around a line say nothing.
        assert read_trace(path) == (STEPS, "stopped")


def test_a_missing_trace_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactCorruptError, match="cannot be read"):
        read_trace(tmp_path / "none.jsonl")
