from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.campaigns.store.tables import from_micros, to_micros
from adwright.core.errors import ValueInvalidError


@given(st.datetimes(timezones=st.just(UTC)))
def test_there_and_back(time: datetime) -> None:
    assert from_micros(to_micros(time)) == time


def test_zones() -> None:
    noon = datetime(2024, 5, 1, 12, 0, 0, 1)
    assert to_micros(noon) == to_micros(noon.replace(tzinfo=UTC)) == 1_714_564_800_000_001
    assert to_micros(noon.replace(tzinfo=timezone(timedelta(hours=2)))) == 1_714_557_600_000_001


def test_what_is_no_time_is_refused() -> None:
    with pytest.raises(ValueInvalidError, match="must be a datetime"):
        to_micros("2024-05-01")  # type: ignore[arg-type]
