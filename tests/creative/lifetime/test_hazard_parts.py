"""The likelihood against a literal reference, bin by bin and unit by unit."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError, SchemaError, ValueInvalidError
from adwright.creative.lifetime.spell_table import SpellTable
from adwright.creative.lifetime.survival_fit import ClickWeights, CommonEffects, clocks_of
from adwright.creative.lifetime.survival_network import (
    BinTargets,
    InputSpec,
    KnownValues,
    LifeTerms,
    NumberScale,
    SpellInputs,
    hazard_loss,
    log_hazards,
    marginal_logits,
)
from tests.support.data.small_spells import small_spells

EDGES = (1.0, 3.0, 5.0, 7.0, 10.0)


def _lives(units: int, causes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Entry, time and cause: before the first edge, on edges, between them, beyond the last."""
    rng = np.random.default_rng(seed)
    entry = rng.choice([0, 1, 2, 3, 4, 5.5, 9, 11], units).astype(np.float32)
    time = (entry + rng.choice([0.5, 1, 2, 2.5, 4, 6, 9], units)).astype(np.float32)
    return entry, time, rng.integers(0, causes + 1, units).astype(np.int8)


def _literal(logits: list[list[float]], entry: float, time: float, cause: int) -> float:
    """Minus the log-likelihood of one unit: logits[j][c] of bin j and cause c, a constant hazard
    inside each bin, ages known to the period."""
    rates = [math.log(1 + sum(map(math.exp, scores))) for scores in logits]  # of a whole bin
    ends = bool(cause) and EDGES[0] < time <= EDGES[-1]
    alive = max(time - 1, entry) if ends else max(time if cause else math.floor(time), entry)

    def part(j: int, start: float, stop: float) -> float:
        left, right = EDGES[j], EDGES[j + 1]
        return max(min(right, stop) - max(left, start), 0.0) / (right - left)

    total = sum(rate * part(j, entry, alive) for j, rate in enumerate(rates))
    if ends:
        in_bins = [rate * part(j, alive, time) for j, rate in enumerate(rates)]
        shares = [math.exp(s[cause - 1]) / sum(map(math.exp, s)) for s in logits]
        total -= math.log(1 - math.exp(-sum(in_bins)))
        total -= math.log(sum(a * b for a, b in zip(in_bins, shares, strict=True)) / sum(in_bins))
    return total


def _papers(logits: list[list[float]], time: float, cause: int, bins: int) -> float:
    """Kitada et al.: bins of one period, all seen whole from the first edge on."""
    total = 0.0
    for j, scores in enumerate(logits[:bins]):
        z = 1 + sum(math.exp(a) for a in scores)
        if cause and time == j + 1:
            return total - math.log(math.exp(scores[cause - 1]) / z)
        if time >= j + 1:
            total -= math.log(1 / z)
    return total


