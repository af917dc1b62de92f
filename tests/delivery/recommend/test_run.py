"""What is promised of these, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from adwright.core.errors import (
    ConfigError,
    MissingExtraError,
    ResourceError,
    ResumeError,
    SchemaError,
)
from adwright.delivery.popularity import Popularity
from adwright.delivery.recommend import on_ray
from adwright.delivery.recommend.models import PopularityTop, Wanted
from adwright.delivery.recommend.on_ray import parts_on_ray
from adwright.delivery.recommend.run import (
    PartWriter,
    held_visits,
    newest_visits,
    ranks_of,
    read_users,
    recommend_all,
    recommend_file,
)
from adwright.delivery.served import ServedModel
from adwright.delivery.stages.histories import microseconds
from adwright.delivery.training_log import HistoryLog
from tests.support.data.small_next_basket import small_task
from tests.support.delivery.cascade_parts import request, task
from tests.support.delivery.sequence_parts import hstu, sasrec
from tests.support.delivery.single_models import past, run_folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = run_folder(tmp_path)
    sasrec().save(run / "model")
    return run


def test_a_table_of_the_best_for_everybody(run: Path) -> None:
    found = recommend_all(run, k=3)
    assert found.schema == {
        "user_id": pl.String,
        "rank": pl.Int32,
        "item_id": pl.String,
        "score": pl.Float32,
    }
    assert found["user_id"].unique(maintain_order=True).to_list() == sorted(task().users)
    assert found["rank"].to_list() == [1, 2, 3] * len(task().users)
    served = ServedModel.of_log(sasrec(), past().events).cascade()
    for user in ("u0", "u9"):
        mine = found.filter(user_id=user)
        assert tuple(mine["item_id"]) == served.recommend(request(user, k=3)).item_ids[:3]
        assert mine["score"].is_sorted(descending=True)


def test_the_file_holds_the_same_and_nothing_else_is_left(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "recs" / "all.parquet"
    wanted = Wanted(users=("u3", "nobody", "u1"))
    told = recommend_file(run, out, wanted, k=2, chunk=2)
    assert_frame_equal(pl.read_parquet(out), recommend_all(run, wanted, k=2))
    assert [path.name for path in out.parent.iterdir()] == ["all.parquet"]
    assert (told.users, told.unknown, told.rows) == (3, 1, 6)
    assert (told.kind, told.unseen, told.source) == ("sequence", False, str(run.parent / "log"))
    with pytest.raises(ResourceError, match="exists already"):
        recommend_file(run, out)
    recommend_file(run, out, k=1, overwrite=True)
    assert pl.read_parquet(out).height == len(task().users)


def test_a_run_that_was_cut_off_goes_on(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, whole = tmp_path / "recs.parquet", PartWriter.write
    done: list[int] = []

    def failing(self: PartWriter, part: int) -> int:
        if part == 2:
            raise KeyboardInterrupt
        return counted(self, part)

    def counted(self: PartWriter, part: int) -> int:
        done.append(part)
        return whole(self, part)

    monkeypatch.setattr(PartWriter, "write", failing)
    with pytest.raises(KeyboardInterrupt):
        recommend_file(run, out, chunk=3)
    assert not out.exists()
    monkeypatch.setattr(PartWriter, "write", counted)
    with pytest.raises(ResourceError, match="cut off"):
        recommend_file(run, out, chunk=3)
    with pytest.raises(ResumeError, match="another model"):
        recommend_file(run, out, k=9, chunk=3, resume=True)
    recommend_file(run, out, chunk=3, resume=True)
    assert done == [0, 1, 2, 3]
    assert_frame_equal(pl.read_parquet(out), recommend_all(run))
    assert not (tmp_path / ".recs.parquet.parts").exists()


def test_parts_of_another_model_are_not_taken_up(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "recs.parquet"
    with monkeypatch.context() as broken:
        broken.setattr(PartWriter, "write", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            recommend_file(run, out)
    hstu().save(run / "model", overwrite=True)
    with pytest.raises(ResumeError):
        recommend_file(run, out, resume=True)
    recommend_file(run, out, overwrite=True)
    assert_frame_equal(pl.read_parquet(out), recommend_all(run))


def test_users_are_read_from_tables_and_lines(tmp_path: Path) -> None:
    table = pl.DataFrame({"user_id": [3, 1, 3, None], "x": [0, 0, 0, 0]})
    table.write_parquet(tmp_path / "a.parquet")
    table.write_csv(tmp_path / "a.csv")
    (tmp_path / "a.txt").write_text("3\n 1 \n\n")
    for name in ("a.parquet", "a.csv", "a.txt"):
        assert read_users(tmp_path / name) == ("3", "1")
    pl.DataFrame({"name": ["x"]}).write_csv(tmp_path / "b.csv")
    with pytest.raises(SchemaError, match="lacks a column"):
        read_users(tmp_path / "b.csv")
    for name in ("nowhere.csv", "nowhere.txt", "nowhere.parquet"):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_users(tmp_path / name)


@pytest.mark.parametrize(
    ("out", "options", "error", "about"),
    [
        ("recs.csv", {}, SchemaError, "Parquet"),
        ("recs.parquet", {"k": 0}, ConfigError, "k must be"),
        ("recs.parquet", {"chunk": 0}, ConfigError, "chunk must be"),
        ("recs.parquet", {"ray_workers": -1}, ConfigError, "workers"),
    ],
)
def test_mistakes_are_refused(
    run: Path, tmp_path: Path, out: str, options: dict[str, Any], error: type, about: str
) -> None:
    with pytest.raises(error, match=about):
        recommend_file(run, tmp_path / out, **options)
    assert not (tmp_path / out).exists()


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


# Ray warns of settings of its own that it will drop, and of sockets of its own that it leaves.
@pytest.mark.filterwarnings("ignore")
def test_processes_of_ray_share_the_parts(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    run = run_folder(tmp_path)
    sasrec().save(run / "model")
    told = recommend_file(run, tmp_path / "recs.parquet", k=2, chunk=3, ray_workers=2)
    assert told.users == 10
    assert_frame_equal(pl.read_parquet(tmp_path / "recs.parquet"), recommend_all(run, k=2))
    # The cluster was the call's own.
    assert not ray.is_initialized()


def test_workers_are_at_least_one_and_ray_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="workers"):
        list(parts_on_ray(lambda: None, (), [1], 0))  # type: ignore[arg-type, return-value]
    monkeypatch.setattr(on_ray, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="recommending on Ray"):
        list(parts_on_ray(lambda: None, (), [1], 1))  # type: ignore[arg-type, return-value]
