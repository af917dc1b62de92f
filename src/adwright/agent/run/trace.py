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

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adwright.agent.policy.confirmation import PendingChange
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import AdwrightError, ArtifactCorruptError, FileUnreadableError
from adwright.core.hashing import content_hash
from adwright.core.journal import Journal, SealedChain, append_lines, read_chain


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
        self._chain = SealedChain()
        self._path = path
        if path is not None:
            Journal(path, new=True, private=True).close()

    def add(self, step: TraceStep) -> None:
        """One more step."""
        self.steps.append(step)
        self._write({"step": to_jsonable(step)})

    def about_to_send(self, change: PendingChange) -> None:
        """This change leaves once this has returned."""
        kept = to_jsonable(change)
        self._write({"sending": kept, "change": content_hash(kept)})

    def end(self, verdict: str) -> None:
        """No more steps."""
        self._write({"end": verdict, "steps": len(self.steps)})

    def _write(self, content: dict[str, Any]) -> None:
        line = self._chain.add(content)
        if self._path is not None:
            append_lines(self._path, [line], private=True)


def read_trace(path: str | Path) -> tuple[tuple[TraceStep, ...], str]:
    """The steps of a trace and its verdict.

    Raises ArtifactCorruptError naming the line at which the chain breaks; a trace without its end,
    as of a run that was killed, is also broken.
    """
    chain = _chain(path, missing=False)
    *rows, last = chain.rows or [{}]
    whole = not chain.problem and not chain.torn and "end" in last
    try:
        steps = [from_jsonable(TraceStep, row["step"]) for row in rows if "sending" not in row]
    except (LookupError, AdwrightError) as error:
        raise _broken(path, chain) from error
    if not whole or last["steps"] != len(steps):
        raise _broken(path, chain)
    return tuple(steps), str(last["end"])


def read_sending(path: str | Path) -> SentChanges:
    """What a run sent or was about to, as far as its lines prove each other; of a run without a
    trace nothing, as none is sent before it has one."""
    sent, unknown = list[PendingChange](), list[PendingChange]()
    with suppress(AdwrightError):
        for row in _chain(path, missing=True).rows:
            if "sending" in row:
                unknown.append(from_jsonable(PendingChange, row["sending"]))
            else:
                sent, unknown = sent + unknown, []
    return SentChanges(tuple(sent), tuple(unknown))


def _chain(path: str | Path, *, missing: bool) -> SealedChain:
    try:
        if missing or Path(path).exists():
            return read_chain(path)
        raise FileUnreadableError("there is none", file=str(path))
    except FileUnreadableError as error:
        raise ArtifactCorruptError(
            f"the trace cannot be read: {error.what}", where=str(path), hint="check the path"
        ) from error


def _broken(path: str | Path, chain: SealedChain) -> ArtifactCorruptError:
    where = chain.problem or f"line {len(chain.rows) + 1}: there is no end"
    return ArtifactCorruptError(
        "the trace is broken",
        where=f"{path}, {where}",
        hint="it was changed or cut off after the run; do not rely on it",
    )