@pytest.mark.parametrize("causes", [1, 2, 3])
def test_the_loss_is_that_of_the_literal_reference(causes: int) -> None:
    entry, time, cause = _lives(500, causes)
    torch.manual_seed(0)
    logits = 2 * torch.randn(500, 4, causes, dtype=torch.float64)
    found = hazard_loss(logits, BinTargets.of(EDGES, entry, time, cause))
    rows = zip(logits.tolist(), entry.tolist(), time.tolist(), cause.tolist(), strict=True)
    wanted = [_literal(*row) for row in rows]
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-6, atol=1e-6)
    single = hazard_loss(logits.float(), BinTargets.of(EDGES, entry, time, cause))
    np.testing.assert_allclose(single.numpy(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("causes", [1, 3])
def test_where_all_bins_are_seen_whole_it_is_the_papers(causes: int) -> None:
    rng = np.random.default_rng(0)
    cause = rng.integers(0, causes + 1, 300).astype(np.int8)
    # Who ran on to the last period seen is censored half a period before its age.
    time = (rng.integers(1, 9, 300) - 0.5 * (cause == 0)).astype(np.float32)
    torch.manual_seed(0)
    logits = 2 * torch.randn(300, 6, causes, dtype=torch.float64)
    targets = BinTargets.of(range(7), np.zeros(300, np.float32), time, cause)
    found = hazard_loss(logits, targets)
    rows = zip(logits.tolist(), time.tolist(), cause.tolist(), strict=True)
    np.testing.assert_allclose(found.numpy(), [_papers(*row, 6) for row in rows], atol=1e-6)


def test_the_loss_has_a_gradient_at_any_hazard() -> None:
    entry, time, cause = _lives(200, 2)
    targets = BinTargets.of(EDGES, entry, time, cause)
    for level in (-200.0, -30.0, 0.0, 30.0):
        logits = torch.full((200, 4, 2), level, requires_grad=True)
        loss = hazard_loss(logits, targets).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        assert logits.grad is not None
        assert bool(torch.isfinite(loss))
        assert bool(torch.isfinite(logits.grad).all())


@pytest.mark.parametrize("edges", [(0, 1, 3, 5, 7, 10), (0, 10, 30, 60, 90)])
@pytest.mark.parametrize("late", [False, True])
def test_hazards_of_a_known_life_are_found_in_each_bin(edges: tuple[int, ...], late: bool) -> None:
    """A hazard of .03 a day, starts over 100 days, watched until day 100; late: from an age on,
    those alone who were there then. The bias of each bin is below 2%."""
    rng = np.random.default_rng(1)
    units, hazard = 1_000_000, 0.03
    life = rng.geometric(hazard, units)
    watched = 100 - rng.integers(0, 100, units)
    entry = late * rng.integers(0, 40, units) * rng.integers(0, 2, units)
    ended = life <= watched - 1  # that it was the last day is seen a day later
    time = np.where(ended, life, np.minimum(life, watched) - 0.5)
    there = time > entry
    targets = BinTargets.of(
        edges,
        entry[there].astype(np.float32),
        time[there].astype(np.float32),
        ended[there].astype(np.int8),
    )
    found = torch.sigmoid(marginal_logits(targets, 1))[:, 0].numpy()
    wanted = 1 - (1 - hazard) ** np.diff(edges)
    np.testing.assert_allclose(found, wanted, rtol=0.02)


def test_bins_are_open_at_their_left_and_closed_at_their_right() -> None:
    time = np.array([1, 1.5, 3, 3.5, 10, 10.5], np.float32)
    targets = BinTargets.of(EDGES, np.zeros(6, np.float32), time, np.ones(6, np.int8))
    # Ended at the first edge: before all bins. Ended after the last one: survived all of them.
    assert targets.cause.tolist() == [0, 1, 1, 1, 1, 0]
    assert (targets.ended() > 0).tolist() == [
        [False] * 4,
        [True, False, False, False],
        [True, False, False, False],
        [True, True, False, False],  # in the period before 3.5, which holds an edge
        [False, False, False, True],
        [False] * 4,
    ]
    assert targets.survived()[-1].tolist() == [1.0] * 4
    assert targets.silent().tolist() == [True] + [False] * 5


@pytest.mark.parametrize("causes", [1, 3])
def test_log_hazards_are_the_literal_ones(causes: int) -> None:
    logits = torch.randn(20, 4, causes, dtype=torch.float64)
    step, share = log_hazards(logits)
    z = 1 + logits.exp().sum(2)
    torch.testing.assert_close(step.exp(), 1 / z)
    torch.testing.assert_close(share * (1 - 1 / z)[:, :, None], logits.exp() / z[:, :, None])


@pytest.mark.parametrize("causes", [1, 2])
def test_marginal_hazards_are_the_most_likely_ones(causes: int) -> None:
    rng = np.random.default_rng(4)
    entry = rng.integers(0, 6, 4000).astype(np.float32)
    cause = rng.integers(0, causes + 1, 4000).astype(np.int8)
    time = entry + rng.integers(1, 9, 4000).astype(np.float32) - 0.5 * (cause == 0)
    targets = BinTargets.of(EDGES, entry, time.astype(np.float32), cause)
    logits = marginal_logits(targets, causes).double().requires_grad_()
    hazard_loss(logits.expand(4000, -1, -1), targets).mean().backward()
    assert logits.grad is not None
    assert float(logits.grad.abs().max()) < 1e-3


def test_the_papers_edges_join_to_one_curve() -> None:
    terms = LifeTerms()
    assert terms.heads == (terms.short, terms.long)
    assert terms.joined == (1, 3, 5, 7, 10, 30, 60, 90, 120)
    assert terms.one_head.heads == (terms.joined,)
    assert str(terms) == "short 1, 3, 5, 7, 10; long 1, 10, 30, 60, 90, 120"


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ((1.0,), ()),
        ((), ()),
        ((3.0, 1.0), ()),
        ((1.0, 1.0), ()),
        ((-1.0, 2.0), ()),
        ((0.0, float("inf")), ()),
        ((0.0, 2.0), (3.0, 5.0)),
        ((0.0, 5.0), (0.0, 5.0)),
        ((0.0, 5.0), (0.0,)),
    ],
)
def test_edges_that_make_no_bins_are_refused(
    short: tuple[float, ...], long: tuple[float, ...]
) -> None:
    with pytest.raises(ConfigError):
        LifeTerms(short=short, long=long)


