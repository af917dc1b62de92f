from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.errors import ArtifactCorruptError, ArtifactError
from adwright.training.retrieval.artifact import KIND, RetrieverArtifact, nearest_by_cosine
from tests.support.delivery.cascade_parts import hcn, task, two_tower

MODELS = pytest.mark.parametrize("of", [two_tower, hcn], ids=["two_tower", "hcn"])


@MODELS
def test_vectors_are_those_of_the_model(of: type) -> None:
    artifact: RetrieverArtifact = of()
    source = task()
    batch = source.batch(source.visits("test"))
    with torch.inference_mode():
        wanted = artifact.model.queries(batch).numpy()
        items = artifact.model.item_vectors(torch.arange(len(source.items))).numpy()
    np.testing.assert_allclose(artifact.query_vectors(batch), wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(artifact.vectors, items, rtol=1e-5, atol=1e-5)
    assert wanted.shape[1] == artifact.interests
    weighting, sharpness = artifact.weighting
    assert weighting in ("max", "softmax")
    assert sharpness > 0


@MODELS
def test_a_saved_retriever_comes_back(of: type, tmp_path: Path) -> None:
    artifact: RetrieverArtifact = of()
    name = artifact.save(tmp_path / "one")
    again = RetrieverArtifact.load(tmp_path / "one")
    assert load_artifact(tmp_path / "one").id == name
    assert again.model.config == artifact.model.config
    assert again.spec == artifact.spec
    assert again.catalogue.equals(artifact.catalogue)
    assert (again.data_hash, again.seed) == (artifact.data_hash, artifact.seed)
    assert np.array_equal(again.count, artifact.count)
    source = task()
    batch = source.batch(source.visits("test"))
    assert np.array_equal(again.query_vectors(batch), artifact.query_vectors(batch))
    assert np.array_equal(again.vectors, artifact.vectors)


@MODELS
def test_without_times_places_are_the_ages_whatever_the_time_is(of: type, tmp_path: Path) -> None:
    artifact: RetrieverArtifact = replace(of(), timeless=True)
    source = task()
    batch = source.batch(source.visits("test"))
    expected = replace(artifact, timeless=False).query_vectors(batch.by_place())
    late = replace(batch, age=batch.age + 20_000)
    assert np.array_equal(artifact.query_vectors(late), expected)
    artifact.save(tmp_path / "one")
    again = RetrieverArtifact.load(tmp_path / "one")
    assert again.timeless
    assert np.array_equal(again.query_vectors(late), expected)
    early = np.arange(len(source.time))
    assert RetrieverArtifact.of(artifact.model, replace(source, time=early)).timeless
    assert not RetrieverArtifact.of(artifact.model, source).timeless


def test_similar_items_by_cosine() -> None:
    artifact = two_tower()
    codes, cosine = artifact.similar(3, 4)
    products = artifact.tower @ artifact.tower[3]
    others = [c for c in np.argsort(-products).tolist() if c not in (0, 3)]
    assert codes.tolist() == others[:4]
    np.testing.assert_allclose(cosine, products[codes])
    assert len(artifact.similar(3, 99)[0]) == len(task().items) - 2


def test_what_is_no_retriever_is_refused(tmp_path: Path) -> None:
    two_tower().save(tmp_path / "one")
    with (tmp_path / "one" / "items.parquet").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(ArtifactCorruptError):
        RetrieverArtifact.load(tmp_path / "one")
    save_artifact(tmp_path / "other", kind="ranker", config={})
    with pytest.raises(ArtifactError, match="ranker"):
        RetrieverArtifact.load(tmp_path / "other")
    good = load_artifact_of(two_tower(), tmp_path / "good")
    save_artifact(
        tmp_path / "odd",
        kind=KIND,
        config={"model": "three_tower", "config": good.config["config"]},
        tensors=good.tensors,
        files=good.files,
        feature_spec=good.feature_spec,
    )
    with pytest.raises(ArtifactError, match="version"):
        RetrieverArtifact.load(tmp_path / "odd")
    save_artifact(tmp_path / "empty", kind=KIND, config=good.config)
    with pytest.raises(ArtifactError, match="version"):
        RetrieverArtifact.load(tmp_path / "empty")


def load_artifact_of(artifact: RetrieverArtifact, folder: Path):  # type: ignore[no-untyped-def]
    artifact.save(folder)
    return load_artifact(folder)


def test_the_catalogue_is_the_tasks() -> None:
    assert isinstance(two_tower().catalogue, pl.DataFrame)
    assert two_tower().items.ids == task().items.ids


def test_the_nearest_rows_leave_out_the_item_itself_and_the_unknown_one() -> None:
    angles = np.array([0.0, 0.0, 0.1, -0.1, 1.0, 3.0])
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    codes, cosine = nearest_by_cosine(vectors, 1, 3)
    # Rows 2 and 3 are as near: the lower code comes first.
    assert codes.tolist() == [2, 3, 4]
    np.testing.assert_allclose(cosine, np.cos([0.1, 0.1, 1.0]), rtol=1e-5)
    assert nearest_by_cosine(vectors, 5, 99)[0].tolist()[0] == 4
    assert nearest_by_cosine(vectors, 1, 0)[0].tolist() == []
