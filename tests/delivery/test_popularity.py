"""What is promised of these, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.clock import FixedClock
from adwright.core.errors import ArtifactCorruptError, ArtifactError, ConfigError, ValueInvalidError
from adwright.data.schema import ACTION_KINDS, EVENT_SCHEMA, RESPONSE_KINDS
from adwright.delivery.decision import Candidates, Deadline, Decision, Request
from adwright.delivery.popularity import KIND, Popularity, load_popularity, save_popularity
from adwright.delivery.served import (
    ALONE,
    Alone,
    ServedModel,
    catalogue_of,
    history_kinds_of,
    load_alone,
)
from adwright.delivery.served import KIND as served_KIND
from adwright.delivery.stages.protocols import ExcludedCodes, Shortlist, best_of
from tests.support.delivery.cascade_parts import hcn, ranker, task, two_tower
from tests.support.delivery.cascade_parts import request as cascade_parts_request
from tests.support.delivery.sequence_parts import hstu, hstu_ranker, sasrec
from tests.support.delivery.single_models import past
from tests.support.service.small_shop import request

IDS = ("a", "b", "c", "d")
WEIGHT = np.array([1.0, 4.0, 4.0, 2.0])


def test_the_heaviest_come_first_and_ties_in_the_given_order(clock: FixedClock) -> None:
    popularity = Popularity(IDS, WEIGHT)
    found = popularity.recommend(request())
    assert found.item_ids == ("b", "c", "d", "a")
    assert found.score.tolist() == [4, 4, 2, 1]
    assert (found.stage, found.probability, len(popularity)) == ("popularity", False, 4)
    late = Deadline.after(0, clock)
    for one in popularity.recommend_many([request(), request(k=1)], late):
        assert one.item_ids == found.item_ids


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=60),
    st.sets(st.integers(0, 70)),
    st.none() | st.lists(st.integers(0, 70), unique=True),
    st.integers(1, 40),
)
def test_it_is_the_sorted_list_of_what_is_allowed(
    weights: list[int], exclude: set[int], candidates: list[int] | None, k: int
) -> None:
    ids = [f"i{n}" for n in range(len(weights))]
    asked = request(
        k=k,
        exclude=frozenset(f"i{n}" for n in exclude),
        candidates=None if candidates is None else tuple(f"i{n}" for n in candidates),
    )
    found = Popularity(ids, np.array(weights, dtype=np.float64)).recommend(asked)
    allowed = [
        item
        for item in ids
        if item not in asked.exclude and (asked.candidates is None or item in asked.candidates)
    ]
    expected = sorted(allowed, key=lambda item: -weights[ids.index(item)])[: k + 20]
    assert found.item_ids == tuple(expected)


def test_a_saved_one_comes_back(tmp_path: Path) -> None:
    ids = (*IDS[:3], "line\u2028break")
    made = save_popularity(tmp_path / "v1", ids, WEIGHT, seed=5)
    loaded, artifact_id, seed = load_popularity(tmp_path / "v1")
    assert (artifact_id, seed) == (made, 5)
    assert loaded.recommend(request()).item_ids == ("b", "c", "line\u2028break", "a")


@pytest.mark.parametrize(
    ("ids", "weight", "message"),
    [
        (IDS, WEIGHT[:3], "do not match"),
        (("a", "a", "b", "c"), WEIGHT, "3 different items of 4"),
        (IDS, np.array([1, 2, np.nan, 0]), "not finite"),
    ],
)
def test_items_and_weights_must_fit(
    tmp_path: Path, ids: tuple[str, ...], weight: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueInvalidError, match=message):
        save_popularity(tmp_path / "v1", ids, weight)
    assert not (tmp_path / "v1").exists()


def test_what_is_no_popularity_is_refused(tmp_path: Path) -> None:
    save_artifact(tmp_path / "none", kind=KIND, config={}, files={"items.json": "[]"})
    with pytest.raises(ArtifactError, match="holds no weights"):
        load_popularity(tmp_path / "none")
    save_artifact(
        tmp_path / "numbers",
        kind=KIND,
        config={},
        tensors={"weight": WEIGHT},
        files={"items.json": "[1]"},
    )
    with pytest.raises(ArtifactError, match="no list of texts"):
        load_popularity(tmp_path / "numbers")
    save_popularity(tmp_path / "v1", IDS, WEIGHT)
    (tmp_path / "v1" / "items.json").write_text("[]")
    with pytest.raises(ArtifactCorruptError):
        load_popularity(tmp_path / "v1")


NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
REQUEST = Request("r1", "ann", NOON, k=3, context={"store": "north", "basket": 12.5})


def candidates(**changes: Any) -> Candidates:
    fields: dict[str, Any] = {
        "item_ids": ("a", "b", "c"),
        "score": np.array([0.9, 0.5, 0.5]),
        "probability": True,
        "stage": "fine",
    }
    return Candidates(**fields | changes)


def decision(**changes: Any) -> Decision:
    fields: dict[str, Any] = {
        "request": REQUEST,
        "policy_id": "greedy",
        "item_ids": ("b", "a"),
        "propensity": np.array([0.25, 1.0]),
        "score": np.array([0.5, 0.9]),
        "reasons": ("drawn", "best"),
        "stage": "coarse",
    }
    return Decision(**fields | changes)


def test_a_decision_becomes_impressions_of_the_log() -> None:
    rows = decision().impressions()
    assert rows[0] == {
        "event_id": "r1-1",
        "time": NOON,
        "request_id": "r1",
        "user_id": "ann",
        "kind": "impression",
        "item_id": "b",
        "creative_id": None,
        "campaign_id": None,
        "position": 1,
        "propensity": 0.25,
        "policy_id": "greedy",
        "value": None,
        "context": '{"stage": "coarse", "store": "north", "basket": 12.5}',
    }
    assert [list(row) for row in rows] == [EVENT_SCHEMA.names] * 2
    assert [row["event_id"] for row in rows] == ["r1-1", "r1-2"]
    assert [row["position"] for row in rows] == [1, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"request_id": ""}, "request_id is empty"),
        ({"user_id": ""}, "user_id is empty"),
        ({"time": NOON.replace(tzinfo=None)}, "must be in UTC"),
        ({"time": NOON.astimezone(timezone(timedelta(hours=9)))}, "must be in UTC"),
        ({"k": 0}, "at least one place"),
        ({"context": {"x": float("nan")}}, r"not finite \[column context.x"),
        ({"candidates": ("a", "b", "a")}, r"stands twice \[row 2, column candidates, value 'a'\]"),
    ],
)
def test_a_request_checks_itself(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueInvalidError, match=message):
        replace(REQUEST, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"item_ids": ("a", "a", "b")}, "stands twice"),
        ({"score": np.array([1.0, 0.5])}, r"expected shape \(3,\) and found \(2,\)"),
        ({"score": np.array([0.9, np.nan, 0.1])}, r"not finite \[row 1"),
        ({"score": np.array([0.9, 0.1, 0.2])}, r"best first \[row 2"),
        ({"score": np.array([1.2, 0.5, 0.1])}, r"outside 0..1 \[row 0"),
        ({"score": np.array([0.5, 0.1, -0.1])}, r"outside 0..1 \[row 2"),
    ],
)
def test_candidates_check_themselves(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueInvalidError, match=message):
        candidates(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"item_ids": ("a", "a")}, "stands twice"),
        ({"request": replace(REQUEST, k=1)}, "2 items for 1 places"),
        ({"propensity": np.array([0.5])}, r"column propensity"),
        ({"score": np.array([0.5])}, r"column score"),
        ({"score": np.array([0.5, np.inf])}, r"score is not finite \[row 1"),
        ({"reasons": ("one",)}, "expected 2 reasons and found 1"),
        ({"propensity": np.array([0.5, 0.0])}, r"above 0 and at most 1 \[row 1"),
        ({"propensity": np.array([1.5, 0.5])}, r"above 0 and at most 1 \[row 0"),
        ({"propensity": np.array([np.nan, 0.5])}, r"above 0 and at most 1 \[row 0"),
    ],
)
def test_decisions_check_themselves(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueInvalidError, match=message):
        decision(**changes)


def test_time_runs_out(clock: FixedClock) -> None:
    deadline = Deadline.after(0.25, clock)
    assert deadline.remaining() == 0.25
    assert not deadline.passed()
    clock.advance(0.25)
    assert deadline.remaining() == 0
    assert deadline.passed()
    clock.advance(1)
    assert deadline.remaining() == -1


class Table:
    """Codes of three items, and what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def codes(self, ids: Sequence[str]) -> NDArray[np.int64]:
        self.asked.append(sorted(ids))
        return np.array(["?abc".find(one) if one in "abc" else 0 for one in ids], np.int64)


