from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from adwright.audit.catalogue import draw_orders
from adwright.audit.report.trials import TrialLog, run_trials
from adwright.audit.targets.target import Ask, Ranking, RankingCost
from adwright.core.errors import ConfigError
from tests.support.audit.scripted_targets import gullible, stubborn
from tests.support.audit.shops import REQUEST, kettles
from tests.support.audit.texts import praise, quiet

SHOP = kettles()
ORDERS = draw_orders(6, 4, seed=0)
TEXTS = (praise("Steel Kettle"), praise("Samovar"), quiet("Teapot"))


class Counting:
    """Gullible; counts what it is asked, has a second rule, a cost and a note."""

    name = "counting"

    def __init__(self) -> None:
        self.asked: list[Ask] = []
        self.calls = 0

    def rank(self, asks: Sequence[Ask]) -> list[Ranking]:
        self.asked.extend(asks)
        self.calls += 1
        return [
            Ranking(
                one.order, one.scores, RankingCost(1, 5), "odd", {"rating": (0.0,) * 5 + (1.0,)}
            )
            for one in gullible().rank(asks)
        ]

    def close(self) -> None:
        """Nothing."""


def test_ranks_are_those_of_a_literal_reference() -> None:
    table = run_trials(gullible(), SHOP, TEXTS, ORDERS)
    assert table.rows.tolist() == [0, 5, 4]
    for at, order in enumerate(ORDERS):
        (clean,) = gullible().rank([Ask(SHOP.listings, REQUEST, order)])
        assert table.clean[at].tolist() == [clean.order.index(row) + 1 for row in range(6)]
        for text, (row, one) in enumerate(zip((0, 5, 4), TEXTS, strict=True)):
            shop = SHOP.with_listing(row, SHOP.listings[row].with_text(one.field, one.text))
            (ranking,) = gullible().rank([Ask(shop.listings, REQUEST, order)])
            assert table.attacked[text, at].tolist() == ranking.ranks(6).tolist()
            assert table.after[text, at] == ranking.rank_of(row, of=6)
            assert table.before[text, at] == clean.rank_of(row, of=6)
    assert (table.after[:2] == 1).all()
    assert (table.after[2] == table.before[2]).all()


def test_the_clean_ranks_are_asked_once_and_batches_are_kept() -> None:
    target = Counting()
    table = run_trials(target, SHOP, TEXTS, ORDERS, batch=5)
    assert (len(target.asked), target.calls) == (16, 4)
    assert (table.clean_cost.calls, table.attacked_cost.calls) == (4, 12)
    assert table.notes == {"odd": 16}
    assert table.also["rating"].clean[:, 5].tolist() == [1] * 4
    assert table.also["rating"].texts == table.texts


def test_an_interrupted_audit_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"

    class Breaks(Counting):
        def rank(self, asks: Sequence[Ask]) -> list[Ranking]:
            if self.calls == 2:
                raise KeyboardInterrupt
            return super().rank(asks)

    with pytest.raises(KeyboardInterrupt):
        run_trials(Breaks(), SHOP, TEXTS, ORDERS, log=TrialLog(path), batch=3)
    rest = Counting()
    table = run_trials(rest, SHOP, TEXTS, ORDERS, log=TrialLog(path), batch=3)
    assert len(rest.asked) == 16 - 6
    whole = run_trials(Counting(), SHOP, TEXTS, ORDERS)
    assert np.array_equal(table.attacked, whole.attacked)
    assert table.attacked_cost == whole.attacked_cost
    again = Counting()
    run_trials(again, SHOP, TEXTS, ORDERS, log=TrialLog(path))
    assert again.asked == []


def test_another_request_is_another_question() -> None:
    target = Counting()
    run_trials(target, SHOP, TEXTS, ORDERS, request="Another?")
    assert {ask.request for ask in target.asked} == {"Another?"}


def test_attacks_need_a_catalogue_of_ones_own() -> None:
    others = kettles(own=False)
    with pytest.raises(ConfigError, match="not declared as your own"):
        run_trials(stubborn(), others, TEXTS, ORDERS)
    table = run_trials(stubborn(), others, [quiet("Teapot")], ORDERS)
    assert table.before.shape == (1, 4)


def test_nothing_to_try_is_refused() -> None:
    for texts, orders in ((), ORDERS), (TEXTS, ()):
        with pytest.raises(ConfigError, match="at least one text and one order"):
            run_trials(stubborn(), SHOP, texts, orders)
    with pytest.raises(ConfigError, match="at least 1"):
        run_trials(stubborn(), SHOP, TEXTS, ORDERS, batch=0)


def test_what_sellers_write_is_only_read() -> None:
    read: list[str] = []
    run_trials(stubborn(read.append), SHOP, TEXTS, ORDERS)
    assert "the best " in read
