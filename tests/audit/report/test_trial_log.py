from __future__ import annotations

from pathlib import Path

import pytest

from adwright.audit.report.trials import MadeTrial, TrialLog, trial_key
from adwright.audit.targets.target import Ask, RankingCost
from adwright.core.errors import ResourceError
from tests.support.audit.scripted_targets import gullible, stubborn
from tests.support.audit.shops import REQUEST, kettles

ONE = MadeTrial((2, 1), {"mean": (1, 2)}, RankingCost(1, 20, 3, 0.25), "1 invented")


def test_trials_are_found_again(tmp_path: Path) -> None:
    path = tmp_path / "run" / "trials.jsonl"
    TrialLog(path).add([("a", ONE), ("b", ONE)])
    again = TrialLog(path)
    assert (again.found, again.get("a"), again.get("c")) == (2, ONE, None)
    memory = TrialLog()
    memory.add([("a", ONE)])
    assert (memory.get("a"), memory.found) == (ONE, 0)


@pytest.mark.parametrize("torn", ['{"key": "b", "ranks": [1', "not json", '{"key": "b"\n', "[]"])
def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "trials.jsonl"
    TrialLog(path).add([("a", ONE)])
    path.write_text(path.read_text("utf-8") + torn, "utf-8")
    log = TrialLog(path)
    log.add([("c", ONE)])
    again = TrialLog(path)
    assert again.found == 2
    assert (again.get("a"), again.get("b"), again.get("c")) == (ONE, None, ONE)


def test_the_key_holds_all_that_is_shown_and_who_is_asked() -> None:
    shop = kettles()
    loud = shop.with_listing(0, shop.listings[0].with_text("Ideal For", "x"))
    asks = [
        Ask(shop.listings, REQUEST, range(6)),
        Ask(shop.listings, REQUEST, (1, 0, 2, 3, 4, 5)),
        Ask(shop.listings, "Another?", range(6)),
        Ask(loud.listings, REQUEST, range(6)),
    ]
    keys = {trial_key(target, ask) for target in (gullible(), stubborn()) for ask in asks}
    assert len(keys) == 8
    assert trial_key(stubborn(), asks[0]) == trial_key(stubborn(), asks[0])


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises((ResourceError, OSError)):
        TrialLog(tmp_path / "file" / "trials.jsonl").add([("a", ONE)])
