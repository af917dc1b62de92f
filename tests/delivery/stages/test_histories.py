from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ArtifactError, ConfigError, SchemaError, ValueInvalidError
from adwright.data.schema import ACTION_KINDS
from adwright.delivery.stages.histories import Histories, microseconds, visit_requests
from tests.support.data.small_next_basket import START
from tests.support.delivery.cascade_parts import histories, on_day, request, task

ITEMS = task().items


def shown(
    known: Histories, user: str, at: datetime = datetime(2030, 1, 1, tzinfo=UTC)
) -> list[int]:
    return known.batch([request(user, time=at)]).item.tolist()


def test_a_tasks_people_have_what_came_before_the_request() -> None:
    known, source = histories(), task()
    assert len(known) == len(source.users)
    assert known.events == len(source.item)
    assert known.latest == source.time.max()
    assert Histories(ITEMS).latest is None
    visits = source.visits("test")
    asked = visit_requests(source, visits, k=3)
    assert {(r.time, r.k) for r in asked} == {(on_day(7), 3)}
    batch = known.batch(asked)
    for row, visit in enumerate(visits):
        first = source.user_offsets[source.visit_user[visit]]
        seen = slice(first, source.visit_end[visit])
        mine = slice(batch.offsets[row], batch.offsets[row + 1])
        assert batch.item[mine].tolist() == source.item[seen].tolist()
        assert batch.time[mine].tolist() == source.time[seen].tolist()
    assert known.profiles.filter(user_id="u7")["town"].to_list() == ["south"]


def test_somebody_unknown_has_no_history_and_number_0() -> None:
    batch = histories().batch([request("nobody"), request("u1")])
    assert batch.user.tolist() == [0, 2]
    assert batch.offsets[1] == 0 < batch.offsets[2]


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 50)), max_size=5), max_size=6)
)
def test_appending_in_any_order_sorts_by_time(batches: list[list[tuple[int, int]]]) -> None:
    known = Histories(ITEMS)
    for batch in batches:
        times = [START + timedelta(hours=hour) for _, hour in batch]
        known.append("new", [f"i{item}" for item, _ in batch], times)
    flat = [event for batch in batches for event in sorted(batch, key=lambda e: e[1])]
    wanted = [item + 1 for item, _ in sorted(flat, key=lambda e: e[1])]
    assert shown(known, "new") == wanted
    assert known.events == len(flat)
    assert known.version("new") == sum(1 for batch in batches if batch)


def test_a_reader_keeps_what_it_was_given() -> None:
    known = Histories(ITEMS)
    known.append("ann", ["i1"], [on_day(1)])
    before = known.batch([request("ann")])
    held = before.item.copy()
    known.append("ann", ["i2"], [on_day(0)])  # late: takes its place by time
    known.append("ann", ["i3"] * 40, [on_day(2)] * 40)
    assert before.item.tolist() == held.tolist() == [2]
    after = known.batch([request("ann")])
    assert after.item.tolist() == [3, 2, *[4] * 40]
    assert after.version[0] > before.version[0]


def test_unknown_items_are_code_0() -> None:
    known = Histories(ITEMS)
    known.append("ann", ["lost", "i0"], [on_day(0), on_day(1)])
    assert shown(known, "ann") == [0, 1]


def test_memory_is_what_the_docstring_says() -> None:
    known = Histories(ITEMS)
    for day in range(1000):
        known.append("ann", ["i1"], [START + timedelta(hours=day)])
    assert 13 * known.events <= known.nbytes <= 26 * known.events + 13 * 16
    assert histories().nbytes == 13 * len(task().item)


def test_a_log_in_any_order_and_type() -> None:
    events = pl.DataFrame(
        {
            "user_id": ["b", "a", "b", "a"],
            "item_id": ["i1", "i2", "i3", "i4"],
            "time": [on_day(3), on_day(2), on_day(1), on_day(2)],
        }
    )
    profiles = pl.DataFrame({"user_id": ["a", "c"], "town": ["north", None]})
    micro = events.with_columns(pl.col("time").dt.epoch("us"))
    for table in (events, micro):
        known = Histories.from_events(table, ITEMS, profiles=profiles)
        assert (shown(known, "a"), shown(known, "b")) == ([3, 5], [4, 2])
        assert known.users() == ["a", "c", "b"]
    with pytest.raises(SchemaError, match="item_id"):
        Histories.from_events(events.drop("item_id"), ITEMS)


def test_observing_takes_the_kinds_of_a_history() -> None:
    known = Histories(ITEMS, kinds=("purchase",))
    row = {"kind": "purchase", "user_id": "ann", "item_id": "i1", "time": on_day(1)}
    known.observe([row, row | {"kind": "click"}, row | {"user_id": "bob"}, row | {"item_id": None}])
    assert (shown(known, "ann"), shown(known, "bob")) == ([2], [2])


