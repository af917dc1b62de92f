from __future__ import annotations

import pytest

from adwright.authoring.checks.limits import Finding, errors_of, in_order
from adwright.core.errors import ConfigError


def test_findings_are_ordered_once_each() -> None:
    late = Finding("b/x", 5, 6, "warning", "late")
    short = Finding("a/x", 0, 2, "error", "short")
    long = Finding("c/x", 0, 9, "error", "long")
    assert in_order([late, short, long, late]) == (long, short, late)
    assert errors_of([late, short]) == (short,)


def test_another_severity_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Finding\.severity"):
        Finding("a/x", 0, 1, "fatal", "x")  # type: ignore[arg-type]