def test_the_data_choose_quantiles_of_the_endings() -> None:
    time = np.arange(1, 101).astype(np.float32)
    cause = np.ones(100, np.int8)
    terms = LifeTerms.of(np.zeros(100, np.float32), time, cause)
    # Equal shares of three quarters in four bins; of the rest, up to 99%, in four more.
    assert terms.short == (0, 19, 38, 57, 75)
    assert terms.long == (0, 75, 81, 87, 93, 99)


def test_ties_merge_bins_and_may_leave_one_head() -> None:
    time = np.array([1] * 90 + [2] * 10, np.float32)
    cause = np.ones(100, np.int8)
    entry = np.zeros(100, np.float32)
    assert LifeTerms.of(entry, time, cause).heads == ((0, 1), (0, 1, 2))
    assert LifeTerms.of(entry, np.ones(100, np.float32), cause).heads == ((0, 1),)


def test_without_an_ending_nothing_can_be_chosen() -> None:
    time, cause = np.ones(3, np.float32), np.zeros(3, np.int8)
    with pytest.raises(ConfigError, match="no unit ended"):
        LifeTerms.of(np.zeros(3, np.float32), time, cause)


TABLE = small_spells(300)
IMAGE = np.random.default_rng(1).normal(3, 2, (300, 4)).astype(np.float32)
IMAGE[::7] = np.nan
VECTORS = {"image": IMAGE}


def _same(a: SpellInputs, b: SpellInputs) -> bool:
    pairs = [(a.numbers, b.numbers), (a.codes, b.codes), (a.bins, b.bins)]
    pairs += [(a.words.values, b.words.values), (a.words.offsets, b.words.offsets)]
    pairs += list(zip(a.vectors, b.vectors, strict=True))
    return all(torch.equal(x.nan_to_num(-9), y.nan_to_num(-9)) for x, y in pairs)


def test_numbers_are_scaled_by_training() -> None:
    spec = InputSpec.fit(TABLE)
    price, sales = spec.numbers
    known = TABLE.numbers[np.isfinite(TABLE.numbers[:, 0]), 0]
    assert not price.log
    assert price.mean == pytest.approx(known.mean(), rel=1e-4)
    assert price.std == pytest.approx(known.std(), rel=1e-4)
    assert sales.log  # Of a long tail.
    logs = np.log1p(TABLE.numbers[:, 1].astype(np.float64))
    wanted = (logs - logs.mean()) / logs.std()
    found = spec.encode(TABLE).numbers.numpy()
    np.testing.assert_allclose(found[:, 1], np.clip(wanted, -8, 8), rtol=1e-3, atol=1e-4)
    assert np.isnan(found[::10, 0]).all()


