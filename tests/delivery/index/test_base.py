"""What every index promises, whatever it searches with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.errors import (
    ArtifactError,
    ConfigError,
    ResourceError,
    SchemaError,
    ValueInvalidError,
)
from adwright.delivery.index.exact import ExactIndex, Index
from adwright.delivery.index.index import FaissConfig, build_index
from tests.support.delivery.vector_search import CONFIGS, equal, gaussian, literal, parts

VECTORS = gaussian(60, 8)


def filled(name: str) -> Index:
    index = build_index(CONFIGS[name], 8)
    index.add(np.arange(60), VECTORS)
    return index


@pytest.mark.parametrize("name", CONFIGS)
def test_ids_are_present_until_they_are_removed(name: str) -> None:
    index = filled(name)
    assert (len(index), index.dimension, index.slots) == (60, 8, 60)
    assert index.remove([3, 4, 99]) == 2
    assert index.remove([3]) == 0
    assert (len(index), index.slots) == (58, 60)
    index.add([3, 5], VECTORS[[3, 5]])
    assert (len(index), index.slots) == (59, 62)
    found = index.search(VECTORS[:6], 59)
    for row in parts(found):
        assert sorted(row) == sorted(set(range(60)) - {4})


@pytest.mark.parametrize("name", CONFIGS)
def test_what_may_not_be_returned_never_is(name: str) -> None:
    index = filled(name)
    allowed = np.zeros(40, np.bool_)
    allowed[[1, 7, 30]] = True
    index.remove([7])
    for row in parts(index.search(gaussian(4, 8, seed=1), 5, allowed=allowed)):
        assert sorted(row) == [1, 30]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_replaced_vector_is_searched_for_as_it_is_now(name: str) -> None:
    index = filled(name)
    index.add([9], 50 * VECTORS[:1])
    found = index.search(VECTORS[:1], 1)
    assert found.ids.tolist() == [[9]]
    present = dict(enumerate(VECTORS)) | {9: 50 * VECTORS[0]}
    assert found.scores == pytest.approx(literal(present, VECTORS[:1], 1).scores, rel=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_saved_and_loaded_it_finds_the_same(name: str, tmp_path: Path) -> None:
    index = filled(name)
    index.remove(np.arange(10, 20))
    index.save(tmp_path / "index")
    assert load_artifact(tmp_path / "index").kind == index.kind
    again = type(index).load(tmp_path / "index")
    queries = gaussian(5, 8, seed=2)
    assert equal(again.search(queries, 4), index.search(queries, 4))
    assert (len(again), again.dimension, again.kind) == (50, 8, index.kind)
    with pytest.raises(ResourceError, match="exists already"):
        index.save(tmp_path / "index")
    index.save(tmp_path / "index", overwrite=True)


def test_an_artifact_of_another_kind_is_refused(tmp_path: Path) -> None:
    save_artifact(tmp_path / "other", kind="ranker", config={})
    with pytest.raises(ArtifactError):
        ExactIndex.load(tmp_path / "other")


@pytest.mark.parametrize("name", ["exact", "hnsw"])
def test_what_cannot_be_searched_or_added_is_refused(name: str) -> None:
    index = filled(name)
    with pytest.raises(ValueInvalidError, match="k must be"):
        index.search(VECTORS[:1], 0)
    with pytest.raises(SchemaError, match="queries"):
        index.search(VECTORS[:1, :5], 3)
    with pytest.raises(SchemaError, match="one id per vector"):
        index.add([1, 2], VECTORS[:1])
    with pytest.raises(ValueInvalidError, match="not finite"):
        index.add([1], np.full((1, 8), np.nan))
    assert len(index) == 60


def test_the_base_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Index(8)  # type: ignore[abstract]


@pytest.mark.parametrize(
    ("config", "name", "value"),
    [
        *((FaissConfig, name, 0) for name in ("directions", "links", "search_breadth", "rounds")),
        *((FaissConfig, name, -1) for name in ("lists", "probes", "seed", "exact_below")),
        (FaissConfig, "candidates", 0.9),
        *((FaissConfig, name, 0) for name in ("training", "build_breadth", "threads")),
    ],
)
def test_a_setting_out_of_range_is_named(config: Any, name: str, value: float) -> None:
    least = 0 if value == -1 else 1
    with pytest.raises(ConfigError, match=f"{name} must be at least {least}") as refused:
        config(**{name: value})
    assert str(value) in str(refused.value)
    assert config(**{name: least})
