"""BitDelta: signs in bits, one factor a map."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import gguf
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.artifacts import save_artifact
from adwright.core.errors import ArtifactError, ArtifactUnsafeError, ConfigError
from adwright.tuning.efficient import (
    PEQA,
    BitDelta,
    BitDeltaLinear,
    MeZO,
    QuantisedLinear,
    quantise,
)
from adwright.tuning.formats.gguf import gguf_tensors, to_rotary
from adwright.tuning.methods import apply, load_tuned
from adwright.tuning.modules import DeltaLinear, HeadLogits, LinearPlace, TunedLinear, head_logits
from adwright.tuning.reparameterised.factors import (
    SAID,
    Compacter,
    KronA,
    SAIDLinear,
    VeRA,
    VeRALinear,
)
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.selective import FullTuning
from adwright.tuning.tuned import KIND, fill, fingerprint, read_sources, read_tuned, write_tuned
from tests.support.lm.families import tiny_of
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tiny_gguf import save_tiny_gguf
from tests.support.lm.tiny_llama import tiny_llama as tiny_llama_tiny_llama
from tests.support.lm.tuning_methods import logits_of, loss_of, saved, shake, tiny_llama


def test_is_the_formula(tmp_path: Path) -> None:
    source = saved(FullTuning(), tmp_path / "full", 0)
    full = read_tuned(source).tensors
    tuned = apply(tiny_llama(), BitDelta(), sources=[source])
    names = {(p.layer, p.target): p.name for p in tuned.places(BitDelta().targets)}

    def linear(layer: int, target: str, weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        difference = full[f"model.{names[layer, target]}.weight"] - weight
        sign = torch.where(difference > 0, 1.0, -1.0)
        return x @ (weight + difference.abs().mean() * sign).T

    assert torch.allclose(logits_of(tuned), literal_logits(linear=linear), atol=1e-5)


def small_tuning(base: Any, folder: Path) -> dict[str, torch.Tensor]:
    """A full tuning whose steps lie below the spacing of bfloat16; D of each map."""
    tuned = apply(base, FullTuning())
    before = {name: value.detach().clone() for name, value in tuned.state().items()}
    shake(tuned, size=1e-4)
    tuned.save(folder)
    return {name: value.detach() - before[name] for name, value in tuned.state().items()}


def bit_linear(place: LinearPlace) -> BitDeltaLinear:
    module = place.linear
    assert isinstance(module, BitDeltaLinear)
    return module


def test_a_base_in_bfloat16_keeps_small_updates(tmp_path: Path) -> None:
    differences = small_tuning(tiny_llama().bfloat16().float(), tmp_path / "full")
    narrow = apply(tiny_llama().bfloat16(), BitDelta(), sources=[tmp_path / "full"])
    wide = apply(tiny_llama().bfloat16().float(), BitDelta(), sources=[tmp_path / "full"])
    places = zip(*(each.places(BitDelta().targets) for each in (narrow, wide)), strict=True)
    lost, size = 0.0, 0
    for one, other in places:
        difference, module = differences[f"model.{one.name}.weight"], bit_linear(one)
        signs = torch.where(difference > 0, 1.0, -1.0)
        assert torch.equal(module.signs(torch.float32), signs)
        assert torch.equal(module.signs(torch.bfloat16).float(), signs)
        assert torch.allclose(module.factor, difference.abs().mean(), rtol=1e-5)
        assert torch.equal(module.bits, bit_linear(other).bits)
        # What the module adds, against what is left of it in a sum of weights.
        x = torch.randn(8, module.base.in_features)
        wanted = module.factor * x @ signs.T
        rows, columns = signs.shape
        zero = nn.Linear(columns, rows, bias=False, dtype=torch.bfloat16)
        nn.init.zeros_(zero.weight)
        alone = BitDeltaLinear(zero.requires_grad_(False), difference)
        assert torch.allclose(alone(x.bfloat16()).float(), wanted, rtol=0.02, atol=2e-5)
        update = (module.factor * signs).to(torch.bfloat16)
        summed = module.base.weight + update
        lost += float((summed == module.base.weight).sum())
        size += summed.numel()
    assert lost / size > 0.5


def test_bits_of_a_float32_base_serve_a_bfloat16_one(tmp_path: Path) -> None:
    differences = small_tuning(tiny_llama(), tmp_path / "full")
    apply(tiny_llama(), BitDelta(), sources=[tmp_path / "full"]).save(tmp_path / "bits")
    narrow = load_tuned(tiny_llama().bfloat16(), tmp_path / "bits")
    for place in narrow.places(BitDelta().targets):
        difference = differences[f"model.{place.name}.weight"]
        signs = torch.where(difference > 0, 1.0, -1.0)
        assert torch.equal(bit_linear(place).signs(torch.float32), signs)
    assert logits_of(narrow).dtype == torch.bfloat16


def test_needs_a_full_tuning_of_the_same_base(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="1 sources are needed"):
        apply(tiny_llama(), BitDelta())
    with pytest.raises(ConfigError, match="not a FullTuning"):
        apply(tiny_llama(), BitDelta(), sources=[saved(LoRA(), tmp_path / "lora", 0)])


BFLOAT16 = torch.bfloat16


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_rounding_is_the_formula(bits: Literal[2, 3, 4, 8]) -> None:
    torch.manual_seed(0)
    weight = torch.randn(3, 16)
    codes, scale, zero = quantise(weight, bits, 8)
    weight = weight.bfloat16().float()
    for row in range(3):
        for group in range(2):
            part = weight[row, group * 8 : group * 8 + 8]
            step = (part.max() - part.min()) / (2**bits - 1)
            assert torch.allclose(scale[row, group], step)
            for at, value in enumerate(part):
                code = torch.round((value - part.min()) / step)
                assert codes[row, group, at] == code
                back = scale[row, group] * (codes[row, group, at] - zero[row, group])
                assert abs(back - value) <= step / 2 + 1e-5


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_both_precisions_of_a_base_are_one(bits: Literal[2, 3, 4, 8], tmp_path: Path) -> None:
    method = PEQA(bits=bits, group=8)
    wide, narrow = (apply(tiny_llama().to(kind), method) for kind in (torch.float32, BFLOAT16))
    assert wide.base_fingerprint == narrow.base_fingerprint
    for one, other in zip(*(each.places(method.targets) for each in (wide, narrow)), strict=True):
        for name in ("codes", "scale", "zero"):
            assert torch.equal(getattr(one.linear, name), getattr(other.linear, name)), name
    shake(wide)
    wide.save(tmp_path / "part")
    again = load_tuned(tiny_llama().to(BFLOAT16), tmp_path / "part")
    for one, other in zip(*(each.places(method.targets) for each in (wide, again)), strict=True):
        merged = one.linear.merged().weight.to(BFLOAT16)
        assert torch.equal(merged, other.linear.merged().weight)


@pytest.mark.parametrize("bits", [3, 4])
def test_forward_and_gradients_are_those_of_the_formula(bits: Literal[3, 4]) -> None:
    torch.manual_seed(0)
    base = nn.Linear(16, 3).requires_grad_(False)
    module = QuantisedLinear(base, bits, 8)
    codes, _, zero = quantise(base.weight, bits, 8)
    scale = module.scale.detach().clone().requires_grad_(True)
    x = torch.randn(2, 5, 16, requires_grad=True)
    weight = (scale[..., None] * (codes - zero[..., None])).flatten(1)
    plain = x @ weight.T + base.bias
    assert torch.allclose(module(x), plain, atol=1e-5)
    above = torch.randn(2, 5, 3)
    got = torch.autograd.grad(module(x), [x, module.scale], above)
    wanted = torch.autograd.grad(plain, [x, scale], above)
    for one, other in zip(got, wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-4)
    assert torch.allclose(module.merged()(x), plain, atol=1e-5)


def test_codes_are_packed_and_the_weight_is_gone() -> None:
    tuned = apply(tiny_llama(), PEQA(group=8))
    module = tuned.places(("up_proj",))[0].linear
    assert module.codes.numel() == 48 * 32 // 2
    assert not hasattr(module, "base")
    with pytest.raises(ConfigError, match="groups of 7 do not divide"):
        apply(tiny_llama(), PEQA(group=7))


def test_a_step_is_the_formula() -> None:
    method = MeZO(epsilon=1e-2)
    tuned = apply(tiny_llama(), method)
    before = [parameter.detach().clone() for parameter in tuned.parameters()]
    loss = method.search(tuned, lambda: loss_of(tuned), rate=1e-3, seed=5)
    after = [parameter.detach().clone() for parameter in tuned.parameters()]
    generator = torch.Generator().manual_seed(5)
    drawn = [torch.randn(each.shape, generator=generator) for each in before]

    def loss_at(scale: float) -> float:
        with torch.no_grad():
            for parameter, first, z in zip(tuned.parameters(), before, drawn, strict=True):
                parameter.copy_(first + scale * z)
            return float(loss_of(tuned))

    above, below = loss_at(1e-2), loss_at(-1e-2)
    gradient = (above - below) / 2e-2
    assert loss == pytest.approx((above + below) / 2, rel=1e-5)
    for now, first, z in zip(after, before, drawn, strict=True):
        assert torch.allclose(now, first - 1e-3 * gradient * z, atol=1e-5)


def test_no_graph_is_built() -> None:
    tuned = apply(tiny_llama(), MeZO())
    made = []

    def loss() -> torch.Tensor:
        made.append(loss_of(tuned))
        return made[-1]

    MeZO().search(tuned, loss, rate=1e-3, seed=0)
    assert [each.requires_grad for each in made] == [False, False]
    assert all(parameter.grad is None for parameter in tuned.parameters())


pytest.importorskip("gguf", reason="the extra lm is not installed")


def test_names_and_values_are_those_of_a_file_for_llamacpp(tmp_path: Path) -> None:
    file = gguf.GGUFReader(save_tiny_gguf(tmp_path / "tiny.gguf"))
    wanted = {one.name: np.array(one.data) for one in file.tensors}
    found = gguf_tensors(tiny_llama_tiny_llama())
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name].reshape(values.shape), values)


def test_a_head_of_its_own_is_there_and_biases_follow_their_rows() -> None:
    model = tiny_llama_tiny_llama(tied=False)
    linear = model.model.layers[0].self_attn.k_proj
    linear.bias = torch.nn.Parameter(torch.arange(24.0))
    found = gguf_tensors(model)
    assert found["output.weight"].shape == (400, 48)
    np.testing.assert_array_equal(
        found["blk.0.attn_k.bias"], to_rotary(np.arange(24, dtype=np.float32), 2)
    )


def test_qwen3_keeps_its_order_and_has_norms_of_queries() -> None:
    model = tiny_of("qwen3")
    found = gguf_tensors(model)
    q = model.model.layers[1].self_attn.q_proj.weight.numpy()
    np.testing.assert_array_equal(found["blk.1.attn_q.weight"], q)
    assert found["blk.1.attn_q_norm.weight"].shape == (8,)


def test_what_has_no_place_is_refused() -> None:
    with pytest.raises(ConfigError, match="family 'gemma2'"):
        gguf_tensors(tiny_of("gemma2"))
    model = tiny_llama_tiny_llama()
    model.model.extra = torch.nn.Linear(2, 2)
    with pytest.raises(ConfigError, match=r"model\.extra\.weight has no place"):
        gguf_tensors(model)


class Shifted(TunedLinear):
    """W + 1."""

    def weight_update(self) -> Tensor:
        return torch.ones_like(self.base.weight)


class Doubled(DeltaLinear):
    """2 W."""

    def weight_now(self) -> Tensor:
        return 2 * self.base.weight


def test_an_update_is_added_to_the_weight() -> None:
    base = nn.Linear(3, 2)
    wanted = base.weight.detach() + 1
    assert torch.equal(Shifted(base).merged().weight, wanted)


def test_a_weight_that_is_computed_replaces_the_base_where_merged() -> None:
    base = nn.Linear(3, 2)
    doubled, x = Doubled(base), torch.randn(4, 3)
    before = doubled(x)
    assert torch.allclose(before, 2 * (x @ base.weight.T) + base.bias)
    assert torch.allclose(doubled.merged()(x), before)


def test_what_is_no_update_is_not_merged() -> None:
    with pytest.raises(ConfigError, match="cannot be folded"):
        TunedLinear(nn.Linear(1, 1)).merged()


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({}, HeadLogits()),
        ({"logit_scale": None, "final_logit_softcapping": None}, HeadLogits()),
        ({"logit_scale": 0.25}, HeadLogits(factor=0.25)),
        ({"logits_scaling": 8}, HeadLogits(factor=0.125)),
        ({"final_logit_softcapping": 30.0}, HeadLogits(cap=30.0)),
    ],
)
def test_it_is_read_from_the_config(config: dict[str, float], wanted: HeadLogits) -> None:
    assert head_logits(SimpleNamespace(**config)) == wanted


@pytest.mark.parametrize("scaled", [HeadLogits(), HeadLogits(0.25), HeadLogits(2.0, 3.0)])
def test_the_slope_is_the_derivative(scaled: HeadLogits) -> None:
    products = torch.linspace(-4, 4, 9, dtype=torch.float64, requires_grad=True)
    logits = scaled(products)
    (wanted,) = torch.autograd.grad(logits.sum(), products)
    slope = scaled.slope(logits.detach())
    torch.testing.assert_close(torch.as_tensor(slope, dtype=torch.float64).expand(9), wanted)


def written(folder: Path) -> Path:
    write_tuned(
        folder,
        method="LoRA",
        config={"rank": 2},
        seed=4,
        base="b",
        tensors={"x.a": torch.ones(2, dtype=torch.bfloat16), "x.i": torch.tensor([3])},
    )
    return folder


def test_round_trip(tmp_path: Path) -> None:
    stored = read_tuned(written(tmp_path / "a"))
    assert (stored.method, stored.config, stored.seed, stored.base) == ("LoRA", {"rank": 2}, 4, "b")
    assert stored.tensors["x.a"].dtype == torch.float32
    assert stored.tensors["x.i"].tolist() == [3]


def test_fingerprint_tells_bases_apart_and_precisions_not() -> None:
    model = tiny_llama()
    first = fingerprint(model)
    assert fingerprint(tiny_llama().to(torch.bfloat16)) == first
    model.model.layers[1].mlp.up_proj.weight.data[0, 0] += 1
    assert fingerprint(model) != first


def test_a_pickle_in_the_folder_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "a")
    torch.save({"a": torch.ones(1)}, folder / "adapter.bin.pt")
    with pytest.raises(ArtifactUnsafeError):
        read_tuned(folder)


def test_another_kind_of_artifact_is_refused(tmp_path: Path) -> None:
    save_artifact(tmp_path / "a", kind="din", config={})
    with pytest.raises(ArtifactError, match="of kind 'din'"):
        read_tuned(tmp_path / "a")
    save_artifact(tmp_path / "b", kind=KIND, config={"method": 3})
    with pytest.raises(ArtifactError, match="does not say which method"):
        read_tuned(tmp_path / "b")


@pytest.mark.parametrize("name", ["../x", "a/b", "a..b", ".a", "a b", ""])
def test_names_that_are_no_dotted_names_are_refused(tmp_path: Path, name: str) -> None:
    arrays = {name: torch.ones(1).numpy()}
    config = {"method": "LoRA", "config": {}, "base": ""}
    save_artifact(tmp_path / "a", kind=KIND, config=config, tensors=arrays)
    with pytest.raises(ArtifactUnsafeError, match="dotted name"):
        read_tuned(tmp_path / "a")


def test_nothing_is_copied_where_something_does_not_fit() -> None:
    into = {"a": torch.zeros(2), "b": torch.zeros(2)}
    with pytest.raises(ArtifactError, match="1 tensors are missing and 1 are unknown"):
        fill(into, {"a": torch.ones(2), "c": torch.ones(2)}, "f")
    with pytest.raises(ArtifactError, match="the model wants"):
        fill(into, {"a": torch.ones(2), "b": torch.ones(3)}, "f")
    with pytest.raises(ArtifactError, match="the model wants"):
        fill(into, {"a": torch.ones(2), "b": torch.ones(2, dtype=torch.int64)}, "f")
    assert into["a"].tolist() == [0, 0]
    fill(into, {"a": torch.ones(2), "b": torch.ones(2)}, "f")
    assert into["b"].tolist() == [1, 1]


def test_sources_are_read_in_their_order(tmp_path: Path) -> None:
    folders = [written(tmp_path / "a"), written(tmp_path / "b")]
    states = read_sources(folders, count=2, method="LoRA", config={"rank": 2}, base="b")
    assert [sorted(state) for state in states] == [["x.a", "x.i"]] * 2


def test_other_sources_are_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "a")
    with pytest.raises(ConfigError, match="2 sources are needed, 1 were given"):
        read_sources([folder], count=2, method="LoRA", config={}, base="b")
    for method, rank, base in (("DoRA", 2, "b"), ("LoRA", 3, "b"), ("LoRA", 2, "c")):
        with pytest.raises(ConfigError, match=f"not a {method} of this base with these settings"):
            read_sources([folder], count=1, method=method, config={"rank": rank}, base=base)


def test_factors_is_the_formula() -> None:
    tuned = apply(tiny_llama(), Compacter(size=8, blocks=4, rank=2))
    shake(tuned, size=0.3)
    sides = {"o_proj": "attention", "down_proj": "mlp"}
    places = tuned.places(("o_proj", "down_proj"))
    adapters = {(p.layer, sides[p.target]): p.linear.adapter for p in places}

    def product(own: torch.nn.Module, x: Tensor) -> Tensor:
        weight = sum(torch.kron(own.rules[i], own.s[i] @ own.t[i]) for i in range(4))
        return x @ weight + own.bias

    def sublayer(layer: int, kind: str, x: Tensor, h: Tensor) -> Tensor:
        own = adapters[layer, kind]
        return h + product(own.up, functional.gelu(product(own.down, h)))

    assert torch.allclose(logits_of(tuned), literal_logits(sublayer=sublayer), atol=1e-4)


def test_blocks_divide_the_sizes() -> None:
    with pytest.raises(ConfigError, match="3 blocks do not divide"):
        apply(tiny_llama(), Compacter(blocks=3))


def test_is_the_formula_krona() -> None:
    method = KronA(factor=5, scale=0.5)
    tuned = apply(tiny_llama(), method)
    shake(tuned, size=0.2)
    modules = {(p.layer, p.target): p.linear for p in tuned.places(method.targets)}

    def linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
        own = modules[layer, target]
        update = torch.zeros_like(weight)
        rows, columns = own.right.shape
        for i in range(len(own.left)):
            for j in range(own.left.shape[1]):
                block = (slice(i * rows, (i + 1) * rows), slice(j * columns, (j + 1) * columns))
                update[block] = own.left[i, j] * own.right
        return x @ (weight + 0.5 * update).T

    assert torch.allclose(logits_of(tuned), literal_logits(linear=linear), atol=1e-5)


def test_divisors() -> None:
    assert KronA(factor=32).divisor(576) == 32
    assert KronA(factor=5).divisor(48) == 4
    assert KronA(factor=5).divisor(7) == 1


def matrix(size: int) -> Tensor:
    if size == 1:
        return torch.ones(1, 1)
    half = matrix(size // 2)
    return torch.cat([torch.cat([half, half], 1), torch.cat([half, -half], 1)])


def sketched(size: int, drawn: torch.Generator) -> Tensor:
    """P [size, 18]: in each row one +-1, of which columns are drawn first and signs then."""
    columns = torch.randint(1, 19, (size,), generator=drawn, dtype=torch.int32) - 1
    signs = torch.randint(0, 2, (size,), generator=drawn, dtype=torch.int32) * 2.0 - 1
    p = torch.zeros(size, 18)
    for row, (column, sign) in enumerate(zip(columns.tolist(), signs.tolist(), strict=True)):
        p[row, column] = sign
    return p


def fastfood(size: int, drawn: torch.Generator) -> Tensor:
    """P [size, 18]: blocks H G Pi H S / 32, drawn as S, Pi, G of all blocks."""
    blocks, h = -(-size // 32), matrix(32)
    signs = torch.randint(0, 2, (blocks, 32), generator=drawn, dtype=torch.int8) * 2.0 - 1
    orders = torch.rand(blocks, 32, generator=drawn).argsort(1)
    gauss = torch.randn(blocks, 32, generator=drawn)
    made = [
        h @ torch.diag(gauss[at]) @ torch.eye(32)[orders[at]] @ h @ torch.diag(signs[at]) / 32
        for at in range(blocks)
    ]
    return torch.cat(made)[:size, :18]


@pytest.mark.parametrize("projection", ["sketch", "fastfood"])
def test_is_the_formula_said(projection: Literal["sketch", "fastfood"]) -> None:
    method = SAID(dimension=20, projection=projection)
    tuned = apply(tiny_llama(), method)
    shake(tuned, size=0.2)
    modules = {(p.layer, p.target): p.linear for p in tuned.places(method.targets)}
    drawn = torch.Generator().manual_seed(0)
    built = sketched if projection == "sketch" else fastfood
    projections = {at: built(each.base.weight.numel(), drawn) for at, each in modules.items()}

    def linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
        own = modules[layer, target]
        assert isinstance(own, SAIDLinear)
        update = projections[layer, target] @ own.shared * own.factors[layer]
        return x @ (weight + update.view_as(weight)).T

    assert torch.allclose(logits_of(tuned), literal_logits(linear=linear), atol=1e-5)


def test_fastfood_is_its_product_of_matrices() -> None:
    tuned = apply(tiny_llama(), SAID(dimension=18, projection="fastfood"))
    own = tuned.places(("k_proj",))[0].linear.projection
    h = matrix(16)
    for block in range(2):
        turn = torch.eye(16)[own.order[block].long()]
        product = h @ torch.diag(own.gauss[block]) @ turn @ h @ torch.diag(own.sign[block].float())
        t = torch.randn(16)
        made = own(t)[block * 16 : (block + 1) * 16]
        assert torch.allclose(made, product @ t / 16, atol=1e-4)


def test_no_room_beside_the_factors() -> None:
    with pytest.raises(ConfigError, match="2 are factors"):
        apply(tiny_llama(), SAID(dimension=2))


def test_is_the_formula_vera() -> None:
    method = VeRA(rank=5)
    tuned = apply(tiny_llama(), method)
    shake(tuned, size=0.3)
    modules = {(p.layer, p.target): p.linear for p in tuned.places(method.targets)}
    first = modules[0, "q_proj"]

    def linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
        own = modules[layer, target]
        assert isinstance(own, VeRALinear)
        assert own.a is first.a
        rows, columns = weight.shape
        update = torch.diag(own.outer) @ own.b[:rows] @ torch.diag(own.inner) @ own.a[:, :columns]
        return x @ (weight + update).T

    assert torch.allclose(logits_of(tuned), literal_logits(linear=linear), atol=1e-5)
