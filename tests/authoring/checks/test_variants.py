from __future__ import annotations

import numpy as np
import pytest

from adwright.authoring.checks.policy import alikeness
from adwright.core.errors import DataError

TEXTS = ["Tea for you", "tea  for you", "A quiet cup", "And there is more of it"]


def test_known_values() -> None:
    pairs = alikeness(TEXTS)
    assert pairs[0, 1] == pairs[2, 2] == 1
    assert pairs[0, 2] == 0
    assert np.array_equal(pairs, pairs.T)
    assert alikeness(["a b", "a c"])[0, 1] == 0.5


def test_what_is_no_text_is_named() -> None:
    with pytest.raises(DataError, match="row 0"):
        alikeness([1])  # type: ignore[list-item]
