"""LoRA in GGUF: the order of rows against a literal rotation, the round trip, and bad files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from adwright.core.errors import ArtifactError, ConfigError, MissingExtraError, ResourceError
from adwright.tuning.additive.adapters import IA3, SerialAdapter
from adwright.tuning.additive.prompts import PrefixTuning, PromptTuning
from adwright.tuning.efficient import LoRAFA
from adwright.tuning.formats.gguf import from_gguf, from_rotary, to_gguf, to_rotary
from adwright.tuning.formats.peft import CONFIG_FILE, TENSOR_FILE, from_peft, to_peft
from adwright.tuning.methods import Method, PeftKind, Wrapped, apply, load_tuned
from adwright.tuning.reparameterised.lora import ActivatedLoRA, DoRA, LoRA
from adwright.tuning.tuned import Tuned
from tests.support.lm.families import tiny_of
from tests.support.lm.tuning_methods import (
    INVOCATION,
    TOKENS,
    base_logits,
    logits_of,
    shake,
    tiny_llama,
)

pytest.importorskip("transformers", reason="the extra lm is not installed")
pytest.importorskip("gguf", reason="the extra lm is not installed")


Fields = dict[str, Any]
Tensors = dict[str, np.ndarray]


def shaken(method: Method) -> Tuned:
    tuned = apply(tiny_llama(), method)
    shake(tuned)
    return tuned


def read(path: Path) -> tuple[Fields, Tensors]:
    reader = gguf.GGUFReader(path)
    fields = {key: one.contents() for key, one in reader.fields.items() if "GGUF." not in key}
    return fields, {one.name: np.array(one.data) for one in reader.tensors}


def write(path: Path, fields: Fields, tensors: Tensors) -> Path:
    writer = gguf.GGUFWriter(path, fields.get("general.architecture", "llama"))
    for key, value in fields.items():
        if key != "general.architecture":
            add: Any = writer.add_string
            if not isinstance(value, str):
                add = writer.add_array if isinstance(value, list) else writer.add_float32
            add(key, value)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def rotated_in_halves(head: np.ndarray, position: int) -> np.ndarray:
    """A head [d] turned as transformers does it, pair (i, i + d/2) by position * 10000^(-2i/d)."""
    d = len(head)
    out = np.empty(d)
    for i in range(d // 2):
        angle = position * 10_000 ** (-2 * i / d)
        x, y = head[i], head[i + d // 2]
        out[i] = x * math.cos(angle) - y * math.sin(angle)
        out[i + d // 2] = y * math.cos(angle) + x * math.sin(angle)
    return out


def rotated_in_pairs(head: np.ndarray, position: int) -> np.ndarray:
    """The same as llama.cpp does it, pair (2i, 2i + 1)."""
    out = np.empty(len(head))
    for i in range(len(head) // 2):
        angle = position * 10_000 ** (-2 * i / len(head))
        x, y = head[2 * i], head[2 * i + 1]
        out[2 * i] = x * math.cos(angle) - y * math.sin(angle)
        out[2 * i + 1] = y * math.cos(angle) + x * math.sin(angle)
    return out


def attention_logits(q: np.ndarray, k: np.ndarray, turn: Callable[..., Any]) -> np.ndarray:
    """q . k of query head h at position 5 and its key head h // 2 at position 2, 4 and 2 heads."""
    queries, keys = q.reshape(4, -1), k.reshape(2, -1)
    return np.array([turn(queries[h], 5) @ turn(keys[h // 2], 2) for h in range(4)])


def test_rows_go_where_the_formula_says() -> None:
    rows = np.arange(24, dtype=np.float32).reshape(12, 2)
    moved = to_rotary(rows, 2)
    d = 6
    for head in range(2):
        for i in range(d // 2):
            for j in (0, 1):
                wanted = rows[head * d + i + j * d // 2]
                np.testing.assert_array_equal(moved[head * d + 2 * i + j], wanted)
    np.testing.assert_array_equal(from_rotary(moved, 2), rows)
    with pytest.raises(ConfigError, match="even width"):
        to_rotary(rows, 4)


def test_attention_is_the_same_and_is_not_where_the_rows_stay() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, 32))
    q, k = (random.normal(size=(n, 32)).astype(np.float32) for n in (32, 16))
    wanted = attention_logits(q @ x, k @ y, rotated_in_halves)
    moved = attention_logits(to_rotary(q, 4) @ x, to_rotary(k, 2) @ y, rotated_in_pairs)
    np.testing.assert_allclose(moved, wanted, atol=1e-4)
    forgotten = attention_logits(q @ x, k @ y, rotated_in_pairs)
    assert np.abs(forgotten - wanted).max() > 1


@pytest.mark.parametrize(
    ("method", "alpha"),
    [
        (LoRA(rank=3, alpha=5.0), 5.0),
        (LoRA(rank=4, alpha=5.0, rank_stabilised=True, targets=("q_proj", "v_proj")), 10.0),
        (LoRA(rank=2, rate_ratio=4.0, dropout=0.1, targets=("down_proj",)), 16.0),
        (LoRAFA(rank=3, alpha=6.0), 6.0),
    ],
)
def test_there_and_back(method: Method, alpha: float, tmp_path: Path) -> None:
    tuned = shaken(method)
    path = to_gguf(tuned, tmp_path / "new" / "adapter.gguf")
    fields, tensors = read(path)
    assert fields["general.type"] == "adapter"
    assert fields["adapter.type"] == "lora"
    assert fields["general.architecture"] == "llama"
    assert fields["adapter.lora.alpha"] == pytest.approx(alpha)
    assert len(tensors) == 2 * 2 * len(method.targets)  # type: ignore[union-attr]
    back = from_gguf(tiny_llama(), path)
    assert torch.allclose(logits_of(back), logits_of(tuned), atol=1e-6)
    assert list(path.parent.iterdir()) == [path]


def test_an_adapter_that_waits_for_its_invocation_comes_in_and_does_not_go_out(
    tmp_path: Path,
) -> None:
    wanted = shaken(ActivatedLoRA(rank=2, invocation=INVOCATION))
    with pytest.raises(ConfigError, match="no adapter for this method"):
        to_gguf(wanted, tmp_path / "out.gguf")
    plain = shaken(LoRA(rank=2))
    fields, tensors = read(to_gguf(plain, tmp_path / "plain.gguf"))
    fields["adapter.alora.invocation_tokens"] = list(INVOCATION)
    found = from_gguf(tiny_llama(), write(tmp_path / "called.gguf", fields, tensors))
    assert found.method == ActivatedLoRA(rank=2, invocation=INVOCATION)
    assert torch.allclose(logits_of(found), logits_of(wanted), atol=1e-6)
    assert not torch.allclose(logits_of(found), logits_of(plain), atol=1e-2)


def test_the_numbers_in_the_file(tmp_path: Path) -> None:
    tuned = shaken(LoRA(rank=3))
    _, tensors = read(to_gguf(tuned, tmp_path / "a.gguf"))
    names = {
        "q_proj": ("attn_q", 4),
        "k_proj": ("attn_k", 2),
        "v_proj": ("attn_v", 0),
        "o_proj": ("attn_output", 0),
        "gate_proj": ("ffn_gate", 0),
        "up_proj": ("ffn_up", 0),
        "down_proj": ("ffn_down", 0),
    }
    for place in tuned.places(tuple(names)):  # type: ignore[arg-type]
        name, heads = names[place.target]
        a, b = (getattr(place.linear, one).detach().numpy() for one in "ab")
        np.testing.assert_array_equal(tensors[f"blk.{place.layer}.{name}.weight.lora_a"], a)
        found = tensors[f"blk.{place.layer}.{name}.weight.lora_b"]
        np.testing.assert_array_equal(found, to_rotary(b, heads) if heads else b)
        assert (found == b).all() == (not heads)


def test_qwen_keeps_its_rows(tmp_path: Path) -> None:
    model = tiny_llama()
    model.config.model_type = "qwen2"
    tuned = apply(model, LoRA(rank=2))
    shake(tuned)
    fields, tensors = read(to_gguf(tuned, tmp_path / "a.gguf"))
    assert fields["general.architecture"] == "qwen2"
    b = tuned.places(("q_proj",))[0].linear.b.detach().numpy()  # type: ignore[operator]
    np.testing.assert_array_equal(tensors["blk.0.attn_q.weight.lora_b"], b)


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no adapter for this method") as caught:
        to_gguf(shaken(DoRA(rank=2)), tmp_path / "a.gguf")
    assert "merge" in caught.value.hint
    with pytest.raises(ConfigError, match="alpha of 0"):
        to_gguf(shaken(LoRA(alpha=0.0)), tmp_path / "a.gguf")
    with pytest.raises(ConfigError, match=r"in \.gguf"):
        to_gguf(shaken(LoRA()), tmp_path / "a.bin")
    tuned = shaken(LoRA(rank=2))
    with torch.no_grad():
        cast(Any, tuned.places(("k_proj",))[1].linear).b[0, 0] = 1e6
    with pytest.raises(ArtifactError, match="as f16"):
        to_gguf(tuned, tmp_path / "a.gguf", dtype="f16")
    tuned.causal.config.model_type = "gpt2"
    with pytest.raises(ConfigError, match="gpt2"):
        to_gguf(tuned, tmp_path / "a.gguf")
    assert not list(tmp_path.iterdir())


Change = Callable[[Fields, Tensors], object]
BAD: dict[str, tuple[Change, str]] = {
    "architecture": (lambda f, _: f.update({"general.architecture": "qwen2"}), "is for 'qwen2'"),
    "model": (lambda f, _: f.update({"general.type": "model"}), "no LoRA adapter"),
    "kind": (lambda f, _: f.pop("adapter.type"), "no LoRA adapter"),
    "alpha": (lambda f, _: f.pop("adapter.lora.alpha"), "alpha is None"),
    "nan-alpha": (lambda f, _: f.update({"adapter.lora.alpha": math.nan}), "alpha is nan"),
    "base": (lambda f, _: f.update({"adwright.base": "0" * 64}), "another base"),
    "missing": (lambda _, t: t.pop("blk.1.attn_v.weight.lora_b"), "attn_v.weight.lora_b' is miss"),
    "unknown": (
        lambda _, t: t.update({"blk.9.attn_v.weight.lora_b": np.ones((1, 1), np.float32)}),
        "is for no map",
    ),
    "shape": (
        lambda _, t: t.update({"blk.1.attn_v.weight.lora_b": np.ones((7, 2), np.float32)}),
        r"is \[7, 2\], not \[16, 2\]",
    ),
    "rank": (
        lambda _, t: t.update({"blk.1.attn_v.weight.lora_a": np.ones((5, 32), np.float32)}),
        "ranks are",
    ),
    "nan": (lambda _, t: t["blk.1.attn_v.weight.lora_a"].fill(np.nan), "NaN"),
    "type": (
        lambda _, t: t.update({"blk.1.attn_v.weight.lora_a": np.ones((2, 32), np.int32)}),
        "is I32",
    ),
    "nothing": (lambda _, t: t.clear(), "ranks are"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_and_the_model_stays(name: str, tmp_path: Path) -> None:
    change, message = BAD[name]
    fields, tensors = read(to_gguf(shaken(LoRA(rank=2)), tmp_path / "good.gguf"))
    change(fields, tensors)
    model = tiny_llama()
    with pytest.raises(ArtifactError, match=message):
        from_gguf(model, write(tmp_path / "bad.gguf", fields, tensors))
    apply(model, LoRA())


def test_what_is_no_file(tmp_path: Path) -> None:
    good = to_gguf(shaken(LoRA(rank=2)), tmp_path / "good.gguf").read_bytes()
    for content in (b"", b"GGUF", b"something else" * 9, good[: len(good) // 2], good[:90]):
        (tmp_path / "bad.gguf").write_bytes(content)
        with pytest.raises(ArtifactError, match="cannot be read"):
            from_gguf(tiny_llama(), tmp_path / "bad.gguf")
    with pytest.raises(ArtifactError, match="cannot be read"):
        from_gguf(tiny_llama(), tmp_path / "nowhere.gguf")


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuned = shaken(LoRA(rank=2))
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    with pytest.raises(MissingExtraError):
        to_gguf(tuned, tmp_path / "a.gguf")


peft = pytest.importorskip("peft", reason="the extra lm is not installed")
# peft asks transformers for names that it is about to lose.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*past_key_values:FutureWarning"),
]

WRITTEN: dict[str, Method] = {
    "lora": LoRA(rank=3, dropout=0.1),
    "some maps": LoRA(rank=2, targets=("q_proj", "down_proj")),
    "rslora": LoRA(rank=3, rank_stabilised=True),
    "lora+": LoRA(rank=3, rate_ratio=4.0),
    "lora-fa": LoRAFA(rank=3),
    "dora": DoRA(rank=3),
    "alora": ActivatedLoRA(rank=3, dropout=0.1, invocation=INVOCATION),
    "ia3": IA3(),
    "prompt": PromptTuning(length=5),
    "prefix": PrefixTuning(length=3),
    "prefix by an mlp": PrefixTuning(length=3, made_by="mlp", hidden=6),
    "peft's loha": Wrapped(PeftKind.LOHA, rank=2),
    "peft's p-tuning": Wrapped(PeftKind.P_TUNING, length=4),
}


def peft_logits(folder: Path, method: Method) -> torch.Tensor:
    """Logits [B, T, V] of the text, by peft alone."""
    model = peft.PeftModel.from_pretrained(tiny_llama(), folder).eval()
    with torch.no_grad():
        logits: torch.Tensor = model(TOKENS, attention_mask=torch.ones_like(TOKENS)).logits
    return logits[:, -TOKENS.shape[1] :]


@pytest.mark.parametrize("method", WRITTEN.values(), ids=WRITTEN.keys())
def test_what_is_written_gives_pefts_own_logits(method: Method, tmp_path: Path) -> None:
    tuned = apply(tiny_llama(), method)
    shake(tuned, size=0.05)
    wanted = logits_of(tuned)
    folder = to_peft(tuned, tmp_path / "part", base="tiny")
    assert (
        json.loads((folder / CONFIG_FILE).read_text("utf-8"))["base_model_name_or_path"] == "tiny"
    )
    found = peft_logits(folder, method)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found, base_logits(), atol=1e-2)
    if not isinstance(method, Wrapped):
        back = from_peft(tiny_llama(), folder)
        torch.testing.assert_close(logits_of(back), wanted, rtol=1e-5, atol=1e-5)


def test_the_files_are_those_that_peft_writes(tmp_path: Path) -> None:
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=2, use_dora=True, target_modules=["q_proj"])
    peft.get_peft_model(tiny_llama(), config).save_pretrained(tmp_path / "theirs")
    tuned = apply(tiny_llama(), DoRA(rank=2, targets=("q_proj",)))
    to_peft(tuned, tmp_path / "ours")
    ours, theirs = (load_file(tmp_path / one / TENSOR_FILE) for one in ("ours", "theirs"))
    assert {name: x.shape for name, x in ours.items()} == {n: x.shape for n, x in theirs.items()}


def test_a_prefix_of_another_rotation_is_refused(tmp_path: Path) -> None:
    tuned: Any = apply(tiny_of("cohere2"), PrefixTuning(length=2))
    with pytest.raises(ConfigError, match="model_type cohere2"):
        to_peft(tuned, tmp_path / "part")
    assert not (tmp_path / "part").exists()


def test_what_peft_has_no_form_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no form for this method"):
        to_peft(apply(tiny_llama(), SerialAdapter(size=2)), tmp_path / "part")


def test_what_is_there_is_replaced_when_asked(tmp_path: Path) -> None:
    tuned = apply(tiny_llama(), LoRA(rank=2))
    to_peft(tuned, tmp_path / "part")
    with pytest.raises(ResourceError):
        to_peft(tuned, tmp_path / "part")
    shake(tuned)
    to_peft(tuned, tmp_path / "part", overwrite=True)
    back = from_peft(tiny_llama(), tmp_path / "part")
    torch.testing.assert_close(logits_of(back), logits_of(tuned))


ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TASK: dict[str, Any] = {"task_type": "CAUSAL_LM"}
LOW: dict[str, Any] = TASK | {"r": 3, "lora_alpha": 12, "target_modules": ALL}
THEIRS: dict[str, Callable[[], Any]] = {
    "lora": lambda: peft.LoraConfig(**LOW, lora_dropout=0.1),
    "some maps": lambda: peft.LoraConfig(**LOW | {"target_modules": ["v_proj", "up_proj"]}),
    "rslora": lambda: peft.LoraConfig(**LOW, use_rslora=True),
    "dora": lambda: peft.LoraConfig(**LOW, use_dora=True),
    "dora and rslora": lambda: peft.LoraConfig(**LOW, use_dora=True, use_rslora=True),
    "alora": lambda: peft.LoraConfig(**LOW, alora_invocation_tokens=[55]),
    "alora and rslora": lambda: peft.LoraConfig(
        **LOW, use_rslora=True, alora_invocation_tokens=[8, 25]
    ),
    "ia3": lambda: peft.IA3Config(
        **TASK, target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]
    ),
    "prompt": lambda: peft.PromptTuningConfig(**TASK, num_virtual_tokens=4),
    "prefix": lambda: peft.PrefixTuningConfig(**TASK, num_virtual_tokens=3),
}


def written(config: Any, folder: Path) -> torch.Tensor:
    """Save a part of peft with random weights; returns its logits [B, T, V] of the text."""
    generator = torch.Generator().manual_seed(1)
    with torch.random.fork_rng():
        model = peft.get_peft_model(tiny_llama(), config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        model.eval().save_pretrained(folder)
        logits: torch.Tensor = model(TOKENS, attention_mask=torch.ones_like(TOKENS)).logits
    return logits[:, -TOKENS.shape[1] :]


@pytest.mark.parametrize("config", THEIRS.values(), ids=THEIRS.keys())
def test_a_part_of_peft_gives_what_it_gave_there(config: Any, tmp_path: Path) -> None:
    wanted = written(config(), tmp_path / "theirs")
    tuned = from_peft(tiny_llama(), tmp_path / "theirs")
    torch.testing.assert_close(logits_of(tuned), wanted, rtol=1e-5, atol=1e-5)
    tuned.save(tmp_path / "ours")
    again = load_tuned(tiny_llama(), tmp_path / "ours")
    torch.testing.assert_close(logits_of(again), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (lambda: peft.LoHaConfig(**TASK, target_modules=["q_proj"]), "kind LOHA"),
        (lambda: peft.LoraConfig(**LOW, rank_pattern={"q_proj": 2}), "rank_pattern"),
        (lambda: peft.LoraConfig(**LOW, layers_to_transform=[0]), "layers_to_transform"),
        (lambda: peft.LoraConfig(**LOW, modules_to_save=["lm_head"]), "modules_to_save"),
        (lambda: peft.LoraConfig(**LOW, bias="all"), "setting bias"),
        (lambda: peft.LoraConfig(**LOW, init_lora_weights="pissa"), "started by pissa"),
    ],
)
def test_what_has_no_form_here_is_refused(config: Any, message: str, tmp_path: Path) -> None:
    written(config(), tmp_path / "theirs")
    model = tiny_llama()
    with pytest.raises(ConfigError, match=message):
        from_peft(model, tmp_path / "theirs")
    assert type(model.model.layers[0].self_attn.q_proj) is torch.nn.Linear


def test_damage_is_found_before_the_model_changes(tmp_path: Path) -> None:
    folder, model = tmp_path / "theirs", tiny_llama()
    written(THEIRS["lora"](), folder)
    whole = load_file(folder / TENSOR_FILE)
    name = "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight"

    def refused(tensors: dict[str, torch.Tensor], message: str) -> None:
        save_file(tensors, folder / TENSOR_FILE)
        with pytest.raises(ArtifactError, match=message):
            from_peft(model, folder)

    refused({n: x for n, x in whole.items() if n != name}, "is missing")
    refused(whole | {name: whole[name][:, :1].contiguous()}, "not")
    refused(whole | {name: whole[name] * torch.nan}, "NaN")
    refused(whole | {"base_model.model.lm_head.lora_A.weight": torch.ones(3, 2)}, "for no map")
    (folder / TENSOR_FILE).write_bytes(b"no tensors")
    with pytest.raises(ArtifactError, match="cannot be read"):
        from_peft(model, folder)
    (folder / TENSOR_FILE).unlink()
    (folder / "adapter_model.bin").write_bytes(b"pickle")
    with pytest.raises(ArtifactError, match=TENSOR_FILE) as caught:
        from_peft(model, folder)
    assert "pickled" in str(caught.value.hint)
    assert type(model.model.layers[0].self_attn.q_proj) is torch.nn.Linear


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"peft_type": "LORA", "r": 0})])
def test_a_wrong_config_is_refused(text: str, tmp_path: Path) -> None:
    written(THEIRS["lora"](), tmp_path / "theirs")
    (tmp_path / "theirs" / CONFIG_FILE).write_text(text, "utf-8")
    with pytest.raises(ArtifactError):
        from_peft(tiny_llama(), tmp_path / "theirs")
    with pytest.raises(ArtifactError, match="cannot be read"):
        from_peft(tiny_llama(), tmp_path / "none")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"alora_invocation_tokens": []}, ArtifactError, "no list of tokens"),
        ({"alora_invocation_tokens": "Answer:"}, ArtifactError, "no list of tokens"),
        ({"alora_invocation_tokens": [5], "use_dora": True}, ConfigError, "DoRA and aLoRA at once"),
    ],
)
def test_a_wrong_invocation_is_refused(
    settings: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    name = "dora" if "use_dora" in settings else "lora"
    written(THEIRS[name](), tmp_path / "theirs")
    config = tmp_path / "theirs" / CONFIG_FILE
    config.write_text(json.dumps(json.loads(config.read_text("utf-8")) | settings), "utf-8")
    with pytest.raises(error, match=message):
        from_peft(tiny_llama(), tmp_path / "theirs")
