from __future__ import annotations

from pathlib import Path

import pytest

from adwright.cli.retire import RecordOptions, kept_options, opened_lives, period_of, said_period
from adwright.core.errors import ConfigError, FileUnreadableError
from adwright.creative.lifetime.lives import DeliveryLives
from adwright.data.sources.complete_journey import CompleteJourney
from tests.support.data.deliveries import record
from tests.support.data.small_journey import transactions, write_journey
from tests.support.data.small_life_log import SmallLives


def test_options_are_kept_beside_what_was_made(tmp_path: Path) -> None:
    options = RecordOptions("ads", "ad", "clicks", "EUR", Path("items.csv"), "store", 0.25)
    options.keep(tmp_path)
    assert kept_options(tmp_path, None) == options
    newer = kept_options(tmp_path, "newer")
    assert (newer.record, newer.unit_of, newer.share) == ("newer", "ad", 0.25)
    with pytest.raises(FileUnreadableError, match="does not say what it was made from"):
        kept_options(tmp_path / "nowhere", None)


def test_periods_are_days_of_a_record_and_weeks_of_the_year() -> None:
    days = DeliveryLives(record())
    period = period_of(days, "2024-01-05", "--at")
    assert period is not None
    assert said_period(days, period) == "2024-01-05"
    assert days.log.period_name(period) == "day 2024-01-05"
    weeks = SmallLives(20)
    assert period_of(weeks, "14", "--at") == 14
    assert said_period(weeks, 14) == "14"
    assert weeks.log.period_name(14) == "week 14"
    assert period_of(weeks, None, "--at") is None
    for lives, text in ((days, "14"), (weeks, "2024-01-05")):
        with pytest.raises(ConfigError, match="of this record"):
            period_of(lives, text, "--at")


def test_displays_go_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_journey = write_journey(tmp_path / "data", transactions())

    def opened(*_: object, **__: object) -> CompleteJourney:
        return small_journey

    monkeypatch.setattr(CompleteJourney, "open", opened)
    lives = opened_lives(RecordOptions("complete-journey", where="store"), offline=True)
    assert lives.log.cost_name == "display weeks"
    assert "/all/" not in lives.log.ids["unit_id"][0]