def test_events_of_final_kinds_take_their_item_off_the_list(tmp_path: Path) -> None:
    """Everybody here views a thing and buys it, and nobody buys it twice."""
    told = [
        {"user_id": f"u{n}", "item_id": f"i{(n + step) % 5}", "time": on_day(step), "kind": kind}
        for n in range(30)
        for step in range(4)
        for kind in ("view", "purchase")[: 1 + (step < 3)]
    ]
    events = pl.DataFrame(told).with_columns(
        time=pl.when(kind="view").then(pl.col("time") - timedelta(hours=1)).otherwise("time")
    )
    known = Histories.from_events(events, ITEMS, kinds=ACTION_KINDS)
    assert known.final == ("purchase",)
    row = {"user_id": "ann", "time": on_day(1)}
    known.observe(
        [{**row, "item_id": f"i{n}", "kind": kind} for n, kind in enumerate(ACTION_KINDS)]
    )
    known.save(tmp_path / "histories")
    for one in (known, Histories.load(tmp_path / "histories", ITEMS)):
        found = one.batch([request("u0"), request("ann")])
        had = [[ITEMS.ids[code - 1] for code in codes] for codes in found.barred()]
        # The last view is of nothing that was bought.
        assert had == [["i0", "i1", "i2"], ["i3"]]
    known.again = None
    assert len(known.batch([request("ann")]).barred()[0]) == len(ACTION_KINDS)
    unnamed = Histories.from_events(events.filter(kind="purchase").drop("kind"), ITEMS)
    assert unnamed.final == ("purchase", "conversion", "rating")


def test_a_return_takes_back_the_latest_earlier_purchase() -> None:
    known = Histories(ITEMS, kinds=("view", "purchase"))
    row = {"user_id": "ann", "item_id": "i1", "kind": "purchase"}
    days = [row | {"time": on_day(day)} for day in (1, 2, 9)]
    back = {"kind": "return", "time": on_day(5)}
    known.observe([*days, row | {"time": on_day(3), "kind": "view"}, row | back])
    before = known.version("ann")
    known.observe([row | back | {"item_id": "i2"}, row | back | {"user_id": "bob"}])
    assert known.version("ann") == before
    (code,) = ITEMS.rows(pl.Series(["i1"]).to_arrow())
    assert (known.events, known.count[code]) == (3, 3)
    times = known.batch([request("ann")]).time.tolist()
    assert times == [microseconds(on_day(day)) for day in (1, 3, 9)]
    known.append("ann", ["i2"], [on_day(4)])
    assert len(shown(known, "ann")) == 4
    # One without a purchase takes back nothing, and nobody becomes known by it.
    assert "bob" not in known.users()


