from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.artifacts import save_artifact
from adwright.core.clock import FixedClock
from adwright.core.errors import ArtifactCorruptError, ArtifactError, ValueInvalidError
from adwright.delivery.decision import Deadline
from adwright.delivery.popularity import KIND, Popularity, load_popularity, save_popularity
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
