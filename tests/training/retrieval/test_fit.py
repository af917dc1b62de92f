"""fit_retriever(): learns, and a run that was cut off ends with the same bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.errors import (
    ArtifactCorruptError,
    ArtifactError,
    ConfigError,
    ResumeError,
    ValueInvalidError,
)
from adwright.data.features import FeatureSpec
from adwright.data.tasks.next_basket import NextBasket
from adwright.data.time import MICROSECONDS_PER_DAY
from adwright.metrics.arrays import hash_order
from adwright.metrics.ranking import ndcg, recall
from adwright.models.retrieval.multi_interest import HCN, HCNConfig
from adwright.models.retrieval.two_tower import TwoTower, TwoTowerConfig
from adwright.training.retrieval.fit import (
    KIND,
    DistillationTargets,
    RetrievalConfig,
    RetrieverArtifact,
    catalogue_vectors,
    embed_catalogue,
    fit_retriever,
    nearest_by_cosine,
    query_scores,
    retrieved_ranks,
    with_vectors,
)
from adwright.training.retrieval.run import (
    FEW_LABELS,
    choose_unseen,
    hcn_defaults,
    retriever_search,
    second_task,
    two_tower_defaults,
    with_second_task,
)
from adwright.training.search import Defaults
from tests.support.data.small_next_basket import small_task, with_few_labels
from tests.support.delivery.cascade_parts import hcn, task, two_tower

TASK = small_task(people=30)
CONFIG = RetrievalConfig(
    epochs=6, batch=16, learning_rate=0.02, validation_visits=20, k=3, patience=6
)


def _model(seed: int = 0) -> TwoTower:
    torch.manual_seed(seed)
    config = TwoTowerConfig(views="correlated", width=8, hidden=16, view_items=8, temperature=0.2)
    return TwoTower(config, TASK.spec, TASK.items, TASK.count)


class _Stopped(Exception):
    pass


@pytest.mark.parametrize("cut", [7, 12, 30])
def test_a_run_that_was_cut_off_ends_with_the_same_bits(tmp_path: Path, cut: int) -> None:
    config = replace(CONFIG, epochs=3)
    whole = _model()
    fit_retriever(whole, TASK, config)

    def stop(step: int) -> None:
        if step == cut:
            raise _Stopped

    run = tmp_path / "run"
    with pytest.raises(_Stopped):
        fit_retriever(_model(), TASK, config, run, checkpoint_every=5, on_step=stop)
    again = _model(seed=3)
    result = fit_retriever(again, TASK, config, run, resume=True, checkpoint_every=5)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert len((run / "metrics.jsonl").read_text().splitlines()) == len(result.records) == 3


def test_without_validation_the_last_weights_are_kept() -> None:
    config = replace(CONFIG, epochs=2, validation_visits=0)
    result = fit_retriever(_model(), TASK, config)
    assert result.recall != result.recall
    assert result.epoch == 2


def test_runs_are_never_mixed_up(tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=1)
    run = tmp_path / "run"
    with pytest.raises(ResumeError, match="holds no run"):
        fit_retriever(_model(), TASK, config, run, resume=True)
    fit_retriever(_model(), TASK, config, run)
    with pytest.raises(ConfigError, match="already holds a run"):
        fit_retriever(_model(), TASK, config, run)
    with pytest.raises(ResumeError, match="another config"):
        fit_retriever(_model(), TASK, replace(config, seed=1), run, resume=True)


def test_each_epoch_reads_each_visit_once_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []
    read = NextBasket.batch

    def batch(task: NextBasket, visits: np.ndarray, **rest: Any) -> Any:
        seen.append(visits)
        return read(task, visits, **rest)

    monkeypatch.setattr(NextBasket, "batch", batch)
    config = replace(CONFIG, epochs=2, validation_visits=0)
    fit_retriever(_model(), TASK, config)
    half = len(seen) // 2
    first, second = np.concatenate(seen[:half]), np.concatenate(seen[half:])
    assert sorted(first) == sorted(second) == sorted(TASK.visits("train"))
    assert not np.array_equal(first, second)


def test_patience_ends_a_run_that_gets_no_better() -> None:
    config = replace(CONFIG, epochs=6, learning_rate=1e-12, embedding_learning_rate=1e-12)
    result = fit_retriever(_model(), TASK, replace(config, patience=2))
    assert (result.epoch, len(result.records)) == (1, 3)


LESSONS = small_task(people=12)
TARGETS = DistillationTargets(
    np.array([2, 5]),
    np.array([0, 2, 5]),
    np.array([3, 1, 4, 1, 5]),
    np.array([0.1, 0.2, 0.3, 0.4, 0.5], np.float32),
)


def test_a_batch_gets_the_lists_of_its_visits() -> None:
    teacher = TARGETS.of(np.array([5, 9, 2, 0]))
    assert teacher.candidates.to_lists() == [[4, 1, 5], [], [3, 1], []]
    assert teacher.scores.tolist() == pytest.approx([0.3, 0.4, 0.5, 0.1, 0.2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"visit": np.array([5, 2])}, "ascend"),
        ({"visit": np.array([5, 5])}, "ascend"),
        ({"offsets": np.array([0, 5])}, "one list per visit"),
        ({"offsets": np.array([0, 2, 4])}, "one list per visit"),
        ({"score": np.full(5, np.nan, np.float32)}, "finite"),
        ({"score": np.zeros(4, np.float32)}, "finite"),
    ],
)
def test_lists_that_do_not_fit_are_refused(change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueInvalidError, match=message):
        replace(TARGETS, **change)


def test_the_hash_tells_targets_apart() -> None:
    assert TARGETS.hash == replace(TARGETS).hash
    changed = {"item": TARGETS.item + 1, "score": TARGETS.score * 2, "visit": TARGETS.visit + 1}
    for name, value in changed.items():
        assert replace(TARGETS, **{name: value}).hash != TARGETS.hash


def _hcn(distillation: float = 20.0) -> HCN:
    torch.manual_seed(0)
    config = HCNConfig(width=8, hidden=8, interests=2, events=20, distillation=distillation)
    return HCN(config, LESSONS.spec, LESSONS.items, LESSONS.count)


def _one_item_is_best(code: int) -> DistillationTargets:
    """A finer ranker that wants one item for everybody."""
    visits = LESSONS.visits("train")
    number = len(LESSONS.items) - 1
    item = np.tile(np.arange(1, number + 1), len(visits))
    return DistillationTargets(
        visits,
        number * np.arange(len(visits) + 1),
        item,
        np.where(item == code, 8.0, 0.0).astype(np.float32),
    )


FIT = RetrievalConfig(epochs=4, batch=16, learning_rate=0.02, validation_visits=0)


def test_a_run_is_not_taken_up_with_other_lessons(tmp_path: Path) -> None:
    run = tmp_path / "run"
    config = replace(FIT, epochs=1)
    two, three = _one_item_is_best(2), _one_item_is_best(3)
    fit_retriever(_hcn(), LESSONS, config, run, distillation=two)
    for other in (three, None):
        with pytest.raises(ResumeError, match="distillation"):
            fit_retriever(_hcn(), LESSONS, config, run, distillation=other, resume=True)
    fit_retriever(_hcn(), LESSONS, config, run, distillation=two, resume=True)


MANY = small_task(people=20)
FEW = with_few_labels(MANY)
TOWERS = Defaults(
    TwoTowerConfig(width=8, hidden=8, views="none"),
    RetrievalConfig(epochs=2, batch=16, validation_visits=20, k=5),
    ("first",),
)


def _only_ids(task: NextBasket) -> NextBasket:
    spec = FeatureSpec(
        tuple(f for f in task.spec.features if f.of != "item" or f.name == "item_id")
    )
    return replace(task, spec=spec, items=spec.encode_items(task.catalogue))


def test_it_is_tried_where_labels_are_few() -> None:
    each = FEW.count[1:].sum() / 12
    assert each < FEW_LABELS < MANY.count[1:].sum() / 12
    weights, why = second_task(FEW)
    assert weights == (0.3, 1.0)
    assert f"{each:.1f} labels an item, fewer than 10" in why[0]
    # Each item of the small task has words of its own.
    assert why[1:] == ("words names single items: views hide it as they do ids",)
    for other, said in ((MANY, "no second task: "), (_only_ids(FEW), "at least two item features")):
        weights, why = second_task(other)
        assert weights == ()
        assert said in why[0]


def test_validation_chooses_the_weight_and_nothing_is_tried_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[tuple[float, int]] = []

    def fit(model: TwoTower, task: NextBasket, config: RetrievalConfig) -> object:
        alpha = 0.0 if model.config.views == "none" else model.config.alpha
        tried.append((alpha, config.epochs))
        goal = {0.0: 0.1, 0.3: 0.2, 1.0: 0.3}[alpha]
        return type("Found", (), {"recall": goal})()

    monkeypatch.setattr("adwright.training.retrieval.run.fit_retriever", fit)
    found = with_second_task(FEW, TOWERS, folder=tmp_path)
    assert {alpha for alpha, _ in tried} == {0.0, 0.3, 1.0}
    assert (found.model.views, found.model.alpha) == ("correlated", 1.0)
    assert found.model.view_temperature == 0.1
    assert found.model.view_items == 16
    assert found.why[0] == "first"
    assert "a second task of weight 1 is best" in found.why[-1]
    before = len(tried)
    assert with_second_task(FEW, TOWERS, folder=tmp_path) == found
    assert len(tried) == before
    with_second_task(FEW, TOWERS, folder=tmp_path, seed=1)
    assert len(tried) == 2 * before


def test_none_is_kept_where_views_are_no_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(model: TwoTower, task: NextBasket, config: RetrievalConfig) -> object:
        return type("Found", (), {"recall": 0.1})()

    monkeypatch.setattr("adwright.training.retrieval.run.fit_retriever", fit)
    found = with_second_task(FEW, TOWERS, folder=tmp_path)
    assert found.model == TOWERS.model
    assert "no second task is best" in found.why[-1]
    # Enough labels, or a weight that was asked for: nothing is tried.
    assert with_second_task(MANY, TOWERS, folder=tmp_path).model == TOWERS.model
    asked = with_second_task(MANY, TOWERS, folder=tmp_path, weight=0.5)
    assert (asked.model.views, asked.model.alpha) == ("correlated", 0.5)
    none = with_second_task(FEW, asked, folder=tmp_path, weight=0.0)
    assert none.model.views == "none"


def test_unseen_items_are_ranked_by_what_serves_validation() -> None:
    torch.manual_seed(0)
    config = replace(TOWERS.model, views="correlated", view_items=8)
    model = TwoTower(config, FEW.spec, FEW.items, FEW.count)
    said = choose_unseen(model, FEW)
    goals = {}
    for choice in ("own", "default"):
        other = TwoTower(
            replace(config, unseen_items=choice),  # type: ignore[arg-type]
            FEW.spec,
            FEW.items,
            FEW.count,
        )
        other.load_state_dict(model.state_dict())
        other.eval()
        score, visits = catalogue_vectors(other, FEW), FEW.visits("valid")
        goals[choice] = recall(retrieved_ranks(score, FEW, visits, depth=12).ranks(), 12)
    best = "default" if goals["default"] > goals["own"] else "own"
    assert model.config.unseen_items == best
    assert f"{(FEW.count[1:] == 0).sum()} items without a training event" in said
    assert f"{goals['own']:.4f} with it, {goals['default']:.4f} hidden" in said


def test_there_may_be_nothing_to_choose() -> None:
    none = TwoTower(TOWERS.model, FEW.spec, FEW.items, FEW.count)
    assert choose_unseen(none, FEW) == ""
    config = replace(TOWERS.model, views="random")
    assert MANY.count[1:].all()
    assert choose_unseen(TwoTower(config, MANY.spec, MANY.items, MANY.count), MANY) == ""


def test_settings_follow_from_the_visits() -> None:
    task = small_task(people=20, days=12)
    found = two_tower_defaults(task)
    visits = task.visits("train")
    targets = int(np.diff(task.target_offsets)[visits].sum())
    assert found.fit.epochs == 20
    assert found.fit.batch == 1024
    assert found.fit.max_history == 50
    # Everybody comes every day.
    assert found.model.days == (0.0, 10.0, 1.5)
    assert found.model.views == "none"
    text = " ".join(found.why)
    assert f"{len(visits):,} visits with {targets:,} targets" in text
    assert "half-lives of 10 days and 1.5 days" in text
    assert dict(found.model.embedding.widths) == {"item_id": 32, "words": 16}


def test_half_lives_follow_the_gaps_from_a_day_on() -> None:
    task = small_task()
    quick = replace(task, visit_time=task.visit_time // 1440, time=task.time // 1440)
    assert two_tower_defaults(quick).model.days == (0.0, 10.0, 1.5)
    assert hcn_defaults(quick).model.short_days == 5
    seldom = replace(task, visit_time=task.visit_time * 3, time=task.time * 3)
    assert two_tower_defaults(seldom).model.days == (0.0, 30.0, 4.5)
    assert hcn_defaults(seldom).model.short_days == 15
    at_once = replace(task, visit_time=np.zeros_like(task.visit_time))
    assert two_tower_defaults(at_once).model.days == (0.0, 30.0, 5.0)
    assert task.visit_time.max() > MICROSECONDS_PER_DAY


def test_places_stand_for_days_where_there_are_no_times() -> None:
    task = small_task()
    for unit in (MICROSECONDS_PER_DAY, 10**6):
        # Whether they were read as days or as seconds.
        visit = np.arange(len(task.visit_time)) * unit
        places = replace(task, visit_time=visit, time=np.arange(len(task.time)) * unit)
        assert places.timeless
        assert two_tower_defaults(places).model.days == (0.0, 10.0, 1.5)
        assert "half-lives of 10 places and 1.5 places" in two_tower_defaults(places).why
        assert "the short history reaches back 5 places" in hcn_defaults(places).why
    assert not task.timeless


def _quick(epochs: int = 1) -> RetrievalConfig:
    return RetrievalConfig(epochs=epochs, batch=16, validation_visits=20, k=5)


def test_searches_change_the_defaults(tmp_path: Path) -> None:
    task = small_task()
    towers = two_tower_defaults(task)
    towers = Defaults(replace(towers.model, width=8, hidden=8), _quick(), towers.why)
    found, result = retriever_search(task, towers, trials=2, folder=tmp_path / "a")
    assert result.goal == "recall@5"
    assert (tmp_path / "a" / "trials.json").exists()
    assert found.why[:-1] == towers.why
    hcn = hcn_defaults(task)
    hcn = Defaults(replace(hcn.model, width=8, hidden=8, interests=2), _quick(), hcn.why)
    assert len(retriever_search(task, hcn, trials=1, folder=tmp_path / "b")[1].trials) == 1


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


SHOP = small_task()


def _scores(visits: np.ndarray) -> torch.Tensor:
    return torch.stack([torch.from_numpy(np.random.default_rng(int(v)).random(13)) for v in visits])


def test_ranks_equal_a_full_sort() -> None:
    visits = SHOP.visits("test")
    for unseen in (False, True):
        found = retrieved_ranks(_scores, SHOP, visits, depth=9, unseen=unseen, chunk=3)
        wanted = []
        for visit, score in zip(visits, _scores(visits), strict=True):
            seen = set(SHOP.seen(np.array([visit]))[0].tolist()) if unseen else set()
            order = [c for c in torch.argsort(-score).tolist() if c and c not in seen]
            targets = SHOP.targets[SHOP.target_offsets[visit] : SHOP.target_offsets[visit + 1]]
            wanted += [min(order.index(t) + 1, 10) for t in targets if t not in seen]
        assert found.rank.tolist() == wanted
        assert found.offsets[-1] == len(wanted)


def test_a_part_of_the_targets() -> None:
    found = retrieved_ranks(_scores, SHOP, SHOP.visits("test"), depth=9)
    rare = found.where(SHOP.count[found.item] < 15)
    assert len(rare.rank) == (SHOP.count[found.item] < 15).sum()
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
    model = TwoTower(config, SHOP.spec, SHOP.items, SHOP.count).eval()
    visits = SHOP.visits("test")
    scores = catalogue_vectors(model, SHOP)(visits)
    wanted = model.queries(SHOP.batch(visits))[:, 0] @ model.item_vectors(torch.arange(13)).T
    torch.testing.assert_close(scores, wanted.detach())


def test_the_unknown_item_is_no_candidate_and_chunks_do_not_matter() -> None:
    visits = SHOP.visits("test")

    def favours_unknown(some: np.ndarray) -> torch.Tensor:
        scores = _scores(some)
        scores[:, 0] = 99
        return scores

    wanted = retrieved_ranks(_scores, SHOP, visits, depth=9)
    for chunk in (1, 4, 100):
        found = retrieved_ranks(favours_unknown, SHOP, visits, depth=9, chunk=chunk)
        assert np.array_equal(found.rank, wanted.rank)


def test_a_target_beyond_the_depth_is_not_found() -> None:
    visits = SHOP.visits("test")
    deep = retrieved_ranks(_scores, SHOP, visits, depth=12)
    flat = retrieved_ranks(_scores, SHOP, visits, depth=3)
    assert deep.rank.max() <= 12
    assert np.array_equal(flat.rank, np.minimum(deep.rank, 4))
    for k in (1, 2, 3):
        assert recall(flat.ranks(), k) == recall(deep.ranks(), k)


@pytest.mark.parametrize("unseen", [False, True])
def test_ties_stand_in_the_order_of_a_hash(unseen: bool) -> None:
    visits = SHOP.visits("test")

    def scores(some: np.ndarray) -> torch.Tensor:
        return (_scores(some) * 3).floor()

    for depth in (2, 5, 12):
        found = retrieved_ranks(scores, SHOP, visits, depth=depth, unseen=unseen, chunk=4)
        wanted, tied = [], []
        for visit, score in zip(visits.tolist(), scores(visits).tolist(), strict=True):
            seen = set(SHOP.seen(np.array([visit]))[0].tolist()) if unseen else set()
            open_ = [c for c in range(1, 13) if c not in seen]
            place = {c: int(hash_order(np.array([visit * 13 + c]))[0]) for c in open_}
            order = sorted(open_, key=lambda c: (-score[c], place[c]))
            targets = SHOP.targets[SHOP.target_offsets[visit] : SHOP.target_offsets[visit + 1]]
            for target in (t for t in targets.tolist() if t not in seen):
                wanted.append(min(order.index(target) + 1, depth + 1))
                alike = sum(score[c] == score[target] for c in open_) > 1
                tied.append(alike)
        assert found.rank.tolist() == wanted
        inside = found.rank <= depth
        assert found.tied[inside].tolist() == np.array(tied)[inside].tolist()
        assert found.ranks().tie_share > 0


def test_a_visit_that_loses_all_targets_stays_without_any() -> None:
    found = retrieved_ranks(_scores, SHOP, SHOP.visits("test"), depth=9)
    first = np.arange(len(found.rank)) >= found.offsets[1]
    left = found.where(first)
    assert left.offsets[:2].tolist() == [0, 0]
    assert np.array_equal(left.visits, found.visits)
    assert np.array_equal(left.rank, found.rank[first])
