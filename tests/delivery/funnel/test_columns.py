"""The columns of candidates, against counting by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import minimize

from adwright.core.errors import ConfigError
from adwright.data.time import MICROSECONDS_PER_DAY
from adwright.delivery.funnel.columns import (
    CategoryColumn,
    ItemColumns,
    MixedScorer,
    OwnColumns,
    ScoreMixture,
    ScorerColumn,
    conditional_logit,
    stacked,
    standardised,
)
from adwright.delivery.stages.histories import RequestBatch
from adwright.delivery.stages.protocols import Shortlist
from tests.support.delivery.cascade_parts import histories, on_day, request, task

CATEGORY = np.array([0, 1, 2, 3, 1, 2, 3, 1, 2, 0, 1, 2, 3])


def people() -> tuple[RequestBatch, Shortlist]:
    known = histories()
    batch = known.batch([request(f"u{n}", time=on_day(1 + n % 6)) for n in range(6)])
    nobody = known.batch([request("nobody")])
    assert len(nobody.item) == 0
    return batch, Shortlist.of([np.arange(1 + n % 3, 13) for n in range(6)])


def past_of(batch: RequestBatch, n: int) -> tuple[np.ndarray, np.ndarray]:
    mine = slice(batch.offsets[n], batch.offsets[n + 1])
    return batch.item[mine], batch.time[mine]


class Given:
    """A scorer of known numbers."""

    def __init__(self, score: np.ndarray, *, probability: bool) -> None:
        self.given, self.probability = score, probability

    def score(self, batch: RequestBatch, items: Shortlist) -> np.ndarray:
        return self.given


def test_own_columns_count_the_history() -> None:
    batch, items = people()
    found = OwnColumns().values(batch, items)
    for row, (owner, code) in enumerate(zip(items.owner, items.codes, strict=True)):
        past, time = past_of(batch, owner)
        mine = time[past == code]
        again = 0.0
        if len(mine):
            again = 1 / (1 + (batch.at[owner] - mine.max()) / MICROSECONDS_PER_DAY)
        times = np.log1p(len(mine))
        assert found[row] == pytest.approx([times, times, again])


def test_a_category_counts_by_the_latest_moments() -> None:
    batch, items = people()
    count = task().count
    found = CategoryColumn(CATEGORY, count).values(batch, items)[:, 0]
    for row, (owner, code) in enumerate(zip(items.owner, items.codes, strict=True)):
        past, time = past_of(batch, owner)
        latest = past[np.isin(time, np.unique(time)[-5:])]
        kinds = CATEGORY[latest][CATEGORY[latest] > 0]
        of_kind = CATEGORY[code]
        share = (kinds == of_kind).sum() / max(len(kinds), 1) if of_kind else 0.0
        whole = count[of_kind == CATEGORY].sum()
        assert found[row] == pytest.approx(share * count[code] / max(whole, 1))


def test_a_user_without_a_past_has_no_category() -> None:
    batch = histories().batch([request("nobody")])
    items = Shortlist.of([np.arange(1, 13)])
    assert not CategoryColumn(CATEGORY, task().count).values(batch, items).any()


def test_items_have_their_own_numbers() -> None:
    batch, items = people()
    tables = {"popularity": np.arange(13.0), "lately": -np.arange(13.0)}
    columns = ItemColumns(tables)  # type: ignore[arg-type]
    found = columns.values(batch, items)
    assert columns.names == ("popularity", "lately")
    np.testing.assert_array_equal(found, np.stack([items.codes, -items.codes], 1))


def test_probabilities_become_logits() -> None:
    batch, items = people()
    p = np.linspace(0, 1, len(items.codes))
    plain = ScorerColumn("hcn", Given(p, probability=False)).values(batch, items)
    found = ScorerColumn("fine", Given(p, probability=True)).values(batch, items)
    np.testing.assert_array_equal(plain[:, 0], p)
    np.testing.assert_allclose(1 / (1 + np.exp(-found[:, 0])), p, atol=1e-9)
    assert np.isfinite(found).all()


def test_columns_stand_side_by_side() -> None:
    batch, items = people()
    given = ScorerColumn("sequence", Given(items.codes.astype(float), probability=False))
    columns = [OwnColumns(), given]
    names, values = stacked(columns, batch, items)
    assert names == ("frequency", "recent", "again", "sequence")
    np.testing.assert_array_equal(values[:, 3], items.codes)


def made_up(
    visits: int = 200, seed: int = 0, most: int = 3
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """z, offsets, taken, and the weights by which was taken."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 30, visits)
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    z = standardised(rng.normal(size=(offsets[-1], 3)), offsets)
    weight = np.array([1.5, -0.5, 0.0])
    taken = np.zeros(len(z), np.bool_)
    for a, b in pairwise(offsets.tolist()):
        p = np.exp(z[a:b] @ weight)
        number = int(rng.integers(0, min(most + 1, b - a)))
        taken[rng.choice(np.arange(a, b), number, replace=False, p=p / p.sum())] = True
    return z, offsets, taken, weight


