from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from adwright.delivery.popularity import Popularity
from adwright.delivery.recommend.models import PopularityTop
from adwright.delivery.recommend.run import held_visits, newest_visits, ranks_of
from adwright.delivery.stages.histories import microseconds
from adwright.delivery.training_log import HistoryLog
from tests.support.data.small_next_basket import small_task
from tests.support.delivery.cascade_parts import task

IDS = ("tea", "jam", "rye", "oil")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def log(*rows: tuple[str, str, int]) -> HistoryLog:
    users, items, hours = zip(*rows, strict=True)
    times = [NOON + timedelta(hours=hour) for hour in hours]
    return HistoryLog(pl.DataFrame({"user_id": users, "item_id": items, "time": times}), None)


def crowd(people: int) -> HistoryLog:
    """Each takes tea; then jam, the first half early and the others late."""
    rows = [(f"u{n:03}", "tea", 0) for n in range(people)]
    return log(*rows, *((f"u{n:03}", "jam", 1 if n < people // 2 else 9) for n in range(people)))


def at(hour: float) -> int:
    return microseconds(NOON + timedelta(hours=hour))


def test_users_are_asked_what_they_did_after_an_instant() -> None:
    rows = log(
        *(("ann", "tea", 0), ("ann", "jam", 5), ("ann", "oil", 5), ("bob", "rye", 1)),
        *(("cat", "tea", 6), ("ann", "rye", 7)),
    )
    found = newest_visits(rows, IDS, at(1))
    assert found.people.users.to_list() == ["ann", "ann", "cat"]
    assert [IDS[code - 1] for code in found.targets] == ["jam", "oil", "rye", "tea"]
    assert found.offsets.tolist() == [0, 2, 3, 4]
    assert found.people.lengths.tolist() == [1, 3, 0]
    assert found.unseen
    assert found.users == 2
    assert found.about == "3 moments of 2 users after 2026-01-01 13:00:00 UTC"
    assert newest_visits(rows, IDS, at(7)).users == 0


def test_a_user_is_asked_five_times_at_most() -> None:
    busy = [("ann", IDS[n % 4], n) for n in range(40)]
    rows = log(*busy, ("bob", "tea", 3), ("bob", "jam", 4))
    found = newest_visits(rows, IDS, at(0), unseen=False)
    assert found.people.users.to_list() == ["ann"] * 5 + ["bob"] * 2
    assert found.people.at.tolist() == [*sorted(found.people.at[:5]), at(3), at(4)]
    few = newest_visits(crowd(80), IDS, at(5), most=7, seed=1)
    assert len(few.people) == 7
    again = newest_visits(crowd(80), IDS, at(5), most=7, seed=1)
    assert few.people.users.to_list() == again.people.users.to_list()


def test_what_was_had_is_no_target_where_nothing_repeats() -> None:
    rows = log(("ann", "tea", 0), ("ann", "tea", 1), ("bob", "tea", 0), ("bob", "jam", 1))
    assert newest_visits(rows, IDS, at(0), unseen=True).people.users.to_list() == ["bob"]
    assert newest_visits(rows, IDS, at(0), unseen=False).people.users.to_list() == ["ann", "bob"]
    assert not newest_visits(rows, IDS, at(0)).unseen


def test_the_test_of_a_task_is_asked() -> None:
    source = task()
    found = held_visits(source, 0, unseen=False)
    tested = source.visits("test")
    assert found.users == len(np.unique(source.visit_user[tested]))
    assert found.ids == source.items.ids
    for n, user in enumerate(found.people.users):
        at_once = source.visit_time[tested] == found.people.at[n]
        (mine,) = tested[(source.visit_user[tested] == source.users.index(user)) & at_once]
        a, b = source.target_offsets[mine], source.target_offsets[mine + 1]
        c, d = found.offsets[n : n + 2]
        assert found.targets[c:d].tolist() == source.targets[a:b].tolist()
        first, end = source.user_offsets[source.users.index(user)], source.visit_end[mine]
        e, f = found.people.offsets[n : n + 2]
        assert found.people.item[e:f].tolist() == source.item[first:end].tolist()
        assert found.people.at[n] == source.visit_time[mine]
        assert found.people.profiles is not None
        assert found.people.profiles["town"][n] == ("north" if user < "u5" else "south")
    assert held_visits(source, int(found.people.at.max()), unseen=False).users == 0


def test_of_a_task_too_what_was_had_is_no_target() -> None:
    new = held_visits(small_task(people=40), 0, unseen=True)
    for n in range(len(new.people)):
        a, b = new.people.offsets[n : n + 2]
        had = new.people.item[a:b]
        assert not np.isin(new.targets[new.offsets[n] : new.offsets[n + 1]], had).any()


def test_ranks_are_places_in_the_models_own_list() -> None:
    rows = log(("ann", "tea", 0), ("ann", "jam", 5), ("ann", "oil", 5), ("bob", "tea", 0))
    visits = newest_visits(rows, IDS, at(1), unseen=False)
    model = Popularity(("oil", "new", "tea"), np.array([1.0, 3.0, 2.0]))
    ranks = ranks_of(PopularityTop(model, unseen=False), visits)
    # The model does not know jam, and puts oil third.
    assert ranks.ranks.tolist() == [3, np.inf]
    seen = ranks_of(PopularityTop(model, unseen=True), visits)
    assert seen.ranks.tolist() == [2, np.inf]