def test_numbers_of_any_size_become_near_ones_or_missing() -> None:
    scale = NumberScale.of("x", np.array([0, 1, 2, 3], np.float32), 0)
    found = scale(np.array([1e30, -1e30, np.inf, np.nan], np.float32))
    np.testing.assert_array_equal(found, np.array([8, -8, np.nan, np.nan], np.float32))
    for same in (np.full(5, 2.0, np.float32), np.full(5, np.nan, np.float32)):
        assert np.isfinite(NumberScale.of("x", same, 4)(np.array([2.0], np.float32))).all()


def test_bins_of_numbers_lie_between_quantiles() -> None:
    spec = InputSpec.fit(TABLE, bins=4)
    bins = spec.encode(TABLE).bins.numpy() - np.array(spec.bin_offsets[:-1])
    assert spec.bin_offsets == (0, 5, 10)
    price = TABLE.numbers[:, 0]
    cuts = np.nanquantile(price, [0.25, 0.5, 0.75])
    for row in range(len(TABLE)):
        wanted = 0 if np.isnan(price[row]) else 1 + sum(price[row] > cut for cut in cuts)
        assert bins[row, 0] == wanted
    assert InputSpec.fit(TABLE).encode(TABLE).bins.shape == (300, 0)


def test_values_are_found_by_their_texts() -> None:
    """Another table may list other values, in another order."""
    spec = InputSpec.fit(TABLE)
    before = spec.encode(TABLE)
    order = np.array([2, 0, 3, 1])
    values = TABLE.category_values[0]
    moved = replace(
        TABLE,
        categories=np.where(TABLE.categories >= 0, np.argsort(order)[TABLE.categories], -1).astype(
            np.int32
        ),
        category_values=(tuple(values[i] for i in order),),
    )
    assert torch.equal(spec.encode(moved).codes, before.codes)
    words = np.array([4, 2, 0, 1, 3])
    renamed = replace(
        TABLE,
        words=np.argsort(words)[TABLE.words].astype(np.int32),
        vocabulary=tuple(TABLE.vocabulary[i] for i in words),
    )
    assert _same(spec.encode(renamed), before)


def test_what_is_missing_rare_or_new_has_the_default_code() -> None:
    known = KnownValues("colour", ("red", "blue"))
    column = np.array([0, 1, 2, -1], np.int32)
    np.testing.assert_array_equal(known.codes(column, ("blue", "red", "pink")), [2, 1, 0, 0])
    rare = replace(TABLE, categories=np.where(np.arange(300) < 4, 3, 0)[:, None].astype(np.int32))
    assert InputSpec.fit(rare, min_count=5).categories[0].values == ("red",)
    assert InputSpec.fit(rare, min_count=4).categories[0].values == ("red", "grey")


def test_unknown_words_are_passed_over() -> None:
    spec = replace(InputSpec.fit(TABLE), words=("fresh", "sale"))
    found = spec.encode(TABLE).words
    for row in range(len(TABLE)):
        mine = TABLE.words[TABLE.offsets[row] : TABLE.offsets[row + 1]]
        wanted = [{2: 0, 0: 1}[w] for w in mine.tolist() if w in (0, 2)]
        ends = found.offsets[row], found.offsets[row + 1]
        assert found.values[ends[0] : ends[1]].tolist() == wanted


def test_what_a_table_lacks_is_missing_and_said(caplog: pytest.LogCaptureFixture) -> None:
    spec = InputSpec.fit(TABLE, VECTORS, bins=3)
    bare = replace(
        TABLE,
        numbers=TABLE.numbers[:, :1],
        number_names=("price",),
        categories=TABLE.categories[:, :0],
        category_names=(),
        category_values=(),
        words=TABLE.words[:0],
        offsets=np.zeros(301, np.int64),
        vocabulary=(),
    )
    with caplog.at_level(logging.WARNING, "adwright"):
        found = spec.encode(bare)
    for name in ("sales_before", "colour", "image"):
        assert name in caplog.text
    assert bool(found.numbers[:, 1].isnan().all())
    assert bool((found.bins[:, 1] == spec.bin_offsets[1]).all())
    assert bool((found.codes == 0).all())
    assert found.words.values.numel() == 0
    assert bool(found.vectors[0].isnan().all())


