"""What a cycle has done, out of its journal: which step last did what, and what it has cost.

A step is written down before it acts ("started") and after ("done" or "failed"). A round is a walk
through all steps; one that was killed is gone on with, and what is settled in it stays so. Tokens
are metered by what `adwright author write` notes of each answer that it gets: what came before a
kill counts when the step goes on, and nothing counts twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

from adwright.authoring.writer.config import WriterPrices
from adwright.authoring.writer.drafts import USAGE
from adwright.core.journal import append_rows, read_rows

#: How a step came out in a round. done, failed: it ran. same: its inputs are as they were. nothing:
#: there was nothing to do. absent: an input is not there. refused: by the gate. budget: none is
#: left for it. waits: for a step that failed.
StepOutcome = Literal["done", "failed", "same", "nothing", "absent", "refused", "budget", "waits"]
#: What the writer tells of each answer.
_TOKENS = ("prompt_tokens", "cached_tokens", "answer_tokens")
#: Of the outcomes those behind which a step does not run.
STOPPING = ("failed", "budget", "waits")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Used:
    """What a step used."""

    tokens: int = 0
    money: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: Used) -> Used:
        return Used(
            self.tokens + other.tokens, self.money + other.money, self.seconds + other.seconds
        )


@dataclass(frozen=True)
class TokenMeter:
    """What all answers in a folder of `adwright author write` took: tokens of prompts, those of
    them from a cache, and of answers."""

    prompt: int = 0
    cached: int = 0
    answer: int = 0

    def since(self, before: TokenMeter) -> TokenMeter:
        """What came to it since `before`."""
        mine, theirs = astuple(self), astuple(before)
        return TokenMeter(*(max(0, now - then) for now, then in zip(mine, theirs, strict=True)))

    def cost(self, prices: WriterPrices) -> Used:
        """What it comes to."""
        money = prices.of(self.prompt, self.cached, self.answer)
        return Used(self.prompt + self.answer, money)


def read_meter(folder: Path) -> TokenMeter:
    """The meter of a folder; 0 where there is none yet."""
    rows = read_rows(folder / USAGE, lambda row: [int(row[name]) for name in _TOKENS])
    return TokenMeter(*map(sum, zip(*rows, strict=True)))


@dataclass
class Book:
    """The journal of a cycle, read from `path`, and what follows from it.

    rows: all of it.
    """

    path: Path
    rows: list[Row] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Book:
        """The book of a journal, which need not be there yet."""
        return cls(path, list(read_rows(path, dict)))

    def write(self, now: datetime, *rows: Row) -> None:
        """Add rows; they are on the disk when this returns."""
        told = [{"time": now.isoformat(timespec="milliseconds"), **row} for row in rows]
        append_rows(self.path, told)
        self.rows += told

    @property
    def number(self) -> int:
        """Of the last round; 0 before the first."""
        return max((row["round"] for row in self.rows if "round" in row), default=0)

    @property
    def open(self) -> bool:
        """Whether the last round has not come to its end."""
        kinds = [row["kind"] for row in self.rows if "round" in row]
        return bool(kinds) and kinds[-1] != "ended"

    def killed(self) -> Row | None:
        """The row with which a step began that was killed, and has not been counted since."""
        rows = [row for row in self.rows if "round" in row]
        return rows[-1] if rows and rows[-1]["kind"] == "started" else None

    def settled(self) -> dict[str, Row]:
        """What the steps of an open round came to."""
        if not self.open:
            return {}
        mine = [row for row in self.rows if row.get("round") == self.number]
        return {row["step"]: row for row in mine if row["kind"] in get_args(StepOutcome)}

    def last(self, step: str, kind: str = "done") -> Row | None:
        """The last row of this kind of a step."""
        found = (row for row in reversed(self.rows) if row["kind"] == kind and row["step"] == step)
        return next(found, None)

    def unended(self, step: str, key: str) -> Row | None:
        """The row with which an attempt began that did not come to be done, where the last one of
        this key did not."""
        for row in reversed(self.rows):
            if row.get("step") == step and row.get("key") == key:
                if row["kind"] == "done":
                    return None
                if row["kind"] == "started":
                    return row
        return None

    def metered(self, folder: str) -> TokenMeter:
        """How far a folder's meter was counted."""
        for row in reversed(self.rows):
            if row.get("spends") == folder and "meter" in row:
                return TokenMeter(**row["meter"])
        return TokenMeter()

    def used(self, *, per: str = "", now: datetime | None = None, step: str = "") -> Used:
        """What was used in all, in the present round, or in the day or month of `now`."""
        length = {"day": 10, "month": 7}.get(per, 0)
        found = Used()
        for row in self.rows:
            if "used" not in row or (step and row["step"] != step):
                continue
            if per == "round" and row["round"] != self.number:
                continue
            if length and now is not None and row["time"][:length] != now.isoformat()[:length]:
                continue
            found += Used(**row["used"])
        return found

    def count(self, step: str, kind: str) -> int:
        """How often a step came to an end of this kind."""
        return sum(row["kind"] == kind and row.get("step") == step for row in self.rows)
