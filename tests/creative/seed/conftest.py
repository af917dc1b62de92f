"""Runs of SEED in tests draw no charts, which takes half a second each; those about pages do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adwright.creative.seed import rounds as report


@pytest.fixture(scope="session", autouse=True)
def no_charts() -> Iterator[None]:
    """Each chart is an empty one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "to_svg", lambda chart: "<svg></svg>")
        yield
