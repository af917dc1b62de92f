from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.errors import ArtifactCorruptError, ArtifactError
from adwright.metrics.arrays import hash_order
from adwright.metrics.ranking import ndcg, recall
from adwright.models.retrieval.two_tower import TwoTower, TwoTowerConfig
from adwright.training.retrieval.fit import (
    KIND,
    RetrieverArtifact,
    catalogue_vectors,
    embed_catalogue,
    nearest_by_cosine,
    query_scores,
    retrieved_ranks,
    with_vectors,
)
from tests.support.data.small_next_basket import small_task
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


def test_the_nearest_rows_leave_out_the_item_itself_and_the_unknown_one() -> None:
    angles = np.array([0.0, 0.0, 0.1, -0.1, 1.0, 3.0])
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    codes, cosine = nearest_by_cosine(vectors, 1, 3)
    # Rows 2 and 3 are as near: the lower code comes first.
    assert codes.tolist() == [2, 3, 4]
    np.testing.assert_allclose(cosine, np.cos([0.1, 0.1, 1.0]), rtol=1e-5)
    assert nearest_by_cosine(vectors, 5, 99)[0].tolist()[0] == 4
    assert nearest_by_cosine(vectors, 1, 0)[0].tolist() == []


class Scaled(nn.Module):
    """An item tower and a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.item = nn.Embedding(20_000, 3)
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        return self.item(codes) * self.scale


def test_the_table_stands_in_for_the_tower() -> None:
    model, codes = Scaled(), torch.tensor([19_999, 0, 8192])
    before = model(codes).detach()
    served = with_vectors(model, embed_catalogue(model.item, 20_000))
    assert torch.equal(served(codes), before)
    # The model itself keeps its tower, and they share the rest.
    with torch.no_grad():
        model.item.weight.zero_()
        model.scale.fill_(3.0)
    assert torch.equal(model(codes), torch.zeros(3, 3))
    assert torch.allclose(served(codes), before * 1.5)


TASK = small_task()


def _scores(visits: np.ndarray) -> torch.Tensor:
    return torch.stack([torch.from_numpy(np.random.default_rng(int(v)).random(13)) for v in visits])


def test_ranks_equal_a_full_sort() -> None:
    visits = TASK.visits("test")
    for unseen in (False, True):
        found = retrieved_ranks(_scores, TASK, visits, depth=9, unseen=unseen, chunk=3)
        wanted = []
        for visit, score in zip(visits, _scores(visits), strict=True):
            seen = set(TASK.seen(np.array([visit]))[0].tolist()) if unseen else set()
            order = [c for c in torch.argsort(-score).tolist() if c and c not in seen]
            targets = TASK.targets[TASK.target_offsets[visit] : TASK.target_offsets[visit + 1]]
            wanted += [min(order.index(t) + 1, 10) for t in targets if t not in seen]
        assert found.rank.tolist() == wanted
        assert found.offsets[-1] == len(wanted)


def test_a_part_of_the_targets() -> None:
    found = retrieved_ranks(_scores, TASK, TASK.visits("test"), depth=9)
    rare = found.where(TASK.count[found.item] < 15)
    assert len(rare.rank) == (TASK.count[found.item] < 15).sum()
    assert rare.ranks().users == found.ranks().users == 10
    assert 0 < recall(found.ranks(), 5) < 1
    assert 0 < ndcg(found.ranks(), 5) < 1


def test_the_best_of_several_vectors_counts() -> None:
    torch.manual_seed(0)
    queries, items = torch.randn(2, 3, 4), torch.randn(5, 4)
    wanted = torch.einsum("ukd,nd->ukn", queries, items).amax(1)
    torch.testing.assert_close(query_scores(queries, items), wanted)


def test_a_model_scores_the_whole_catalogue() -> None:
    torch.manual_seed(0)
    config = TwoTowerConfig(views="correlated", width=8, hidden=8, view_items=4)
    model = TwoTower(config, TASK.spec, TASK.items, TASK.count).eval()
    visits = TASK.visits("test")
    scores = catalogue_vectors(model, TASK)(visits)
    wanted = model.queries(TASK.batch(visits))[:, 0] @ model.item_vectors(torch.arange(13)).T
    torch.testing.assert_close(scores, wanted.detach())


def test_the_unknown_item_is_no_candidate_and_chunks_do_not_matter() -> None:
    visits = TASK.visits("test")

    def favours_unknown(some: np.ndarray) -> torch.Tensor:
        scores = _scores(some)
        scores[:, 0] = 99
        return scores

    wanted = retrieved_ranks(_scores, TASK, visits, depth=9)
    for chunk in (1, 4, 100):
        found = retrieved_ranks(favours_unknown, TASK, visits, depth=9, chunk=chunk)
        assert np.array_equal(found.rank, wanted.rank)


def test_a_target_beyond_the_depth_is_not_found() -> None:
    visits = TASK.visits("test")
    deep = retrieved_ranks(_scores, TASK, visits, depth=12)
    flat = retrieved_ranks(_scores, TASK, visits, depth=3)
    assert deep.rank.max() <= 12
    assert np.array_equal(flat.rank, np.minimum(deep.rank, 4))
    for k in (1, 2, 3):
        assert recall(flat.ranks(), k) == recall(deep.ranks(), k)


@pytest.mark.parametrize("unseen", [False, True])
def test_ties_stand_in_the_order_of_a_hash(unseen: bool) -> None:
    visits = TASK.visits("test")

    def scores(some: np.ndarray) -> torch.Tensor:
        return (_scores(some) * 3).floor()

    for depth in (2, 5, 12):
        found = retrieved_ranks(scores, TASK, visits, depth=depth, unseen=unseen, chunk=4)
        wanted, tied = [], []
        for visit, score in zip(visits.tolist(), scores(visits).tolist(), strict=True):
            seen = set(TASK.seen(np.array([visit]))[0].tolist()) if unseen else set()
            open_ = [c for c in range(1, 13) if c not in seen]
            place = {c: int(hash_order(np.array([visit * 13 + c]))[0]) for c in open_}
            order = sorted(open_, key=lambda c: (-score[c], place[c]))
            targets = TASK.targets[TASK.target_offsets[visit] : TASK.target_offsets[visit + 1]]
            for target in (t for t in targets.tolist() if t not in seen):
                wanted.append(min(order.index(target) + 1, depth + 1))
                alike = sum(score[c] == score[target] for c in open_) > 1
                tied.append(alike)
        assert found.rank.tolist() == wanted
        inside = found.rank <= depth
        assert found.tied[inside].tolist() == np.array(tied)[inside].tolist()
        assert found.ranks().tie_share > 0


def test_a_visit_that_loses_all_targets_stays_without_any() -> None:
    found = retrieved_ranks(_scores, TASK, TASK.visits("test"), depth=9)
    first = np.arange(len(found.rank)) >= found.offsets[1]
    left = found.where(first)
    assert left.offsets[:2].tolist() == [0, 0]
    assert np.array_equal(left.visits, found.visits)
    assert np.array_equal(left.rank, found.rank[first])
