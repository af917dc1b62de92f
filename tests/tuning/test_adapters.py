"""AdaMix: one draw in a step, the mean in use."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.tuning.additive.adapters import (
    IA3,
    SSF,
    AdaMix,
    AdapterFusion,
    FusedLinear,
    Mixture,
    ParallelAdapter,
    ParallelModule,
    Placement,
    Rescaled,
    ScaledShifted,
    SerialAdapter,
    consistency,
    reads_twice,
)
from adwright.tuning.additive.prompts import (
    DecomposedPrompt,
    DePT,
    Prefix,
    PrefixTuning,
    Prompt,
    PromptTuning,
    run_with_prompt,
)
from adwright.tuning.efficient import AdapterDrop, DropSchedule, Ladder, LadderTuning, visible
from adwright.tuning.methods import PROMPTS, Method, Wrapped, apply, load_tuned
from adwright.tuning.modules import Inputs
from adwright.tuning.packing.texts import attends_apart, pack
from adwright.tuning.tuned import read_tuned
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import (
    TOKENS,
    attached,
    logits_of,
    loss_of,
    saved,
    shake,
    tiny_llama,
)


def test_is_the_formula_in_use_and_in_a_step() -> None:
    tuned = apply(tiny_llama(), AdaMix(experts=3, size=4))
    shake(tuned)

    def sublayer(layer: int, kind: str, x: Tensor, h: Tensor) -> Tensor:
        if kind == "attention":
            return h
        own = tuned.layers()[layer].mlp.down_proj.adapter
        assert isinstance(own, Mixture)
        if own.drawn is None:
            down, c, up, e = (
                sum(part[i] for i in range(3)) / 3
                for part in (own.down, own.inner_bias, own.up, own.outer_bias)
            )
        else:
            i, j = own.drawn[0]
            down, c, up, e = own.down[i], own.inner_bias[i], own.up[j], own.outer_bias[j]
        return h + torch.clamp(h @ down.T + c, min=0) @ up.T + e

    assert torch.allclose(logits_of(tuned), literal_logits(sublayer=sublayer), atol=1e-5)
    used = logits_of(tuned)
    tuned.before_step(3, 10)
    assert torch.allclose(logits_of(tuned), literal_logits(sublayer=sublayer), atol=1e-5)
    assert not torch.allclose(logits_of(tuned), used, atol=1e-4)
    tuned.after_step(3, 10)
    assert torch.equal(logits_of(tuned), used)


def test_every_expert_is_drawn() -> None:
    tuned = apply(tiny_llama(), AdaMix(experts=3, size=4))
    mixture = tuned.layers()[0].mlp.down_proj.adapter
    pairs = set()
    for step in range(60):
        tuned.before_step(step, 60)
        pairs.update(mixture.drawn)
    assert len(pairs) == 9


def test_the_second_half_has_the_second_draw() -> None:
    tuned = apply(tiny_llama(), AdaMix(experts=3, size=4))
    shake(tuned)
    mixture = tuned.layers()[0].mlp.down_proj.adapter
    assert isinstance(mixture, Mixture)
    h = torch.randn(1, 6, tuned.sizes.width)
    step = 0
    while mixture.drawn is None or mixture.drawn[0] == mixture.drawn[1]:
        tuned.before_step(step, 10)
        step += 1
    first = mixture(h)
    mixture.drawn = mixture.drawn[::-1]
    second = mixture(h)
    mixture.drawn = mixture.drawn[::-1]
    reads_twice(tuned)
    halves = mixture(torch.cat([h, h], 1)).chunk(2, 1)
    assert torch.allclose(halves[0], first, atol=1e-6)
    assert torch.allclose(halves[1], second, atol=1e-6)
    assert not torch.allclose(first, second, atol=1e-3)
    tuned.before_step(step, 10)
    assert not mixture.both


def test_the_loop_is_told_to_read_twice_unless_the_draws_are_free() -> None:
    for agreement in (0.5, 0.0):
        tuned = apply(tiny_llama(), AdaMix(size=4, agreement=agreement))
        tuned.before_step(0, 2)
        assert tuned.method.reads_twice(tuned) == (agreement > 0)
        mixtures = [module for module in tuned.modules() if isinstance(module, Mixture)]
        assert all(mixture.both == (agreement > 0) for mixture in mixtures)


def test_the_disagreement_is_summed_over_positions_and_weighted() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(6, 9), torch.randn(6, 9)
    found = AdaMix(agreement=0.5).disagreement(first, second)
    assert torch.allclose(found, 3 * consistency(first, second))


def test_is_the_formula(tmp_path: Path) -> None:
    tuned = attached(AdapterFusion(adapters=3, size=4), tmp_path)
    shake(tuned)
    states = [read_tuned(tmp_path / str(at)).tensors for at in range(3)]

    def sublayer(layer: int, kind: str, x: Tensor, h: Tensor) -> Tensor:
        if kind == "attention":
            return h
        own = tuned.layers()[layer].mlp.down_proj
        assert isinstance(own, FusedLinear)
        outputs, scores = [], []
        for state in states:
            start = f"model.model.layers.{layer}.mlp.down_proj.adapter."
            down, up, inner_bias, outer_bias = (
                state[start + name] for name in ("down", "up", "inner_bias", "outer_bias")
            )
            z = h + torch.clamp(h @ down.T + inner_bias, min=0) @ up.T + outer_bias
            outputs.append(z @ own.value.T)
            scores.append(((h @ own.query.T) * (z @ own.key.T)).sum(-1))
        weights = torch.stack(scores).softmax(0)
        return sum(w[..., None] * out for w, out in zip(weights, outputs, strict=True))

    assert torch.allclose(logits_of(tuned), literal_logits(sublayer=sublayer), atol=1e-4)


@pytest.mark.parametrize("identity", [0.01, 0.5, 0.0])
def test_the_penalty_holds_the_values_near_the_identity(identity: float, tmp_path: Path) -> None:
    tuned = attached(AdapterFusion(size=4, identity=identity), tmp_path)
    assert tuned.loss_extra().item() == 0
    shake(tuned)
    wanted = 0.0
    for layer in tuned.layers():
        value = layer.mlp.down_proj.value.tolist()
        for row in range(32):
            for column in range(32):
                wanted += identity * (float(row == column) - value[row][column]) ** 2
    assert tuned.loss_extra().item() == pytest.approx(wanted, rel=1e-5)
    if identity:
        tuned.loss_extra().backward()
        value = tuned.layers()[0].mlp.down_proj.value
        assert torch.allclose(value.grad, 2 * identity * (value - torch.eye(32)), atol=1e-6)


def test_sources_have_to_fit(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="2 sources are needed"):
        apply(tiny_llama(), AdapterFusion())
    wrong = saved(SerialAdapter(size=4), tmp_path / "houlsby", 0)
    with pytest.raises(ConfigError, match="not a SerialAdapter"):
        apply(tiny_llama(), AdapterFusion(adapters=1, size=4), sources=[wrong])


def test_is_the_formula_ia3() -> None:
    tuned = apply(tiny_llama(), IA3())
    shake(tuned)
    layers = tuned.layers()

    def linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
        if target in ("k_proj", "v_proj"):
            return getattr(layers[layer].self_attn, target).factor * (x @ weight.T)
        if target == "down_proj":
            return (layers[layer].mlp.down_proj.factor * x) @ weight.T
        return x @ weight.T

    assert torch.allclose(logits_of(tuned), literal_logits(linear=linear), atol=1e-5)


def test_merging_keeps_a_bias() -> None:
    for side in ("in", "out"):
        module = Rescaled(nn.Linear(3, 2).requires_grad_(False), side)
        module.factor.data.uniform_(0.5, 2)
        x = torch.randn(4, 3)
        before = module(x)
        assert torch.allclose(module.merged()(x), before, atol=1e-6)


@pytest.mark.parametrize("beside", ["mlp", "attention", "both"])
def test_is_the_formula_parallel(beside: Literal["mlp", "attention", "both"]) -> None:
    tuned = apply(tiny_llama(), ParallelAdapter(size=4, beside=beside, scale=1.5))
    shake(tuned)

    def sublayer(layer: int, kind: str, x: Tensor, h: Tensor) -> Tensor:
        if beside not in (kind, "both"):
            return h
        name = "self_attn" if kind == "attention" else "mlp"
        module = getattr(tuned.layers()[layer], name).beside
        assert isinstance(module, ParallelModule)
        own = module.adapter
        inner = torch.clamp(x @ own.down.T + own.inner_bias, min=0)
        return h + 1.5 * (inner @ own.up.T + own.outer_bias)

    assert torch.allclose(logits_of(tuned), literal_logits(sublayer=sublayer), atol=1e-5)


@pytest.mark.parametrize("placement", ["houlsby", "pfeiffer"])
def test_is_the_formula_serial(placement: Placement) -> None:
    method = SerialAdapter(size=4, placement=placement)
    tuned = apply(tiny_llama(), method)
    shake(tuned, size=0.2)
    places = {"o_proj": "attention", "down_proj": "mlp"}
    adapters = {(p.layer, places[p.target]): p.linear.adapter for p in tuned.places(method.targets)}

    def sublayer(layer: int, kind: str, x: Tensor, h: Tensor) -> Tensor:
        if (layer, kind) not in adapters:
            return h
        own = adapters[layer, kind]
        inner = torch.clamp(h @ own.down.T + own.inner_bias, min=0)
        return h + inner @ own.up.T + own.outer_bias

    assert torch.allclose(logits_of(tuned), literal_logits(sublayer=sublayer), atol=1e-5)
    assert len(adapters) == (4 if placement == "houlsby" else 2)


def test_is_the_formula_ssf() -> None:
    method = SSF()
    tuned = apply(tiny_llama(), method)
    shake(tuned)
    modules = {(p.layer, p.target): p.linear for p in tuned.places(method.targets)}

    def linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
        own = modules[layer, target]
        assert isinstance(own, ScaledShifted)
        return (x @ weight.T) * own.factor + own.shift

    assert torch.allclose(logits_of(tuned), literal_logits(linear=linear), atol=1e-5)


def test_served_layers_are_left_out_and_the_rest_is_the_serial_adapter() -> None:
    kept = apply(tiny_llama(), AdapterDrop(serve=1, size=4))
    shake(kept)
    whole = apply(tiny_llama(), AdapterDrop(size=4))
    shake(whole)
    for place in whole.places(("o_proj", "down_proj")):
        if place.layer == 0:
            place.linear.adapter.up.data.zero_()
            place.linear.adapter.outer_bias.data.zero_()
    assert torch.allclose(logits_of(kept), logits_of(whole), atol=1e-6)


def test_steps_draw_and_repeat() -> None:
    tuned = apply(tiny_llama(), AdapterDrop(drop=1, size=4))
    first = tuned.places(("down_proj",))[0].linear
    assert isinstance(tuned.schedule, DropSchedule)

    def drawn() -> list[bool]:
        found = []
        for step in range(12):
            tuned.before_step(step, 12)
            found.append(first.active)
            tuned.after_step(step, 12)
            assert first.active
        return found

    once = drawn()
    assert set(once) == {False, True}
    assert drawn() == once


def drawn_layers(method: AdapterDrop, steps: int = 40) -> set[int]:
    """How many layers each step leaves out."""
    tuned = apply(tiny_llama(), method)
    found = set()
    for step in range(steps):
        tuned.before_step(step, steps)
        active = [place.linear.active for place in tuned.places(("down_proj",))]
        assert active == sorted(active)
        found.add(active.count(False))
    return found


def test_by_default_all_layers_but_one_are_left_out_at_most() -> None:
    assert drawn_layers(AdapterDrop(size=4)) == {0, 1}
    assert drawn_layers(AdapterDrop(drop=1, size=4)) == {0, 1}
    assert drawn_layers(AdapterDrop(drop=0, size=4)) == {0}


@pytest.mark.parametrize("drop", [None, 0, 1])
def test_what_was_dropped_is_stored(drop: int | None, tmp_path: Path) -> None:
    method = AdapterDrop(drop=drop, size=4)
    tuned = apply(tiny_llama(), method)
    assert tuned.count() == method.count(tuned.sizes) == AdapterDrop(size=4).count(tuned.sizes)
    tuned.save(tmp_path / "part")
    assert load_tuned(tiny_llama(), tmp_path / "part").method == method


def test_not_all_layers_can_be_left_out() -> None:
    with pytest.raises(ConfigError, match="at most 1 layers"):
        apply(tiny_llama(), AdapterDrop(drop=2))


def rms(x: Tensor, weight: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight


def block(own: Any, z: Tensor) -> Tensor:
    x = rms(z, own.norms[0])
    q, k, v = (x @ part.T for part in own.qkv.chunk(3))
    width = q.shape[-1] // own.heads
    made = torch.zeros_like(q)
    for head in range(own.heads):
        at = slice(head * width, (head + 1) * width)
        scores = q[..., at] @ k[..., at].transpose(1, 2) / math.sqrt(width)
        scores = scores.masked_fill(torch.ones_like(scores).triu(1) > 0, -torch.inf)
        made[..., at] = scores.softmax(-1) @ v[..., at]
    z = z + made @ own.o.T
    gate, up = (rms(z, own.norms[1]) @ own.gate_up.T).chunk(2, -1)
    return z + (gate * gate.sigmoid() * up) @ own.down.T


def test_is_the_formula_ladder() -> None:
    tuned = apply(tiny_llama(), LadderTuning(reduction=4))
    shake(tuned, size=0.2)
    own = tuned.outer
    assert isinstance(own, Ladder)
    with torch.no_grad():
        states = tiny_llama().model(TOKENS, output_hidden_states=True).hidden_states
        z = states[0] @ own.foot.T
        for at in range(2):
            a = torch.sigmoid(own.mu[at] / 0.1)
            z = block(own.blocks[at], a * (states[at + 1] @ own.down[at].T) + (1 - a) * z)
        wanted = states[-1] + rms(z, own.norm) @ own.up.T
        assert torch.allclose(tuned(TOKENS), wanted, atol=1e-5)


def test_nothing_of_the_backbone_is_kept_for_a_backward_pass() -> None:
    tuned = apply(tiny_llama(), LadderTuning())
    seen: list[bool] = []
    for layer in tuned.layers():
        layer.mlp.register_forward_hook(lambda module, x, y: seen.append(y.requires_grad))
    loss_of(tuned).backward()
    assert seen == [False, False]


def test_who_sees_whom() -> None:
    ids = torch.zeros(1, 4, dtype=torch.long)
    assert visible(Inputs(ids, None, None))[0, 0].int().tolist() == torch.ones(4, 4).tril().tolist()
    packed = visible(Inputs(ids, None, torch.tensor([[0, 1, 0, 1]])))[0, 0]
    assert packed[2].tolist() == [False, False, True, False]
    assert packed[3].tolist() == [False, False, True, True]
    padded = visible(Inputs(ids, torch.tensor([[0, 1, 1, 1]]), None))[0, 0]
    assert padded[2].tolist() == [False, True, True, False]
    assert padded[0].tolist() == [True, False, False, False]


def test_packed_texts_do_not_see_each_other() -> None:
    tuned = apply(tiny_llama(), LadderTuning(reduction=4))
    shake(tuned, size=0.2)
    places = torch.arange(12).repeat(2)[None]
    with torch.no_grad():
        hidden = tuned(TOKENS[:2].reshape(1, 24), position_ids=places)
        assert torch.allclose(hidden[0, 12:], tuned(TOKENS[1:2])[0], atol=1e-5)


def test_prompts_is_the_formula() -> None:
    tuned = apply(tiny_llama(), DePT(length=3, longest=16, rank=2))
    shake(tuned, size=0.3)
    own = tuned.outer
    assert isinstance(own, DecomposedPrompt)
    model = tiny_llama()
    wanted = []
    with torch.no_grad():
        for text in TOKENS:
            words = model.model.embed_tokens(text)
            moved = [word + own.a[t] @ own.b for t, word in enumerate(words)]
            whole = torch.cat([own.vectors, torch.stack(moved)])
            wanted.append(model(inputs_embeds=whole[None]).logits[0, 3:])
    assert torch.allclose(logits_of(tuned), torch.stack(wanted), atol=1e-5)


def test_rates_and_long_texts() -> None:
    tuned = apply(tiny_llama(), DePT(length=3, longest=8, rate_ratio=100.0))
    assert sorted(group["lr"] for group in tuned.groups(1e-3)) == [1e-3, 0.1]
    with pytest.raises(ValueInvalidError, match="12 tokens is longer than the 8"):
        tuned(TOKENS)


METHODS = (PrefixTuning(length=3), PrefixTuning(length=3, made_by="mlp", hidden=6))


def test_is_the_formula_prefix() -> None:
    for method in METHODS:
        tuned = apply(tiny_llama(), method)
        shake(tuned, size=0.3)

        def prefix(layer: int, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            own = tuned.layers()[layer].self_attn.prefix  # noqa: B023
            assert isinstance(own, Prefix)
            keys, values = own.maker()
            return keys, values, torch.ones(x.shape[:2])

        assert torch.allclose(logits_of(tuned), literal_logits(prefix=prefix), atol=1e-4)


def test_the_mlp_is_its_formula() -> None:
    tuned = apply(tiny_llama(), METHODS[1])
    shake(tuned)
    made = tuned.layers()[1].self_attn.prefix.maker
    inner = torch.tanh(made.table @ made.first.T + made.first_bias)
    flat = inner @ made.last.T + made.last_bias  # [L, 2 K], keys first
    keys, values = made()
    assert torch.allclose(keys[1, 2], flat[2, 8:16], atol=1e-6)
    assert torch.allclose(values[0, 1], flat[1, 16:24], atol=1e-6)
    assert made.table is tuned.layers()[0].self_attn.prefix.maker.table


def test_decoding_with_a_cache_is_decoding_without() -> None:
    tuned = apply(tiny_llama(), METHODS[0])
    shake(tuned, size=0.3)
    whole = logits_of(tuned)
    with torch.no_grad():
        first = tuned.model(TOKENS[:, :7], use_cache=True)
        cache = first["cache"] if "cache" in first else first["past_key_values"]
        name = "cache" if "cache" in first else "past_key_values"
        second = tuned.model(TOKENS[:, 7:], use_cache=True, **{name: cache})
    assert torch.allclose(torch.cat([first.logits, second.logits], 1), whole, atol=1e-5)
    tuned.model.generation_config.eos_token_id = None
    mask = torch.ones_like(TOKENS)
    made = tuned.model.generate(
        TOKENS, attention_mask=mask, max_new_tokens=4, do_sample=False, pad_token_id=0
    )
    longer = logits_of(tuned, made[:, :-1])[:, 11:].argmax(-1)
    assert torch.equal(made[:, 12:], longer)


def test_packed_texts_each_see_the_prefix() -> None:
    tuned = apply(tiny_llama(), METHODS[0])
    shake(tuned, size=0.3)
    places = torch.arange(12).repeat(2)[None]
    with torch.no_grad():
        hidden = tuned(TOKENS[:2].reshape(1, 24), position_ids=places)
        assert torch.allclose(hidden[0, 12:], tuned(TOKENS[1:2])[0], atol=1e-5)


def test_an_attention_without_masks_is_refused() -> None:
    model = tiny_llama()
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ConfigError, match="takes a mask"):
        apply(model, METHODS[0])


def test_is_the_formula_prompt() -> None:
    tuned = apply(tiny_llama(), PromptTuning(length=3))
    shake(tuned)
    assert isinstance(tuned.outer, Prompt)
    wanted = literal_logits(before=tuned.outer.vectors.detach())
    assert torch.allclose(logits_of(tuned), wanted, atol=1e-5)


def test_mask_and_places_are_widened() -> None:
    tuned = apply(tiny_llama(), PromptTuning(length=3))
    mask = torch.ones_like(TOKENS)
    mask[:, 9:] = 0
    places = torch.arange(12).expand(4, -1)
    with torch.no_grad():
        wanted = tuned(TOKENS[:, :9])
        assert torch.allclose(tuned(TOKENS, mask)[:, :9], wanted, atol=1e-5)
        assert torch.allclose(tuned(TOKENS, mask, places)[:, :9], wanted, atol=1e-5)


PACKED = [PromptTuning(length=3), DePT(length=3, rank=2)]
PACKED += [Wrapped(kind, length=3) for kind in PROMPTS]


@pytest.mark.parametrize("method", PACKED, ids=lambda one: getattr(one, "kind", type(one).__name__))
def test_texts_of_one_row_are_what_each_is_alone(method: Method) -> None:
    tuned = apply(tiny_llama(), method)
    shake(tuned)
    texts = [TOKENS[0, :7], TOKENS[1, :1], TOKENS[2]]
    packed = pack([(text[:1].tolist(), text[1:].tolist()) for text in texts])
    with torch.no_grad(), attends_apart(tuned.causal):
        found = tuned(packed.ids[None], position_ids=packed.places()[None])[0]
    with torch.no_grad():
        wanted = torch.cat([tuned(text[None])[0] for text in texts])
    assert torch.allclose(found, wanted, atol=1e-5)


class _Placed(TorchFunctionMode):
    """Counts new tensors, and refuses those that are not asked for on a device."""

    made = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in (torch.arange, torch.empty, torch.zeros, torch.ones, torch.tensor):
            assert (kwargs or {}).get("device") is not None, func
            self.made += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("method", [PromptTuning(length=3), DePT(length=3, rank=2)])
def test_tensors_are_made_where_the_texts_are(method: Method) -> None:
    tuned = apply(tiny_llama(), method)
    places = torch.cat([torch.arange(7), torch.arange(5)])[None]

    class Backbone(torch.nn.Module):
        embed_tokens = tuned.causal.model.embed_tokens

        def forward(self, inputs_embeds: torch.Tensor, **rest: Any) -> Any:
            return SimpleNamespace(last_hidden_state=inputs_embeds)

    assert tuned.outer is not None
    with _Placed() as mode:
        tuned.outer(Backbone(), Inputs(TOKENS[:1], None, places))
        packed = mode.made
        tuned.outer(Backbone(), Inputs(TOKENS[:1], None, torch.arange(12, device="cpu")[None]))
        tuned.outer(Backbone(), Inputs(TOKENS, torch.ones_like(TOKENS), None))
    assert packed >= 3


def test_several_rows_of_several_texts_are_refused() -> None:
    backbone = tiny_llama().model
    places = torch.arange(6).repeat(2).expand(4, -1)
    with pytest.raises(ConfigError, match="end to end in one row"):
        run_with_prompt(backbone, torch.zeros(4, 3, 32), Inputs(TOKENS, None, places))
