from __future__ import annotations

from typing import Any

import pytest

from adwright.core.errors import ConfigError
from adwright.lm.serving.adapter_cache import CacheCounts
from adwright.lm.serving.config import PassResult, PoolState, ServingConfig


@pytest.mark.parametrize(
    "change",
    [
        *({"rows": 0}, {"block": 0}, {"pool_bytes": 0}),
        *({"host_bytes": -1}, {"prefix_bytes": -1}, {"drive": "x"}),
    ],
)
def test_settings_that_cannot_be(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        ServingConfig(**change)


def test_the_least_that_is_allowed() -> None:
    least = ServingConfig(pool_bytes=1, host_bytes=0, block=1, rows=1, prompt_tokens=1)
    assert least.host_bytes == 0


def test_a_pass_counts_as_done_where_it_took_tokens() -> None:
    assert PassResult(written=1, prompted=0, live=1, waiting=0)
    assert PassResult(written=0, prompted=3, live=1, waiting=0)
    assert not PassResult(written=0, prompted=0, live=4, waiting=2)


def test_without_a_merge_policy_nothing_is_folded() -> None:
    state = PoolState(9, 2, 3, 900, 0, 0, CacheCounts())
    assert (state.merged, state.merges, state.merged_bytes) == (None, 0, 0)
