"""The columns of candidates, against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest

from adwright.data.time import MICROSECONDS_PER_DAY
from adwright.delivery.funnel.columns import (
    CategoryColumn,
    ItemColumns,
    OwnColumns,
    ScorerColumn,
    stacked,
)
from adwright.delivery.stages.histories import RequestBatch
from adwright.delivery.stages.protocols import CallCost, Shortlist
from tests.support.delivery.cascade_parts import histories, on_day, request, task

CATEGORY = np.array([0, 1, 2, 3, 1, 2, 3, 1, 2, 0, 1, 2, 3])


def people() -> tuple[RequestBatch, Shortlist]:
    known = histories()
    batch = known.batch([request(f"u{n}", time=on_day(1 + n % 6)) for n in range(6)])
    nobody = known.batch([request("nobody")])
    assert len(nobody.item) == 0
    return batch, Shortlist.of([np.arange(1 + n % 3, 13) for n in range(6)])


def past_of(batch: RequestBatch, n: int) -> tuple[np.ndarray, np.ndarray]:
    mine = slice(batch.offsets[n], batch.offsets[n + 1])
    return batch.item[mine], batch.time[mine]


class Given:
    """A scorer of known numbers."""

    def __init__(self, score: np.ndarray, *, probability: bool) -> None:
        self.given, self.probability = score, probability

    def score(self, batch: RequestBatch, items: Shortlist) -> np.ndarray:
        return self.given

    def cost(self, batch: RequestBatch, items: Shortlist) -> CallCost:
        return CallCost(3, 4)


def test_own_columns_count_the_history() -> None:
    batch, items = people()
    found = OwnColumns().values(batch, items)
    for row, (owner, code) in enumerate(zip(items.owner, items.codes, strict=True)):
        past, time = past_of(batch, owner)
        mine = time[past == code]
        again = 0.0
        if len(mine):
            again = 1 / (1 + (batch.at[owner] - mine.max()) / MICROSECONDS_PER_DAY)
        times = np.log1p(len(mine))
        assert found[row] == pytest.approx([times, times, again])


def test_a_category_counts_by_the_latest_moments() -> None:
    batch, items = people()
    count = task().count
    found = CategoryColumn(CATEGORY, count).values(batch, items)[:, 0]
    for row, (owner, code) in enumerate(zip(items.owner, items.codes, strict=True)):
        past, time = past_of(batch, owner)
        latest = past[np.isin(time, np.unique(time)[-5:])]
        kinds = CATEGORY[latest][CATEGORY[latest] > 0]
        of_kind = CATEGORY[code]
        share = (kinds == of_kind).sum() / max(len(kinds), 1) if of_kind else 0.0
        whole = count[of_kind == CATEGORY].sum()
        assert found[row] == pytest.approx(share * count[code] / max(whole, 1))


def test_a_user_without_a_past_has_no_category() -> None:
    batch = histories().batch([request("nobody")])
    items = Shortlist.of([np.arange(1, 13)])
    assert not CategoryColumn(CATEGORY, task().count).values(batch, items).any()


def test_items_have_their_own_numbers() -> None:
    batch, items = people()
    tables = {"popularity": np.arange(13.0), "lately": -np.arange(13.0)}
    columns = ItemColumns(tables)  # type: ignore[arg-type]
    found = columns.values(batch, items)
    assert columns.names == ("popularity", "lately")
    np.testing.assert_array_equal(found, np.stack([items.codes, -items.codes], 1))


def test_probabilities_become_logits() -> None:
    batch, items = people()
    p = np.linspace(0, 1, len(items.codes))
    plain = ScorerColumn("hcn", Given(p, probability=False)).values(batch, items)
    found = ScorerColumn("fine", Given(p, probability=True)).values(batch, items)
    np.testing.assert_array_equal(plain[:, 0], p)
    np.testing.assert_allclose(1 / (1 + np.exp(-found[:, 0])), p, atol=1e-9)
    assert np.isfinite(found).all()


def test_columns_stand_side_by_side() -> None:
    batch, items = people()
    given = ScorerColumn("sequence", Given(items.codes.astype(float), probability=False))
    columns = [OwnColumns(), given]
    names, values = stacked(columns, batch, items)
    assert names == ("frequency", "recent", "again", "sequence")
    np.testing.assert_array_equal(values[:, 3], items.codes)
    assert given.cost(batch, items) == CallCost(3, 4)
    for one in (OwnColumns(), CategoryColumn(CATEGORY, task().count)):
        assert one.cost(batch, items).bytes > 0
