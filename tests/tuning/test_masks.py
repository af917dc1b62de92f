"""BitFit against its formula."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from adwright.core.errors import ConfigError
from adwright.tuning.additive.adapters import SSF
from adwright.tuning.methods import Method, apply, load_tuned
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.selective import (
    LTSFT,
    Biased,
    BitFit,
    DiffLinear,
    DiffPruning,
    FishMask,
    PaFi,
    SparseLinear,
    calibration_losses,
    plant_highest,
    prune,
    with_bias,
)
from adwright.tuning.tuned import Tuned
from tests.support.lm.families import tiny_of
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import (
    TOKENS,
    base_logits,
    logits_of,
    loss_of,
    losses,
    shake,
    tiny_llama,
    train,
)


def test_a_bias_of_the_base_is_moved() -> None:
    base = nn.Linear(3, 2).requires_grad_(False)
    module = Biased(base)
    module.shift.data += 1
    x = torch.randn(4, 3)
    assert torch.allclose(module(x), base(x) + 1, atol=1e-6)
    before = module(x)
    assert torch.allclose(module.merged()(x), before, atol=1e-6)


def test_factor_and_shift_go_into_a_map() -> None:
    base = nn.Linear(3, 2).requires_grad_(False)
    x, factor, shift = torch.randn(4, 3), torch.tensor([2.0, 3.0]), torch.tensor([1.0, -1.0])
    wanted = base(x) * factor + shift
    assert torch.allclose(with_bias(base, factor, shift)(x), wanted, atol=1e-6)


@pytest.mark.parametrize(
    "method", [BitFit(), SSF(), BitFit(targets=("q_proj", "down_proj"))], ids=["all", "ssf", "some"]
)
def test_a_merged_model_is_loaded_with_its_biases(method: Method, tmp_path: Path) -> None:
    tuned = apply(tiny_llama(), method)
    shake(tuned, size=0.3)
    wanted = logits_of(tuned)
    merged: Any = tuned.merge()
    assert (merged.config.attention_bias, merged.config.mlp_bias) == (True, True)
    merged.save_pretrained(tmp_path)
    again: Any = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(again(TOKENS).logits, wanted, rtol=1e-4, atol=1e-5)


def test_a_config_that_foresees_no_biases_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    tuned = apply(tiny_of("qwen3"), BitFit(targets=("up_proj",)))
    with caplog.at_level("WARNING", "adwright"):
        tuned.merge()
    assert "has no setting mlp_bias" in caplog.text


def clamp(x: float) -> float:
    return min(1.0, max(0.0, x))


@pytest.mark.parametrize("structured", [False, True])
def test_is_the_formula_in_use(structured: bool) -> None:
    method = DiffPruning(structured=structured, start=0.0, targets=("q_proj",))
    tuned = apply(tiny_llama(), method)
    shake(tuned, size=2.0)
    modules = {place.layer: place.linear for place in tuned.places(method.targets)}

    def gate(a: Tensor) -> Tensor:
        values = [clamp(1.2 / (1 + math.exp(-each)) - 0.1) for each in a.flatten().tolist()]
        return torch.tensor(values).view_as(a)

    def linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
        if target != "q_proj":
            return x @ weight.T
        own = modules[layer]
        assert isinstance(own, DiffLinear)
        z = gate(own.gate) * (gate(own.whole) if own.whole is not None else 1)
        return x @ (weight + z * own.update).T

    assert torch.allclose(logits_of(tuned), literal_logits(linear=linear), atol=1e-4)


def test_the_penalty_is_the_expected_share_of_open_gates() -> None:
    method = DiffPruning(penalty=3.0, start=0.5)
    tuned = apply(tiny_llama(), method)
    chance = 1 / (1 + math.exp(-(0.5 - 2 / 3 * math.log(0.1 / 1.1))))
    assert tuned.loss_extra().item() == pytest.approx(3.0 * chance, rel=1e-4)
    torch.manual_seed(0)
    tuned.train()
    module = tuned.places(("up_proj",))[0].linear
    module.update.data.fill_(1.0)
    drawn = [(module.difference() > 0).float().mean().item() for _ in range(50)]
    assert sum(drawn) / 50 == pytest.approx(chance, abs=0.02)


@pytest.mark.parametrize("weights", [64, 100_000_000])
@pytest.mark.parametrize("structured", [False, True])
def test_the_penalty_shuts_gates_of_small_and_large_models(weights: int, structured: bool) -> None:
    method = DiffPruning(structured=structured)
    rate = method.default_rate
    cost = method.penalty / weights
    layer = DiffLinear(torch.nn.Linear(8, 8), method.start, cost, structured=structured)
    layer.base.requires_grad_(False)
    layer.update.data.fill_(1.0)
    groups = [
        {"params": [value], "lr": rate * method.rate(f"layers.0.gate_proj.{name}")}
        for name, value in layer.named_parameters()
        if value.requires_grad
    ]
    assert [round(group["lr"], 4) for group in groups] == [0.0005, *[0.1] * (len(groups) - 1)]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    for _ in range(400):
        layer.penalty().backward()
        optimizer.step()
        optimizer.zero_grad()
    layer.eval()
    assert (layer.difference() == 0).float().mean() > 0.9


def test_gates_have_a_rate_of_their_own() -> None:
    tuned = apply(tiny_llama(), DiffPruning(structured=True, gate_rate_ratio=3.0))
    by_rate = {group["lr"]: {id(each) for each in group["params"]} for group in tuned.groups(1e-3)}
    assert set(by_rate) == {1e-3, 3e-3}
    for place in tuned.places(tuned.method.targets):
        assert id(place.linear.update) in by_rate[1e-3]
        assert {id(place.linear.gate), id(place.linear.whole)} <= by_rate[3e-3]


def test_pruned_keeps_the_largest_differences_and_trains_on(tmp_path: Path) -> None:
    tuned = apply(tiny_llama(), DiffPruning(fraction=0.02, targets=("v_proj", "o_proj")))
    train(tuned, steps=6)
    tuned.eval()
    places = tuned.places(("v_proj", "o_proj"))
    dense = [place.linear.difference().detach() for place in places]
    prune(tuned)
    k = tuned.method.count(tuned.sizes)
    assert tuned.count() == k
    least = torch.cat([each.abs().flatten() for each in dense]).sort().values[-k]
    for place, each in zip(places, dense, strict=True):
        got = torch.zeros_like(each).flatten()
        got[place.linear.index] = place.linear.values.detach()
        assert torch.equal(got.view_as(each), torch.where(each.abs() >= least, each, 0.0))
    before = loss_of(tuned).item()
    train(tuned, steps=6)
    assert loss_of(tuned).item() < before
    tuned.save(tmp_path / "out")
    assert torch.equal(logits_of(load_tuned(tiny_llama(), tmp_path / "out")), logits_of(tuned))


def test_what_follows_the_training_is_pruning_once() -> None:
    tuned = apply(tiny_llama(), DiffPruning(fraction=0.02, targets=("v_proj",)))
    train(tuned, steps=2)
    assert tuned.method.then(tuned)
    assert tuned.method == DiffPruning(fraction=0.02, targets=("v_proj",), pruned=True)
    kept = tuned.count()
    assert kept == tuned.method.count(tuned.sizes)
    assert not tuned.method.then(tuned)
    assert tuned.count() == kept


def test_only_a_trained_diff_vector_is_pruned() -> None:
    with pytest.raises(ConfigError, match="unpruned diff vector"):
        prune(apply(tiny_llama(), LoRA()))
    with pytest.raises(ConfigError, match="only a trained"):
        apply(tiny_llama(), DiffPruning(pruned=True))


@pytest.mark.parametrize("criterion", ["fisher", "gradient"])
def test_chooses_what_the_formula_chooses(criterion: Literal["fisher", "gradient"]) -> None:
    method = FishMask(0.05, ("v_proj", "down_proj"), samples=3, criterion=criterion)
    tuned = apply(tiny_llama(), method, losses=losses)
    model = tiny_llama()
    weights = [
        weight
        for layer in model.model.layers
        for weight in (layer.self_attn.v_proj.weight, layer.mlp.down_proj.weight)
    ]
    scores = [torch.zeros_like(weight) for weight in weights]
    for text in TOKENS[:3]:
        loss = model(text[None], labels=text[None]).loss
        for at, gradient in enumerate(torch.autograd.grad(loss, weights)):
            scores[at] += (gradient**2 if criterion == "fisher" else gradient) / 3
    scores = [score if criterion == "fisher" else score**2 for score in scores]
    flat = torch.cat([score.flatten() for score in scores])
    least = flat.sort(descending=True).values[method.count(tuned.sizes) - 1]
    for place, score in zip(tuned.places(method.targets), scores, strict=True):
        chosen = (score.flatten() >= least).nonzero()[:, 0]
        assert torch.equal(place.linear.index, chosen)


def test_fewer_losses_than_samples_are_all_taken_once() -> None:
    def three(tuned: Tuned) -> Iterator[Tensor]:
        return (loss_of(tuned, text[None]) for text in TOKENS[:3])

    many, few = (
        apply(tiny_llama(), FishMask(0.02, samples=samples), losses=three) for samples in (128, 3)
    )
    for one, other in zip(many.places(("q_proj",)), few.places(("q_proj",)), strict=True):
        assert torch.equal(one.linear.index, other.linear.index)
    with pytest.raises(ConfigError, match="no calibration losses"):
        apply(tiny_llama(), FishMask(), losses=lambda _: iter(()))


def chosen_by(tuned: Tuned, method: LTSFT) -> set[tuple[int, int]]:
    """Map and position of each weight that is trained."""
    places = tuned.places(method.targets)
    return {(at, i) for at, place in enumerate(places) for i in place.linear.index.tolist()}


def test_chooses_what_the_formula_chooses_lt_sft() -> None:
    method = LTSFT(fraction=0.02, steps=2, learning_rate=1e-3, targets=("o_proj",))
    tuned = apply(tiny_llama(), method, losses=losses)
    model = tiny_llama().requires_grad_(False)
    weights = [layer.self_attn.o_proj.weight.requires_grad_(True) for layer in model.model.layers]
    before = [weight.detach().clone() for weight in weights]
    optimizer = torch.optim.Adam(weights, lr=1e-3)
    for text in TOKENS[:2]:
        optimizer.zero_grad()
        model(text[None], labels=text[None]).loss.backward()
        optimizer.step()
    moved = [(now - then).abs() for now, then in zip(weights, before, strict=True)]
    flat = torch.cat([each.flatten() for each in moved])
    least = flat.sort(descending=True).values[method.count(tuned.sizes) - 1]
    chosen = {
        (at, i)
        for at, each in enumerate(moved)
        for i in (each.flatten() >= least).nonzero()[:, 0].tolist()
    }
    # Adam's first steps move many weights by nearly the same: ties may fall either way.
    found = chosen_by(tuned, method)
    assert len(found & chosen) >= 0.9 * len(found)
    assert torch.allclose(logits_of(tuned), base_logits(), atol=1e-6)


def test_a_bfloat16_base_chooses_as_a_float32_one() -> None:
    method = LTSFT(fraction=0.1, steps=40, targets=("v_proj", "down_proj"))
    rounded = tiny_llama().to(torch.bfloat16)
    narrow = apply(rounded, method, losses=losses)
    wide = apply(tiny_llama().to(torch.bfloat16).float(), method, losses=losses)
    one, other = chosen_by(narrow, method), chosen_by(wide, method)
    # Gradients are rounded; steps that were would leave hardly more than chance in common.
    assert len(one & other) >= 0.9 * len(one)
    original = tiny_llama().to(torch.bfloat16)
    for target in method.targets:
        for layer, place in enumerate(narrow.places((target,))):
            block = original.model.layers[layer]
            name = "self_attn" if target == "v_proj" else "mlp"
            assert torch.equal(
                place.linear.base.weight, getattr(getattr(block, name), target).weight
            )


def test_goes_through_the_losses_until_its_steps_are_taken() -> None:
    begun: list[int] = []
    taken: list[int] = []

    def three(tuned: Tuned) -> Iterator[Tensor]:
        begun.append(1)
        for text in TOKENS[:3]:
            taken.append(1)
            yield loss_of(tuned, text[None])

    method = LTSFT(fraction=0.02, steps=7, learning_rate=1e-3)
    tuned = apply(tiny_llama(), method, losses=three)
    assert (len(begun), len(taken)) == (3, 7)

    def seven(tuned: Tuned) -> Iterator[Tensor]:
        return (loss_of(tuned, TOKENS[step % 3][None]) for step in range(7))

    once = apply(tiny_llama(), method, losses=seven)
    assert chosen_by(once, method) == chosen_by(tuned, method)


def test_without_losses_there_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no calibration losses"):
        apply(tiny_llama(), LTSFT(), losses=lambda _: iter(()))


def test_chooses_what_the_formula_chooses_pafi() -> None:
    method = PaFi(fraction=0.1)
    tuned = apply(tiny_llama(), method)
    places = tuned.places(method.targets)
    sizes = torch.cat([place.linear.base.weight.abs().flatten() for place in places])
    bound = sizes.sort().values[method.count(tuned.sizes) - 1]
    for place in places:
        small = (place.linear.base.weight.abs().flatten() <= bound).nonzero()[:, 0]
        assert torch.equal(place.linear.index, small)


def test_is_the_formula_and_so_are_its_gradients() -> None:
    torch.manual_seed(0)
    base = nn.Linear(5, 4).requires_grad_(False)
    module = SparseLinear(base, torch.tensor([0, 7, 19]))
    module.values.data.normal_()
    x = torch.randn(3, 2, 5, requires_grad=True)
    update = torch.zeros(4, 5)
    for position, value in zip((0, 7, 19), module.values, strict=True):
        update[position // 5, position % 5] = value
    plain = x @ (base.weight + update).T + base.bias
    assert torch.allclose(module(x), plain, atol=1e-6)
    above = torch.randn(3, 2, 4)
    got = torch.autograd.grad(module(x), [x, module.values], above)
    wanted = torch.autograd.grad(plain, [x, module.values], above)
    for one, other in zip(got, wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_the_highest_of_all_maps_together_are_planted() -> None:
    tuned = apply(tiny_llama(), PaFi(fraction=0.01))
    model = tiny_llama()
    places = [place for place in tuned.places(("q_proj",))]
    for place, layer in zip(places, model.model.layers, strict=True):
        place.put(layer.self_attn.q_proj)
    scores = [torch.zeros(32, 32), torch.zeros(32, 32)]
    scores[0][1, 2], scores[1][3, 4], scores[1][0, 0] = 5.0, 7.0, 6.0
    plant_highest(places, scores, 3)
    assert places[0].linear.index.tolist() == [34]
    assert places[1].linear.index.tolist() == [0, 100]


def test_a_state_of_the_same_length_is_filled_in_place() -> None:
    module = SparseLinear(nn.Linear(3, 4), torch.tensor([2, 5]))
    values = module.values
    module.resize({"index": torch.tensor([0, 1]), "values": torch.ones(2)})
    assert module.values is values
    module.resize({"index": torch.tensor([0, 1, 4]), "values": torch.ones(3)})
    assert (len(module.index), len(module.values)) == (3, 3)


def test_calibration_goes_through_the_losses() -> None:
    tuned = apply(tiny_llama(), PaFi())
    tuned.losses = lambda _: (torch.tensor(each) for each in range(3))
    assert [int(loss) for loss in calibration_losses(tuned, 2)] == [0, 1]
    assert [int(loss) for loss in calibration_losses(tuned, 5)] == [0, 1, 2]
    assert [int(loss) for loss in calibration_losses(tuned, 5, again=True)] == [0, 1, 2, 0, 1]
    assert [int(loss) for loss in calibration_losses(tuned, 3, again=True)] == [0, 1, 2]
    tuned.losses = lambda _: iter(())
    for again in (False, True):
        with pytest.raises(ConfigError, match="no calibration losses"):
            list(calibration_losses(tuned, 2, again=again))
    # A stream that cannot be read twice ends with an error, not in a loop.
    spent = iter([torch.zeros(())])
    tuned.losses = lambda _: spent
    with pytest.raises(ConfigError, match="no calibration losses"):
        list(calibration_losses(tuned, 2, again=True))
