"""Which items each row sees, against a count event by event."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from adwright.data.batches.batch import distinct_history
from adwright.models.ranking import din as seen
from adwright.models.ranking.din import seen_by
from tests.support.models.small_batch import small_batch


@pytest.mark.parametrize("limit", [0, 8, 1000])
def test_both_forms_hold_each_visible_event_once(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen, "PAIRS", limit)
    batch = small_batch()
    distinct = distinct_history(batch.history, batch.offsets, batch.begin, batch.end)
    found = seen_by(distinct)
    counts: Counter[tuple[int, int]] = Counter()
    for row, item, count in zip(found.row, found.item, found.times, strict=True):
        counts[int(row), int(distinct.items.values[item])] += int(count)
    for group in found.groups:
        for row in range(group.t0, group.t1):
            seen_here = group.counts[group.visit[row - group.t0]]
            for item, count in zip(
                distinct.items.values[group.k0 : group.k1], seen_here, strict=True
            ):
                counts[row, int(item)] += int(count)
    literal: Counter[tuple[int, int]] = Counter()
    for row in range(len(batch)):
        owner = int(torch.searchsorted(batch.offsets, row, right=True)) - 1
        start = int(batch.history.offsets[owner])
        events = batch.history.values[start + int(batch.begin[row]) : start + int(batch.end[row])]
        literal.update((row, int(event)) for event in events)
    assert +counts == literal
    assert bool((found.times > 0).all())


def test_the_limit_decides_which_form_a_group_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = small_batch()
    distinct = distinct_history(batch.history, batch.offsets, batch.begin, batch.end)
    monkeypatch.setattr(seen, "PAIRS", 9)
    # Pairs of rows and distinct items: 3 x 4, 1 x 0 and 3 x 4.
    assert len(seen_by(distinct).groups) == 2
    monkeypatch.setattr(seen, "PAIRS", 12)
    assert not seen_by(distinct).groups
