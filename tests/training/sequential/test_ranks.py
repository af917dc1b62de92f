"""Ranks of the next item against the definition, written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from adwright.core.errors import ValueInvalidError
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.training.sequential.ranks import rank_next
from tests.support.data.small_sequences import small_sequences

DATA = small_sequences(items=20)


class _ByLast:
    """Scores depend on the last item alone; asks to be put in eval mode."""

    max_length = 5

    def __init__(self, rounded: bool = False) -> None:
        vectors = torch.randn(21, 7, generator=torch.Generator().manual_seed(0))
        self.vectors = vectors.round() if rounded else vectors
        self.ready = False

    def queries(self, batch: SequenceBatch) -> Tensor:
        assert self.ready
        return self.vectors[batch.items.values[batch.items.offsets[1:] - 1]]

    def item_vectors(self, codes: Tensor) -> Tensor:
        return self.vectors[codes]

    def eval(self) -> object:
        self.ready = True
        return self


@pytest.mark.parametrize("split", ["valid", "test"])
@pytest.mark.parametrize("unseen", [True, False])
def test_a_rank_counts_the_items_that_score_higher(split: str, unseen: bool) -> None:
    model = _ByLast()
    found = rank_next(model, DATA, split, unseen=unseen, chunk=7)  # type: ignore[arg-type]
    back = {"valid": 2, "test": 1}[split]
    at = 0
    for u in range(len(DATA)):
        mine = DATA.item[DATA.offsets[u] : DATA.offsets[u + 1]].tolist()
        history, target = mine[:-back], mine[-back]
        if unseen and target in history:
            assert u not in found.people
            continue
        candidates = [i for i in range(1, 21) if not (unseen and i in history)]
        scores = model.vectors @ model.vectors[history[-1]]
        wanted = 1 + sum(float(scores[i]) > float(scores[target]) for i in candidates)
        assert found.people[at] == u
        assert found.ranks.ranks[at] == wanted
        at += 1
    assert at == len(found.people) == len(DATA) - found.skipped
    assert (found.skipped > 0) == unseen, "some of the invented people take an item again"


def test_ties_stand_in_a_hashed_order_and_are_counted() -> None:
    found = rank_next(_ByLast(rounded=True), DATA, "test")
    assert 0 < found.ranks.tie_share <= 1
    again = rank_next(_ByLast(rounded=True), DATA, "test")
    assert np.array_equal(found.ranks.ranks, again.ranks.ranks)


def test_only_those_asked_for() -> None:
    everyone = rank_next(_ByLast(), DATA, "test")
    chosen = everyone.people[[4, 1]]
    some = rank_next(_ByLast(), DATA, "test", people=chosen)
    assert some.people.tolist() == chosen.tolist()
    assert some.ranks.ranks.tolist() == everyone.ranks.ranks[[4, 1]].tolist()


def test_nobody_to_ask_is_an_error() -> None:
    same = replace(DATA, item=np.ones_like(DATA.item))
    with pytest.raises(ValueInvalidError, match="nobody has a target"):
        rank_next(_ByLast(), same, "test")
    assert len(rank_next(_ByLast(), same, "test", unseen=False).people) == len(DATA)
