"""The network of two heads: shapes, masks, losses, and that it can learn by heart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from adwright.core.errors import ConfigError
from adwright.creative.lifetime.hazards.inputs import InputSpec, SpellInputs
from adwright.creative.lifetime.hazards.likelihood import BinTargets, hazard_loss
from adwright.creative.lifetime.hazards.network import SurvivalConfig, SurvivalNetwork
from adwright.creative.lifetime.hazards.terms import LifeTerms
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


@pytest.mark.parametrize("causes", [1, 3])
def test_each_head_has_a_logit_for_each_bin_and_cause(causes: int) -> None:
    short, long = _network(causes=causes)(INPUTS)
    assert short.shape == (64, 3, causes)
    assert long.shape == (64, 3, causes)
    (alone,) = _network(terms=TERMS.one_head, causes=causes)(INPUTS)
    assert alone.shape == (64, 5, causes)


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


def test_one_head_has_its_own_loss_alone() -> None:
    network = _network(terms=TERMS.one_head)
    target = BinTargets.of(TERMS.joined, TABLE.entry, TABLE.time, TABLE.cause)
    (loss,) = network.losses(INPUTS, (target,))
    torch.testing.assert_close(network.loss(INPUTS, (target,)), loss.sum())


def test_training_begins_at_given_hazards() -> None:
    network = _network()
    given = [torch.randn(3, 1), torch.randn(3, 1)]
    network.begin_at(given)
    for head, logits in zip(network.heads, given, strict=True):
        torch.testing.assert_close(head.get_parameter("bias"), logits[:, 0])


@pytest.mark.parametrize("causes", [1, 2])
def test_it_learns_a_batch_by_heart(causes: int) -> None:
    table = small_spells(64, causes=("ended", "stopped")[:causes])
    targets = tuple(
        BinTargets.of(edges, table.entry, table.time, table.cause) for edges in TERMS.heads
    )
    config = replace(CONFIG, hidden=(64, 32), dropout=0, modality_dropout=0, value_dropout=0)
    network = _network(config, causes=causes).train()
    optimiser = torch.optim.Adam(
        [
            p
            for n, p in network.named_parameters()
            if n not in ("categories.weight", "words.weight")
        ],
        lr=0.01,
    )
    before = network.loss(INPUTS, targets).item()
    for _ in range(300):
        optimiser.zero_grad()
        loss = network.loss(INPUTS, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert loss.item() < 0.05 * before


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


def test_single_values_are_hidden_at_their_rate() -> None:
    config = replace(CONFIG, dropout=0, modality_dropout=0, value_dropout=0.25)
    network = _network(config).train()
    rows: list[Tensor] = []
    network.categories.register_forward_hook(lambda _, x, __: rows.append(x[0]))
    torch.manual_seed(1)
    for _ in range(200):
        network(INPUTS)
    known = INPUTS.codes[:, 0] > 0
    hidden = torch.stack(rows)[:, known, 0] == 0
    assert float(hidden.float().mean()) == pytest.approx(0.25, abs=0.03)


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


def _trained(config: SurvivalConfig) -> Tensor:
    """Logits after a few steps, from the same draws."""
    torch.manual_seed(0)
    network = SurvivalNetwork(config, SPEC, TERMS)
    torch.manual_seed(1)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05)
    for _ in range(3):
        optimiser.zero_grad()
        (network.loss(INPUTS, TARGETS) / 64).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return torch.cat(network.eval()(INPUTS), 1).detach()


@pytest.mark.parametrize(
    "change",
    [
        {"hidden": (16,)},
        {"width": 5},
        {"word_width": 5},
        {"vector_width": 5},
        {"scale": 0.3},
        {"dropout": 0.5},
        {"modality_dropout": 0.5},
        {"value_dropout": 0.5},
        {"short_weight": 0.9},
    ],
)
def test_every_setting_changes_what_is_learned(change: dict[str, object]) -> None:
    # (The bins of numbers are the spec's.)
    assert not torch.equal(_trained(replace(CONFIG, **change)), _trained(CONFIG))  # type: ignore[arg-type]


def test_it_does_without_some_inputs() -> None:
    for out in (("numbers",), ("categories", "words"), ("numbers", "categories", "words")):
        spec = InputSpec.fit(TABLE, VECTORS, min_count=1, leave_out=out)
        inputs: SpellInputs = spec.encode(TABLE, VECTORS)
        short, _ = SurvivalNetwork(CONFIG, spec, TERMS)(inputs)
        assert short.shape == (64, 3, 1)
    nothing = InputSpec.fit(TABLE, leave_out=("numbers", "categories", "words"))
    with pytest.raises(ConfigError, match="nothing is left"):
        SurvivalNetwork(CONFIG, nothing, TERMS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"hidden": ()},
        {"hidden": (0,)},
        {"width": 0},
        {"number_bins": -1},
        {"scale": 0.0},
        {"dropout": 1.0},
        {"modality_dropout": -0.1},
        {"short_weight": 1.0},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        SurvivalConfig(**wrong)  # type: ignore[arg-type]
