"""What a writing job did, in one form whatever the engine: `report.json` in its folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from adwright.authoring.checks.finding import Finding
from adwright.core.config import settings
from adwright.lm.engine.generation import Usage

#: Name of the report in the folder of a job.
REPORT = "report.json"
#: How a job ended. "budget": its budget was used up. "stopped": by a person or an error.
JobEnd = Literal["done", "budget", "stopped"]


@settings
class WriteReport:
    """What one run of a job did.

    products: that were planned for; bad_products: rows of the table that make none. written,
    failed: texts; kept_same: that were there already; kept_human: that a person's decision keeps;
    left: that are still to be written. invalid_answers: of all that were asked for, `asked`.
    prompt_tokens, cached_tokens (part of them), answer_tokens. seconds: of the clock; cpu_seconds:
    of all processors, engines of this machine included. texts_per_cpu_second: 0 where no text was
    written. cost: in `currency`. findings: rule -> how often before and after repair. grounded:
    share of the texts without an unsupported span before and after repair; None where nothing was
    checked. said: what a person should know.
    """

    end: JobEnd
    model: str
    engine: str
    adapter: str
    job: str
    slots: tuple[str, ...]
    platform: str
    products: int
    bad_products: int
    written: int
    failed: int
    kept_same: int
    kept_human: int
    left: int
    asked: int
    invalid_answers: int
    prompt_tokens: int
    cached_tokens: int
    answer_tokens: int
    seconds: float
    cpu_seconds: float
    texts_per_cpu_second: float
    cost: float
    currency: str
    findings: dict[str, dict[str, int]]
    grounded: dict[str, float | None]
    said: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass
class WriteTally:
    """Counts while a job runs."""

    written: int = 0
    failed: int = 0
    kept_same: int = 0
    kept_human: int = 0
    asked: int = 0
    invalid: int = 0
    usage: Usage = field(default_factory=Usage)
    checked: int = 0
    _before: Counter[str] = field(default_factory=Counter)
    _after: Counter[str] = field(default_factory=Counter)
    _ungrounded: Counter[str] = field(default_factory=Counter)

    def answered(self, usage: Usage) -> None:
        """A model has answered once."""
        self.asked += 1
        self.usage = self.usage + usage

    def found(self, before: Sequence[Finding], after: Sequence[Finding]) -> None:
        """A text was checked, and repaired."""
        self.checked += 1
        self._before.update(one.rule for one in before)
        self._after.update(one.rule for one in after)
        self._ungrounded["before"] += any(map(_is_grounding, before))
        self._ungrounded["after"] += any(map(_is_grounding, after))

    @property
    def findings(self) -> dict[str, dict[str, int]]:
        """By rule, how often before and after repair."""
        rules = sorted(self._before.keys() | self._after.keys())
        return {one: {"before": self._before[one], "after": self._after[one]} for one in rules}

    @property
    def grounded(self) -> dict[str, float | None]:
        """Share of the texts without an unsupported span."""
        return {
            when: 1 - self._ungrounded[when] / self.checked if self.checked else None
            for when in ("before", "after")
        }


def _is_grounding(finding: Finding) -> bool:
    return finding.rule.startswith("grounding/")
