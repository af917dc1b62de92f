"""Base and part as one model."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gguf", reason="the extra lm is not installed")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from adwright.core.errors import ArtifactError, ConfigError, ResourceError
from adwright.training.tuning.merging import merge_run
from adwright.tuning.additive.adapters import ParallelAdapter
from adwright.tuning.methods import Method, apply
from adwright.tuning.references import HeadOnly
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.selective.masks import BitFit
from tests.support.lm.tiny_gguf import save_tiny_gguf
from tests.support.lm.tiny_llama import save_tiny, tiny_tokenizer
from tests.support.lm.tuning_methods import shake

TEXT = "the best tea in the world"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("base") / "model")


def part(base: Path, method: Method, run: Path) -> torch.Tensor:
    """A run with a part that was shaken; returns its logits [T, V] of TEXT."""
    tuned = apply(AutoModelForCausalLM.from_pretrained(base), method)
    shake(tuned, size=0.1)
    tuned.save(run / "tuned")
    return logits(tuned.eval().causal)


def logits(model: Any) -> torch.Tensor:
    ids = tiny_tokenizer()(TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=ids).logits[0]
    return found


@pytest.mark.parametrize("method", [LoRA(rank=2), BitFit(), HeadOnly()], ids=lambda m: repr(m)[:7])
def test_a_folder_answers_as_base_and_part(method: Method, base: Path, tmp_path: Path) -> None:
    wanted = part(base, method, tmp_path / "run")
    assert merge_run(tmp_path / "run", tmp_path / "whole", model=str(base)) == type(method).__name__
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "whole")
    torch.testing.assert_close(logits(again), wanted, rtol=1e-4, atol=1e-4)
    assert len(AutoTokenizer.from_pretrained(tmp_path / "whole")) == len(tiny_tokenizer())
    with pytest.raises(ResourceError):
        merge_run(tmp_path / "run", tmp_path / "whole", model=str(base))


def test_a_gguf_answers_in_llamacpp_as_here(base: Path, tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="the extra llamacpp is not installed")
    from adwright.lm.engine.generation import GenerationConfig
    from adwright.lm.engine.hf_tokens import HuggingFaceTokens
    from adwright.lm.native_engines.llamacpp_config import XllamacppConfig
    from adwright.lm.native_engines.llamacpp_model import XllamacppModel
    from adwright.lm.torch_engine.model import TorchModel

    part(base, LoRA(rank=2), tmp_path / "run")
    like = save_tiny_gguf(tmp_path / "like.gguf")
    whole = tmp_path / "made" / "whole.gguf"
    merge_run(tmp_path / "run", whole, model=str(base), like=like, weights="f32")
    assert [file.name for file in whole.parent.iterdir()] == ["whole.gguf"]
    merge_run(tmp_path / "run", tmp_path / "whole", model=str(base))
    ours = TorchModel(
        AutoModelForCausalLM.from_pretrained(tmp_path / "whole").eval(),
        HuggingFaceTokens.load(tmp_path / "whole"),
        name="whole",
    )
    asked = GenerationConfig(max_tokens=8)
    config = XllamacppConfig(str(whole), threads=1, cache_tokens=512)
    with closing(XllamacppModel.open(config)) as model:
        found = model.generate([TEXT], asked)[0]
        scored = model.score([TEXT], [" and a friend"]).token_logprobs[0]
    # A random model writes half characters, which the two show differently.
    texts = [one.text.replace("\ufffd", "") for one in (found, ours.generate([TEXT], asked)[0])]
    assert texts[0] == texts[1] != ""
    wanted = ours.score([TEXT], [" and a friend"]).token_logprobs[0]
    assert scored == pytest.approx(wanted, abs=0.02)


def test_a_file_needs_one_of_the_same_base(base: Path, tmp_path: Path) -> None:
    part(base, LoRA(rank=2), tmp_path / "run")
    to = tmp_path / "whole.gguf"
    with pytest.raises(ConfigError, match="tokeniser") as caught:
        merge_run(tmp_path / "run", to, model=str(base))
    assert "--like" in str(caught.value.hint)
    wrong = tmp_path / "wrong.gguf"
    wrong.write_bytes(b"no model")
    with pytest.raises(ArtifactError, match="cannot be read"):
        merge_run(tmp_path / "run", to, model=str(base), like=wrong)
    assert not to.exists()


def test_what_cannot_be_folded_is_refused(base: Path, tmp_path: Path) -> None:
    part(base, ParallelAdapter(size=2), tmp_path / "run")
    with pytest.raises(ConfigError, match="cannot be folded"):
        merge_run(tmp_path / "run", tmp_path / "whole", model=str(base))
    assert not (tmp_path / "whole").exists()
