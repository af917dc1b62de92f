"""What a check finds in a text, in one form for all checks.

Finding("grounding/number", 4, 9, "error", "no fact says 16 MB")
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from adwright.core.config import check_literals

#: error: the text must not be shown so. warning: a person should look.
Severity = Literal["error", "warning"]
_SEVERITIES = get_args(Severity)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with `text[start:end]`.

    rule: what it breaks, as family/name, such as "policy/superlative". message: for people, without
    a full stop. fix: what to do about it, for people; empty where it can only be left out.
    """

    rule: str
    start: int
    end: int
    severity: Severity
    message: str
    fix: str = ""

    def __post_init__(self) -> None:
        if self.severity not in _SEVERITIES:
            check_literals(self)


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings by where they begin, the longer first, then by rule; each once."""
    return tuple(sorted(dict.fromkeys(findings), key=lambda one: (one.start, -one.end, one.rule)))


def errors_of(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Those that must be mended."""
    return tuple(one for one in findings if one.severity == "error")