def test_each_id_is_looked_up_once() -> None:
    table = Table()
    excluded = ExcludedCodes(table.codes)
    assert excluded.of(frozenset("cax")).tolist() == [1, 3]
    assert excluded.of(frozenset("abx")).tolist() == [1, 2]
    assert excluded.of(frozenset("abc")).tolist() == [1, 2, 3]
    assert excluded.of(frozenset()).tolist() == []
    assert table.asked == [["a", "c", "x"], ["b"]]


def test_the_same_set_gets_the_same_codes_which_nobody_may_change() -> None:
    excluded, both = ExcludedCodes(Table().codes), frozenset("ab")
    found = excluded.of(both)
    assert excluded.of(both) is found
    assert found.dtype == np.int64
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 5


@given(st.data())
def test_the_best_come_first_and_ties_by_code(data: st.DataObject) -> None:
    code = st.lists(st.integers(1, 20), max_size=8, unique=True)
    lists = data.draw(st.lists(code, max_size=4))
    score = [
        data.draw(st.lists(st.integers(0, 3), min_size=len(x), max_size=len(x))) for x in lists
    ]
    k = [data.draw(st.integers(0, 9)) for _ in lists]
    flat = np.array([s for one in score for s in one], np.float64)
    best, kept = best_of(
        Shortlist.of([np.array(one, np.int64) for one in lists]), flat, np.array(k, np.int64)
    )
    wanted = [
        sorted(zip((-s for s in one), codes, strict=True))[:places]
        for one, codes, places in zip(score, lists, k, strict=True)
    ]
    assert [one.tolist() for one in best.lists()] == [[c for _, c in one] for one in wanted]
    assert kept.tolist() == [-s for one in wanted for s, _ in one]