@pytest.mark.parametrize(
    ("out", "left"),
    [
        ("numbers", (0, 1, 5, 1)),
        ("price", (1, 1, 5, 1)),
        ("categories", (2, 0, 5, 1)),
        ("colour", (2, 0, 5, 1)),
        ("words", (2, 1, 0, 1)),
        ("image", (2, 1, 5, 0)),
    ],
)
def test_inputs_can_be_left_out(out: str, left: tuple[int, ...]) -> None:
    spec = InputSpec.fit(TABLE, VECTORS, leave_out=(out,))
    parts = (spec.numbers, spec.categories, spec.words, spec.vectors)
    assert tuple(map(len, parts)) == left


def test_a_spec_goes_through_plain_values() -> None:
    spec = InputSpec.fit(TABLE, VECTORS, bins=4)
    assert from_jsonable(InputSpec, to_jsonable(spec)) == spec


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'colour'"):
        InputSpec.fit(TABLE, leave_out=("color",))
    with pytest.raises(SchemaError, match="one a unit of 300"):
        InputSpec.fit(TABLE, {"image": IMAGE[:5]})
    spec = InputSpec.fit(TABLE, VECTORS)
    with pytest.raises(SchemaError, match="4"):
        spec.encode(TABLE, {"image": IMAGE[:, :3]})


PERIODS = 20


def _table(column: np.ndarray, *, units: int = 600, entry: float = 0.0) -> SpellTable:
    """Spells in twenty weeks, of which one number is `column`, by week [PERIODS]."""
    table = small_spells(units, entry=entry)
    start = np.arange(units, dtype=np.int32) % PERIODS
    numbers = table.numbers.copy()
    numbers[:, 1] = column[start]
    return replace(table, start=start, numbers=numbers)


def test_a_number_that_all_of_a_week_share_is_a_clock() -> None:
    rng = np.random.default_rng(0)
    assert clocks_of(_table(rng.normal(size=PERIODS))) == ("sales_before",)
    season = np.sin(2 * np.pi * np.arange(PERIODS) / 52)
    assert clocks_of(_table(season)) == ("sales_before",)


def test_what_recurs_is_kept() -> None:
    weekday = np.arange(PERIODS) % 7
    assert clocks_of(_table(weekday)) == ()
    twice = np.sin(2 * np.pi * (np.arange(PERIODS) % 10) / 10.5)
    assert clocks_of(_table(twice)) == ()


def test_one_week_and_a_constant_have_no_clock() -> None:
    table = _table(np.arange(PERIODS))
    assert clocks_of(replace(table, start=np.zeros_like(table.start))) == ()
    assert clocks_of(_table(np.full(PERIODS, 3.0))) == ()
    missing = table.numbers.copy()
    missing[:, 1] = np.nan
    assert clocks_of(replace(table, numbers=missing)) == ()


def test_the_week_is_that_of_the_landmark() -> None:
    """Units of one week, that entered at many ages: their start tells nothing of the week."""
    table = _table(np.arange(PERIODS) ** 2.0)
    age = (PERIODS - 1 - table.start).astype(np.float32)
    late = replace(table, entry=age, time=table.time + age)
    assert clocks_of(table) == ("sales_before",)
    assert clocks_of(late) == ()


def _weeks(starts: list[int]) -> SpellTable:
    return replace(small_spells(len(starts)), start=np.array(starts, np.int32))


