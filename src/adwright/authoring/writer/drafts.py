"""The journal of drafts and decisions of a writing job, open for the job and for reviewers at once.

    with closing(Drafts.open(folder)) as drafts:
        drafts.write([Draft("p1", "headline", 0, "Fresh tea")])
        for draft in drafts.queue():
            drafts.decide(Decision(*draft.key, "approve"))

`FOLDER/drafts.jsonl` only grows, see `Journal`. What a text is now follows from its lines in
their order: a draft makes it unreviewed, a decision approved, edited or rejected, and an undo takes
the last decision back. A text that a person edited is never written anew unless that is asked for,
and an approved one only where its product has changed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from adwright.authoring.tasks.product import Product
from adwright.authoring.writer.draft import (
    Draft,
    Key,
    ReviewDecision,
    RowFailure,
    decision_line,
    decision_of,
    draft_line,
    draft_of,
    failure_line,
    failure_of,
    line_of,
    product_line,
    product_of,
)
from adwright.authoring.writer.text_state import Place, TextState, TextStatus
from adwright.core.clock import Clock, SystemClock
from adwright.core.errors import AdwrightError, DataError, FileUnreadableError, ResourceError
from adwright.core.journal import Journal

#: Name of the journal in its folder.
JOURNAL = "drafts.jsonl"
#: What became of a draft. "same": one of the same inputs is there. "human": a person's decision
#: stands.
Written: TypeAlias = Literal["written", "same", "human"]

_WAITING: tuple[TextStatus, ...] = ("unreviewed",)
_Read = TypeVar("_Read")
_DECODER = json.JSONDecoder()


class DraftMoved(AdwrightError):
    """A decision is about a text that has changed since its reviewer saw it."""


class Drafts:
    """The journal of a folder. Calls from several threads are allowed, and other processes may
    have it open; `refresh` reads what these wrote."""

    def __init__(self, journal: Journal, path: Path, clock: Clock) -> None:
        self._journal, self._path, self._clock = journal, path, clock
        self._states: dict[Key, TextState] = {}
        self._failures: dict[Key, Place] = {}
        self._products: dict[str, tuple[str, Place]] = {}
        self._jobs: dict[str, Place] = {}
        self._decided: list[Key] = []
        self.refresh()

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        reading_only: bool = False,
        existing: bool = False,
        clock: Clock | None = None,
    ) -> Drafts:
        """Open the journal of a folder, which is made where it is missing, unless `reading_only` or
        `existing`.

        Raises ResourceError where it cannot be opened, FileUnreadableError naming the line where
        it is no journal.
        """
        path = Path(folder) / JOURNAL
        if (existing or reading_only) and not path.exists():
            raise ResourceError(
                "there is no journal of drafts here",
                where=str(path),
                hint="name the folder that `adwright author write` wrote to",
            )
        journal = Journal(path, reading_only=reading_only)
        try:
            return cls(journal, path, SystemClock() if clock is None else clock)
        except BaseException:
            journal.close()
            raise

    @property
    def torn(self) -> int:
        """Bytes of an unfinished last line that were passed over."""
        return self._journal.torn

    def refresh(self) -> None:
        """Read what others have written since."""
        self._journal.read(self._take)

    def write(
        self, drafts: Sequence[Draft], *, over_edits: bool = False, again: bool = False
    ) -> list[Written]:
        """Write drafts, each only where nothing stands against it; say what became of each.

        over_edits: also over texts that a person edited or approved. again: also where the draft
        that is there has the same inputs. Of two drafts of one text, the first is written.
        """
        with self._journal.writing(self._take):
            became: list[Written] = []
            lines: dict[Key, bytes] = {}
            for draft in drafts:
                told = self._hinders(draft, over_edits=over_edits, again=again)
                became.append("same" if draft.key in lines else told)
                if became[-1] == "written":
                    by = draft.provenance
                    stamped = replace(by, time=by.time or self._now())
                    lines[draft.key] = draft_line(replace(draft, provenance=stamped))
            if lines:
                self._journal.append(list(lines.values()), self._take)
        return became

    def decide(self, decision: ReviewDecision, *, seen: int | None = None) -> TextState:
        """Write a decision; return what the text is now.

        seen: `TextState.version` as the reviewer saw it. Raises DraftMoved where it has changed
        since, DataError where there is no such draft.
        """
        decision = replace(decision, time=decision.time or self._now())
        with self._journal.writing(self._take):
            state = self._state(decision.key)
            if seen is not None and seen != state.version:
                raise DraftMoved(
                    f"the text has changed meanwhile: it is {state.status}",
                    where=_named(decision.key),
                    hint="look at it again",
                )
            self._journal.append([decision_line(decision)], self._take, flush="now")
        return state

    def undo(self, key: Key | None = None, *, reviewer: str = "") -> Key:
        """Take back the last decision about a text, by default the last of all; return its key.

        Raises DataError where there is none.
        """
        with self._journal.writing(self._take):
            last = self._last_decided() if key is None else key
            if last is None or self._state(last).decision_place is None:
                raise DataError("there is no decision to take back", file=str(self._path))
            rest = {"reviewer": reviewer, "time": self._now()}
            self._journal.append([line_of("undo", list(last), rest)], self._take, flush="now")
        return last

    def fail(self, failures: Sequence[RowFailure]) -> None:
        """Write that texts could not be written, where that is not what stands there."""
        with self._journal.writing(self._take):
            new = []
            for one in failures:
                place = self._failures.get(one.key)
                there = None if place is None else self._parsed(place, failure_of)
                if there is None or replace(there, time=one.time) != one:
                    new.append(failure_line(replace(one, time=one.time or self._now())))
            self._journal.append(new, self._take)

    def note_products(self, products: Sequence[tuple[Product, str]]) -> None:
        """Write products and their hashes, those that are not there as they are."""
        with self._journal.writing(self._take):
            new = {
                one.id: product_line(one, digest)
                for one, digest in products
                if self._products.get(one.id, ("",))[0] != digest
            }
            if new:
                self._journal.append(list(new.values()), self._take)

    def note_job(self, digest: str, config: Mapping[str, Any]) -> None:
        """Write the settings of a job, unless they are those of the last one."""
        with self._journal.writing(self._take):
            if digest not in self.jobs()[-1:]:
                line = line_of("job", [digest], {"config": config})
                self._journal.append([line], self._take, flush="now")

    def states(self) -> Mapping[Key, TextState]:
        """The state of each text, in the order in which the first drafts came."""
        return self._states

    def hinders(
        self,
        key: Key,
        inputs: str,
        product_hash: str,
        *,
        over_edits: bool = False,
        again: bool = False,
    ) -> Written:
        """What `write` would make of a draft of these inputs, as far as is known."""
        state = self._states.get(key)
        if state is None:
            return "written"
        same = state.inputs == inputs
        stands = state.status == "approved" and state.product_hash == product_hash
        if (state.status == "edited" or stands) and not over_edits:
            return "human"
        return "same" if same and not again else "written"

    def queue(
        self,
        *,
        slots: Collection[str] = (),
        status: Collection[TextStatus] = _WAITING,
        with_findings: bool | None = None,
    ) -> Iterator[Draft]:
        """Drafts that wait for a decision, in their order; none is read before it is asked for.

        slots: of these alone; empty for all. status: of these. with_findings: only drafts that
        checks have something to say of, or nothing.
        """
        for state in list(self._states.values()):
            found = bool(state.errors or state.warnings)
            if (
                state.status in status
                and (not slots or state.key[1] in slots)
                and with_findings in (None, found)
            ):
                yield self.draft(state.key)

    def draft(self, key: Key) -> Draft:
        """The draft of a text. Raises DataError where there is none."""
        return self._parsed(self._state(key).draft_place, draft_of)

    def decision(self, key: Key) -> ReviewDecision | None:
        """The decision about a text that stands. Raises DataError where there is no such text."""
        place = self._state(key).decision_place
        return None if place is None else self._parsed(place, decision_of)

    def text(self, key: Key) -> str:
        """The text as it is now: of an edit where there is one, else of the draft."""
        decision = self.decision(key)
        edited = decision is not None and decision.kind == "edit"
        return decision.text if decision is not None and edited else self.draft(key).text

    def damaged(self) -> dict[Key, FileUnreadableError]:
        """Texts whose draft or decision cannot be read, with the error that names the line."""
        found: dict[Key, FileUnreadableError] = {}
        for key in self._states:
            try:
                self.text(key)
            except FileUnreadableError as error:
                found[key] = error
        return found

    def failures(self) -> list[RowFailure]:
        """What could not be written, and was not later."""
        return [self._parsed(place, failure_of) for place in self._failures.values()]

    def failed_inputs(self) -> Mapping[Key, str]:
        """Key and inputs of `failures`."""
        return {one.key: one.inputs for one in self.failures()}

    def product(self, product_id: str) -> Product | None:
        """The product as it was when its texts were written last."""
        found = self._products.get(product_id)
        return None if found is None else self._parsed(found[1], product_of)

    def job(self, digest: str) -> dict[str, Any] | None:
        """The settings of a job."""
        place = self._jobs.get(digest)
        return None if place is None else self._parsed(place, lambda line: dict(line["config"]))

    def jobs(self) -> list[str]:
        """Hashes of the jobs' settings, the last one last."""
        return list(self._jobs)

    def sync(self) -> None:
        """Flush what was written to the disk."""
        self._journal.sync()

    def close(self) -> None:
        """Flush and close; any number of times."""
        self._journal.close()

    def _take(self, offset: int, line: bytes) -> None:
        """Fold one line into the states."""
        text = line.decode()
        # {"KIND":[HEAD],...: the rest is left for later.
        end = text.index('":[')
        head, _ = _DECODER.raw_decode(text, end + 2)
        self._fold(text[2:end], head, (offset, len(line)))

    def _fold(self, kind: str, head: list[Any], place: Place) -> None:
        if kind == "product":
            self._products[head[0]] = head[1], place
            return
        if kind == "job":
            self._jobs.pop(head[0], None)
            self._jobs[head[0]] = place
            return
        key = sys.intern(head[0]), sys.intern(head[1]), int(head[2])
        if kind == "failure":
            self._failures[key] = place
            return
        if kind == "draft":
            if key not in self._states:
                self._states[key] = TextState(key)
            self._states[key].drafted(place, head)
            self._failures.pop(key, None)
        elif kind == "decision":
            self._states[key].decided(place, head[3])
            self._decided.append(key)
        elif kind == "undo":
            self._states[key].undone(place)
        else:
            raise ValueError(f"unknown kind {kind}")

    def _hinders(self, draft: Draft, *, over_edits: bool, again: bool) -> Written:
        by = draft.provenance
        return self.hinders(draft.key, by.inputs, by.product, over_edits=over_edits, again=again)

    def _last_decided(self) -> Key | None:
        """The text of the last decision that stands."""
        standing = [key for key in set(self._decided) if self._states[key].decision_place]
        places = {key: self._states[key].decision_place or (0, 0) for key in standing}
        return max(places, key=lambda key: places[key]) if places else None

    def _state(self, key: Key) -> TextState:
        state = self._states.get(key)
        if state is None:
            raise DataError(
                f"there is no draft of {_named(key)}",
                file=str(self._path),
                hint="`adwright author status` tells what there is",
            )
        return state

    def _parsed(self, place: Place, read: Callable[[Mapping[str, Any]], _Read]) -> _Read:
        return self._journal.parsed(*place, read)

    def _now(self) -> str:
        return self._clock.now().isoformat(timespec="milliseconds")


def _named(key: Key) -> str:
    return f"product {key[0]!r:.80}, slot {key[1]!r:.80}, variant {key[2]}"
