"""An export of delivery that is fine, which tests spoil."""

from __future__ import annotations

from datetime import UTC, datetime

from adwright.core.clock import FixedClock

CLOCK = FixedClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
HEAD = "day,ad_id,campaign_id,impressions,clicks,spend,currency\n"
GOOD = (
    "2026-01-01,a1,c1,1000,10,5.50,EUR\n"
    "2026-01-02,a1,c1,900,9,4.50,EUR\n"
    "2026-01-03,a1,c1,800,8,4.25,EUR\n"
)