def likelihood(
    weight: np.ndarray,
    z: np.ndarray,
    offsets: np.ndarray,
    taken: np.ndarray,
    l2: float,
    noise: float = 0.0,
) -> float:
    """The formula of the module, term by term."""
    total = -l2 / 2 * float(weight @ weight)
    for a, b in pairwise(offsets.tolist()):
        score = z[a:b] @ weight
        chosen = np.flatnonzero(taken[a:b])
        for t in chosen:
            total += np.log(np.exp(score[t]) / np.exp(score).sum() + noise) / len(chosen)
    return total


@pytest.mark.parametrize("l2", [0.1, 1.0, 50.0])
def test_the_weights_are_the_likeliest(l2: float) -> None:
    z, offsets, taken, _ = made_up()
    found = conditional_logit(z, offsets, taken, l2=l2, noise=0)
    slow = minimize(
        lambda w: -likelihood(w, z, offsets, taken, l2), np.zeros(3), method="BFGS", tol=1e-9
    )
    np.testing.assert_allclose(found, slow.x, atol=1e-4)


def test_the_weights_that_were_chosen_by_are_found_again() -> None:
    z, offsets, taken, weight = made_up(visits=4_000, most=1)
    np.testing.assert_allclose(conditional_logit(z, offsets, taken, noise=0), weight, atol=0.12)


@pytest.mark.parametrize("noise", [0.02, 0.2])
def test_what_nothing_foresees_is_let_go(noise: float) -> None:
    """A third of the visits take anything; the order for the others stays as steep as it is."""
    z, offsets, taken, _ = made_up(visits=600, most=1)
    rng = np.random.default_rng(3)
    for a, b in pairwise(offsets.tolist()):
        if rng.random() < 1 / 3 and taken[a:b].any():
            taken[a:b] = np.arange(b - a) == rng.integers(b - a)
    plain, found = (conditional_logit(z, offsets, taken, noise=one) for one in (0, noise))
    slow = minimize(
        lambda w: -likelihood(w, z, offsets, taken, 1.0, noise), plain, method="BFGS", tol=1e-9
    )
    np.testing.assert_allclose(found, slow.x, atol=0.05)
    assert found[0] > plain[0] + 0.1


def test_columns_that_say_the_same_share_their_weight() -> None:
    z, offsets, taken, _ = made_up()
    single = conditional_logit(z[:, :1], offsets, taken, l2=1e-3)
    twice = conditional_logit(np.repeat(z[:, :1], 2, 1), offsets, taken, l2=1e-3)
    np.testing.assert_allclose(twice, single[0] / 2, rtol=1e-3)


def test_visits_that_took_nothing_say_nothing() -> None:
    z, offsets, taken, _ = made_up()
    owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    some = taken & (owner % 2 == 0)
    kept = np.flatnonzero(np.bincount(owner[some], minlength=len(offsets) - 1) > 0)
    place = np.flatnonzero(np.isin(owner, kept))
    alone = np.concatenate(([0], np.cumsum(np.diff(offsets)[kept])))
    np.testing.assert_allclose(
        conditional_logit(z, offsets, some), conditional_logit(z[place], alone, some[place])
    )
    assert not conditional_logit(z, offsets, np.zeros(len(z), np.bool_)).any()


def test_columns_are_standardised_within_a_request() -> None:
    offsets = np.array([0, 3, 3, 5])
    values = np.array([[1.0, 7.0], [2.0, 7.0], [3.0, 7.0], [-4.0, 1.0], [4.0, 1.0 + 1e-15]])
    found = standardised(values, offsets)
    np.testing.assert_allclose(found[:3, 0], [-np.sqrt(1.5), 0, np.sqrt(1.5)])
    np.testing.assert_allclose(found[3:, 0], [-1, 1])
    assert not found[:, 1].any()
    np.testing.assert_allclose(standardised(5 * values - 3, offsets)[:, 0], found[:, 0])


def test_a_mixture_adds_up_and_popularity_decides_ties() -> None:
    known = histories()
    batch = known.batch([request(f"u{n}", time=on_day(5)) for n in range(4)])
    items = Shortlist.of([np.arange(1, 13) for _ in range(4)])
    popular = ItemColumns({"popularity": task().count.astype(np.float64)})
    mixture = ScoreMixture(("frequency", "again"), (2.0, 1.0))
    scorer = MixedScorer(mixture, [popular, OwnColumns()])
    z = standardised(OwnColumns().values(batch, items), items.offsets)
    expected = 2 * z[:, 0] + z[:, 2]
    ties = standardised(popular.values(batch, items), items.offsets)[:, 0]
    found = scorer.score(batch, items)
    np.testing.assert_allclose(found, expected + 1e-6 * ties, atol=1e-12)
    assert not scorer.probability
    alone = ScoreMixture.of("popularity").scores(("popularity",), ties[:, None])
    assert (np.argsort(alone) == np.argsort(ties)).all()


def test_a_mixture_says_its_weights() -> None:
    mixture = ScoreMixture(("again", "item-item"), (0.25, -1.5))
    assert mixture.text() == "item-item -1.50, again 0.25"


@pytest.mark.parametrize(("names", "weights"), [((), ()), (("again",), (1.0, 2.0))])
def test_a_mixture_without_columns_is_refused(names: tuple[str, ...], weights: tuple) -> None:  # type: ignore[type-arg]
    with pytest.raises(ConfigError, match="a weight for each"):
        ScoreMixture(names, weights)  # type: ignore[arg-type]
