from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import ValueInvalidError
from adwright.delivery.recommend.people import (
    People,
    moments_after,
    people_of_histories,
    people_of_log,
)
from adwright.delivery.training_log import HistoryLog
from tests.support.delivery.cascade_parts import histories, task
from tests.support.delivery.single_models import past

ITEMS = task().items


def histories_of(people: People) -> dict[str, list[tuple[int, int]]]:
    bounds = people.offsets.tolist()
    return {
        user: list(zip(people.item[a:b].tolist(), people.time[a:b].tolist(), strict=True))
        for user, a, b in zip(people.users, bounds[:-1], bounds[1:], strict=True)
    }


def test_a_log_and_saved_histories_say_the_same() -> None:
    known = histories()
    found = histories_of(people_of_log(past(), ITEMS))
    kept = people_of_histories(known)
    assert found == histories_of(kept)
    assert len(kept) == len(task().users)
    assert (kept.at == known.latest + 1).all()  # type: ignore[operator]


def test_users_come_in_the_order_asked_for_and_strangers_have_no_past() -> None:
    for people in (
        people_of_log(past(), ITEMS, users=["u7", "nobody", "u2"]),
        people_of_histories(histories(), users=["u7", "nobody", "u2"]),
    ):
        assert people.users.to_list() == ["u7", "nobody", "u2"]
        every = histories_of(people_of_log(past(), ITEMS))
        assert histories_of(people) == {"u7": every["u7"], "nobody": [], "u2": every["u2"]}
        assert people.profiles is not None
        assert people.profiles["town"].to_list() == ["south", None, "north"]
    with pytest.raises(ValueInvalidError, match="twice"):
        people_of_log(past(), ITEMS, users=["u1", "u1"])


def test_nothing_from_the_moment_on_is_read() -> None:
    time = int(np.median(task().time))
    people = people_of_log(past(), ITEMS, at=time)
    assert people.time.max() < time
    assert (people.at == time).all()


def test_some_and_the_latest_events() -> None:
    people = people_of_log(past(), ITEMS)
    every = list(histories_of(people).items())
    assert list(histories_of(people.some(2, 5)).items()) == every[2:5]
    place, offsets = people.latest(3)
    assert people.item[place].tolist() == [code for _, events in every for code, _ in events[-3:]]
    assert offsets.tolist() == list(range(0, 3 * len(every) + 1, 3))
    assert people.owner.tolist() == [n for n, (_, events) in enumerate(every) for _ in events]


def test_repeats_are_a_share_of_the_events() -> None:
    people = people_of_log(past(), ITEMS)
    pairs = [(user, code) for user, events in histories_of(people).items() for code, _ in events]
    assert people.repeats == pytest.approx(1 - len(set(pairs)) / len(pairs))
    assert people_of_histories(histories()).repeats == pytest.approx(histories().repeats)
    assert people_of_log(HistoryLog(past().events.clear(), None), ITEMS).repeats == 0


def test_moments_after_an_instant_are_split_off() -> None:
    table = pl.DataFrame(
        {
            "user_id": ["ann", "ann", "ann", "ann", "bob", "cat", "cat", "dan", "dan"],
            "item_id": ["i1", "i2", "i3", "i2", "i1", "i4", "strange", "i5", "i5"],
            "time": [1, 2, 5, 5, 1, 1, 2, 3, 4],
        }
    )
    people = people_of_log(HistoryLog(table, None), ITEMS)
    codes = {name: code for code, name in enumerate(ITEMS.ids, start=1)}
    every = moments_after(people, 1, lambda user: np.arange(len(user)))
    assert every.people.users.to_list() == ["ann", "ann", "cat", "dan", "dan"]
    assert every.user.tolist() == [0, 0, 2, 3, 3]
    assert every.people.at.tolist() == [2, 5, 2, 3, 4]
    assert every.targets.tolist() == [
        *(codes["i2"], *sorted([codes["i2"], codes["i3"]]), 0, codes["i5"], codes["i5"])
    ]
    assert every.offsets.tolist() == [0, 1, 3, 4, 5, 6]
    assert every.people.lengths.tolist() == [1, 2, 1, 0, 1]
    last = moments_after(people, 1, lambda user: np.array([1, 4]))
    assert last.people.users.to_list() == ["ann", "dan"]
    assert last.people.item.tolist() == [codes["i1"], codes["i2"], codes["i5"]]
