"""The same ladder of tests for every method, ours and wrapped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import OlmoConfig, OlmoForCausalLM

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.errors import ArtifactError, ArtifactUnsafeError, ConfigError
from adwright.tuning.additive.adapters import IA3, SerialAdapter
from adwright.tuning.additive.prompts import MAM, PrefixTuning, UniPELT
from adwright.tuning.methods import (
    METHODS,
    NAMES,
    Method,
    PeftKind,
    Wrapped,
    apply,
    as_markdown,
    load_tuned,
    method_of,
    tree,
)
from adwright.tuning.modules import ATTENTION, BRANCHES, LINEAR, MLP, Sizes, decoder_layers, places
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.selective import DiffPruning, FishMask, HeadOnly, NormTuning, PaFi
from adwright.tuning.tuned import KIND
from tests.support.lm.families import tiny_of
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import (
    OURS,
    TOKENS,
    WRAPPED,
    attached,
    base_logits,
    logits_of,
    loss_of,
    losses,
    shake,
    tiny_llama,
    train,
)

CASES: dict[str, Method] = OURS | WRAPPED
# peft's SHIRA makes sparse tensors, of which torch warns.
pytestmark = pytest.mark.filterwarnings("ignore:Sparse invariant checks")
every_method = pytest.mark.parametrize("method", CASES.values(), ids=CASES.keys())


@every_method
def test_starts_as_the_base_where_promised(method: Method, tmp_path: Path) -> None:
    now, base = logits_of(attached(method, tmp_path)), base_logits()
    assert torch.allclose(now, base, atol=1e-5) == method.exact_start


@every_method
def test_count_is_the_formula(method: Method, tmp_path: Path) -> None:
    tuned = attached(method, tmp_path)
    assert tuned.count() == method.count(tuned.sizes) > 0


@every_method
def test_only_the_trainable_gets_gradients(method: Method, tmp_path: Path) -> None:
    tuned = attached(method, tmp_path)
    trained = {id(parameter) for parameter in tuned.parameters()}
    base = {
        name: value.detach().clone()
        for name, value in tuned.state_dict(keep_vars=True).items()
        if id(value) not in trained
    }
    shake(tuned)
    tuned.train()
    (loss_of(tuned) + tuned.loss_extra()).backward()
    named = dict(tuned.named_parameters())
    for name, parameter in torch.nn.Module.named_parameters(tuned):
        if name not in named:
            assert parameter.grad is None, name
    touched = [name for name, parameter in named.items() if parameter.grad is not None]
    assert touched == list(named)
    train(tuned, steps=2)
    for name, value in base.items():
        assert torch.equal(tuned.state_dict()[name], value), name


@every_method
def test_merged_is_unmerged(method: Method, tmp_path: Path) -> None:
    tuned = attached(method, tmp_path)
    shake(tuned)
    before = logits_of(tuned)
    if not method.mergeable:
        with pytest.raises(ConfigError, match="cannot be folded"):
            tuned.merge()
        return
    with torch.no_grad():
        after = tuned.merge()(TOKENS).logits
    # Random bases of randlora, scaled by 80, leave more of the rounding.
    rounding = 3e-4 if "randlora" in str(method) else 1e-4
    assert torch.allclose(after, before, atol=rounding)
    assert not torch.allclose(after, base_logits(), atol=1e-3)


@every_method
def test_saved_and_loaded_gives_the_same(method: Method, tmp_path: Path) -> None:
    tuned = attached(method, tmp_path, seed=5)
    shake(tuned)
    tuned.save(tmp_path / "out")
    again = load_tuned(tiny_llama(), tmp_path / "out")
    assert again.method == method
    assert again.count() == tuned.count()
    assert torch.equal(logits_of(again), logits_of(tuned))


@every_method
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")
def test_checkpointing_gives_the_same_gradients(method: Method, tmp_path: Path) -> None:
    found = []
    for checkpointed in (False, True):
        tuned = attached(method, tmp_path / str(checkpointed))
        shake(tuned)
        if checkpointed:
            tuned.causal.gradient_checkpointing_enable({"use_reentrant": False})
        tuned.train()
        torch.manual_seed(0)
        loss_of(tuned).backward()
        found.append([parameter.grad for parameter in tuned.parameters()])
    for plain, again in zip(*found, strict=True):
        assert plain is not None
        assert again is not None
        assert torch.allclose(plain, again, atol=1e-5)


@every_method
def test_a_bfloat16_base_trains_and_is_near(method: Method, tmp_path: Path) -> None:
    tuned = attached(method, tmp_path, kind=torch.bfloat16)
    tuned.train()
    tuned.before_step(0, 20)
    loss = loss_of(tuned)
    (loss + tuned.loss_extra()).backward()
    for parameter in tuned.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
    if method.exact_start:
        near, base = logits_of(tuned).float(), base_logits()
        assert (near - base).abs().mean() < 0.05 * base.abs().mean()
    # The base stays as small as it came.
    frozen = [
        parameter
        for parameter in torch.nn.Module.parameters(tuned.causal)
        if parameter.shape == (64, 32)
    ]
    assert all(parameter.dtype == torch.bfloat16 for parameter in frozen)


@every_method
def test_a_tied_head_changes_nothing(method: Method, tmp_path: Path) -> None:
    tuned = attached(method, tmp_path, tied=True)
    assert tuned.count() == method.count(tuned.sizes)
    shake(tuned)
    tuned.save(tmp_path / "out")
    again = load_tuned(tiny_llama(tied=True), tmp_path / "out")
    assert torch.equal(logits_of(again), logits_of(tuned))


@every_method
def test_earlier_words_do_not_see_later_ones(method: Method, tmp_path: Path) -> None:
    tuned = attached(method, tmp_path)
    shake(tuned)
    other = TOKENS.clone()
    other[:, 8:] = (other[:, 8:] + 1) % 64
    assert torch.allclose(logits_of(tuned)[:, :8], logits_of(tuned, other)[:, :8], atol=1e-5)


def test_every_name_gives_its_method() -> None:
    found = [method_of({"kind": name}) for name in NAMES]
    assert {type(method) for method in found} == set(METHODS.values())
    assert [m.kind for m in found if isinstance(m, Wrapped)] == list(PeftKind)


@pytest.mark.parametrize("name", ["magic", "Wrapped", "lora2"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"no method is called '{name}'"):
        method_of({"kind": name})


@every_method
def test_parameters_in_the_type_of_the_base_are_declared(method: Method, tmp_path: Path) -> None:
    """In bfloat16 the small steps of a training would be lost: such a base is kept in float32."""
    tuned = attached(method, tmp_path, kind=torch.bfloat16)
    narrow = any(parameter.dtype != torch.float32 for parameter in tuned.parameters())
    assert method.trains_base or not narrow


@pytest.mark.parametrize("name", ["lora", "parallel", "prefix", "peft-loha"])
def test_a_tuned_model_is_not_tuned_again(name: str) -> None:
    tuned = apply(tiny_llama(), CASES[name])
    with pytest.raises(ConfigError, match="tuned already"):
        apply(tuned.causal, LoRA())
    if tuned.method.mergeable:
        apply(tuned.merge(), LoRA())


def forged(tmp_path: Path, method: Method, **changes: torch.Tensor) -> Path:
    """A part on disk with other tensors, whose manifest agrees with them."""
    apply(tiny_llama(), method, losses=losses).save(tmp_path / "good")
    good = load_artifact(tmp_path / "good")
    tensors = dict(good.tensors)
    for suffix, tensor in changes.items():
        name = min(name for name in tensors if name.endswith("." + suffix))
        tensors[name] = tensor.numpy()
    save_artifact(tmp_path / "bad", kind=KIND, config=good.config, tensors=tensors)
    return tmp_path / "bad"


def test_wrong_shapes_are_refused(tmp_path: Path) -> None:
    folder = forged(tmp_path, LoRA(), a=torch.zeros(8, 49))
    with pytest.raises(ArtifactError, match=r"the model wants torch.float32 \[8, 48\]"):
        load_tuned(tiny_llama(), folder)


def test_nan_is_refused(tmp_path: Path) -> None:
    folder = forged(tmp_path, LoRA(), a=torch.full((8, 48), torch.nan))
    with pytest.raises(ArtifactError, match="NaN"):
        load_tuned(tiny_llama(), folder)


@pytest.mark.parametrize("position", [-1, 32 * 48])
def test_positions_outside_a_map_are_refused(tmp_path: Path, position: int) -> None:
    folder = forged(
        tmp_path, PaFi(fraction=0.02), index=torch.tensor([position]), values=torch.zeros(1)
    )
    with pytest.raises(ArtifactError, match="outside a map"):
        load_tuned(tiny_llama(), folder)


def test_another_count_of_positions_is_refused(tmp_path: Path) -> None:
    folder = forged(tmp_path, PaFi(fraction=0.02), index=torch.arange(200), values=torch.zeros(200))
    with pytest.raises(ArtifactError, match="parameters are stored as trained"):
        load_tuned(tiny_llama(), folder)


def test_another_base_is_refused_and_left_alone(tmp_path: Path) -> None:
    apply(tiny_llama(), LoRA()).save(tmp_path / "good")
    other = tiny_llama()
    other.model.norm.weight.data[0] = 2
    with pytest.raises(ArtifactError, match="another base"):
        load_tuned(other, tmp_path / "good")
    assert type(other.model.layers[0].mlp.up_proj) is torch.nn.Linear


def test_an_unknown_method_is_refused(tmp_path: Path) -> None:
    save_artifact(tmp_path / "bad", kind=KIND, config={"method": "os", "config": {}, "base": ""})
    with pytest.raises(ArtifactError, match="no method is called 'os'"):
        load_tuned(tiny_llama(), tmp_path / "bad")


def test_settings_that_ask_for_more_than_is_stored_are_refused(tmp_path: Path) -> None:
    apply(tiny_llama(), LoRA()).save(tmp_path / "good")
    good = load_artifact(tmp_path / "good")
    config = good.config | {"config": good.config["config"] | {"rank": 10**9}}
    save_artifact(tmp_path / "bad", kind=KIND, config=config, tensors=good.tensors)
    with pytest.raises(ArtifactError, match="more than the"):
        load_tuned(tiny_llama(), tmp_path / "bad")


def test_a_tensor_name_that_climbs_is_refused(tmp_path: Path) -> None:
    apply(tiny_llama(), LoRA()).save(tmp_path / "good")
    good = load_artifact(tmp_path / "good")
    tensors = good.tensors | {"../../etc/passwd": next(iter(good.tensors.values()))}
    save_artifact(tmp_path / "bad", kind=KIND, config=good.config, tensors=tensors)
    with pytest.raises(ArtifactUnsafeError, match="not a dotted name"):
        load_tuned(tiny_llama(), tmp_path / "bad")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("lora", LoRA()),
        ("PEFT:LoHa", Wrapped(PeftKind.LOHA)),
        ("LoHa", Wrapped(PeftKind.LOHA)),
        ("(IA)3", IA3()),
        (" prefix tuning ", PrefixTuning(made_by="mlp")),
        ("p-tuning v2", PrefixTuning()),
        ("rslora", LoRA(rank_stabilised=True)),
        ("LoRA+", LoRA(rate_ratio=16.0)),
        ("Serial adapter (Pfeiffer)", SerialAdapter(placement="pfeiffer")),
        ("sam", FishMask(criterion="gradient")),
        ("s-diff pruning", DiffPruning(structured=True)),
    ],
)
def test_names_are_those_of_the_tree_in_any_letters(name: str, wanted: Method) -> None:
    assert method_of({"kind": name}) == wanted


def test_every_name_that_is_done_makes_a_method_or_says_how() -> None:
    for entry in tree():
        if entry.by is None:
            continue
        try:
            method = method_of({"kind": entry.name})
        except ConfigError as error:
            assert (error.hint or "").startswith("--method "), entry.name  # noqa: PT017
            continue
        if isinstance(entry.by, PeftKind):
            assert isinstance(method, Wrapped)
            assert method.kind is entry.by
        else:
            assert isinstance(method, entry.by)


#: Every name in the survey's figures of the taxonomy and in its section on efficient designs.
SURVEY = """
CIAT, CoDA, AdapterFusion, AdaMix, AdapterSoup, MerA, PHA, Hyperformer, parallel adapter,
residual adapter, prefix tuning, p-tuning v2, prompt tuning, p-tuning, APT, prefix propagation,
Xprompt, IDPG, LPT, APrompt, SPoT, TPTSR, InfoPrompt, PTP, DePT, SMoP, IPT, (IA)3, SSF, MoV,
MoLoRA, IPA, U-Diff pruning, U-BitFit, PaFi, FishMask, Fish-Dip, LT-SFT, SAM, Child-tuning F,
Child-tuning D, S-Diff pruning, S-BitFit, FAR, Xattn tuning, BitFit, LayerNorm tuning, LoRA,
rsLoRA, DoRA, AdaLoRA, VeRA, LoRA+, intrinsic SAID, KronA, KAdaptation, Compacter, HiWi, DyLoRA,
SoRA, CapaBoost, AutoLoRA, Laplace-LoRA, PeriodicLoRA, MoSLoRA, LoRA-drop, LoRAHub, MOELoRA, MoLE,
MixLoRA, UniPELT, MAM, S4, NOAH, AUTOPEFT, S3Delta, LLM-Adapters, AdapterDrop, SparseAdapter,
SPLoRA, LoRAPruning, ProPETL, QLoRA, LoftQ, QA-LoRA, PEQA, LQ-LoRA, BI-Adapter, INT2.1, QDyLoRA,
BitDelta, LST, side-tuning, Res-Tuning, MEFT, HyperTuning, MeZO, LoRA-FA
"""


def test_every_method_of_the_survey_is_named() -> None:
    names = {entry.name for entry in tree()}
    wanted = {name.strip() for name in SURVEY.replace("\n", " ").split(",")}
    assert wanted <= names
    assert len(names) == len(tree())


def test_what_is_here_has_a_method_and_what_is_not_a_reason() -> None:
    for entry in tree():
        match entry.by:
            case None:
                assert entry.status == "not done"
                assert len(entry.note) > 20
            case PeftKind():
                assert entry.status == "wrapped"
            case kind:
                assert entry.status == "ours"
                assert METHODS[kind.__name__] is kind


def test_the_table_has_every_entry() -> None:
    table = as_markdown()
    assert table.count("\n| ") == len(tree()) + len(BRANCHES)
    assert "| LoRA+ | ours | `LoRA` | rate_ratio |" in table
    assert "| BOFT | wrapped | `Wrapped(PeftKind.BOFT)` |  |" in table


def test_a_tied_head_is_untied() -> None:
    model = tiny_llama()
    model.lm_head.weight = model.model.embed_tokens.weight
    tuned = apply(model, HeadOnly())
    assert [name for name, _ in tuned.named_parameters()] == ["model.lm_head.weight"]
    loss_of(tuned).backward()
    assert model.model.embed_tokens.weight.grad is None
    assert torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)


@pytest.mark.parametrize(
    ("family", "a_layer"),
    [("olmo3", 2), ("cohere2", 1), ("gemma2", 4), ("gemma3", 4), ("qwen3", 2)],
)
def test_norm_tuning_finds_the_norms_of_each_family(family: str, a_layer: int) -> None:
    tuned = apply(tiny_of(family), NormTuning())
    assert len(list(tuned.parameters())) == 2 * a_layer + 1
    assert tuned.count() == NormTuning().count(tuned.sizes) == (2 * a_layer + 1) * 32


def test_norms_without_weights_cannot_be_tuned() -> None:
    config = OlmoConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        pad_token_id=0,
        eos_token_id=1,
    )
    with pytest.raises(ConfigError, match="no weights"):
        apply(OlmoForCausalLM(config), NormTuning())


def test_mam_is_the_formula() -> None:
    tuned = apply(tiny_llama(), MAM(length=2, size=4, scale=3.0))
    shake(tuned, size=0.2)

    def prefix(layer: int, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keys, values = tuned.layers()[layer].self_attn.prefix.maker()
        return keys, values, torch.ones(x.shape[:2])

    def sublayer(layer: int, kind: str, x: Tensor, h: Tensor) -> Tensor:
        if kind == "attention":
            return h
        own = tuned.layers()[layer].mlp.beside.adapter
        inner = torch.clamp(x @ own.down.T + own.inner_bias, min=0)
        return h + 3.0 * (inner @ own.up.T + own.outer_bias)

    wanted = literal_logits(prefix=prefix, sublayer=sublayer)
    assert torch.allclose(logits_of(tuned), wanted, atol=1e-4)


def gate_of(gate: torch.nn.Module, x: Tensor) -> Tensor:
    return torch.sigmoid(x @ gate.weight.T + gate.bias)


def test_unipelt_is_the_formula() -> None:
    tuned = apply(tiny_llama(), UniPELT(rank=2, alpha=3.0, length=2, size=4))
    shake(tuned, size=0.2)
    layers = tuned.layers()

    def linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
        if target not in ("q_proj", "v_proj"):
            return x @ weight.T
        own = getattr(layers[layer].self_attn, target)
        return x @ weight.T + gate_of(own.gate, x) * 1.5 * (x @ own.a.T @ own.b.T)

    def prefix(layer: int, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        own = layers[layer].self_attn.prefix
        return *own.maker(), gate_of(own.gate, x)[..., 0]

    def sublayer(layer: int, kind: str, x: Tensor, h: Tensor) -> Tensor:
        if kind == "attention":
            return h
        gated = layers[layer].mlp.down_proj.adapter
        own = gated.inner
        inner = torch.clamp(h @ own.down.T + own.inner_bias, min=0)
        return h + gate_of(gated.gate, h) * (inner @ own.up.T + own.outer_bias)

    wanted = literal_logits(linear=linear, prefix=prefix, sublayer=sublayer)
    assert torch.allclose(logits_of(tuned), wanted, atol=1e-4)


def test_shut_gates_give_the_base() -> None:
    tuned = apply(tiny_llama(), UniPELT(rank=2, length=2, size=4))
    shake(tuned, size=0.2)
    for name, parameter in tuned.named_parameters():
        if ".gate." in name:
            parameter.data.fill_(-100.0 if name.endswith("bias") else 0.0)
    assert torch.allclose(logits_of(tuned), base_logits(), atol=1e-5)


def test_sizes_are_those_of_the_config() -> None:
    model = tiny_llama()
    sizes = Sizes.of(model)
    assert (sizes.layers, sizes.width, sizes.vocabulary) == (2, 32, 64)
    assert (sizes.heads, sizes.kv_heads, sizes.head_width) == (4, 2, 8)
    assert sizes.shapes["k_proj"] == (16, 32)
    assert sizes.shapes["down_proj"] == (32, 48)
    assert sizes.parameters == model.num_parameters()
    assert sizes.linear_bias == ()
    assert sizes.of_linear(("q_proj", "up_proj")) == [(32, 32), (48, 32)] * 2


def test_places_name_the_maps() -> None:
    model = tiny_llama()
    found = list(places(model, LINEAR))
    assert len(found) == 14
    assert ATTENTION + MLP == LINEAR
    for place in found:
        assert model.get_submodule(place.name) is place.linear
    other = torch.nn.Identity()
    found[3].put(other)
    assert model.model.layers[0].self_attn.o_proj is other


def test_another_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a Llama-type"):
        decoder_layers(torch.nn.Linear(2, 2))
    model = tiny_llama()
    del model.model.layers[1].mlp.up_proj
    with pytest.raises(ConfigError, match="layer 1 has no up_proj"):
        list(places(model, LINEAR))
