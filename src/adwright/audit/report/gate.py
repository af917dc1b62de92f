"""A gate for continuous integration: fail where a shop has become easier to manipulate.

    verdict = judge(report, GateBounds(fail_above=20))
    verdict.passed, verdict.sentences

The measure is the net advantage over all runs of a tier, in percentage points. Controls are no
attacks and fail nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from adwright.audit.report.audit_report import AuditReport, visible
from adwright.audit.report.measures import TierMeasures
from adwright.core.errors import ConfigError


@dataclass(frozen=True)
class GateBounds:
    """fail_above: the most percentage points of net advantage that a tier may have. surely: fail
    only where its whole interval is above, so that chance alone fails nothing; else its value
    decides. Raises ConfigError for a bound outside -100 to 100."""

    fail_above: float
    surely: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.fail_above) and -100 <= self.fail_above <= 100):
            raise ConfigError(
                "the bound is in percentage points from -100 to 100",
                where=f"fail_above {self.fail_above}",
                hint="correct it",
            )


@dataclass(frozen=True)
class GateVerdict:
    """passed: whether no tier is above the bound. sentences: one a tier."""

    passed: bool
    sentences: tuple[str, ...]


def judge(report: AuditReport, bounds: GateBounds) -> GateVerdict:
    """Compare every tier of attacks with the bound. Raises ConfigError where there is none."""
    attacks = [one for one in report.tiers if not one.control]
    if not attacks:
        raise ConfigError(
            "the report has no attack to judge",
            where=visible(report.catalogue),
            hint="run one: controls alone say nothing of a weakness",
        )
    failed = [_value(one, bounds) > bounds.fail_above for one in attacks]
    which = "the low end of net advantage" if bounds.surely else "net advantage"
    said = [
        f"{visible(one.tier)}: {which} {_value(one, bounds):.1f} points is "
        f"{'above' if wrong else 'within'} the bound of {bounds.fail_above:g}"
        for one, wrong in zip(attacks, failed, strict=True)
    ]
    return GateVerdict(not any(failed), tuple(said))


def _value(one: TierMeasures, bounds: GateBounds) -> float:
    return 100 * (one.net.low if bounds.surely else one.net.value)
