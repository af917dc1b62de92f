"""What a page asks of checks: findings of a text, and how much of its room it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from adwright.authoring.checks.limits import Finding
from adwright.authoring.writer.drafts import Draft


@dataclass(frozen=True)
class RoomTaken:
    """What is counted of a limit, such as characters. name: in words. least: that must be there."""

    name: str
    used: int
    most: int
    least: int = 0

    @property
    def holds(self) -> bool:
        """Whether the limit is kept."""
        return self.least <= self.used <= self.most


@dataclass(frozen=True)
class Checked:
    """findings: in the order of their places. room: of each limit. note: what could not be checked,
    in words; empty for nothing."""

    findings: tuple[Finding, ...] = ()
    room: tuple[RoomTaken, ...] = ()
    note: str = ""

    @property
    def errors(self) -> int:
        """Findings that are errors."""
        return sum(one.severity == "error" for one in self.findings)


class DraftChecker(Protocol):
    """Checks a text as the job that wrote its draft does."""

    def check(self, draft: Draft, text: str) -> Checked:
        """Check `text` in the place of the draft's own."""
        ...
