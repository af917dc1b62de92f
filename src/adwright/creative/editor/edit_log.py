"""The log of edits: a file of JSON lines that only grows, each line sealed by the one before it.

    log = EditLog("edits.jsonl", clock)
    log.append(EditRecord(source=..., result=..., plan=plan, model="...", approver="..."))
    log.check()                              # LogCheck: entries, head, problems
    log.traced(picture_hash, box)            # where a face came from, and how far it was moved

A line holds a number, the time and the record; the lines prove each other, see
`core.journal.SealedChain`. Lines cut off at the end break nothing; who keeps the `head`, the last
seal, for example in a signed statement of the picture, finds that too.

The log never holds pictures, keys or names beyond the approver's.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from adwright.core.clock import Clock
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import AdwrightError, ConfigError, DataError
from adwright.core.journal import Journal, SealedChain, read_chain
from adwright.creative.editor.edit_plan import EditPlan
from adwright.creative.editor.provenance import Box, overlap

_SAME = 0.5


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

        Waits for other processes that write. Raises DataError where the log is broken: nothing is
        added to it then; ResourceError where the disk refuses.
        """
        chain = SealedChain()
        with closing(Journal(self.path)) as journal, journal.writing(chain.take):
            if chain.problem:
                raise DataError(
                    f"the log is broken: {chain.problem}",
                    file=str(self.path),
                    hint="keep it as it is, find out why, and begin another",
                )
            number, at = len(chain.rows), self._clock.now().isoformat()
            line = chain.add({"number": number, "at": at, "record": to_jsonable(record)})
            journal.append([line], flush="now")
        return chain.head

    def check(self, *, head: str = "") -> LogCheck:
        """Whether every line is as it was sealed. head: a seal that has to be among them, kept
        elsewhere: finds lines that were cut off at the end."""
        chain = read_chain(self.path)
        problem = chain.problem
        if head and head not in chain.heads and not problem:
            problem = f"the log ends before the entry with the seal {head[:12]}..."
        return LogCheck(len(chain.rows), chain.head, (problem,) if problem else ())

    def records(self) -> tuple[tuple[datetime, EditRecord], ...]:
        """All records with their times. Raises DataError where the log is broken."""
        chain, made = read_chain(self.path), []
        if chain.problem:
            raise DataError(f"the log is broken: {chain.problem}", file=str(self.path))
        for at, row in enumerate(chain.rows):
            try:
                record = from_jsonable(EditRecord, row["record"], source=f"line {at + 1}")
                made.append((datetime.fromisoformat(row["at"]), record))
            except (AdwrightError, LookupError, ValueError) as error:
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
