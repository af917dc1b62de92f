from __future__ import annotations

import math

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.creative.editor.guards.ages import AgeCheck
from adwright.creative.editor.guards.consent import ConsentEntry

CROP = np.zeros((64, 64, 3), np.uint8)


@pytest.mark.parametrize(
    ("declared", "years", "code"),
    [
        ("minor", None, "minor"),
        ("minor", 40.0, "minor"),
        ("declared", None, None),
        ("declared", 15.0, None),
        ("declared", 10.9, "minor"),
        ("declared", math.nan, None),
        ("unknown", None, "age_unknown"),
        ("unknown", math.nan, "age_unknown"),
        ("unknown", 24.9, "minor"),
        ("unknown", 25.0, None),
        ("unknown", 8.0, "minor"),
    ],
)
def test_who_may_be_edited(declared: str, years: float | None, code: str | None) -> None:
    entry = ConsentEntry("synthetic", adult=declared, crop="0" * 64)  # type: ignore[arg-type]
    check = AgeCheck(None if years is None else lambda crop: years)
    refusal = check.refusal(entry, CROP, 3)
    assert (refusal and refusal.code) == code
    assert refusal is None or (refusal.face == 3 and refusal.reason)


def test_margin_and_limit_count_and_are_checked() -> None:
    entry = ConsentEntry("synthetic", crop="0" * 64)
    estimate = 22.0
    assert AgeCheck(lambda crop: estimate, margin=4).refusal(entry, CROP, 0) is None
    assert AgeCheck(lambda crop: estimate, margin=5).refusal(entry, CROP, 0) is not None
    assert AgeCheck(lambda crop: estimate, margin=4, adult=21).refusal(entry, CROP, 0) is not None
    for values in ({"margin": -1}, {"margin": math.nan}, {"adult": 0}):
        with pytest.raises(ConfigError, match="margin"):
            AgeCheck(**values)
