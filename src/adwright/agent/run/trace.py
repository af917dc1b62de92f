"""What a run did, line by line, in a file whose lines prove each other.

    trace = RunTrace(folder / "trace.jsonl")
    trace.about_to_send(change)          # on the disk before the change leaves
    trace.add(step)
    trace.end("verified")
    steps, verdict = read_trace(folder / "trace.jsonl")      # ArtifactCorruptError where changed

Each line holds the hash of the line before it, and the last one the number of lines: a line that is
changed, left out, moved or added breaks the chain, and so does an end that is cut off. The chain
shows tampering to who knows its last hash; it is no signature. Of a run that was killed
`read_sending` tells what it sent, and what it may have sent: of that nobody saw the answer.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adwright.agent.policy.confirmation import PendingChange
from adwright.core.atomic import resource_error
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import AdwrightError, ArtifactCorruptError
from adwright.core.hashing import content_hash

__all__ = [
    "FIRST_HASH",
    "RunTrace",
    "SentChanges",
    "TraceRequest",
    "TraceStep",
    "read_sending",
    "read_trace",
]

FIRST_HASH = "0" * 64


@dataclass(frozen=True)
class TraceRequest:
    """A request of a step; decision: the code of the gate; status: 0 where nothing came."""

    method: str
    url: str
    kind: str
    decision: str
    status: int


@dataclass(frozen=True)
class TraceStep:
    """One act of a run. line: of the script. how: "script"; "route" for what the runner did by
    itself to get there; "healed". locator: kind and value of the first way to the element. before,
    after: states. value: what was typed, masked. verdict: "ok" or the code of what stopped it.
    picture: the name of a file beside the trace, empty for none."""

    line: int
    verb: str
    element: str
    how: str
    locator: str = ""
    value: str = ""
    before: str = ""
    after: str = ""
    requests: tuple[TraceRequest, ...] = field(default=())
    verdict: str = "ok"
    note: str = ""
    picture: str = ""


@dataclass(frozen=True)
class SentChanges:
    """The changes of a run by its trace. sent: the step that sent them has been written down;
    unknown: it has not, so that they may have left or not."""

    sent: tuple[PendingChange, ...] = ()
    unknown: tuple[PendingChange, ...] = ()


class RunTrace:
    """Writes a trace; path None keeps it in memory alone. Raises ResourceError where the file
    cannot be written."""

    def __init__(self, path: str | Path | None = None) -> None:
        self.steps: list[TraceStep] = []
        self.last_hash = FIRST_HASH
        self._path = None if path is None else Path(path)
        if self._path is not None:
            self._write("", flags=os.O_CREAT | os.O_EXCL)

    def add(self, step: TraceStep) -> None:
        """One more step."""
        self.steps.append(step)
        self._chain({"step": to_jsonable(step)})

    def about_to_send(self, change: PendingChange) -> None:
        """This change leaves once this has returned."""
        kept = to_jsonable(change)
        self._chain({"sending": kept, "change": content_hash(kept)})

    def end(self, verdict: str) -> None:
        """No more steps."""
        self._chain({"end": verdict, "steps": len(self.steps)})

    def _chain(self, content: dict[str, Any]) -> None:
        line = {"before": self.last_hash, **content}
        self.last_hash = _hash(line)
        self._write(json.dumps({**line, "hash": self.last_hash}, ensure_ascii=True) + "\n")

    def _write(self, text: str, *, flags: int = 0) -> None:
        if self._path is None:
            return
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | flags, 0o600)
            try:
                os.write(descriptor, text.encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise resource_error(error, self._path) or error from error


def read_trace(path: str | Path) -> tuple[tuple[TraceStep, ...], str]:
    """The steps of a trace and its verdict.

    Raises ArtifactCorruptError naming the line at which the chain breaks; a trace without its end,
    as of a run that was killed, is also broken.
    """
    before, steps, verdict = FIRST_HASH, [], None
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactCorruptError(
            f"the trace cannot be read: {error}", where=str(path), hint="check the path"
        ) from error
    for number, text in enumerate(lines, 1):
        line = _parsed(text, path, number)
        given = line.pop("hash", None)
        if verdict is not None or line.get("before") != before or given != _hash(line):
            raise _broken(path, number)
        before = given
        if "step" in line:
            try:
                steps.append(from_jsonable(TraceStep, line["step"]))
            except AdwrightError as error:
                raise _broken(path, number) from error
        elif "sending" in line:
            continue
        elif line.get("steps") == len(steps):
            verdict = str(line.get("end"))
        else:
            raise _broken(path, number)
    if verdict is None:
        raise _broken(path, len(lines) + 1)
    return tuple(steps), verdict


def read_sending(path: str | Path) -> SentChanges:
    """What a run sent or was about to, as far as its lines prove each other; of a run without a
    trace nothing, as none is sent before it has one."""
    before, sent, unknown = FIRST_HASH, list[PendingChange](), list[PendingChange]()
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except FileNotFoundError:
        return SentChanges()
    with suppress(AdwrightError):  # the last line of a run that was killed may be half of one
        for number, text in enumerate(lines, 1):
            line = _parsed(text, path, number)
            given = line.pop("hash", None)
            if line.get("before") != before or given != _hash(line):
                break
            before = given
            if "sending" in line:
                unknown.append(from_jsonable(PendingChange, line["sending"]))
            else:
                sent, unknown = sent + unknown, []
    return SentChanges(tuple(sent), tuple(unknown))


def _parsed(text: str, path: str | Path, number: int) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _broken(path, number) from error
    if not isinstance(line, dict):
        raise _broken(path, number)
    return line


def _broken(path: str | Path, number: int) -> ArtifactCorruptError:
    return ArtifactCorruptError(
        "the trace is broken",
        where=f"{path}, line {number}",
        hint="it was changed or cut off after the run; do not rely on it",
    )


def _hash(line: dict[str, Any]) -> str:
    plain = json.dumps(line, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(plain.encode()).hexdigest()
