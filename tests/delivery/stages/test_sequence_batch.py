from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.delivery.stages.histories import Histories, visit_requests
from adwright.delivery.stages.sequence import items_of, require_catalogue, sequence_batch
from adwright.training.sequential.ranks import visit_batch
from tests.support.delivery.cascade_parts import LATER, histories, request, task
from tests.support.delivery.sequence_parts import hstu


@pytest.mark.parametrize("longest", [5, 40])
def test_a_request_reads_what_its_visit_reads(longest: int) -> None:
    visits = np.arange(len(task()))
    found = sequence_batch(
        histories().batch(visit_requests(task(), visits)), longest, by_moment=True
    )
    wanted = visit_batch(task(), visits, longest)
    for name in ("time", "next_time"):
        assert torch.equal(getattr(found, name), getattr(wanted, name))
    assert torch.equal(found.items.values, wanted.items.values)
    assert torch.equal(found.items.offsets, wanted.items.offsets)


def test_times_actions_and_instants_are_as_asked() -> None:
    known = Histories(task().items)
    moment = LATER + timedelta(microseconds=999_999)
    known.append("ann", ["i1", "i2", "lost"], [LATER, moment, moment])
    batch = known.batch([request("ann", time=LATER + timedelta(seconds=9)), request("nobody")])
    inputs = sequence_batch(batch, 9)
    second = int(LATER.timestamp())
    assert inputs.items.values.tolist() == [2, 3, 0]
    assert inputs.items.lengths.tolist() == [3, 0]
    assert inputs.time is not None
    assert inputs.next_time is not None
    assert inputs.time.tolist() == [second] * 3
    assert inputs.next_time.tolist() == [second, second, second + 9]
    assert inputs.action is None
    by_moment = sequence_batch(batch, 9, by_moment=True).next_time
    assert by_moment is not None
    assert by_moment.tolist() == [second + 9] * 3
    bare = sequence_batch(batch, 2, timed=False, acted=True)
    assert bare.time is None
    assert bare.action is not None
    assert bare.action.tolist() == [1, 1]
    assert bare.items.values.tolist() == [3, 0]


def test_a_model_has_the_catalogue_of_its_ids() -> None:
    items = items_of(hstu())
    assert items.ids == task().items.ids
    assert len(items) == len(task().items)
    require_catalogue(hstu(), Histories(items))
    with pytest.raises(ConfigError, match="different items"):
        require_catalogue(hstu(), Histories(replace(items, ids=items.ids[1:])))
