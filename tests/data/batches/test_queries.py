"""QueryBatch refuses parts that do not belong together."""

from __future__ import annotations

import pytest
import torch

from adwright.core.errors import ValueInvalidError
from adwright.data.batches.jagged import Jagged
from adwright.data.batches.queries import QueryBatch

_HISTORY = Jagged.from_lists([[3, 4], []], dtype=torch.int64)
_PROFILE = torch.zeros((2, 1), dtype=torch.int64)


def test_serving_has_no_targets() -> None:
    batch = QueryBatch.serving(_HISTORY, torch.zeros(2), _PROFILE)
    assert len(batch) == 2
    assert batch.targets.to_lists() == [[], []]


def test_one_age_an_event_and_one_profile_a_query() -> None:
    with pytest.raises(ValueInvalidError, match="1 ages, 2 events"):
        QueryBatch.serving(_HISTORY, torch.zeros(1), _PROFILE)
    with pytest.raises(ValueInvalidError, match="2 histories, 1 profiles"):
        QueryBatch.serving(_HISTORY, torch.zeros(2), _PROFILE[:1])


def test_targets_belong_to_their_queries() -> None:
    targets = Jagged.from_lists([[7], [8, 9]], dtype=torch.int64)
    batch = QueryBatch(_HISTORY, torch.zeros(2), _PROFILE, targets)
    assert batch.targets.to_lists() == [[7], [8, 9]]
    with pytest.raises(ValueInvalidError, match="2 profiles, 1 lists of targets"):
        QueryBatch(_HISTORY, torch.zeros(2), _PROFILE, targets.select(torch.tensor([0])))


def test_nobody_asks_nothing() -> None:
    nobody = Jagged.from_lists([], dtype=torch.int64)
    batch = QueryBatch.serving(nobody, torch.zeros(0), torch.zeros((0, 1), dtype=torch.int64))
    assert len(batch) == len(batch.targets) == 0


def test_ages_have_the_shape_of_the_events() -> None:
    with pytest.raises(ValueInvalidError, match="one age an event"):
        QueryBatch.serving(_HISTORY, torch.zeros((2, 1)), _PROFILE)


def test_places_count_back_from_the_latest_event() -> None:
    history = Jagged.from_lists([[3, 4, 5], [], [6]], dtype=torch.int64)
    batch = QueryBatch.serving(history, torch.zeros(4), torch.zeros((3, 1), dtype=torch.int64))
    assert batch.by_place().age.tolist() == [3, 2, 1, 1]
    assert batch.by_place().age.dtype == torch.float32
    assert batch.by_place().history is history
