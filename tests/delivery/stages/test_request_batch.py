from __future__ import annotations

import numpy as np
import pytest

from tests.support.delivery.cascade_parts import histories, request


def test_some_of_a_crowd() -> None:
    batch = histories().batch([request("u1"), request("nobody"), request("u4")])
    part = batch.some([2, 0])
    assert part.user.tolist() == [5, 2]
    assert part.item.tolist() == [
        *batch.item[batch.offsets[2] :].tolist(),
        *batch.item[: batch.offsets[1]].tolist(),
    ]
    assert [r.user_id for r in part.requests] == ["u4", "u1"]
    assert len(batch.some([])) == 0


def test_a_part_of_a_batch_is_the_batch_of_that_part() -> None:
    known = histories()
    asked = [request(user) for user in ("u3", "nobody", "u1", "u5")]
    batch = known.batch(asked)
    assert batch.lengths.tolist() == np.diff(batch.offsets).tolist()
    assert batch.lengths[1] == 0
    for rows in ([2, 0], [1], [], [3, 1, 0]):
        some, alone = batch.some(rows), known.batch([asked[row] for row in rows])
        assert some.requests == alone.requests
        for name in ("user", "at", "item", "time", "offsets", "version"):
            assert getattr(some, name).tolist() == getattr(alone, name).tolist(), name


@pytest.mark.parametrize("most", [0, 1, 3, 1000])
def test_the_latest_events_of_each_request(most: int) -> None:
    batch = histories().batch([request(user) for user in ("u3", "nobody", "u1")])
    place, offsets = batch.latest(most)
    for row in range(3):
        mine = batch.item[batch.offsets[row] : batch.offsets[row + 1]].tolist()
        found = batch.item[place[offsets[row] : offsets[row + 1]]].tolist()
        assert found == (mine[-most:] if most else [])


def test_counts_are_of_the_user_and_the_item_before_the_request() -> None:
    batch = histories().batch([request("u3"), request("u1")])
    owner = np.repeat([0, 1], 12)
    asked = np.tile(np.arange(1, 13), 2)
    counts = batch.counts(owner, asked)
    for row, (user, item) in enumerate(zip(owner, asked, strict=True)):
        events = slice(batch.offsets[user], batch.offsets[user + 1])
        assert counts.frequency[row] == (batch.item[events] == item).sum()
    assert (counts.recent <= counts.frequency).all()