def test_each_period_has_its_own_and_their_mean_is_nothing() -> None:
    effects = CommonEffects(_weeks([3, 3, 3, 7, 7, 9]), (2, 1), min_count=2)
    assert [tuple(table.shape) for table in effects.tables] == [(2, 2), (2, 1)]
    with torch.no_grad():
        effects.tables[0].copy_(torch.tensor([[1.0, -2.0], [4.0, 5.0]]))
    found = effects(torch.arange(6))
    assert found is not None
    mean = torch.tensor([(3 * 1 + 2 * 4) / 6, (3 * -2 + 2 * 5) / 6])
    # Week 9 has one unit alone, and so no effect but for the centring.
    rows = [[1.0, -2.0]] * 3 + [[4.0, 5.0]] * 2 + [[0.0, 0.0]]
    torch.testing.assert_close(found[0], torch.tensor(rows) - mean)
    torch.testing.assert_close(found[0].mean(0), torch.zeros(2), atol=1e-6, rtol=0)


def test_one_period_has_nothing_of_its_own() -> None:
    assert CommonEffects(_weeks([5] * 8), (3,), min_count=2)(torch.arange(8)) is None
    assert len(CommonEffects(_weeks([1, 2, 3]), (3,), min_count=2)) == 0


CLICKS = np.array([0, 1, 5, 30, 0, 200], np.float32)
SHOWN = np.array([10, 10, 100, 100, 0, 400], np.float32)


def _literal_click_weights(by: str, alpha: float, n: float) -> list[float]:
    rates = [c / s for c, s in zip(CLICKS.tolist(), SHOWN.tolist(), strict=True) if s > 0]
    mean = sum(rates) / len(rates)
    found = []
    for c, s in zip(CLICKS.tolist(), SHOWN.tolist(), strict=True):
        rate = c / s if s > 0 else mean
        match by:
            case "ratio":
                found.append(rate / mean)
            case "clipped":
                found.append(min(max(1 + alpha * rate / mean, 0.5), 5))
            case "smoothed":
                a, b = mean * n, (1 - mean) * n
                found.append((c + a) / (s + a + b) / mean)
            case _:
                found.append(1.0)
    return found


@pytest.mark.parametrize("by", ["none", "ratio", "clipped", "smoothed"])
@pytest.mark.parametrize(("alpha", "n"), [(1.0, 50.0), (2.5, 8.0)])
def test_weights_are_the_literal_ones(by: str, alpha: float, n: float) -> None:
    weights = ClickWeights(by=by, alpha=alpha, shown=n)  # type: ignore[arg-type]
    found = weights.of(CLICKS, SHOWN, len(CLICKS))
    np.testing.assert_allclose(found, _literal_click_weights(by, alpha, n), rtol=1e-6)


def test_what_the_mean_rate_counts_is_found_from_the_spread() -> None:
    """Rates drawn from a Beta distribution of a + b = 40."""
    rng = np.random.default_rng(0)
    shown = rng.integers(20, 200, 40_000)
    clicks = rng.binomial(shown, rng.beta(8, 32, 40_000))
    c, s = clicks.astype(np.float32), shown.astype(np.float32)
    found = ClickWeights("smoothed").of(c, s, len(c))
    near = ClickWeights("smoothed", shown=40.0).of(c, s, len(c))
    np.testing.assert_allclose(found, near, atol=0.02)


def test_without_clicks_there_are_no_weights() -> None:
    with pytest.raises(ConfigError, match="no clicks"):
        ClickWeights("ratio").of(None, None, 3)
    np.testing.assert_array_equal(ClickWeights().of(None, None, 3), np.ones(3))


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf])
def test_counts_that_are_none_are_refused(wrong: float) -> None:
    clicks = CLICKS.copy()
    clicks[2] = wrong
    with pytest.raises(ValueInvalidError, match="row 2, column clicks"):
        ClickWeights("ratio").of(clicks, SHOWN, len(clicks))


def test_where_nobody_clicked_all_count_alike(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "adwright"):
        found = ClickWeights("ratio").of(np.zeros(4, np.float32), np.ones(4, np.float32), 4)
    np.testing.assert_array_equal(found, np.ones(4))
    assert "no unit was clicked" in caplog.text
