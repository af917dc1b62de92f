from __future__ import annotations

import numpy as np
import pytest

from adwright.core.errors import ValueInvalidError
from adwright.delivery.stages.histories import RequestBatch
from adwright.delivery.stages.protocols import CallCost, Shortlist
from adwright.delivery.stages.sources import (
    Blend,
    BlendedScorer,
    QueryVectors,
    VectorScorer,
    fit_blend,
)
from tests.support.delivery.cascade_parts import hcn, histories, on_day, request

TRUTH = Blend(0.5, 1.5, -0.75, 2.0)


class Given:
    """A scorer that gives what it is told to, by a function of batch and items."""

    def __init__(self, score, *, probability: bool = False) -> None:  # type: ignore[no-untyped-def]
        self.score, self.probability = score, probability

    def cost(self, batch: RequestBatch, items: Shortlist) -> CallCost:
        return CallCost(1, 2)


def people() -> tuple[RequestBatch, Shortlist]:
    known = histories()
    batch = known.batch([request(f"u{n}", time=on_day(3 + n % 5)) for n in range(10)])
    return batch, Shortlist.of([np.arange(1 + n % 3, 13) for n in range(10)])


def vectors() -> VectorScorer:
    return VectorScorer(QueryVectors(hcn(), histories()))


def test_the_score_is_the_formula() -> None:
    batch, items = people()
    plain = vectors().score(batch, items)
    found = BlendedScorer(vectors(), TRUTH).score(batch, items)
    for row, (owner, code) in enumerate(zip(items.owner, items.codes, strict=True)):
        past = batch.item[batch.offsets[owner] : batch.offsets[owner + 1]]
        times = int((past == code).sum())  # all within the last weeks: recent too
        wanted = 0.5 * plain[row] + (1.5 - 0.75) * np.log1p(times) + 2.0 * (times > 0)
        assert found[row] == pytest.approx(wanted)
    np.testing.assert_allclose(BlendedScorer(vectors(), Blend()).score(batch, items), plain)


def test_a_fine_order_that_is_a_blend_is_found_again() -> None:
    """The counts of the small task are all recent, so their two weights are found in sum."""
    batch, items = people()
    fine = BlendedScorer(vectors(), TRUTH)

    def probability(batch: RequestBatch, items: Shortlist) -> np.ndarray:
        # Another level for each person changes nothing.
        level = batch.user[items.owner] % 3
        return 1 / (1 + np.exp(-0.2 * fine.score(batch, items) + level))

    found = fit_blend(vectors(), Given(probability, probability=True), batch, items)
    assert found.vector == pytest.approx(0.2 * TRUTH.vector, rel=1e-4)
    assert found.frequency + found.recent == pytest.approx(0.2 * 0.75, rel=1e-3)
    assert found.had == pytest.approx(0.2 * TRUTH.had, rel=1e-3)


def test_what_cannot_be_fitted_is_refused() -> None:
    batch, items = people()
    with pytest.raises(ValueInvalidError, match="probabilities"):
        fit_blend(vectors(), Given(vectors().score), batch, items)
    alone = Shortlist.of([np.array([3])] * len(batch))
    with pytest.raises(ValueInvalidError, match="two items"):
        fit_blend(vectors(), Given(lambda c, i: i.codes / 20, probability=True), batch, alone)


def test_it_costs_a_sort_more() -> None:
    batch, items = people()
    plain, blended = (
        vectors().cost(batch, items),
        BlendedScorer(vectors(), TRUTH).cost(batch, items),
    )
    assert blended.flops > plain.flops
    assert blended.bytes > plain.bytes
    assert not BlendedScorer(vectors(), TRUTH).probability
