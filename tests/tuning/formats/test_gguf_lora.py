"""LoRA in GGUF: the order of rows against a literal rotation, the round trip, and bad files."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="the extra lm is not installed")
pytest.importorskip("gguf", reason="the extra lm is not installed")

import gguf

from adwright.core.errors import ArtifactError, ConfigError, MissingExtraError
from adwright.tuning.efficient.memory import LoRAFA
from adwright.tuning.formats.gguf import from_gguf, from_rotary, to_gguf, to_rotary
from adwright.tuning.methods import Method, apply
from adwright.tuning.reparameterised.activated import ActivatedLoRA
from adwright.tuning.reparameterised.lora import DoRA, LoRA
from adwright.tuning.tuned import Tuned
from tests.support.lm.tuning_methods import INVOCATION, logits_of, shake, tiny_llama

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


def test_the_order_is_that_of_the_converter_of_base_weights() -> None:
    """As written there: view as [heads, 2, d / 2, ...], swap axes 1 and 2."""
    rows = np.random.default_rng(1).normal(size=(16, 3)).astype(np.float32)
    theirs = rows.reshape(2, 2, 4, 3).swapaxes(1, 2).reshape(16, 3)
    np.testing.assert_array_equal(to_rotary(rows, 2), theirs)


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


def test_half_floats_are_near(tmp_path: Path) -> None:
    tuned = shaken(LoRA(rank=3))
    whole = to_gguf(tuned, tmp_path / "a.gguf")
    half = to_gguf(tuned, tmp_path / "b.gguf", dtype="f16")
    assert half.stat().st_size < whole.stat().st_size
    assert torch.allclose(logits_of(from_gguf(tiny_llama(), half)), logits_of(tuned), atol=1e-2)


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


def test_a_tuned_model_takes_no_second_one(tmp_path: Path) -> None:
    tuned = shaken(LoRA(rank=2))
    path = to_gguf(tuned, tmp_path / "a.gguf")
    # Without the fingerprint, which differs by then.
    fields, tensors = read(path)
    fields.pop("adwright.base")
    with pytest.raises(ConfigError, match="tuned already"):
        from_gguf(tuned.causal, write(path, fields, tensors))


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuned = shaken(LoRA(rank=2))
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    with pytest.raises(MissingExtraError):
        to_gguf(tuned, tmp_path / "a.gguf")
