from __future__ import annotations

from adwright.authoring.checks.limits import Finding
from adwright.authoring.writer.job import WriteTally
from adwright.lm.engine.generation import Usage


def test_counts_are_kept_by_rule_before_and_after() -> None:
    tally = WriteTally()
    assert tally.grounded == {"before": None, "after": None}
    number = Finding("grounding/number", 0, 1, "error", "m")
    loud = Finding("policy/capitals", 0, 1, "warning", "m")
    tally.found((number, number, loud), (loud,))
    tally.found((), ())
    assert tally.findings == {
        "grounding/number": {"before": 2, "after": 0},
        "policy/capitals": {"before": 1, "after": 1},
    }
    assert tally.grounded == {"before": 0.5, "after": 1.0}
    tally.answered(Usage(10, 3, 4))
    tally.answered(Usage(10, 3, 10))
    assert (tally.asked, tally.usage) == (2, Usage(20, 6, 14))
