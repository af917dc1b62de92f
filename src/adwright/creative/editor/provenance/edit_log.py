"""The log of edits: a file of JSON lines that only grows, each line sealed by the one before it.

    log = EditLog("edits.jsonl", clock)
    log.append(EditRecord(source=..., result=..., plan=plan, model="...", approver="..."))
    log.check()                              # LogCheck: entries, head, problems
    log.traced(picture_hash, box)            # where a face came from, and how far it was moved

A line holds a number, the time, the record, the hash of the line before (`before`) and its own
(`seal`): SHA-256 of all the rest of it. So a line that is changed, taken out, added or moved breaks
the chain at that place. Lines cut off at the end break nothing; who keeps the `head`, the last
seal, for example in a signed statement of the picture, finds that too.

The log never holds pictures, keys or names beyond the approver's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from adwright.core.atomic import cut_unfinished, locked, resource_error
from adwright.core.clock import Clock
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import AdwrightError, ConfigError, DataError
from adwright.core.hashing import content_hash
from adwright.core.regular import read_regular
from adwright.creative.editor.edits.plan import EditPlan
from adwright.creative.editor.provenance.hashes import Box, overlap

__all__ = ["EditLog", "EditRecord", "LogCheck", "MovedFace", "Trace"]

_MOST_BYTES = 1 << 30
_START = "0" * 64
_SAME = 0.5
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class MovedFace:
    """box: in the source. result_box: in the result. moved: amount of each direction. drift: what
    was measured, of each attribute. consent: hash of the manifest's entry that allowed it; empty
    where nothing was moved."""

    box: Box
    result_box: Box
    moved: dict[str, float] = field(default_factory=dict)
    drift: dict[str, float] = field(default_factory=dict)
    consent: str = ""


@dataclass(frozen=True)
class EditRecord:
    """source, result: hashes of the pixels, see `picture_hash`. model: id of the model of faces,
    empty without one. approver: who let it pass. faces: of the source."""

    source: str
    result: str
    plan: EditPlan
    approver: str
    model: str = ""
    faces: tuple[MovedFace, ...] = ()

    def __post_init__(self) -> None:
        for name in ("source", "result"):
            value = getattr(self, name)
            if len(value) != 64 or not set(value) <= _HEX:
                raise ConfigError(
                    f"{name} is no SHA-256", where=f"EditRecord.{name}", hint="use picture_hash"
                )
        if not self.approver.strip():
            raise ConfigError("nobody approves", where="EditRecord.approver", hint="say who does")


@dataclass(frozen=True)
class LogCheck:
    """entries: lines that are sealed in their order. head: the last seal. problems: in words, with
    the line; empty for a log that is whole."""

    entries: int
    head: str
    problems: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


@dataclass(frozen=True)
class Trace:
    """Where a face came from: the first picture, its box there, and all that it was moved and
    drifted since, in so many steps."""

    source: str
    box: Box
    moved: dict[str, float] = field(default_factory=dict)
    drift: dict[str, float] = field(default_factory=dict)
    steps: int = 0


class EditLog:
    """See the module. path: of the file, made by the first entry."""

    def __init__(self, path: str | Path, clock: Clock) -> None:
        self.path, self._clock = Path(path), clock

    def append(self, record: EditRecord) -> str:
        """Seal one more line; returns its seal.

        Waits for other processes that write. A last line without its end, of a process that was
        killed or whose disk was full, was sealed for nobody and is cut off. Raises DataError where
        the log is broken: nothing is added to it then; ResourceError where the disk refuses.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with locked(self.path.with_name(f".{self.path.name}.lock")):
                check = self.check()
                if not check.whole:
                    _finish(self.path)
                    check = self.check()
                if not check.whole:
                    raise DataError(
                        f"the log is broken: {check.problems[0]}",
                        file=str(self.path),
                        hint="keep it as it is, find out why, and begin another",
                    )
                line = {
                    "number": check.entries,
                    "at": self._clock.now().isoformat(),
                    "record": to_jsonable(record),
                    "before": check.head,
                }
                seal = content_hash(line)
                text = json.dumps(line | {"seal": seal}, ensure_ascii=False) + "\n"
                _add(self.path, text.encode("utf-8"))
        except OSError as error:
            refused = resource_error(error, self.path)
            if refused is None:
                raise
            raise refused from error
        return seal

    def check(self, *, head: str = "") -> LogCheck:
        """Whether every line is as it was sealed. head: a seal that has to be among them, kept
        elsewhere: finds lines that were cut off at the end."""
        problems: list[str] = []
        before, count, seen = _START, 0, head in ("", _START)
        for at, line in self._lines():
            problem = _problem(line, count, before)
            if problem:
                problems.append(f"line {at + 1}: {problem}")
                break
            before, count = line["seal"], count + 1
            seen = seen or before == head
        if not seen and not problems:
            problems.append(f"the log ends before the entry with the seal {head[:12]}...")
        return LogCheck(count, before, tuple(problems))

    def records(self) -> tuple[tuple[datetime, EditRecord], ...]:
        """All records with their times. Raises DataError where the log is broken."""
        check, made = self.check(), []
        if not check.whole:
            raise DataError(f"the log is broken: {check.problems[0]}", file=str(self.path))
        for at, line in self._lines():
            try:
                record = from_jsonable(EditRecord, line["record"], source=f"line {at + 1}")
                made.append((datetime.fromisoformat(line["at"]), record))
            except (AdwrightError, ValueError) as error:
                raise DataError(
                    f"a record cannot be read: {error}", file=str(self.path), row=at
                ) from error
        return tuple(made)

    def traced(self, picture: str, box: Box) -> Trace:
        """Where the face with this box in the picture with this hash came from. A picture that no
        entry made is its own source; of several entries that made it, the first counts. Raises as
        `records`."""
        made: dict[str, EditRecord] = {}
        for _, record in self.records():
            if record.source != record.result:
                made.setdefault(record.result, record)
        moved: dict[str, float] = {}
        drift: dict[str, float] = {}
        steps, seen = 0, {picture}
        while (step := made.get(picture)) is not None:
            face = max(step.faces, key=lambda one: overlap(one.result_box, box), default=None)
            if face is None or overlap(face.result_box, box) < _SAME:
                break
            for total, part in ((moved, face.moved), (drift, face.drift)):
                for name, amount in part.items():
                    total[name] = total.get(name, 0.0) + amount
            picture, box, steps = step.source, face.box, steps + 1
            if picture in seen:
                break
            seen.add(picture)
        return Trace(picture, box, moved, drift, steps)

    def _lines(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Each line with its number; an empty mapping for what is no JSON object."""
        try:
            data = read_regular(self.path, most=_MOST_BYTES)
        except FileNotFoundError:
            return
        except OSError as error:
            raise DataError(
                f"the log cannot be read: {error.strerror}", file=str(self.path)
            ) from error
        for at, line in enumerate(data.splitlines(keepends=True)):
            try:
                values = json.loads(line.decode("utf-8")) if line.endswith(b"\n") else {}
            except (ValueError, RecursionError):
                values = {}
            yield at, values if isinstance(values, dict) else {}


def _problem(line: Mapping[str, Any], number: int, before: str) -> str:
    if set(line) != {"number", "at", "record", "before", "seal"}:
        return "it is no entry, or ends too early"
    if line["number"] != number or line["before"] != before:
        return "the entry before it was changed, taken out or added"
    try:
        sealed = content_hash({name: value for name, value in line.items() if name != "seal"})
    except AdwrightError:
        return "it holds what no entry can"
    return "" if sealed == line["seal"] else "it was changed after it was sealed"


def _finish(path: Path) -> None:
    with suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb+") as stream:
            cut_unfinished(stream)


def _add(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o644)
    with os.fdopen(descriptor, "ab") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
