"""The network of two heads: shapes, masks, losses, and that it can learn by heart."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from adwright.core.errors import ConfigError
from adwright.creative.lifetime.survival_curves import LifeCurves
from adwright.creative.lifetime.survival_fit import TrainingSpells, hash_of, typical_ends
from adwright.creative.lifetime.survival_network import (
    BinTargets,
    InputSpec,
    LifeTerms,
    SpellInputs,
    SurvivalConfig,
    SurvivalNetwork,
    hazard_loss,
)
from tests.support.data.small_spells import small_spells

TABLE = small_spells(64)
IMAGE = np.random.default_rng(1).normal(size=(64, 4)).astype(np.float32)
IMAGE[::7] = np.nan
VECTORS = {"image": IMAGE}
TERMS = LifeTerms(short=(0.0, 1.0, 2.0, 3.0), long=(0.0, 3.0, 6.0, 13.0))
SPEC = InputSpec.fit(TABLE, VECTORS, min_count=1, bins=4)
INPUTS = SPEC.encode(TABLE, VECTORS)
TARGETS = tuple(BinTargets.of(edges, TABLE.entry, TABLE.time, TABLE.cause) for edges in TERMS.heads)
CONFIG = SurvivalConfig(hidden=(16, 8), width=4, word_width=4, vector_width=4)


def _network(
    config: SurvivalConfig = CONFIG, terms: LifeTerms = TERMS, causes: int = 1
) -> SurvivalNetwork:
    torch.manual_seed(0)
    network = SurvivalNetwork(config, SPEC, terms, causes)
    with torch.no_grad():
        # Defaults and bins begin at zero, which would hide what they are for.
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return network.eval()


def test_it_is_the_literal_sum_of_its_parts() -> None:
    """One unit after another, by the definition in words."""
    network = _network()
    weights = network.state_dict()
    found = torch.cat(network(INPUTS), 1)[:, :, 0]
    for row in range(len(TABLE)):
        one = INPUTS.between(slice(row, row + 1))
        x: list[Tensor] = []
        added = torch.zeros(16)
        for f in range(2):
            number = one.numbers[0, f]
            x.append((weights["numbers"][f] if number.isnan() else number)[None])
            added = added + weights["bins"][int(one.bins[0, f])]
        x.append(weights["categories.weight"][int(one.codes[0, 0])])
        words = one.words.values.tolist()
        mean = sum(weights["words.weight"][word] for word in words)
        x.append(mean / len(words) if words else weights["wordless"])
        vector = one.vectors[0][0]
        read = weights["layers.0.weight"] @ vector + weights["layers.0.bias"]
        x.append(weights["defaults.0"] if vector.isnan().any() else read)
        y = weights["body.0.weight"] @ torch.cat(x) + weights["body.0.bias"] + added
        y = weights["body.1.weight"] @ y.relu() + weights["body.1.bias"]
        logits = [
            weights[f"heads.{head}.weight"] @ y.relu() + weights[f"heads.{head}.bias"]
            for head in range(2)
        ]
        torch.testing.assert_close(found[row], torch.cat(logits), rtol=1e-4, atol=1e-5)


def test_a_unit_does_not_depend_on_its_batch() -> None:
    network = _network()
    whole = torch.cat(network(INPUTS), 1)
    part = torch.cat(network(INPUTS.take(torch.tensor([9, 3, 40]))), 1)
    torch.testing.assert_close(part, whole[[9, 3, 40]])


def test_what_is_missing_does_not_count_whatever_stands_there() -> None:
    network = _network()
    other = IMAGE.copy()
    other[::7, 1:] = 5  # The first number of these says that they are missing.
    again = SPEC.encode(TABLE, {"image": other})
    torch.testing.assert_close(network(again), network(INPUTS))


def test_the_loss_is_the_weighted_mean_of_both_terms() -> None:
    network = _network(replace(CONFIG, short_weight=0.3))
    weight = torch.rand(64)
    with torch.no_grad():
        short, long = network.losses(INPUTS, TARGETS)
    for head, loss in ((0, short), (1, long)):
        torch.testing.assert_close(loss, hazard_loss(network(INPUTS)[head], TARGETS[head]))
    mean = float(weight.mean())
    wanted = sum(
        float(w) / mean * (0.3 * float(s) + 0.7 * float(t))
        for w, s, t in zip(weight, short, long, strict=True)
    )
    assert network.loss(INPUTS, TARGETS, weight).item() == pytest.approx(wanted, rel=1e-5)
    plain = network.loss(INPUTS, TARGETS)
    torch.testing.assert_close(plain, (0.3 * short + 0.7 * long).sum())
    torch.testing.assert_close(network.loss(INPUTS, TARGETS, 3 * torch.ones(64)), plain)
    torch.testing.assert_close(network.loss(INPUTS, TARGETS, torch.zeros(64)), plain)


def test_training_begins_at_given_hazards() -> None:
    network = _network()
    given = [torch.randn(3, 1), torch.randn(3, 1)]
    network.begin_at(given)
    for head, logits in zip(network.heads, given, strict=True):
        torch.testing.assert_close(head.get_parameter("bias"), logits[:, 0])


def test_each_modality_is_hidden_at_its_rate() -> None:
    """Hidden by rate 1/2 whole, nothing else: each part of a unit is its default or itself."""
    config = replace(CONFIG, dropout=0, modality_dropout=0.5, value_dropout=0)
    network = _network(config)
    seen: list[Tensor] = []
    network.body[0].register_forward_hook(lambda _, x, __: seen.append(x[0]))
    network(INPUTS)
    network.train()
    torch.manual_seed(1)
    for _ in range(200):
        network(INPUTS)
    whole, *drawn = (x.detach() for x in seen)
    weights = network.state_dict()
    defaults = torch.cat(
        [
            weights["numbers"],
            weights["categories.weight"][0],
            weights["wordless"],
            weights["defaults.0"],
        ]
    )
    sizes = (2, 4, 4, 4)
    for own, plain, default in zip(
        torch.stack(drawn).split(sizes, 2),
        whole.split(sizes, 1),
        defaults.split(sizes),
        strict=True,
    ):
        hidden = (own == default).all(2)
        assert bool((hidden | (own == plain).all(2)).all())
        there = ~(plain == default).any(1)
        assert float(hidden[:, there].float().mean()) == pytest.approx(0.5, abs=0.03)


def test_dropout_hides_units_at_its_rate_and_keeps_their_mean() -> None:
    config = replace(CONFIG, dropout=0.3, modality_dropout=0, value_dropout=0)
    network = _network(config)
    seen: list[Tensor] = []
    network.body[1].register_forward_hook(lambda _, x, __: seen.append(x[0].detach()))
    network(INPUTS)
    network.train()
    torch.manual_seed(1)
    for _ in range(200):
        network(INPUTS)
    plain, drawn = seen[0], torch.stack(seen[1:])
    alive = plain > 0
    assert float((drawn[:, alive] == 0).float().mean()) == pytest.approx(0.3, abs=0.02)
    torch.testing.assert_close(drawn.mean(0), plain, rtol=0, atol=0.15 * float(plain.max()))


def test_bins_of_numbers_have_the_gradient_of_a_literal_sum() -> None:
    network = _network()
    arrived: list[Tensor] = []
    network.body[0].register_full_backward_hook(lambda _, __, g: arrived.append(g[0]))
    network.loss(INPUTS, TARGETS).backward()  # type: ignore[no-untyped-call]
    wanted = torch.zeros_like(network.bins)
    for row in range(64):
        for f in range(2):
            wanted[int(INPUTS.bins[row, f])] += arrived[0][row]
    assert network.bins.grad is not None
    torch.testing.assert_close(network.bins.grad, wanted, rtol=1e-4, atol=1e-5)


def test_it_does_without_some_inputs() -> None:
    for out in (("numbers",), ("categories", "words"), ("numbers", "categories", "words")):
        spec = InputSpec.fit(TABLE, VECTORS, min_count=1, leave_out=out)
        inputs: SpellInputs = spec.encode(TABLE, VECTORS)
        short, _ = SurvivalNetwork(CONFIG, spec, TERMS)(inputs)
        assert short.shape == (64, 3, 1)
    nothing = InputSpec.fit(TABLE, leave_out=("numbers", "categories", "words"))
    with pytest.raises(ConfigError, match="nothing is left"):
        SurvivalNetwork(CONFIG, nothing, TERMS)


#: The short head ends in the midst of the long one's second bin.
TERMS_CURVES = LifeTerms(short=(1.0, 2.0, 4.0, 6.0), long=(1.0, 3.0, 9.0, 20.0))
#: Of all units, what has ended by the edges of their curve.
TYPICAL = (0.0, 0.3, 0.5, 0.65, 0.8, 0.9)
#: It ends at an edge of the long one.
EVEN = LifeTerms(short=(0.0, 2.0, 4.0), long=(0.0, 4.0, 8.0))


def _curves(
    terms: LifeTerms = TERMS_CURVES, units: int = 40, causes: int = 1, entry: float | None = 0.0
) -> LifeCurves:
    rng = np.random.default_rng(0)
    steps = tuple(
        np.log1p(-rng.uniform(0.01, 0.6, (units, len(edges) - 1))).astype(np.float32)
        for edges in terms.heads
    )
    shares = None
    if causes > 1:
        shares = tuple(
            rng.dirichlet(np.ones(causes), step.shape).astype(np.float32) for step in steps
        )
    ages = rng.uniform(0, 12, units) if entry is None else np.full(units, entry)
    names = tuple(f"cause {c}" for c in range(causes))
    return LifeCurves(terms, names, ages.astype(np.float32), steps, shares)


def _head(edges: tuple[float, ...], steps: np.ndarray, age: float) -> float:
    """S(age) of one head alone: log S is straight inside a bin."""
    log_s = 0.0
    for left, right, step in zip(edges, edges[1:], steps.tolist(), strict=False):
        log_s += step * min(max((age - left) / (right - left), 0), 1)
    return math.exp(log_s)


def _literal(curves: LifeCurves, unit: int, age: float) -> float:
    """S(age) of the one curve, not given entry."""
    terms, last = curves.terms, curves.terms.short[-1]
    short = curves.steps[0][unit]
    if age <= last or not terms.long:
        return _head(terms.short, short, age)
    long = curves.steps[1][unit]
    beyond = _head(terms.long, long, age) / _head(terms.long, long, last)
    return _head(terms.short, short, last) * beyond


@pytest.mark.parametrize("terms", [TERMS_CURVES, EVEN, TERMS_CURVES.one_head])
@pytest.mark.parametrize("entry", [0.0, 3.5, None])
def test_the_curve_is_the_literal_one(terms: LifeTerms, entry: float | None) -> None:
    curves = _curves(terms, entry=entry)
    ages = [0.0, 1.0, 1.5, 4.0, 5.0, 7.5, 8.0]
    found, at_edges = curves.at(ages), curves.survival
    for unit, begun in enumerate(curves.entry.tolist()):
        alive = _literal(curves, unit, begun)
        for k, age in enumerate(ages):
            wanted = 1.0 if age <= begun else _literal(curves, unit, age) / alive
            assert found[unit, k] == pytest.approx(wanted, rel=1e-5)
        for k, edge in enumerate(terms.joined):
            wanted = 1.0 if edge <= begun else _literal(curves, unit, edge) / alive
            assert at_edges[unit, k] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("causes", [1, 3])
@pytest.mark.parametrize("entry", [0.0, None])
def test_incidence_is_the_literal_sum(causes: int, entry: float | None) -> None:
    curves = _curves(causes=causes, entry=entry)
    assert curves.incidence.shape == (40, len(curves.edges), causes)
    joined = curves.terms.joined
    for unit in range(40):
        sums = [0.0] * causes
        for t in range(1, len(joined)):
            # Of the short head's three bins first, then the long one's second and third.
            head, bin_ = (0, t - 1) if t <= 3 else (1, t - 3)
            fallen = float(curves.survival[unit, t - 1] - curves.survival[unit, t])
            for c in range(causes):
                share = 1.0 if curves.shares is None else float(curves.shares[head][unit, bin_, c])
                sums[c] += fallen * share
                assert curves.incidence[unit, t, c] == pytest.approx(sums[c], abs=1e-6)
    np.testing.assert_allclose(curves.incidence.sum(2), 1 - curves.survival, atol=1e-6)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("entry", [0.0, 3.5, None])
def test_so_great_a_share_has_ended_by_the_quantile(share: float, entry: float | None) -> None:
    curves = _curves(entry=entry)
    left = curves.remaining(share)
    for unit in range(len(curves)):
        one = curves.take(np.array([unit]))
        if np.isinf(left[unit]):
            assert one.survival[0, -1] > 1 - share
        else:
            age = float(curves.entry[unit] + left[unit])
            assert float(one.at([min(age, 20.0)])[0, 0]) == pytest.approx(1 - share, abs=1e-4)
    assert np.isfinite(left).any() or (share, entry) == (0.9, 3.5)


def test_risks_are_minus_the_mean_time_lived_in_the_term() -> None:
    curves = _curves()
    for unit in range(len(curves)):
        for term, edges in (("short", TERMS_CURVES.short), ("all", TERMS_CURVES.joined)):
            s = [_literal(curves, unit, edge) for edge in edges]
            area = sum((s[i] + s[i + 1]) / 2 * (edges[i + 1] - edges[i]) for i in range(len(s) - 1))
            assert curves.risk(term)[unit] == pytest.approx(-area, rel=1e-5)  # type: ignore[arg-type]
        s = [_head(TERMS_CURVES.long, curves.steps[1][unit], edge) for edge in TERMS_CURVES.long]
        area = (s[0] + s[1]) + (s[1] + s[2]) * 3 + (s[2] + s[3]) * 5.5
        assert curves.risk("long")[unit] == pytest.approx(-area, rel=1e-5)


def test_risks_are_minus_the_chance_to_outlive_a_typical_unit() -> None:
    """By a literal double sum over bins, of all and up to an age inside a bin."""
    curves = replace(_curves(), typical=TYPICAL)
    edges = curves.edges
    for until in (float(edges[-1]), float(edges[-2] + edges[-1]) / 2):
        found = curves.risk(until=until)
        for unit in range(len(curves)):
            chance = 0.0
            for left, right, low, high in zip(edges, edges[1:], TYPICAL, TYPICAL[1:], strict=False):
                end = min(float(right), until)
                share = (high - low) * (end - left) / (right - left)
                s = curves.take(np.array([unit])).at([left, end])[0]
                chance += max(share, 0) * (s[0] + s[1]) / 2
            assert found[unit] == pytest.approx(-chance, rel=1e-5)


def test_what_cannot_be_answered_is_refused() -> None:
    curves = _curves()
    with pytest.raises(ConfigError, match="end before"):
        curves.at([5.0, 21.0])
    with pytest.raises(ConfigError, match="end before"):
        curves.at([float("nan")])
    for share in (0.0, 1.0):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            curves.remaining(share)
    with pytest.raises(ConfigError, match="whole curve"):
        curves.risk("short", until=2.0)
    with pytest.raises(ConfigError, match="end before"):
        curves.risk(until=99.0)
    with pytest.raises(ConfigError, match="term"):
        curves.risk("both")  # type: ignore[arg-type]


TERMS_TRAINING_SPELLS = LifeTerms(short=(0.0, 1.0, 2.0), long=(0.0, 2.0, 4.0, 13.0))
TABLE_TRAINING_SPELLS = small_spells(300)


def _spells(terms: LifeTerms = TERMS_TRAINING_SPELLS) -> TrainingSpells:
    return TrainingSpells(TABLE_TRAINING_SPELLS, InputSpec.fit(TABLE_TRAINING_SPELLS), terms, None)


def test_the_curve_of_all_is_the_product_over_literal_bins() -> None:
    ended = typical_ends(
        _spells().marginal_logits(TERMS_TRAINING_SPELLS, 1),
        TERMS_TRAINING_SPELLS,
        TABLE_TRAINING_SPELLS.causes,
    )
    left, found = 1.0, [0.0]
    for low, high in zip(
        TERMS_TRAINING_SPELLS.joined, TERMS_TRAINING_SPELLS.joined[1:], strict=False
    ):
        through = (TABLE_TRAINING_SPELLS.time >= high) | (
            TABLE_TRAINING_SPELLS.ended & (TABLE_TRAINING_SPELLS.time > low)
        )
        died = through & TABLE_TRAINING_SPELLS.ended & (TABLE_TRAINING_SPELLS.time <= high)
        there = np.count_nonzero(through)
        left *= 1 - (np.count_nonzero(died) + 0.5) / (there + 1)
        found.append(1 - left)
    np.testing.assert_allclose(ended, found, atol=1e-6)


def test_a_hash_is_of_all_that_training_reads() -> None:
    vectors = {"text": np.zeros((300, 2), np.float32)}
    changed = TABLE_TRAINING_SPELLS.numbers.copy()
    changed[3, 1] += 1
    hashes = {
        hash_of(TABLE_TRAINING_SPELLS, None),
        hash_of(TABLE_TRAINING_SPELLS, vectors),
        hash_of(replace(TABLE_TRAINING_SPELLS, numbers=changed), None),
        hash_of(replace(TABLE_TRAINING_SPELLS, unit="day"), None),
    }
    assert len(hashes) == 4
    assert hash_of(small_spells(300), None) == hash_of(TABLE_TRAINING_SPELLS, None)
