"""Terms are checked before anything runs by them."""

from __future__ import annotations

import pytest

from adwright.core.errors import ConfigError
from adwright.programs.dispatch.terms import DispatchTerms


@pytest.mark.parametrize("name", ["call_seconds", "retry_seconds", "stop_seconds", "cache_quota"])
def test_seconds_and_tokens_are_positive(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be above 0"):
        DispatchTerms(**{name: 0})  # type: ignore[arg-type]


def test_weights_are_positive_and_named() -> None:
    with pytest.raises(ConfigError, match="weights of shop must be above 0"):
        DispatchTerms(weights={"shop": 0.0})
    assert DispatchTerms(weights={"shop": 2.0}).weights == {"shop": 2.0}
