"""LoRA against its formula, and its own backward pass against autograd's."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.errors import ArtifactError, ConfigError
from adwright.lm.torch_engine.network import Network
from adwright.tuning.efficient import LoRAFA
from adwright.tuning.methods import apply, load_tuned, method_of
from adwright.tuning.modules import Inputs
from adwright.tuning.reparameterised.factors import HubLinear, LoRAHub, search_weights
from adwright.tuning.reparameterised.lora import (
    ActivatedLinear,
    ActivatedLoRA,
    DoRA,
    DoRALinear,
    DyLoRA,
    GatedLinear,
    Invoked,
    LoRA,
    LoRALinear,
    MixedLinear,
    MoSLoRA,
    NestedLinear,
    RankSchedule,
    SoRA,
    alive,
    cut,
    invoked_from,
)
from adwright.tuning.tuned import Tuned, read_tuned
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import (
    TOKENS,
    attached,
    base_logits,
    logits_of,
    loss_of,
    saved,
    shake,
    tiny_llama,
    train,
)


def scaled(weight: Tensor, own: Any) -> Tensor:
    """DoRA: each row of what is moved has the length that was tuned."""
    moved = weight + 2.0 * own.b @ own.a
    rows = [
        m * row / row.square().sum().sqrt() for m, row in zip(own.magnitude, moved, strict=True)
    ]
    return torch.stack(rows)


def nested(weight: Tensor, own: Any, rank: int) -> Tensor:
    update = sum(torch.outer(own.b[:, k], own.a[k]) for k in range(rank))
    return weight + 6.0 / rank * update


#: Of each method the weight that a linear map has, by its numbers.
FORMULAS: dict[str, tuple[Any, Callable[[Tensor, Any], Tensor]]] = {
    "lora": (LoRA(rank=3, alpha=5.0), lambda weight, own: weight + 5.0 / 3 * own.b @ own.a),
    "stabilised": (
        LoRA(rank=3, alpha=5.0, rank_stabilised=True),
        lambda weight, own: weight + 5.0 / math.sqrt(3) * own.b @ own.a,
    ),
    "dora": (DoRA(rank=3, alpha=6.0), scaled),
    "dylora": (DyLoRA(rank=4, serve=0, alpha=6.0), lambda weight, own: nested(weight, own, 4)),
    "dylora cut": (DyLoRA(rank=4, serve=2, alpha=6.0), lambda weight, own: nested(weight, own, 2)),
    "mos": (MoSLoRA(rank=3, alpha=6.0), lambda w, own: w + 2.0 * own.b @ own.mixer @ own.a),
    "sora": (SoRA(rank=4, alpha=6.0), lambda w, own: w + 1.5 * own.b @ own.gate.diag() @ own.a),
    "fa": (LoRAFA(rank=3, alpha=6.0), lambda weight, own: weight + 2.0 * own.b @ own.a),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_is_the_formula(name: str) -> None:
    method, formula = FORMULAS[name]
    tuned = apply(tiny_llama(), method)
    shake(tuned)
    modules = {(p.layer, p.target): p.linear for p in tuned.places(method.targets)}

    def linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
        return x @ formula(weight, modules[layer, target]).T

    assert torch.allclose(logits_of(tuned), literal_logits(linear=linear), atol=1e-5)
    frozen = name == "fa"
    assert frozen == all(each.endswith(".b") for each, _ in tuned.named_parameters())


def test_a_mixer_begins_as_a_rotation() -> None:
    first = apply(tiny_llama(), MoSLoRA(rank=3)).places(("q_proj",))[0].linear
    assert isinstance(first, MixedLinear)
    assert torch.allclose(first.mixer @ first.mixer.T, torch.eye(3), atol=1e-5)


@pytest.mark.parametrize("bias", [False, True])
def test_gradients_are_those_of_autograd(bias: bool) -> None:
    torch.manual_seed(0)
    base = nn.Linear(5, 4, bias=bias).requires_grad_(False)
    module = LoRALinear(base, nn.Parameter(torch.randn(2, 5)), nn.Parameter(torch.randn(4, 2)), 0.7)
    x = torch.randn(3, 6, 5, requires_grad=True)
    above = torch.randn(3, 6, 4)
    got = torch.autograd.grad(module(x), [x, module.a, module.b], above)
    low = functional.linear(functional.linear(x, module.a), module.b)
    wanted = torch.autograd.grad(base(x) + 0.7 * low, [x, module.a, module.b], above)
    for one, other in zip(got, wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_an_input_without_gradient_gets_none() -> None:
    base = nn.Linear(5, 4).requires_grad_(False)
    module = LoRALinear(base, nn.Parameter(torch.ones(2, 5)), nn.Parameter(torch.ones(4, 2)), 1.0)
    module(torch.randn(3, 5)).sum().backward()
    assert base.weight.grad is None
    assert module.a.grad is not None


def test_dropout_acts_in_training_only() -> None:
    method = LoRA(rank=2, dropout=0.5)
    tuned = apply(tiny_llama(), method)
    shake(tuned)
    module = tuned.places(("q_proj",))[0].linear
    x = torch.randn(2, 32)
    tuned.train()
    assert not torch.allclose(module(x), module(x))
    tuned.eval()
    assert torch.equal(module(x), module(x))


def test_under_autocast_the_step_is_near_the_plain_one() -> None:
    tuned = apply(tiny_llama(), LoRA(rank=2))
    shake(tuned)
    module = tuned.places(("q_proj",))[0].linear
    x = torch.randn(7, 32)
    plain = torch.autograd.grad(module(x).sum(), module.a)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = module(x)
    assert y.dtype == torch.bfloat16
    mixed = torch.autograd.grad(y.float().sum(), module.a)[0]
    assert torch.allclose(mixed, plain, atol=0.05, rtol=0.05)


def test_the_norm_is_a_constant_for_the_gradient_and_a_bias_is_not_scaled() -> None:
    torch.manual_seed(0)
    base = nn.Linear(5, 4).requires_grad_(False)
    a, b = nn.Parameter(torch.randn(2, 5)), nn.Parameter(torch.randn(4, 2))
    module = DoRALinear(base, a, b, 0.5)
    x = torch.randn(3, 5)
    moved = base.weight + 0.5 * b @ a
    norm = moved.detach().norm(dim=1)
    wanted = x @ (moved * (module.magnitude / norm)[:, None]).T + base.bias
    assert torch.allclose(module(x), wanted, atol=1e-5)
    for parameter in (a, b, module.magnitude):
        (got,) = torch.autograd.grad(module(x).square().sum(), parameter)
        (other,) = torch.autograd.grad(wanted.square().sum(), parameter, retain_graph=True)
        assert torch.allclose(got, other, atol=1e-4)
    before = module(x)
    assert torch.allclose(module.merged()(x), before, atol=1e-5)


def test_every_rank_is_drawn_and_the_served_one_comes_back() -> None:
    tuned = apply(tiny_llama(), DyLoRA(rank=4, serve=3))
    linear = tuned.places(("q_proj",))[1].linear
    assert isinstance(linear, NestedLinear)
    assert isinstance(tuned.schedule, RankSchedule)
    drawn = []
    for step in range(40):
        tuned.before_step(step, 40)
        drawn.append(linear.used)
        tuned.after_step(step, 40)
        assert linear.used == 3
    assert set(drawn) == {1, 2, 3, 4}


def test_no_more_is_served_than_trained() -> None:
    with pytest.raises(ConfigError, match="rank 5 is served and 4 are trained"):
        DyLoRA(rank=4, serve=5)


def first_of(tuned: Tuned) -> GatedLinear:
    module = tuned.places(("q_proj",))[0].linear
    assert isinstance(module, GatedLinear)
    return module


def test_the_proximal_step_is_a_soft_threshold() -> None:
    tuned = apply(tiny_llama(), SoRA(rank=4, threshold=0.3))
    module = first_of(tuned)
    module.gate.data.copy_(torch.tensor([1.0, -1.0, 0.2, -0.3]))
    tuned.after_step(0, 1)
    assert torch.allclose(module.gate, torch.tensor([0.7, -0.7, 0.0, 0.0]))
    assert alive(tuned)["model.model.layers.0.self_attn.q_proj"] == 2


@pytest.mark.parametrize("steps", [1, 7, 300])
def test_thresholds_fall_as_a_cosine_and_add_up(steps: int) -> None:
    module = first_of(apply(tiny_llama(), SoRA(rank=4, threshold=0.5)))
    at, thresholds = 3.0, []
    for step in range(steps):
        module.gate.data.fill_(3.0)
        module.before_step(step, steps)
        module.after_step(step, steps)
        thresholds.append(at - module.gate[0].item())
    assert sum(thresholds) == pytest.approx(0.5, abs=1e-3)
    for step, found in enumerate(thresholds):
        share = (1 + math.cos(math.pi * step / steps)) / 2
        assert found == pytest.approx(thresholds[0] * share, abs=1e-5)


def test_what_is_shut_stays_so() -> None:
    module = first_of(apply(tiny_llama(), SoRA(rank=4, threshold=0.1)))
    module.gate.data.copy_(torch.tensor([0.0, 1.0, 1.0, 1.0]))
    module.before_step(5, 10)
    module.gate.data.fill_(2.0)
    module.after_step(5, 10)
    assert (module.gate != 0).tolist() == [False, True, True, True]


@pytest.mark.parametrize("rate", [1e-3, 5e-3])
def test_defaults_shut_a_part_and_the_cut_leaves_the_function(rate: float, tmp_path: Path) -> None:
    method = SoRA()
    tuned = apply(tiny_llama(), method)
    start = loss_of(tuned).item()
    drawn = first_of(tuned).gate.detach().abs() >= method.threshold
    train(tuned, steps=300, rate=rate)
    living = alive(tuned)
    share = sum(living.values()) / (16 * len(living))
    assert 0.3 < share < 0.9
    assert (first_of(tuned).gate != 0).tolist() != drawn.tolist()
    before = logits_of(tuned)
    assert loss_of(tuned).item() < 0.5 * start
    assert not tuned.method.then(tuned)
    assert torch.allclose(logits_of(tuned), before, atol=1e-5)
    assert tuned.count() == tuned.method.count(tuned.sizes)
    assert alive(tuned) == living
    assert first_of(tuned).a.shape == (living["model.model.layers.0.self_attn.q_proj"], 32)
    tuned.save(tmp_path / "part")
    again = load_tuned(tiny_llama(), tmp_path / "part")
    assert again.method == tuned.method
    assert torch.equal(logits_of(again), logits_of(tuned))


def test_a_map_that_is_shut_as_a_whole_is_cut_to_nothing(tmp_path: Path) -> None:
    tuned = apply(tiny_llama(), SoRA(rank=3, threshold=0.0))
    shake(tuned)
    first_of(tuned).gate.data.zero_()
    before = logits_of(tuned)
    cut(tuned)
    assert first_of(tuned).b.shape == (32, 0)
    tuned.save(tmp_path / "part")
    again = load_tuned(tiny_llama(), tmp_path / "part")
    train(again, steps=2)
    assert torch.allclose(logits_of(tuned), before, atol=1e-5)
    with torch.no_grad():
        assert torch.allclose(tuned.merge()(TOKENS).logits, before, atol=1e-5)


def test_what_cannot_be_cut_and_ranks_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="directions of a SoRA"):
        cut(apply(tiny_llama(), LoRA()))
    with pytest.raises(ConfigError, match="1 ranks are given for 14 maps"):
        apply(tiny_llama(), SoRA(ranks=(3,)))
    with pytest.raises(ConfigError, match=r"lie in 0 \.\.\. 4"):
        SoRA(rank=4, ranks=(-1,))
    method = SoRA(rank=4, ranks=(2,) * 14)
    tuned = apply(tiny_llama(), method)
    tuned.method = replace(method, ranks=(2,) * 13 + (1,))
    tuned.save(tmp_path / "bad")
    with pytest.raises(ArtifactError, match="the model wants"):
        load_tuned(tiny_llama(), tmp_path / "bad")


def test_is_the_formula_lora_hub(tmp_path: Path) -> None:
    method = LoRAHub(rank=2)
    tuned = attached(method, tmp_path)
    (weights,) = tuned.parameters()
    weights.data.copy_(torch.tensor([0.8, -0.5]))
    states = [read_tuned(tmp_path / str(at)).tensors for at in range(2)]
    modules = {(p.layer, p.target): p for p in tuned.places(method.targets)}

    def linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
        place = modules[layer, target]
        assert isinstance(place.linear, HubLinear)
        a, b = (
            0.8 * states[0][f"model.{place.name}.{part}"]
            - 0.5 * states[1][f"model.{place.name}.{part}"]
            for part in ("a", "b")
        )
        return x @ (weight + 8.0 * b @ a).T

    assert torch.allclose(logits_of(tuned), literal_logits(linear=linear), atol=1e-5)


def test_the_search_finds_the_least(tmp_path: Path) -> None:
    tuned = attached(LoRAHub(rank=2, penalty=0.0), tmp_path)
    (weights,) = tuned.parameters()
    goal = torch.tensor([0.7, -1.1])
    found = search_weights(tuned, lambda: (weights - goal).square().sum(), rounds=60)
    assert found < 1e-2
    assert torch.allclose(weights, goal, atol=0.1)


def test_the_bound_and_the_penalty_hold(tmp_path: Path) -> None:
    tuned = attached(LoRAHub(rank=2, bound=0.5), tmp_path)
    (weights,) = tuned.parameters()
    search_weights(tuned, lambda: -10 * weights.sum(), rounds=20)
    assert torch.allclose(weights, torch.full((2,), 0.5))
    heavy = attached(LoRAHub(rank=2, penalty=100.0), tmp_path / "heavy")
    search_weights(heavy, lambda: loss_of(heavy), rounds=3)
    assert next(iter(heavy.parameters())).tolist() == [0, 0]


def test_sources_have_to_fit(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="2 sources are needed"):
        apply(tiny_llama(), LoRAHub())
    wrong = saved(LoRA(rank=3), tmp_path / "x", 0)
    with pytest.raises(ConfigError, match="not a LoRA of this base"):
        apply(tiny_llama(), LoRAHub(adapters=1, rank=2), sources=[wrong])
    tuned = apply(tiny_llama(), LoRA())
    with pytest.raises(ConfigError, match="not tuned by LoRAHub"):
        search_weights(tuned, lambda: loss_of(tuned))


INVOCATION = (5, 6)
#: The last invocation begins at: 4 (an earlier one counts for nothing), 0, nowhere (its end is
#: missing), 6 (the end of the text).
TEXTS = torch.tensor(
    [
        [9, 5, 6, 8, 5, 6, 7, 3],
        [5, 6, 2, 2, 3, 5, 4, 1],
        [6, 5, 7, 6, 8, 9, 1, 5],
        [1, 2, 5, 5, 7, 6, 5, 6],
    ]
)
STARTS = (4, 0, None, 6)


def shaken(invocation: tuple[int, ...] = INVOCATION, **settings: Any) -> Tuned:
    tuned = apply(tiny_llama(), ActivatedLoRA(rank=3, alpha=5.0, invocation=invocation, **settings))
    shake(tuned)
    return tuned


def literal_start(ids: Sequence[int]) -> int | None:
    found = None
    for at in range(len(ids) - 1):
        if ids[at] == 5 and ids[at + 1] == 6:
            found = at
    return found


def test_activated_is_the_formula() -> None:
    tuned = shaken()
    modules = {(p.layer, p.target): p.linear for p in tuned.places(tuned.method.targets)}

    def linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
        module = modules[layer, target]
        y = torch.empty(*x.shape[:-1], len(weight))
        for text in range(len(x)):
            start = literal_start(TEXTS[text].tolist())
            for t in range(x.shape[1]):
                y[text, t] = weight @ x[text, t]
                if start is not None and t >= start:
                    y[text, t] += 5.0 / 3 * (module.b @ (module.a @ x[text, t]))
        return y

    assert [literal_start(text.tolist()) for text in TEXTS] == list(STARTS)
    wanted = literal_logits(linear=linear, tokens=TEXTS)
    assert torch.allclose(logits_of(tuned, TEXTS), wanted, atol=1e-5)


def test_is_the_base_before_it_and_lora_over_keys_of_the_base_after_it() -> None:
    tuned = shaken()
    found, base = logits_of(tuned, TEXTS), base_logits(TEXTS)
    lora = apply(tiny_llama(), LoRA(rank=3, alpha=5.0))
    lora.load_state(tuned.state())
    over = Network(lora.causal)
    for text, start in enumerate(STARTS):
        if start is None:
            assert torch.equal(found[text], base[text])
            continue
        assert torch.equal(found[text, :start], base[text, :start])
        assert not torch.allclose(found[text, start:], base[text, start:], atol=1e-2)
        # LoRA itself, over what the base made of the tokens before.
        cache, places = Network(tiny_llama()).new_cache(), torch.arange(8)[None]
        with torch.inference_mode():
            for network, part in ((Network(tiny_llama()), slice(start)), (over, slice(start, 8))):
                if part != slice(0):
                    ids = TEXTS[text : text + 1, part]
                    last = network.hidden(ids, positions=places[:, part], cache=cache)
            rest = over.logits(last[0])
        assert torch.allclose(found[text, start:], rest, atol=1e-5)


def test_packed_and_padded_texts_are_each_as_alone() -> None:
    tuned = shaken().eval()
    invoked = tuned.outer
    assert isinstance(invoked, Invoked)
    wanted = [
        [start is not None and t >= start for t in range(8)] for text, start in enumerate(STARTS)
    ]
    packed = Inputs(TEXTS.view(1, -1), None, torch.arange(8).repeat(4)[None])
    assert invoked.active(packed)[0].view(4, 8).tolist() == wanted
    mask = torch.ones(4, 10, dtype=torch.long)
    mask[:, :2] = 0
    padded = torch.cat([torch.tensor([list(INVOCATION)] * 4), TEXTS], 1)
    found = invoked.active(Inputs(padded, mask, None))
    assert found[:, 2:].tolist() == wanted
    # An invocation that reaches over the end of a text is none.
    both = Inputs(torch.tensor([[5, 6, 1, 5, 6, 5]]), None, torch.tensor([[0, 1, 2, 3, 0, 1]]))
    assert invoked.active(both)[0].tolist() == [True] * 4 + [False] * 2


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")
def test_gradients_come_from_where_it_acts_alone(checkpointed: bool) -> None:
    tuned = shaken(dropout=0.1 if checkpointed else 0.0)
    if checkpointed:
        tuned.causal.gradient_checkpointing_enable({"use_reentrant": False})
    tuned.train()
    for text, start in enumerate(STARTS):
        tuned.zero_grad()
        tuned(TEXTS[text : text + 1]).square().sum().backward()
        grads = [parameter.grad for parameter in tuned.parameters()]
        assert all(grad is not None for grad in grads)
        moved = any(bool((grad != 0).any()) for grad in grads if grad is not None)
        assert moved == (start is not None)


def test_a_text_without_it_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    tuned = shaken()
    with caplog.at_level(logging.WARNING, "adwright"):
        logits_of(tuned, TEXTS[:2])
        assert not caplog.records
        for _ in range(2):
            logits_of(tuned, TEXTS)
    assert [record.getMessage() for record in caplog.records] == [
        "1 of 4 texts lack the invocation [5, 6] of the adapter: the base answers them"
    ]


def test_cannot_be_merged_and_by_itself_is_the_base() -> None:
    tuned = shaken()
    with pytest.raises(ConfigError, match="cannot be folded"):
        tuned.merge()
    module = tuned.places(("q_proj",))[0].linear
    assert isinstance(module, ActivatedLinear)
    with pytest.raises(ConfigError, match="cannot be folded"):
        module.weight_update()
    with torch.no_grad():
        assert torch.equal(tuned.causal(TEXTS).logits, base_logits(TEXTS))


def test_the_invocation_may_be_a_text_or_what_the_chat_template_says(tmp_path: Path) -> None:
    def encode(text: str) -> list[int]:
        return [ord(letter) - ord("a") for letter in text]

    assert ActivatedLoRA(invocation="bc").in_tokens(encode).tokens == (1, 2)
    assert ActivatedLoRA().in_tokens(encode, "ed").tokens == (4, 3)
    assert ActivatedLoRA(invocation=(7,)).in_tokens(encode, "ed").tokens == (7,)
    assert LoRA().in_tokens(encode, "ed") == LoRA()
    with pytest.raises(ConfigError, match="no chat template"):
        ActivatedLoRA().in_tokens(encode)
    with pytest.raises(ConfigError, match="no tokens yet"):
        apply(tiny_llama(), ActivatedLoRA(invocation="bc"))
    with pytest.raises(ConfigError, match="tokens from 0 to 63"):
        apply(tiny_llama(), ActivatedLoRA(invocation=(64,)))
    assert method_of({"kind": "alora", "invocation": [3, 4]}) == ActivatedLoRA(invocation=(3, 4))
    tuned = shaken()
    tuned.save(tmp_path / "part")
    assert torch.equal(
        logits_of(load_tuned(tiny_llama(), tmp_path / "part"), TEXTS), logits_of(tuned, TEXTS)
    )


def test_the_place_of_the_last_one() -> None:
    for text, start in zip(TEXTS.tolist(), STARTS, strict=True):
        assert invoked_from(text, INVOCATION) == start
    assert invoked_from([5], INVOCATION) is None
    assert invoked_from([5, 6], INVOCATION) == 0