def test_saved_histories_come_back(tmp_path: Path) -> None:
    known = histories()
    known.append("new", ["i5"], [on_day(9)])
    known.save(tmp_path / "histories")
    again = Histories.load(tmp_path / "histories", ITEMS)
    assert again.users() == known.users()
    assert again.profiles.equals(known.profiles)
    asked = [request(user) for user in (*known.users(), "nobody")]
    one, other = known.batch(asked), again.batch(asked)
    for name in ("item", "time", "offsets", "user", "had"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    fewer = replace(ITEMS, ids=ITEMS.ids[:-1])
    with pytest.raises(ArtifactError, match="another catalogue"):
        Histories.load(tmp_path / "histories", fewer)


def test_what_cannot_be_is_refused() -> None:
    known = histories()
    with pytest.raises(ValueInvalidError, match="an item and a time"):
        known.append("ann", ["i1"], [])
    with pytest.raises(ValueInvalidError, match="zone"):
        known.append("ann", ["i1"], [datetime(2024, 1, 1)])
    with pytest.raises(ValueInvalidError, match="two profiles"):
        Histories(ITEMS, profiles=pl.DataFrame({"user_id": ["a", "a"]}))
    with pytest.raises(SchemaError, match="user_id"):
        Histories(ITEMS, profiles=pl.DataFrame({"town": ["north"]}))


def test_microseconds_are_exact() -> None:
    assert microseconds(datetime(1970, 1, 1, 0, 0, 0, 7, tzinfo=UTC)) == 7
    assert microseconds(START) == int(START.timestamp()) * 1_000_000


def test_a_model_of_another_catalogue_is_refused() -> None:
    known = histories()
    known.require_catalogue(ITEMS.ids, "retriever")
    for ids in (ITEMS.ids[1:], ITEMS.ids[::-1], ()):
        with pytest.raises(ConfigError, match="the retriever and the histories count different"):
            known.require_catalogue(ids, "retriever")


def test_a_new_user_gets_the_next_number_and_keeps_it() -> None:
    known = histories()
    people = len(known)
    assert known.number_of("new") == 0
    known.append("new", ["i1"], [START])
    assert known.number_of("new") == people + 1 == len(known)
    known.append("new", ["i2"], [START + timedelta(hours=1)])
    assert (known.number_of("new"), known.version("new")) == (people + 1, 2)
    assert known.users()[-1] == "new"
    assert shown(known, "nobody") == []


def rows_of(*events: tuple[str, str, datetime]) -> pl.DataFrame:
    columns = ("user_id", "item_id", "time")
    table = pl.DataFrame(list(events), schema=columns, orient="row")
    return table.with_columns(event_id=pl.int_range(pl.len()).cast(pl.String))


def test_an_event_is_known_by_itself_and_not_by_its_date() -> None:
    known = Histories(ITEMS)
    far = datetime(2099, 1, 1, tzinfo=UTC)
    known.append("ann", ["i1", "i1", "i2"], [on_day(1), on_day(1), far])
    stored = rows_of(
        ("ann", "i1", on_day(1)),
        ("ann", "i2", far),
        ("ann", "i1", on_day(1)),
        ("ann", "i1", on_day(1)),  # the third of two
        ("ann", "i1", on_day(0)),  # late
        ("ann", "i3", on_day(1)),
        ("bob", "i1", on_day(1)),
    )
    assert known.unknown(stored)["event_id"].to_list() == ["3", "4", "5", "6"]
    assert known.unknown(stored.clear()).height == 0
    assert Histories(ITEMS).unknown(stored).height == 7
    whole = Histories.from_events(stored, ITEMS)
    assert whole.unknown(stored).height == 0


def test_the_latest_event_that_is_over() -> None:
    known = Histories(ITEMS)
    assert known.latest_until(on_day(9)) is None
    known.append("ann", ["i1", "i2"], [on_day(1), datetime(2099, 1, 1, tzinfo=UTC)])
    known.append("bob", ["i1"], [on_day(2)])
    assert known.latest_until(on_day(9)) == microseconds(on_day(2))
    assert known.latest_until(on_day(2)) == microseconds(on_day(2))
    assert known.latest_until(on_day(0)) is None


def test_invented_users_push_out_each_other_and_nobody_of_the_log(tmp_path: Path) -> None:
    log = rows_of(("ann", "i1", on_day(1)))
    known = Histories.from_events(log, ITEMS, profiles=pl.DataFrame({"user_id": ["pat"]}))
    known.newcomers = 2
    for name in ("x", "y", "ann", "pat", "x", "z"):
        known.append(name, ["i2"], [on_day(2)])
    assert known.users() == ["pat", "ann", "x", "z"]
    assert (len(known), known.events) == (4, 6)
    assert [shown(known, name) for name in ("y", "x", "ann")] == [[], [3, 3], [2, 3]]
    before = known.number_of("z")
    known.append("y", ["i3"], [on_day(3)])
    # A number is never given twice: what others keep under it is of one user.
    assert known.number_of("y") > before
    assert known.number_of("x") == 0
    known.save(tmp_path / "histories")
    again = Histories.load(tmp_path / "histories", ITEMS)
    assert again.users() == known.users()
    assert [shown(again, name) for name in again.users()] == [[3], [2, 3], [3], [4]]


def test_so_many_newcomers_are_kept_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adwright.delivery.stages.histories.NEWCOMERS", 3)
    log = rows_of(*((f"u{n}", "i1", on_day(1)) for n in range(5)))
    for known, kept in ((Histories(ITEMS), 3), (Histories.from_events(log, ITEMS), 10)):
        for n in range(20):
            known.append(f"new{n}", ["i1"], [on_day(1)])
        assert len(known) == kept


def test_events_of_each_item_are_counted_as_they_come() -> None:
    known = histories()
    assert known.count.tolist() == np.bincount(task().item, minlength=13).tolist()
    before = known.count.copy()
    time = START + timedelta(days=40)
    known.append("new", ["i3", "i3", "strange"], [time] * 3)
    expected = before.copy()
    expected[ITEMS.rows(pl.Series(["i3"]).to_arrow())[0]] += 2
    expected[0] += 1
    assert known.count.tolist() == expected.tolist()


def test_repeats_are_the_share_of_events_of_an_item_had_before() -> None:
    known = Histories(ITEMS)
    assert known.repeats == 0
    known.append("ann", ["i1", "i2", "i1", "i1"], [START] * 4)
    known.append("bob", ["i1"], [START])
    assert known.repeats == pytest.approx(2 / 5)


def test_arrays_are_all_users_one_after_the_other() -> None:
    known = Histories(ITEMS)
    known.append("ann", ["i1", "i2"], [START, START])
    known.append("bob", ["i3"], [START])
    users, item, time, lengths = known.arrays()
    assert (users, lengths.tolist()) == (["ann", "bob"], [2, 1])
    assert item.tolist() == ITEMS.rows(pl.Series(["i1", "i2", "i3"]).to_arrow()).tolist()
    assert time.tolist() == [microseconds(START)] * 3


def test_later_events_of_the_kinds_of_a_log_count() -> None:
    events = pl.DataFrame({"user_id": ["ann"], "item_id": ["i1"], "time": [START]})
    known = Histories.from_events(events, ITEMS, kinds=("view",))
    row = {"user_id": "ann", "item_id": "i2", "time": START}
    known.observe([{**row, "kind": "view"}, {**row, "kind": "purchase"}])
    assert known.events == 2


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
