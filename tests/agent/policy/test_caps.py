"""Caps of a run and a day."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest

from adwright.agent.policy.confirmation import AmountRule, CapLedger, CapRules, read_amount
from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError

URL = "http://a/campaigns/7/"
AMOUNTS = (AmountRule("POST /campaigns/{}/", "budget"),)


def write(ledger: CapLedger, new: str = "", old: str | None = None) -> str | None:
    before = {} if old is None else {"budget": old}
    return ledger.reserve("POST", URL, {"budget": new}, before)


def test_writes_of_a_run_and_a_day_are_capped(tmp_path: Path) -> None:
    clock, rules = FixedClock(), CapRules(writes_a_run=2, writes_a_day=3)
    first = CapLedger(tmp_path / "caps.json", rules, clock=clock)
    assert [write(first), write(first)] == [None, None]
    assert write(first) == "the run has made its 2 writes"
    second = CapLedger(tmp_path / "caps.json", rules, clock=clock)
    assert write(second) is None
    assert write(second) == "the day has had its 3 writes"
    clock.advance(86_400)
    assert write(second) is None


def test_changes_of_amounts_are_capped(tmp_path: Path) -> None:
    rules = CapRules(change_a_run=Decimal(100), change_a_day=Decimal(150), amounts=AMOUNTS)
    clock = FixedClock()
    first = CapLedger(tmp_path / "caps.json", rules, clock=clock)
    assert write(first, "160", "100") is None
    assert write(first, "50", "100") == "the run would change amounts by 110"
    assert write(first, "60", "100") is None
    second = CapLedger(tmp_path / "caps.json", rules, clock=clock)
    assert write(second, "51") == "the day would change amounts by 151"
    assert write(second, "50") is None
    assert second.reserve("POST", "http://a/other/", {"budget": "9999"}, {}) is None


@pytest.mark.parametrize(("new", "old"), [("", "5"), ("1e9", "5"), ("many", "5"), ("5", "many")])
def test_an_amount_that_cannot_be_read_is_refused(tmp_path: Path, new: str, old: str) -> None:
    rules = CapRules(change_a_run=Decimal(100), amounts=AMOUNTS)
    ledger = CapLedger(tmp_path / "caps.json", rules, clock=FixedClock())
    assert write(ledger, new, old) == "the amount in the request cannot be read"


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1,200.50", "1200.50"),
        (" $5 ", "5"),
        ("-3", "-3"),
        ("1.2.3", None),
        ("--1", None),
        ("\u0661", None),
        ("9" * 31, None),
        ("nan", None),
        ("", None),
    ],
)
def test_amounts_are_read(text: str, amount: str | None) -> None:
    assert read_amount(text) == (None if amount is None else Decimal(amount))


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"day": "x", "writes": "many", "change": "0"}', "\x00"]
)
def test_a_broken_count_refuses_all(tmp_path: Path, content: str) -> None:
    path = tmp_path / "caps.json"
    day = FixedClock().now().date().isoformat()
    path.write_text(content.replace('"x"', f'"{day}"'))
    ledger = CapLedger(path, CapRules(), clock=FixedClock())
    assert "cannot be kept" in (write(ledger) or "")


def test_a_clock_that_went_back_refuses_all(tmp_path: Path) -> None:
    clock = FixedClock()
    clock.advance(86_400)
    assert write(CapLedger(tmp_path / "caps.json", CapRules(), clock=clock)) is None
    late = write(CapLedger(tmp_path / "caps.json", CapRules(), clock=FixedClock()))
    assert "later day" in (late or "")


def test_runs_side_by_side_share_the_day(tmp_path: Path) -> None:
    rules = CapRules(writes_a_run=50, writes_a_day=20)

    def one(_: int) -> int:
        ledger = CapLedger(tmp_path / "caps.json", rules, clock=FixedClock())
        return sum(write(ledger) is None for _ in range(10))

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(one, range(4))) == 20


def test_rules_are_checked() -> None:
    for wrong in ({"writes_a_run": -1}, {"change_a_day": Decimal(-1)}):
        with pytest.raises(ConfigError):
            CapRules(**wrong)  # type: ignore[arg-type]
