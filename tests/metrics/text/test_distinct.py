from __future__ import annotations

import numpy as np
import pytest

from adwright.core.errors import ConfigError, DataError
from adwright.metrics.text.rouge import distinct_n
from benchmarks.common.text_measures import distinct_n_per_text


def test_known_values() -> None:
    texts = ["red red red", "a red shirt", ""]
    assert distinct_n_per_text(texts, 1) == pytest.approx([1 / 3, 1, np.nan], nan_ok=True)
    assert distinct_n_per_text(texts, 2) == pytest.approx([1 / 2, 1, np.nan], nan_ok=True)
    assert distinct_n(texts, 1) == 3 / 6
    assert np.isnan(distinct_n([], 1))


def test_bad_arguments() -> None:
    with pytest.raises(ConfigError, match="n must be at least 1"):
        distinct_n(["a"], 0)
    with pytest.raises(DataError, match="row 0"):
        distinct_n([1], 1)  # type: ignore[list-item]
