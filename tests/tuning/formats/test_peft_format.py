"""Parts in peft's format: what is written gives peft's own logits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from adwright.core.errors import ConfigError, ResourceError
from adwright.tuning.additive.adapters import IA3, SerialAdapter
from adwright.tuning.additive.prompts import PrefixTuning, PromptTuning
from adwright.tuning.efficient.memory import LoRAFA
from adwright.tuning.formats.peft import CONFIG_FILE, TENSOR_FILE, from_peft, to_peft
from adwright.tuning.methods import Method, apply
from adwright.tuning.peft_kinds import PeftKind, Wrapped
from adwright.tuning.reparameterised.activated import ActivatedLoRA
from adwright.tuning.reparameterised.lora import DoRA, LoRA
from tests.support.lm.families import tiny_of
from tests.support.lm.tuning_methods import (
    INVOCATION,
    TOKENS,
    base_logits,
    logits_of,
    shake,
    tiny_llama,
)

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
