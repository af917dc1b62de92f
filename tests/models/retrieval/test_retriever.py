"""The softmax over a batch's items against the formula, pair by pair."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.data.batches.batch import QueryBatch
from adwright.data.features import ItemTable
from adwright.models.retrieval.two_tower import (
    FeatureMasks,
    Information,
    Masking,
    Popularity,
    TwoTower,
    TwoTowerConfig,
    contrastive_loss,
    counts_tensor,
    inclusion_log_probability,
    log_share,
    mutual_information,
    normalised_information,
    single_codes,
    softmax_loss,
)
from tests.support.data.jagged import jagged
from tests.support.data.small_next_basket import small_task


def test_the_loss_is_the_formula_with_gradients() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    positive = jagged([[0, 2], [4], []])
    literal = torch.zeros((), dtype=torch.float64)
    for u, taken in enumerate(positive.to_lists()):
        for i in taken:
            others = sum(torch.exp(logits[u, j]) for j in range(5) if j not in taken)
            mine = torch.exp(logits[u, int(i)])
            literal = literal - torch.log(mine / (mine + others))
    ours = softmax_loss(logits, positive)
    torch.testing.assert_close(ours, literal)
    torch.testing.assert_close(
        torch.autograd.grad(ours, logits)[0], torch.autograd.grad(literal, logits)[0]
    )


def test_log_q_is_the_probability_of_being_drawn_at_least_once() -> None:
    count = torch.tensor([0.0, 1.0, 3.0])
    found = inclusion_log_probability(count, torch.tensor([1, 2]), 8)
    wanted = [math.log(1 - math.exp(-8 * share)) for share in (0.25, 0.75)]
    torch.testing.assert_close(found, torch.tensor(wanted))
    drawn = torch.multinomial(count.repeat(20_000, 1), 8, replacement=True)
    shares = torch.stack([(drawn == item).any(1).float().mean() for item in (1, 2)])
    torch.testing.assert_close(found.exp(), shares, atol=0.05, rtol=0)


def test_shares_count_one_event_more_of_each_item() -> None:
    count = np.array([0, 3, 0, 9])
    wanted = [math.log((n + 1) / 16) for n in count]
    torch.testing.assert_close(log_share(count), torch.tensor(wanted))
    assert float(log_share(count).exp().sum()) == 1.0
    assert torch.equal(counts_tensor(count), torch.tensor([0.0, 3.0, 0.0, 9.0]))


INFORMATION = np.array(
    [[2.0, 1.0, 0.1, 0.0], [1.0, 2.0, 0.0, 0.2], [0.1, 0.0, 2.0, 0.9], [0.0, 0.2, 0.9, 2.0]]
)
#: An id, four features of which the first two and the last two belong together, and a pair.
MASKS = FeatureMasks(
    kind="correlated",
    names=("item_id", "a", "b", "c", "d"),
    groups=((1,), (2,), (3,), (4,)),
    free=(0,),
    information=INFORMATION,
)


def _literal(codes: np.ndarray, i: int, j: int) -> float:
    n, total = len(codes), 0.0
    for a in set(codes[:, i].tolist()):
        for b in set(codes[:, j].tolist()):
            both = sum(1 for row in codes if row[i] == a and row[j] == b) / n
            if both:
                p = sum(1 for row in codes if row[i] == a) / n
                q = sum(1 for row in codes if row[j] == b) / n
                total += both * math.log(both / (p * q))
    return total


def _law(masks: FeatureMasks) -> dict[tuple[bool, ...], float]:
    """Each mask of correlated masking with its probability, by going through all draws."""
    found: Counter[tuple[bool, ...]] = Counter()
    count, frees = len(masks.groups), list(product([False, True], repeat=len(masks.free)))
    for seed in range(count):
        shared = {g: masks.information[seed, g] for g in range(count) if g != seed}
        nearest = sorted(shared, key=lambda g: (-shared[g], g))
        chosen = {seed, *nearest[: min(count // 2, count - 2)]}
        for sides, swapped in product(frees, [False, True]):
            hidden = [False] * len(masks.names)
            for group in chosen:
                for feature in masks.groups[group]:
                    hidden[feature] = True
            for feature, side in zip(masks.free, sides, strict=True):
                hidden[feature] = side
            found[tuple(h != swapped for h in hidden)] += 1 / (count * len(frees) * 2)
    return dict(found)


def _shares(masks: FeatureMasks, draws: int = 6_000) -> dict[tuple[bool, ...], float]:
    rng = np.random.default_rng(0)
    drawn = Counter(tuple(masks.draw(rng).tolist()) for _ in range(draws))
    return {mask: number / draws for mask, number in drawn.items()}


def _table(**columns: list[int]) -> ItemTable:
    """A catalogue of these codes, without the unknown item."""
    rows = len(next(iter(columns.values())))
    return ItemTable(
        ids=tuple(f"i{n}" for n in range(rows)),
        categorical={name: np.array([0, *codes]) for name, codes in columns.items()},
        multi={},
        numeric=np.zeros((rows + 1, 0), np.float32),
    )


def test_it_equals_the_formula() -> None:
    codes = np.random.default_rng(0).integers(0, 3, (40, 4))
    codes[:, 3] = codes[:, 0]  # says the same
    found = mutual_information(codes)
    shared = normalised_information(found)
    for i in range(4):
        for j in range(4):
            literal = _literal(codes, i, j)
            assert found[i, j] == pytest.approx(literal)
            both = _literal(codes, i, i) + _literal(codes, j, j)
            assert shared[i, j] == pytest.approx(2 * literal / both)
    assert found[0, 3] == pytest.approx(found[0, 0])


@pytest.mark.parametrize(
    "masks",
    [
        MASKS,
        replace(MASKS, groups=((1, 3), (2,), (4,)), information=INFORMATION[:3, :3]),
        replace(MASKS, groups=((1,), (2,)), free=(0, 3, 4), information=INFORMATION[:2, :2]),
    ],
)
def test_correlated_masks_are_the_law(masks: FeatureMasks) -> None:
    wanted, found = _law(masks), _shares(masks)
    assert set(found) <= set(wanted)
    for mask, probability in wanted.items():
        assert found.get(mask, 0) == pytest.approx(probability, abs=0.025), mask


def test_each_view_keeps_a_group_and_the_id_is_on_either_side() -> None:
    found = _shares(MASKS)
    assert all(0 < sum(mask[1:]) < 4 for mask in found)
    assert sum(share for mask, share in found.items() if mask[0]) == pytest.approx(0.5, abs=0.03)
    # So the poorer view is either one.
    poorer = sum(share for mask, share in found.items() if sum(mask[1:]) == 3)
    assert poorer == pytest.approx(0.5, abs=0.03)


def test_copies_are_hidden_together() -> None:
    codes = np.random.default_rng(0).integers(1, 9, 400)
    items = _table(
        item_id=list(range(1, 401)),
        kind=codes.tolist(),
        same=(10 - codes).tolist(),
        # A part of a kind is no copy of it: it tells much less.
        part=(codes // 5).tolist(),
        one=[1] * 400,
    )
    masks = FeatureMasks.of("random", items)
    assert masks.groups == ((1, 2), (3,), (4,))
    assert masks.notes() == ("kind and same say the same: views hide them together",)
    rng = np.random.default_rng(1)
    drawn = np.stack([masks.draw(rng) for _ in range(100)])
    assert (drawn[:, 1] == drawn[:, 2]).all()
    assert (drawn[:, 1] != drawn[:, 3]).any()


def test_what_names_single_items_is_free_of_the_correlation() -> None:
    rng = np.random.default_rng(0)
    code = rng.permutation(300)
    code[:20] = 0
    items = _table(
        # Few items have an id of their own; it is one still.
        item_id=[0] * 290 + list(range(1, 11)),
        code=code.tolist(),
        a=rng.integers(1, 5, 300).tolist(),
        b=rng.integers(1, 5, 300).tolist(),
    )
    masks = FeatureMasks.of("correlated", items)
    assert masks.free == (0, 1)
    assert masks.groups == ((2,), (3,))
    assert masks.notes() == ("code names single items: views hide it as they do ids",)


def test_information_is_raw_or_normalised() -> None:
    task = small_task()
    raw = FeatureMasks.of("correlated", task.items)
    scaled = FeatureMasks.of("correlated", task.items, "normalised")
    assert raw.names == ("item_id", "kind", "shade", "words")
    assert raw.information[0, 1] == pytest.approx(math.log(3))
    assert scaled.information[0, 1] == pytest.approx(2 * math.log(3) / (math.log(3) + math.log(6)))


def test_two_features_are_needed() -> None:
    with pytest.raises(ConfigError, match="1 features: item_id"):
        FeatureMasks.of("random", _table(item_id=[1, 2]))
    with pytest.raises(ConfigError, match="at least one item"):
        mutual_information(np.zeros((0, 2), np.int64))


def test_a_list_counts_as_the_set_of_its_values() -> None:
    codes = single_codes(small_task().items)
    assert codes.shape == (12, 4)
    assert len(np.unique(codes[:, 3])) == 12  # w of 3 kinds and v of 5, all pairs differ
    task = small_task()
    values, offsets = task.items.multi["words"]
    turned = np.concatenate([values[a:b][::-1] for a, b in pairwise(offsets)])
    again = replace(task.items, multi={"words": (turned, offsets)})
    assert (single_codes(again) == codes).all()


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


def test_a_history_is_the_same_alone_and_in_company() -> None:
    model = _model()
    batch = TASK.batch(TASK.visits("test"))
    alone = TASK.batch(TASK.visits("test")[3:4])
    torch.testing.assert_close(model.queries(batch)[3], model.queries(alone)[0])


def test_a_person_without_history_has_a_vector() -> None:
    empty = QueryBatch.serving(
        jagged([[]]),
        torch.zeros(0),
        torch.zeros((1, 3), dtype=torch.int64),
    )
    assert bool(_model().queries(empty).isfinite().all())


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
