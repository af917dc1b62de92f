from __future__ import annotations

from pathlib import Path

import pytest

from adwright.core.clock import FixedClock
from adwright.core.errors import FileUnreadableError
from adwright.creative.memory.seed.config import SeedBudget
from adwright.creative.memory.seed.costs import CostLedger


def ledger_of(
    path: Path, clock: FixedClock, *, minutes: float = 0.0, tokens: int = 0
) -> CostLedger:
    return CostLedger(path / "costs.jsonl", SeedBudget(minutes, tokens), clock)


def test_steps_are_summed_and_kept(tmp_path: Path, clock: FixedClock) -> None:
    ledger = ledger_of(tmp_path, clock)
    with ledger.step(1, "write") as cost:
        cost.add(read=10, written=5)
        cost.add(written=2)
    with ledger.step(1, "tune") as cost:
        cost.add(tuned=100)
        sum(at * at for at in range(200_000))
    with ledger.step(2, "score") as cost:
        cost.add(judged=9)
    with ledger.step(2, "nothing"):
        pass
    again = ledger_of(tmp_path, clock)
    assert [one.step for one in again.steps] == ["write", "tune", "score"]
    assert (again.total.tokens, again.total.judged) == (117, 9)
    assert again.total.cpu_seconds > 0
    first = again.of_round(1)
    assert (first.round, first.read, first.written, first.tuned) == (1, 10, 7, 100)


def test_a_step_that_fails_is_written_down(tmp_path: Path, clock: FixedClock) -> None:
    ledger = ledger_of(tmp_path, clock)

    def fail() -> None:
        with ledger.step(0, "write") as cost:
            cost.add(written=3)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert ledger_of(tmp_path, clock).total.written == 3


def test_budgets_are_of_tokens_of_all_calls_and_minutes_of_this_one(
    tmp_path: Path, clock: FixedClock
) -> None:
    ledger = ledger_of(tmp_path, clock, minutes=2, tokens=10)
    assert not ledger.spent()
    with ledger.step(0, "write") as cost:
        cost.add(written=10)
        assert ledger.spent(), "also within a step"
    assert ledger_of(tmp_path, clock, tokens=10).spent()
    timed = ledger_of(tmp_path, clock, minutes=2)
    assert not timed.spent()
    clock.advance(120)
    assert timed.spent()
    assert not ledger_of(tmp_path, clock, minutes=2).spent()


def test_a_line_that_was_cut_off_is_forgotten(tmp_path: Path, clock: FixedClock) -> None:
    ledger = ledger_of(tmp_path, clock)
    with ledger.step(0, "write") as cost:
        cost.add(written=3)
    path = tmp_path / "costs.jsonl"
    path.write_text(path.read_text() + '{"round": 1')
    again = ledger_of(tmp_path, clock)
    with again.step(1, "tune") as cost:
        cost.add(tuned=1)
    assert ledger_of(tmp_path, clock).total.tokens == 4
    path.write_text('{"other": 1}\n')
    with pytest.raises(FileUnreadableError, match="costs"):
        ledger_of(tmp_path, clock)
