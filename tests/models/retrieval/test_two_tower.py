"""The two towers: losses against their formulas, masks, ragged histories, learning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.data.batches.jagged import Jagged
from adwright.data.batches.queries import QueryBatch
from adwright.data.features import ItemTable
from adwright.models.retrieval.retriever import FeatureMasks, Information, Masking
from adwright.models.retrieval.two_tower import (
    Popularity,
    TwoTower,
    TwoTowerConfig,
    contrastive_loss,
)
from tests.support.data.small_next_basket import small_task

CONFIG = TwoTowerConfig(views="correlated", width=8, hidden=12, view_items=6, days=(0.0, 2.0))
TASK = small_task()


def _model(config: TwoTowerConfig = CONFIG, seed: int = 0) -> TwoTower:
    torch.manual_seed(seed)
    return TwoTower(config, TASK.spec, TASK.items, TASK.count)


def test_the_score_is_the_cosine_over_tau_and_the_prior() -> None:
    model = _model()
    queries = model.queries(TASK.batch(TASK.visits("test")))
    items = model.item_vectors(torch.arange(13))
    assert queries.shape == (10, 1, 9)
    length = torch.full((10, 1), 1 / CONFIG.temperature)
    torch.testing.assert_close(queries[..., :8].norm(dim=2), length)
    torch.testing.assert_close(queries[..., 8], torch.ones(10, 1))
    torch.testing.assert_close(items[:, :8].norm(dim=1), torch.ones(13))
    share = (torch.from_numpy(TASK.count) + 1) / (TASK.count.sum() + 13)
    torch.testing.assert_close(items[:, 8], 0.7 * share.log().float())
    ignoring = _model(replace(CONFIG, popularity="ignored"))
    assert ignoring.item_vectors(torch.arange(13))[:, 8].abs().max() == 0


@pytest.mark.parametrize("popularity", ["prior", "corrected", "ignored"])
def test_the_main_loss_is_the_formula(popularity: Popularity) -> None:
    model = _model(replace(CONFIG, views="none", popularity=popularity))
    batch = TASK.batch(TASK.visits("train")[:4])
    queries, total = model.queries(batch)[:, 0, :8], 0.0
    pairs = batch.targets.values
    candidates = pairs.unique()
    items = model.item_vectors(candidates)[:, :8]
    share = torch.from_numpy(TASK.count)[candidates] / TASK.count.sum()
    log_q = torch.log(1 - torch.exp(-len(pairs) * share))
    # The score with a prior has all of log p in training.
    log_p = torch.log((torch.from_numpy(TASK.count)[candidates] + 1) / (TASK.count.sum() + 13))
    added = {"prior": log_p - log_q, "corrected": -log_q, "ignored": 0 * log_q}[popularity]
    for u, targets in enumerate(batch.targets.to_lists()):
        scores = queries[u] @ items.T + added
        for target in targets:
            keep = [
                c
                for c, code in enumerate(candidates.tolist())
                if code == target or code not in targets
            ]
            at = candidates.tolist().index(target)
            total -= float((scores[at] - torch.logsumexp(scores[keep], 0)).detach())
    assert float(model.loss(batch).detach()) == pytest.approx(total, rel=1e-4)


def test_the_contrastive_loss_is_the_formula() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(4, 3), torch.randn(4, 3)
    literal = 0.0
    for i in range(4):
        scores = [float(first[i] @ second[j]) / 0.5 for j in range(4)]
        literal -= np.log(np.exp(scores[i]) / np.exp(scores).sum()) / 4
    assert float(contrastive_loss(first, second, 0.5)) == pytest.approx(literal, rel=1e-5)


def test_a_hidden_feature_is_the_default_embedding() -> None:
    model = _model()
    tower, codes = model.item, torch.tensor([1, 2])
    everything = torch.ones(4, dtype=torch.bool)
    hidden = tower(codes, hidden=everything)
    torch.testing.assert_close(hidden[0], hidden[1])
    default = torch.cat(list(tower.default))
    wanted = torch.nn.functional.normalize(tower.mlp(default), dim=0)
    torch.testing.assert_close(hidden[0], wanted)
    # Item 1 and item 7 share kind and shade: without id and words they are one.
    mask = torch.tensor([True, False, False, True])
    pair = tower(torch.tensor([1, 7]), hidden=mask)
    torch.testing.assert_close(pair[0], pair[1])
    by_row = tower(codes, hidden=torch.stack([everything, ~everything]))
    torch.testing.assert_close(by_row[1], tower(codes)[1])


def test_the_id_of_an_unseen_item_is_the_default_where_items_are_ranked() -> None:
    count = TASK.count.copy()
    count[[0, 4]] = 0
    torch.manual_seed(0)
    model = TwoTower(CONFIG, TASK.spec, TASK.items, count).eval()
    codes = torch.arange(13)
    before = model.item(codes)
    model.rank_unseen_by("default")
    assert model.config.unseen_items == "default"
    found = model.item(codes)
    alone = torch.zeros((13, 4), dtype=torch.bool)
    alone[[0, 4], 0] = True
    wanted = model.train().item(codes, hidden=alone)
    torch.testing.assert_close(found, wanted)
    # Training learns what it is taught, and items with events keep their ids.
    torch.testing.assert_close(model.item(codes), before)
    changed = (found != before).any(1)
    assert changed.nonzero().flatten().tolist() == [0, 4]
    words = torch.tensor([False, False, False, True])
    both = model.eval().item(codes, hidden=words)
    torch.testing.assert_close(both, model.train().item(codes, hidden=alone | words))
    model.rank_unseen_by("own")
    torch.testing.assert_close(model.eval().item(codes), before)


def test_complementary_views_share_no_feature(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = _model(), []
    forward = model.item.forward

    def spy(codes: torch.Tensor, **options: object) -> torch.Tensor:
        seen.append((codes, options["hidden"]))
        return forward(codes, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(model.item, "forward", spy)
    model.view_loss()
    (codes, first), (again, second) = seen
    assert bool((first ^ second).all())
    assert codes.tolist() == again.tolist()


def test_view_items_are_drawn_uniformly() -> None:
    model, drawn = _model(replace(CONFIG, views="spread_out", view_items=3)), torch.zeros(13)

    def note(_: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        drawn.index_add_(0, inputs[0], torch.ones(len(inputs[0])))

    model.item.register_forward_pre_hook(note)
    torch.manual_seed(0)
    for _ in range(400):
        model.view_loss()
    assert drawn[0] == 0
    assert float((drawn[1:] / 400 - 3 / 12).abs().max()) < 0.08


def test_a_history_is_the_same_alone_and_in_company() -> None:
    model = _model()
    batch = TASK.batch(TASK.visits("test"))
    alone = TASK.batch(TASK.visits("test")[3:4])
    torch.testing.assert_close(model.queries(batch)[3], model.queries(alone)[0])


def test_a_person_without_history_has_a_vector() -> None:
    empty = QueryBatch.serving(
        Jagged.from_lists([[]], dtype=torch.int64),
        torch.zeros(0),
        torch.zeros((1, 3), dtype=torch.int64),
    )
    assert bool(_model().queries(empty).isfinite().all())


def test_it_learns_one_batch_by_heart() -> None:
    model = _model(replace(CONFIG, views="none", temperature=0.2))
    batch = TASK.batch(TASK.visits("train")[10:14])
    dense = list(model.parameters())
    optimiser = torch.optim.SGD(dense, lr=0.03)
    before = float(model.loss(batch).detach())
    for _ in range(400):
        optimiser.zero_grad()
        model.loss(batch).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert float(model.loss(batch).detach()) < 0.6 * before


@pytest.mark.parametrize(
    "change",
    [
        {"width": 4},
        {"hidden": 5},
        {"days": (0.0,)},
        {"temperature": 0.5},
        {"views": "none"},
        {"views": "feature_dropout"},
        {"views": "spread_out"},
        {"views": "random"},
        {"alpha": 5.0},
        {"view_temperature": 0.05},
        {"view_temperature": 1.0},
        {"view_items": 3},
        {"sharing": "partial"},
        {"value_dropout": 0.9},
        {"popularity": "corrected"},
    ],
)
def test_every_field_changes_the_loss(change: dict[str, object]) -> None:
    batch = TASK.batch(TASK.visits("train")[:5])
    losses = []
    for config in (CONFIG, replace(CONFIG, **change)):  # type: ignore[arg-type]
        model = _model(config)
        torch.manual_seed(1)
        losses.append(float(model.loss(batch).detach()))
    assert losses[0] != losses[1]


def test_information_may_be_normalised(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    of = FeatureMasks.of

    def note(kind: Masking, items: ItemTable, information: Information = "raw") -> FeatureMasks:
        asked.append(information)
        return of(kind, items, information)

    monkeypatch.setattr(FeatureMasks, "of", note)
    _model()
    _model(replace(CONFIG, information="normalised"))
    assert asked == ["raw", "normalised"]


def test_the_weight_of_the_prior_changes_the_score() -> None:
    model, other = _model(), _model(replace(CONFIG, prior_weight=0.2))
    codes = torch.arange(13)
    assert not torch.equal(model.item_vectors(codes), other.item_vectors(codes))


def test_feature_dropout_hides_more_at_a_higher_rate() -> None:
    batch = TASK.batch(TASK.visits("train")[:5])
    losses = set()
    for rate in (0.0, 0.5):
        model = _model(replace(CONFIG, views="feature_dropout", feature_dropout=rate))
        torch.manual_seed(1)
        losses.add(float(model.loss(batch).detach()))
    assert len(losses) == 2


def test_inference_has_no_second_task() -> None:
    model = _model().eval()
    batch = TASK.batch(TASK.visits("train")[:5])
    assert float(model.loss(batch).detach()) == float(model.loss(batch).detach())


@pytest.mark.parametrize(
    "wrong",
    [{"width": 0}, {"days": ()}, {"temperature": 0.0}, {"alpha": -1.0}, {"value_dropout": 1.0}],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        replace(CONFIG, **wrong)  # type: ignore[arg-type]