MODELS: dict[str, Callable[[], Alone]] = {
    "two towers": two_tower,
    "HCN": hcn,
    "HSTU": hstu,
    "SASRec": sasrec,
    "DIN": ranker,
}


def served(name: str) -> ServedModel:
    return ServedModel.of_log(MODELS[name](), past().events, past().profiles)


@pytest.mark.parametrize("name", MODELS)
def test_it_recommends_as_before_after_it_was_saved(name: str, tmp_path: Path) -> None:
    model = served(name)
    assert not model.unseen, "people of the small task take things again"
    identity = model.save(tmp_path / "v1")
    loaded = ServedModel.load(tmp_path / "v1")
    assert loaded.artifact_id == identity
    assert load_artifact(tmp_path / "v1").kind == served_KIND
    for user in ("u1", "nobody"):
        found, again = (m.cascade().recommend(cascade_parts_request(user)) for m in (model, loaded))
        assert found.item_ids == again.item_ids
        assert len(found) > 0


@pytest.mark.parametrize("name", ["HSTU", "two towers"])
def test_the_past_of_the_log_counts(name: str, tmp_path: Path) -> None:
    MODELS[name]().save(tmp_path / "v1")
    empty = ServedModel.load(tmp_path / "v1")
    assert len(empty.histories) == 0
    known = served(name).cascade().recommend(cascade_parts_request("u1"))
    strange = empty.cascade().recommend(cascade_parts_request("u1"))
    assert (known.score[:3] != strange.score[:3]).any()


def test_what_nobody_takes_twice_is_not_offered_again() -> None:
    once = past().events.unique(["user_id", "item_id"], keep="first", maintain_order=True)
    for name in ("SASRec", "two towers", "DIN"):
        model = ServedModel.of_log(MODELS[name](), once, past().profiles)
        assert model.unseen
        had = set(once.filter(user_id="u1")["item_id"])
        cascade = model.cascade()
        for answer in (cascade.recommend(cascade_parts_request("u1")),):
            assert not had & set(answer.item_ids)
        named = tuple(sorted(had))
        assert set(cascade.recommend(cascade_parts_request("u1", candidates=named)).item_ids) == had


def test_a_ranker_orders_all_that_a_request_names() -> None:
    cascade = served("DIN").cascade()
    ids = task().items.ids
    found = cascade.recommend(cascade_parts_request("u1", candidates=tuple(ids), k=2))
    assert set(found.item_ids) == set(ids)
    assert (found.stage, found.probability) == ("fine", True)


def test_events_that_come_in_are_history() -> None:
    model = served("SASRec")
    cascade = model.cascade()
    before = cascade.recommend(cascade_parts_request("u1"))
    time = cascade_parts_request().time - timedelta(hours=1)
    event = {"kind": "purchase", "user_id": "u1", "item_id": "i7", "time": time}
    model.histories.observe([event])
    assert (cascade.recommend(cascade_parts_request("u1")).score != before.score).any()


def test_each_knows_its_catalogue_and_what_its_histories_are_made_of() -> None:
    for make in MODELS.values():
        assert catalogue_of(make()).ids == task().items.ids
    assert history_kinds_of(hstu()) == history_kinds_of(hcn()) == ACTION_KINDS
    assert history_kinds_of(ranker()) == RESPONSE_KINDS


def test_what_finds_nothing_or_is_no_model_is_refused(tmp_path: Path) -> None:
    model = ServedModel.of_log(hstu_ranker(), past().events)
    with pytest.raises(ConfigError, match="finds no items"):
        model.cascade()
    save_artifact(tmp_path / "other", kind="din", config={})
    with pytest.raises(ArtifactError, match="does not serve alone") as error:
        load_alone(load_artifact(tmp_path / "other"))
    assert all(kind in error.value.hint for kind in ALONE)
