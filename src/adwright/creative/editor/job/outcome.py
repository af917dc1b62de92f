"""What became of one ad of a job: a file of JSON, written last, so an ad that has one is done.

outcome = AdOutcome("spring", "ads/spring.jpg", digest, "edited", advice, ...)
AdOutcome.of_json(outcome.to_json(), source="...") == outcome
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from adwright.core.config import from_jsonable, settings, to_jsonable
from adwright.core.errors import DataError
from adwright.creative.editor.provenance.label import ESTIMATE
from adwright.creative.editor.search.result import FoundEdit, JudgedChange

__all__ = ["AdOutcome", "AdStatus", "KeptFront", "with_found"]

#: edited: a file was written. unchanged: no edit was better. refused: the guard forbids it.
#: failed: it could not be read.
AdStatus = Literal["edited", "unchanged", "refused", "failed"]


@dataclass(frozen=True)
class KeptFront:
    """A front of NSGA-II. names: of J judges. values: of each plan that no other beats. unedited:
    of no edit. calls: pictures that were judged."""

    names: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    unedited: tuple[float, ...]
    calls: int


@settings
class AdOutcome:
    """ad: its id. source: path of its picture; sha256: of that file. reason: in a sentence.

    output: the edited picture, below the job's folder. seal: of the log's entry. plan: JSON of what
    was found. method, calls, batches, cpu_seconds, score_gain, penalties: of the search. first,
    second: what the judges say; others: further objectives. skipped: edits that could not be done.
    refusals: of the guard, "code: reason". notes: what else there is to know. front: of pareto.
    """

    ad: str
    source: str
    sha256: str
    status: AdStatus
    reason: str
    output: str = ""
    seal: str = ""
    plan: str = ""
    method: str = ""
    calls: int = 0
    batches: int = 0
    cpu_seconds: float = 0.0
    score_gain: float = 0.0
    penalties: dict[str, float] = field(default_factory=dict)
    first: JudgedChange | None = None
    second: JudgedChange | None = None
    others: tuple[JudgedChange, ...] = ()
    skipped: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    front: KeptFront | None = None

    @property
    def undo(self) -> str:
        """How to go back."""
        if self.status != "edited":
            return ""
        return f"the original is untouched: use {self.source} (SHA-256 {self.sha256[:12]}...)"

    def as_row(self) -> dict[str, Any]:
        """Plain values for the summary."""
        row = to_jsonable(self)
        for name in ("first", "second"):
            change: JudgedChange | None = getattr(self, name)
            if change is not None:
                row[name] |= {"change": change.change, "said": change.said()}
        return row | {"undo": self.undo, "note": ESTIMATE}

    def to_json(self) -> str:
        """As `of_json` reads it."""
        return json.dumps(to_jsonable(self), ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def of_json(cls, text: str, *, source: str) -> AdOutcome:
        """Raises DataError where it is no JSON, ConfigError where it is no outcome."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"it is no JSON: {error}", file=source) from error
        if not isinstance(values, dict):
            raise DataError("it is no JSON object", file=source)
        return from_jsonable(cls, values, source=source)


def with_found(outcome: AdOutcome, found: FoundEdit) -> AdOutcome:
    """The outcome with all that a search found."""
    return replace(
        outcome,
        plan=found.plan.to_json(),
        method=found.method,
        calls=found.calls,
        batches=found.batches,
        cpu_seconds=found.cpu_seconds,
        score_gain=found.score_gain,
        penalties=dict(found.penalties),
        first=found.first,
        second=found.second,
        skipped=tuple(f"{one.kind}: {one.why}" for one in found.done.skipped),
    )
