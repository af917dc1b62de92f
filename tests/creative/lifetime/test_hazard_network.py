"""The network of two heads: shapes, masks, losses, and that it can learn by heart."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.clock import FixedClock
from adwright.core.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    ResourceError,
    ResumeError,
    SchemaError,
)
from adwright.creative.lifetime.spell_table import SpellTable
from adwright.creative.lifetime.survival_curves import KIND, FittedLifetime, LifeCurves
from adwright.creative.lifetime.survival_fit import (
    ClickWeights,
    LifetimeConfig,
    TrainingSpells,
    fit_lifetime,
    hash_of,
    typical_ends,
)
from adwright.creative.lifetime.survival_network import (
    BinTargets,
    InputSpec,
    LifeTerms,
    SpellInputs,
    SurvivalConfig,
    SurvivalNetwork,
    hazard_loss,
    marginal_logits,
)
from adwright.metrics.survival import harrell_c
from adwright.training.loop.trainee import Callback, StepDone
from benchmarks.lifetime._calibration import kaplan_meier
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
APART = LifeTerms(short=(1.0, 2.0, 4.0, 6.0), long=(1.0, 3.0, 9.0, 20.0))
#: Of all units, what has ended by the edges of their curve.
TYPICAL = (0.0, 0.3, 0.5, 0.65, 0.8, 0.9)
#: It ends at an edge of the long one.
EVEN = LifeTerms(short=(0.0, 2.0, 4.0), long=(0.0, 4.0, 8.0))


def _curves(
    terms: LifeTerms = APART, units: int = 40, causes: int = 1, entry: float | None = 0.0
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


@pytest.mark.parametrize("terms", [APART, EVEN, APART.one_head])
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
        for term, edges in (("short", APART.short), ("all", APART.joined)):
            s = [_literal(curves, unit, edge) for edge in edges]
            area = sum((s[i] + s[i + 1]) / 2 * (edges[i + 1] - edges[i]) for i in range(len(s) - 1))
            assert curves.risk(term)[unit] == pytest.approx(-area, rel=1e-5)  # type: ignore[arg-type]
        s = [_head(APART.long, curves.steps[1][unit], edge) for edge in APART.long]
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


LATER = LifeTerms(short=(0.0, 1.0, 2.0), long=(0.0, 2.0, 4.0, 13.0))
SOME = small_spells(300)


def _spells(terms: LifeTerms = LATER) -> TrainingSpells:
    return TrainingSpells(SOME, InputSpec.fit(SOME), terms, None)


def test_the_curve_of_all_is_the_product_over_bins() -> None:
    spells = _spells()
    ended = typical_ends(spells.marginal_logits(1), LATER, SOME.causes)
    short, long = (torch.sigmoid(x)[:, 0].double().numpy() for x in spells.marginal_logits(1))
    left = np.cumprod(1 - np.concatenate([[0.0], short, long[1:]]))
    np.testing.assert_allclose(ended, 1 - left, atol=1e-6)


def test_a_hash_is_of_all_that_training_reads() -> None:
    vectors = {"text": np.zeros((300, 2), np.float32)}
    changed = SOME.numbers.copy()
    changed[3, 1] += 1
    hashes = {
        hash_of(SOME, None),
        hash_of(SOME, vectors),
        hash_of(replace(SOME, numbers=changed), None),
        hash_of(replace(SOME, unit="day"), None),
    }
    assert len(hashes) == 4
    assert hash_of(small_spells(300), None) == hash_of(SOME, None)


SPELLS, VALID = small_spells(400), small_spells(200, seed=1)
NETWORK = SurvivalConfig(hidden=(16,), width=4, word_width=4, number_bins=4)
FIT = LifetimeConfig(
    terms=TERMS,
    network=NETWORK,
    epochs=3,
    batch=64,
    learning_rate=0.01,
    min_count=5,
    validations=3,
    patience=3,
)


def _bits(model: FittedLifetime) -> dict[str, torch.Tensor]:
    return dict(model.network.state_dict())


def _same(a: FittedLifetime, b: FittedLifetime) -> bool:
    return all(torch.equal(value, _bits(b)[name]) for name, value in _bits(a).items())


class _Stopped(Exception):
    pass


def test_it_learns_who_ends_soon() -> None:
    model = fit_lifetime(small_spells(1500), VALID, replace(FIT, epochs=4, validations=4))
    marginal = [
        hazard_loss(marginal_logits(targets, 1).expand(200, -1, -1), targets).mean()
        for edges in TERMS.heads
        for targets in [BinTargets.of(edges, VALID.entry, VALID.time, VALID.cause)]
    ]
    assert model.valid_loss < 0.93 * float(sum(marginal)) / 2
    left = model.predict(VALID).remaining()
    red, others = VALID.categories[:, 0] == 0, VALID.categories[:, 0] > 0
    assert np.median(left[red]) + 1 < np.median(left[others])
    assert len(model.records) == 4
    assert model.valid_loss == min(line["valid_nll"] for line in model.records)


@pytest.mark.parametrize("cut", [4, 7, 13])
def test_a_run_that_was_cut_off_ends_with_the_same_bits(tmp_path: Path, cut: int) -> None:
    whole = fit_lifetime(SPELLS, VALID, FIT)

    class Stop(Callback):
        def on_step(self, step: StepDone) -> None:
            if step.step == cut:
                raise _Stopped

    run = tmp_path / "run"
    with pytest.raises(_Stopped):
        fit_lifetime(SPELLS, VALID, FIT, out=run, callbacks=(Stop(),))
    again = fit_lifetime(SPELLS, VALID, FIT, out=run, resume=True)
    assert _same(whole, again)
    assert again.records == whole.records
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 3


def test_the_batch_follows_from_the_number_of_spells() -> None:
    class Steps(Callback):
        def on_step(self, step: StepDone) -> None:
            steps.append(step.step)

    steps: list[int] = []
    many = small_spells(1100)
    fit_lifetime(many, None, replace(FIT, batch=None, epochs=1), callbacks=(Steps(),))
    assert steps == [1, 2, 3, 4, 5]  # Batches of 256, the least.


def test_edges_come_from_the_training_spells_and_are_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = fit_lifetime(SPELLS, VALID, replace(FIT, terms=None, epochs=1))
    assert model.terms == LifeTerms.of(SPELLS.entry, SPELLS.time, SPELLS.cause)
    said = capsys.readouterr()
    assert f"in weeks: {model.terms}" in said.out + said.err


def test_one_head_joins_the_terms() -> None:
    model = fit_lifetime(SPELLS, VALID, replace(FIT, heads=1, epochs=1))
    assert model.terms == TERMS.one_head
    assert model.predict(VALID).survival.shape == (200, 6)
    assert "valid_long" not in model.records[0]


def test_the_goal_is_the_weighted_likelihood_of_validation() -> None:
    network = replace(NETWORK, short_weight=0.2)
    model = fit_lifetime(SPELLS, VALID, replace(FIT, network=network, epochs=1, validations=1))
    (line,) = model.records
    losses = model.network.losses(
        model.network.spec.encode(VALID),
        tuple(BinTargets.of(e, VALID.entry, VALID.time, VALID.cause) for e in TERMS.heads),
    )
    short, long = (float(loss.detach().mean()) for loss in losses)
    assert line["valid_short"] == pytest.approx(short, rel=1e-5)
    assert line["valid_long"] == pytest.approx(long, rel=1e-5)
    assert line["valid_nll"] == pytest.approx(0.2 * short + 0.8 * long, rel=1e-5)


def test_the_goal_may_be_the_order_of_the_validation_spells() -> None:
    model = fit_lifetime(SPELLS, VALID, replace(FIT, goal="concordance"))
    best = max(model.records, key=lambda line: line["valid_c"])
    assert (model.epoch, model.valid_loss) == (best["epoch"], 1 - best["valid_c"])
    risk = model.predict(VALID).risk()
    found = harrell_c(VALID.time, VALID.ended, risk, entry=VALID.entry)
    assert found.value == pytest.approx(best["valid_c"], abs=1e-12)
    censored = small_spells(50, ended=0.0)
    assert "valid_c" not in fit_lifetime(SPELLS, censored, FIT).records[0]
    with pytest.raises(DataError, match="no pair"):
        fit_lifetime(SPELLS, censored, replace(FIT, goal="concordance"))


def test_without_validation_the_last_weights_are_kept() -> None:
    model = fit_lifetime(SPELLS, None, FIT)
    assert math.isnan(model.valid_loss)
    assert not _same(model, fit_lifetime(SPELLS, None, replace(FIT, epochs=2)))


def test_patience_ends_a_run_that_gets_no_better() -> None:
    config = replace(FIT, epochs=9, validations=9, patience=2, learning_rate=1e-12)
    config = replace(config, schedule="constant", embedding_learning_rate=1e-12)
    model = fit_lifetime(SPELLS, VALID, config)
    assert len(model.records) < 9


def _with_a_clock(table: SpellTable) -> SpellTable:
    """The spells in four weeks, the last of which have a number that tells the week."""
    start = np.arange(len(table), dtype=np.int32) % 4
    numbers = table.numbers.copy()
    numbers[:, 1] = start * start
    return replace(table, start=start, numbers=numbers)


def test_numbers_that_tell_the_week_alone_are_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    table = _with_a_clock(SPELLS)
    names = [number.name for number in fit_lifetime(table, None, FIT).network.spec.numbers]
    assert names == ["price"]
    assert "left out, since they tell the week alone: sales_before" in capfd.readouterr().err
    kept = fit_lifetime(table, None, replace(FIT, clocks="keep"))
    assert len(kept.network.spec.numbers) == 2
    fit_lifetime(table, None, replace(FIT, leave_out=("sales_before",)))
    assert "left out, since" not in capfd.readouterr().err.rsplit("epoch 3/3", 2)[-1]


def test_one_pass_is_made_over_many_spells_and_several_over_few() -> None:
    config = replace(FIT, epochs=None, validations=None, patience=None, batch=4)
    model = fit_lifetime(small_spells(1000), VALID, config)
    assert [line["epoch"] for line in model.records] == [1, 1, 1, 1]
    few = fit_lifetime(small_spells(40), VALID, config)
    assert {line["epoch"] for line in few.records} <= set(range(1, 26))
    assert len(few.records) > 4


def test_weights_are_those_of_the_curve_of_all(tmp_path: Path) -> None:
    """The share of training that ended by an edge, which risks are weighed by, is saved."""
    model = fit_lifetime(SPELLS, None, FIT)
    curve = kaplan_meier(SPELLS.time, SPELLS.ended)
    edges = model.predict(VALID).edges
    # Who was lost in the midst of a bin counts in the curve, and not in the hazard of the bin.
    assert model.typical is not None
    np.testing.assert_allclose(np.array(model.typical), 1 - curve.at(edges), atol=0.04)
    model.save(tmp_path / "model")
    assert FittedLifetime.load(tmp_path / "model").typical == model.typical


CHANGES: dict[str, Any] = {
    "terms": LifeTerms(short=(0.0, 2.0), long=(0.0, 2.0, 9.0)),
    "heads": 1,
    "network": replace(NETWORK, number_bins=0),
    "clicks": ClickWeights("ratio"),
    "leave_out": ("price",),
    "min_count": 120,
    "clocks": "keep",
    "common_effects": False,
    "validations": 1,
    "epochs": 2,
    "batch": 32,
    "learning_rate": 0.02,
    "weight_decay": 0.5,
    "embedding_learning_rate": 0.2,
    "schedule": "constant",
    "patience": 1,
    "goal": "concordance",
    "clip_norm": 1e-3,
    "precision": "bf16",
    "seed": 1,
}


@cache
def as_usual(*, patient: bool, clocked: bool) -> tuple[SpellTable, LifetimeConfig, FittedLifetime]:
    table, config = (_with_a_clock(SPELLS) if clocked else SPELLS), FIT
    if patient:  # Gets worse at once, and better later on.
        config = replace(FIT, learning_rate=0.3, epochs=6, validations=6, schedule="constant")
    return table, config, fit_lifetime(table, VALID, config)


@pytest.mark.parametrize("name", [f.name for f in fields(LifetimeConfig)])
def test_every_setting_changes_what_is_learned(name: str) -> None:
    clocked = name in ("clocks", "common_effects")
    table, config, usual = as_usual(patient=name == "patience", clocked=clocked)
    changed = fit_lifetime(table, VALID, replace(config, **{name: CHANGES[name]}))
    if name in ("patience", "validations"):
        assert len(changed.records) < len(usual.records)
        return
    if name == "goal":
        # Both may keep the same epoch; another test is about that.
        assert changed.valid_loss != usual.valid_loss
        return
    before, now = usual.predict(VALID).risk(), changed.predict(VALID).risk()
    assert not np.array_equal(before, now)


def test_vectors_of_images_are_learned_from() -> None:
    """Nothing but the image tells; where it is missing, the model is unsure."""
    image = np.random.default_rng(3).normal(size=(600, 3)).astype(np.float32)
    table = small_spells(600)
    table = replace(table, time=np.ones(600, np.float32), cause=(image[:, 0] > 0).astype(np.int8))
    image[::5] = np.nan
    config = replace(
        FIT,
        terms=LifeTerms((0.0, 1.0), ()),
        epochs=30,
        network=replace(NETWORK, modality_dropout=0.1),
    )
    given = {"image": image}
    model = fit_lifetime(table, table, config, vectors=given, valid_vectors=given)
    hazard = model.predict(table, given).hazard[:, 0, 0]
    seen, ended = np.isfinite(image[:, 0]), table.cause > 0
    assert hazard[seen & ended].mean() > 0.85
    assert hazard[seen & ~ended].mean() < 0.15
    assert abs(hazard[~seen].mean() - 0.5) < 0.15
    blind = model.predict(table).hazard[:, 0, 0]
    assert abs(blind.mean() - 0.5) < 0.15


def test_runs_are_never_mixed_up(tmp_path: Path) -> None:
    run, config = tmp_path / "run", replace(FIT, epochs=1)
    with pytest.raises(ResumeError, match="holds no run"):
        fit_lifetime(SPELLS, VALID, config, out=run, resume=True)
    fit_lifetime(SPELLS, VALID, config, out=run)
    assert json.loads((run / "config.json").read_text())["fit"]["batch"] == 64
    with pytest.raises(ConfigError, match="already holds a run"):
        fit_lifetime(SPELLS, VALID, config, out=run)
    with pytest.raises(ResumeError):
        fit_lifetime(SPELLS, VALID, replace(config, seed=1), out=run, resume=True)
    with pytest.raises(ResumeError):
        fit_lifetime(VALID, VALID, config, out=run, resume=True)
    closed = fit_lifetime(SPELLS, VALID, config, out=run, resume=True, stop_now=True)
    assert closed.epoch == 1


def test_spells_that_teach_nothing_are_refused_or_said(caplog: pytest.LogCaptureFixture) -> None:
    late = replace(FIT, terms=LifeTerms((50.0, 60.0), ()))
    with pytest.raises(DataError, match="no spell was at risk"):
        fit_lifetime(SPELLS, VALID, late)
    some = replace(FIT, terms=LifeTerms((2.0, 4.0), ()), epochs=1)
    with caplog.at_level(logging.WARNING, "adwright"):
        fit_lifetime(SPELLS, None, some)
    assert "of 400 spells teach nothing" in caplog.text


def test_validation_spells_of_another_kind_are_refused() -> None:
    for other in (replace(VALID, unit="day"), replace(VALID, causes=("stopped",))):
        with pytest.raises(SchemaError, match="validation spells"):
            fit_lifetime(SPELLS, other, FIT)


CONFIG_FITTED = LifetimeConfig(
    terms=TERMS,
    network=SurvivalConfig(hidden=(16,), width=4, word_width=4),
    epochs=2,
    batch=64,
    learning_rate=0.01,
)
IMAGES = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)


@pytest.fixture(scope="module", params=[1, 2])
def model(request: pytest.FixtureRequest) -> FittedLifetime:
    """Trained on spells of one or two causes, with images."""
    table = small_spells(300, causes=("ended", "stopped")[: request.param])
    return fit_lifetime(
        table, table, CONFIG_FITTED, vectors={"i": IMAGES}, valid_vectors={"i": IMAGES}
    )


def test_it_is_loaded_with_the_same_bits(model: FittedLifetime, tmp_path: Path) -> None:
    identity = model.save(tmp_path / "model", clock=FixedClock())
    again = FittedLifetime.load(tmp_path / "model")
    table = small_spells(300, seed=5)
    a, b = (model.predict(table, {"i": IMAGES}), again.predict(table, {"i": IMAGES}))
    np.testing.assert_array_equal(a.survival, b.survival)
    np.testing.assert_array_equal(a.incidence, b.incidence)
    for name in ("causes", "unit", "config", "valid_loss", "epoch", "data_hash", "seed", "terms"):
        assert getattr(again, name) == getattr(model, name), name
    assert again.records == tuple(model.records)
    assert again.save(tmp_path / "twice", clock=FixedClock()) == identity
    with pytest.raises(ResourceError):
        model.save(tmp_path / "twice")
    assert model.save(tmp_path / "twice", overwrite=True, clock=FixedClock()) == identity


def test_what_is_no_such_model_is_refused(model: FittedLifetime, tmp_path: Path) -> None:
    save_artifact(tmp_path / "other", kind="other", config={})
    with pytest.raises(ArtifactError, match="of kind 'other'"):
        FittedLifetime.load(tmp_path / "other")
    save_artifact(tmp_path / "old", kind=KIND, config={"network": {}})
    with pytest.raises(ArtifactError, match="does not fit this version"):
        FittedLifetime.load(tmp_path / "old")
    model.save(tmp_path / "model")
    assert load_artifact(tmp_path / "model").data_hash == model.data_hash


def test_ages_in_another_unit_are_refused(model: FittedLifetime) -> None:
    with pytest.raises(SchemaError, match="another unit"):
        model.predict(replace(small_spells(10), unit="day"))
