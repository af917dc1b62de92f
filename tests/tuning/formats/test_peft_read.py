"""peft's parts come in: with peft's own logits, or with the reason why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from adwright.core.errors import ArtifactError, ConfigError
from adwright.tuning.formats.peft import CONFIG_FILE, TENSOR_FILE, from_peft
from adwright.tuning.methods import load_tuned
from tests.support.lm.tuning_methods import TOKENS, logits_of, tiny_llama

peft = pytest.importorskip("peft", reason="the extra lm is not installed")
# peft asks transformers for names that it is about to lose.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*past_key_values:FutureWarning"),
]

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
