"""What is promised of these, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.artifacts import save_artifact
from adwright.core.atomic import atomic_write_text
from adwright.core.errors import ArtifactError, ConfigError, FileUnreadableError, ValueInvalidError
from adwright.data.schema import Catalogue, validate_events
from adwright.data.sequences.datasets import log_of_task
from adwright.data.sources.log import Log, save_log
from adwright.delivery.counted import ItemItemRecommender, item_table
from adwright.delivery.funnel.columns import ScoreMixture
from adwright.delivery.funnel.funnel import Serving
from adwright.delivery.popularity import Popularity, save_popularity
from adwright.delivery.recommend import models as module
from adwright.delivery.recommend import models as shown
from adwright.delivery.recommend.models import (
    RECOMMENDING,
    CascadeTop,
    ItemItemTop,
    PopularityTop,
    RetrieverTop,
    SequenceTop,
    ShownTop,
    TopItems,
    Wanted,
    open_model,
    stopped_in_log,
    top_of_rows,
)
from adwright.delivery.recommend.people import (
    People,
    moments_after,
    people_of_histories,
    people_of_log,
)
from adwright.delivery.recommend.run import recommend_all, recommend_file
from adwright.delivery.served import Alone, ServedModel
from adwright.delivery.stages.histories import microseconds
from adwright.delivery.training_log import HistoryLog
from adwright.models.retrieval.item_item import ItemItemConfig, NeighbourConfig
from adwright.training.retrieval.item_item import ItemItemArtifact, fit_item_item
from tests.support.delivery.cascade_parts import (
    LATER,
    deployment,
    hcn,
    histories,
    ranker,
    request,
    task,
    two_tower,
)
from tests.support.delivery.funnel_parts import SERVING, funnel, funnel_parts
from tests.support.delivery.sequence_parts import hstu, hstu_ranker, sasrec
from tests.support.delivery.single_models import log, past, run_folder

IDS = task().items.ids
USERS = ["u3", "nobody", "u1", "u7"]
MODELS: dict[str, tuple[Callable[[], Alone], Callable[..., TopItems]]] = {
    "two towers": (two_tower, RetrieverTop),
    "HCN": (hcn, RetrieverTop),
    "HSTU": (hstu, SequenceTop),
    "HSTU with repeats": (lambda: hstu(repeats=True), SequenceTop),
    "HSTU with popularity": (lambda: hstu(popularity=True), SequenceTop),
    "SASRec": (sasrec, SequenceTop),
}


def people(users: list[str] | None = None) -> People:
    return people_of_log(past(), task().items, users=users, at=microseconds(LATER))


def ids(codes: Any) -> list[str]:
    return [IDS[code - 1] for code in codes if code > 0]


@pytest.mark.parametrize("unseen", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_everybody_gets_what_the_service_would_answer(name: str, unseen: bool) -> None:
    make, top = MODELS[name]
    model = make()
    found = top(model, unseen=unseen).best(people(USERS), 4)
    served = ServedModel.of_log(model, past().events, past().profiles)
    served.histories.again = None  # each event takes its item off the list, where unseen
    cascade = ServedModel(model, served.histories, unseen).cascade()
    for row, user in enumerate(USERS):
        answer = cascade.recommend(request(user, k=4))
        mine = ids(found.codes[row])
        if not (unseen and user != "nobody"):
            assert len(mine) == 4
        assert mine == list(answer.item_ids[: len(mine)])
        np.testing.assert_allclose(
            found.scores[row][: len(mine)], answer.score[: len(mine)], rtol=2e-4, atol=2e-4
        )


def test_popularity_leaves_out_what_was_had() -> None:
    weight = np.arange(len(IDS), dtype=np.float64)
    popular = Popularity(IDS, weight)
    everybody = people_of_log(past(), item_table(popular.item_ids), users=USERS)
    plain = PopularityTop(popular, unseen=False)
    names = [plain.items.ids[code - 1] for code in plain.best(everybody, 3).codes[0]]
    assert names == list(popular.item_ids[:3])
    new = PopularityTop(popular, unseen=True).best(everybody, 5)
    for row, user in enumerate(USERS):
        had = set(past().events.filter(user_id=user)["item_id"])
        expected = [item for item in popular.item_ids if item not in had][:5]
        assert [plain.items.ids[code - 1] for code in new.codes[row] if code > 0] == expected


def test_a_cascade_and_a_ranker_answer_as_they_serve() -> None:
    fine = replace(SERVING, fine=ScoreMixture(("fine", "item-item"), (1.0, 0.5)))
    for cascade in (
        deployment().cascade(),
        funnel().cascade(),
        funnel(fine).cascade(),
        ServedModel.of_log(ranker(), past().events, past().profiles).cascade(),
    ):
        found = CascadeTop(cascade, unseen=False).best(people(USERS), 3)
        for row, user in enumerate(USERS):
            assert ids(found.codes[row]) == list(cascade.recommend(request(user, k=3)).item_ids[:3])
        new = CascadeTop(cascade, unseen=True).best(people(USERS), 3)
        had = set(past().events.filter(user_id="u3")["item_id"])
        assert not had & set(ids(new.codes[0]))


def test_a_ranker_of_sequences_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot search"):
        SequenceTop(hstu_ranker(), unseen=False)


@given(st.integers(0, 5), st.integers(1, 700), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_it_is_what_sorting_each_row_gives(users: int, items: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.tile(np.arange(items), (users, 1)), axis=1).astype(np.float32)
    scores[rng.random(scores.shape) < 0.3] = -np.inf
    columns, found = top_of_rows(scores, k)
    for row in range(users):
        order = np.argsort(-scores[row], kind="stable")[:k]
        order = order[np.isfinite(scores[row][order])]
        assert columns[row, : len(order)].tolist() == order.tolist()
        assert found[row, : len(order)].tolist() == scores[row][order].tolist()
        assert (columns[row, len(order) :] == -1).all()
        assert (found[row, len(order) :] == -np.inf).all()


@pytest.mark.parametrize("items", [3, 400, 5000])
def test_of_equal_scores_the_lower_column_stands_first(items: int) -> None:
    scores = np.zeros((2, items), np.float32)
    scores[:, [1, 2]] = 5.0
    scores[1, 0] = 5.0
    columns, _ = top_of_rows(scores, 2)
    assert columns[0].tolist() == [1, 2]
    columns, _ = top_of_rows(scores, 3)
    assert columns[1].tolist() == [0, 1, 2]


def rule(neighbours: int = 1, *, repeats: bool = True) -> ItemItemArtifact:
    """So few neighbours that popular items have to fill the lists."""
    config = ItemItemConfig(neighbours=NeighbourConfig(neighbours=neighbours), recency=0.4)
    return ItemItemArtifact(fit_item_item(log_of_task(task()), config), IDS, repeats)


@pytest.mark.parametrize("early", [0, 26])
@pytest.mark.parametrize("unseen", [False, True])
@pytest.mark.parametrize("neighbours", [1, 12])
def test_item_item_top_everybody_gets_what_the_service_would_answer(
    neighbours: int, unseen: bool, early: int
) -> None:
    model, at = rule(neighbours, repeats=not unseen), LATER - timedelta(days=early)
    people = people_of_log(past(), item_table(IDS), users=USERS, at=microseconds(at))
    top = ItemItemTop(model, unseen=unseen)
    served = ItemItemRecommender(model, histories())
    for k in (3, 12, 20):
        found = top.best(people, k)
        assert found.codes.shape == found.scores.shape == (4, k)
        for row, user in enumerate(USERS):
            answer = served.recommend(request(user, k=k, time=at))
            mine = [IDS[code - 1] for code in found.codes[row] if code > 0]
            assert mine == list(answer.item_ids[:k])
            np.testing.assert_allclose(
                found.scores[row][: len(mine)], answer.score[: len(mine)], rtol=1e-5
            )
            assert (found.codes[row][len(mine) :] == -1).all()
            assert (found.scores[row][len(mine) :] == -np.inf).all()


def test_users_are_filled_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    people = people_of_log(past(), item_table(IDS))
    top = ItemItemTop(rule(), unseen=True)
    whole = top.best(people, 5)
    monkeypatch.setattr(module, "FILLED", 3)
    part = top.best(people, 5)
    assert part.codes.tolist() == whole.codes.tolist()
    assert part.scores.tolist() == whole.scores.tolist()
    assert top.best(people_of_log(past(), item_table(IDS), users=[]), 3).codes.shape == (0, 3)


NOW = datetime(2026, 5, 1, tzinfo=UTC)


def shown_people(users: int) -> People:
    nothing = np.zeros(0, np.int64)
    names = pl.Series("user_id", [f"u{n}" for n in range(users)], pl.String)
    return People(names, nothing, nothing, np.zeros(users + 1, np.int64), np.zeros(users, np.int64))


def with_stops(folder: Path, *rows: tuple[str, str | None, datetime, float | None]) -> Path:
    """The log of the small task with stops in it; its item i has the creative i-only."""
    known = log()
    ids = known.catalogue.items["item_id"]
    creatives = pl.DataFrame({"creative_id": ids + "-only", "item_id": ids})
    stops = pl.DataFrame(
        [
            {
                **{"event_id": f"s{n}", "time": time, "request_id": "s", "user_id": "anna"},
                **{"kind": "stop", "item_id": item, "creative_id": creative, "value": value},
            }
            for n, (item, creative, time, value) in enumerate(rows)
        ],
        schema_overrides={"creative_id": pl.String, "value": pl.Float64},
    )
    events = pl.concat([known.events.collect(), validate_events(stops)])
    catalogue = Catalogue.checked(known.catalogue.items, creatives)
    save_log(folder / "log", Log(events.lazy(), catalogue, known.users))
    return folder / "log"


@pytest.mark.parametrize("places", [1 << 21, 4])
def test_what_is_hidden_is_passed_over_and_the_next_best_moves_up(
    places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shown, "PLACES", places)
    top = PopularityTop(Popularity(list("abcd"), np.array([4.0, 3.0, 2.0, 1.0])), unseen=False)
    found = ShownTop(top, {"a", "c", "unknown"}).best(shown_people(3), 2)
    assert found.codes.tolist() == [[2, 4]] * 3
    assert found.scores.tolist() == [[3.0, 1.0]] * 3
    short = ShownTop(top, {"b"}).best(shown_people(1), 5)
    assert short.codes.tolist() == [[1, 3, 4, -1, -1]]
    assert short.scores[0, 3:].tolist() == [-np.inf, -np.inf]
    assert ShownTop(top, {"unknown"}).best(shown_people(1), 2).codes.tolist() == [[1, 2]]
    assert ShownTop(top, set("abcd")).best(shown_people(1), 2).codes.tolist() == [[-1, -1]]


def test_the_log_says_what_is_stopped_at_a_moment(tmp_path: Path) -> None:
    a, b, c = log().catalogue.items["item_id"].to_list()[:3]
    hour = timedelta(hours=1)
    source = with_stops(
        tmp_path,
        (a, None, NOW, None),
        (a, None, NOW + hour, 0.0),
        (b, f"{b}-only", NOW, 1.0),
        (c, "another", NOW, None),
    )
    assert stopped_in_log(source, NOW) == {a, b}
    assert stopped_in_log(source, NOW + hour) == {b}
    assert stopped_in_log(source, NOW - hour) == frozenset()
    sequences = tmp_path / "sequences"
    atomic_write_text(sequences / "sequences.txt", "")
    assert stopped_in_log(sequences, NOW) == frozenset()


def test_a_file_of_recommendations_holds_nothing_that_is_stopped(tmp_path: Path) -> None:
    ids = log().catalogue.items["item_id"].to_list()
    weight = np.arange(len(ids), dtype=float)
    save_popularity(tmp_path / "model", ids, weight)
    source = str(with_stops(tmp_path, (ids[-1], None, NOW, None)))
    wanted = Wanted(log=source)
    assert set(recommend_all(tmp_path / "model", wanted, k=2)["item_id"]) == {ids[-2], ids[-3]}
    written = recommend_file(tmp_path / "model", tmp_path / "out.parquet", wanted, k=2)
    assert written.stopped == 1
    assert ids[-1] not in pl.read_parquet(written.out)["item_id"]
    early = Wanted(log=source, at=NOW - timedelta(hours=1))
    assert open_model(tmp_path / "model", early).stopped == frozenset()


def item_item() -> ItemItemArtifact:
    found = funnel_parts().models["item-item"]
    assert isinstance(found, ItemItemArtifact)
    return found


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return run_folder(tmp_path)


SAVE: dict[str, Callable[[Path], object]] = {
    "sequence": lambda path: sasrec().save(path),
    "retriever": lambda path: two_tower().save(path),
    "ranker": lambda path: ranker().save(path),
    "cascade": lambda path: deployment().save(path, histories=False),
    "funnel": lambda path: funnel().save(path, histories=False),
    "item-item": lambda path: item_item().save(path),
    "popularity": lambda path: save_popularity(path, IDS, np.arange(len(IDS), dtype=float)),
}


@pytest.mark.parametrize("kind", SAVE)
def test_the_log_of_the_run_says_what_users_did(run: Path, kind: str) -> None:
    SAVE[kind](run / "model")
    opened = open_model(run, Wanted())
    assert opened.kind == {"funnel": "cascade"}.get(kind, kind)
    assert opened.kind in RECOMMENDING
    assert opened.source == str(run.parent / "log")
    assert opened.people.users.to_list() == sorted(task().users)
    assert not opened.unseen
    codes = opened.top.best(opened.people, 2).codes
    assert codes.shape == (len(task().users), 2)
    assert (codes > 0).all()


def test_what_is_wanted_counts(run: Path) -> None:
    sasrec().save(run / "model")
    assert open_model(run, Wanted(unseen=True)).unseen
    early = LATER - timedelta(days=27)
    opened = open_model(run, Wanted(at=early, users=("u2",)))
    assert opened.people.users.to_list() == ["u2"]
    assert opened.people.time.max() < microseconds(early)
    assert (opened.people.at == microseconds(early)).all()
    elsewhere = run_folder(run.parent / "elsewhere").parent / "log"
    assert open_model(run, Wanted(log=str(elsewhere))).source == str(elsewhere)


def test_what_nobody_takes_twice_is_left_out_by_default(tmp_path: Path) -> None:
    once = past().events.unique(["user_id", "item_id"], keep="first", maintain_order=True)
    once.with_columns().write_parquet(tmp_path / "events.parquet")
    ServedModel.of_log(sasrec(), once).save(tmp_path / "v1")
    assert open_model(tmp_path / "v1", Wanted()).unseen
    assert not open_model(tmp_path / "v1", Wanted(unseen=False)).unseen


@pytest.mark.parametrize("make", [sasrec, two_tower])
def test_what_was_only_looked_at_stays_on_the_list(tmp_path: Path, make: Any) -> None:
    """Saved, by its log, and with everything left out on demand: recommend is of one mind."""
    once = past().events.unique(["user_id", "item_id"], keep="first", maintain_order=True)
    last = pl.int_range(pl.len()).over("user_id") == pl.len().over("user_id") - 1
    once = once.sort("user_id", "time").with_columns(
        kind=pl.when(last).then(pl.lit("view")).otherwise(pl.lit("purchase"))
    )
    (tmp_path / "log").mkdir()
    once.write_parquet(tmp_path / "log" / "events.parquet")
    looked = set(once.filter(kind="view").select("user_id", "item_id").iter_rows())
    bought = set(once.filter(kind="purchase").select("user_id", "item_id").iter_rows())
    ServedModel.of_log(make(), once).save(tmp_path / "v1")
    make().save(tmp_path / "alone")
    for model, named in (("v1", None), ("v1", "log"), ("alone", "log")):
        for unseen in (None, True):
            asked = Wanted(log=named and str(tmp_path / named), unseen=unseen)
            found = recommend_all(tmp_path / model, asked, k=12)
            pairs = set(found.select("user_id", "item_id").iter_rows())
            assert not pairs & bought
            assert (looked <= pairs) is (unseen is None)


@pytest.mark.parametrize("repeats", [False, True])
def test_a_model_that_says_whether_things_come_again_is_believed(run: Path, repeats: bool) -> None:
    replace(item_item(), repeats=repeats).save(run / "model")
    assert open_model(run, Wanted()).unseen is not repeats
    assert open_model(run, Wanted(unseen=repeats)).unseen is repeats
    shutil.rmtree(run / "model")
    whole = funnel(Serving({"item-item": 5, "popularity": 3}, ScoreMixture.of("item-item")))
    replace(whole, parts=replace(whole.parts, repeats=repeats)).save(run / "deployment")
    assert open_model(run, Wanted()).unseen is not repeats
    named = open_model(run, Wanted(log=str(run.parent / "log")))
    assert named.unseen is not repeats
    assert named.source == str(run.parent / "log")


def test_numbers_of_users_are_cut_as_the_training_cut_them(run: Path) -> None:
    """The log says 41, where the training called it by its part."""
    spec, towns = two_tower().spec, {"north": "below 30", "south": "from 30"}
    features = tuple(
        replace(f, vocabulary=tuple(towns[one] for one in f.vocabulary)) if f.name == "town" else f
        for f in spec.features
    )
    replace(two_tower(), spec=replace(spec, features=features)).save(run / "model")
    ages = pl.col("town").replace_strict({"north": "7", "south": "41"})
    users = run.parent / "log" / "users.parquet"
    pl.read_parquet(users).with_columns(ages).write_parquet(users)
    opened = open_model(run, Wanted())
    assert opened.people.profiles is not None
    assert set(opened.people.profiles["town"]) == {"below 30", "from 30"}
    expected = RetrieverTop(two_tower(), unseen=False).best(people_of_log(past(), task().items), 3)
    assert opened.top.best(opened.people, 3).codes.tolist() == expected.codes.tolist()


def test_popularity_needs_no_log_for_given_users(tmp_path: Path) -> None:
    SAVE["popularity"](tmp_path / "v1")
    opened = open_model(tmp_path / "v1", Wanted(users=("a", "b")))
    assert opened.people.lengths.tolist() == [0, 0]
    with pytest.raises(ConfigError, match="no log is known"):
        open_model(tmp_path / "v1", Wanted())


def test_what_cannot_recommend_is_refused(tmp_path: Path) -> None:
    save_artifact(tmp_path / "v1", kind="adapter", config={})
    with pytest.raises(ArtifactError, match="recommends nothing") as error:
        open_model(tmp_path / "v1", Wanted())
    assert "cascade" in error.value.hint
    sasrec().save(tmp_path / "alone" / "model")
    with pytest.raises(ConfigError, match="no log is known") as unknown:
        open_model(tmp_path / "alone" / "model", Wanted())
    assert "--events" in unknown.value.hint


def test_a_log_that_is_gone_is_said(run: Path) -> None:
    sasrec().save(run / "model")
    shutil.rmtree(run.parent / "log")
    with pytest.raises(ConfigError, match="not there any more") as error:
        open_model(run, Wanted())
    assert "--events" in error.value.hint
    with pytest.raises(FileUnreadableError, match="no such log"):
        open_model(run, Wanted(log="nowhere"))


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
