"""A base in four bits: refused without CUDA; with it never run. Weights in codes stand for it."""

from __future__ import annotations

import copy
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer

from adwright.core.errors import ArtifactError, ConfigError, ResourceError
from adwright.training.tuning.run import (
    PACKABLE,
    TuneRun,
    beside_base,
    in_tokens,
    load_base,
    merge_run,
    require_four_bit,
    run_tuning,
)
from adwright.training.tuning.texts import PairsConfig
from adwright.training.tuning.tune import answer_nll, tune
from adwright.tuning.additive.adapters import ParallelAdapter
from adwright.tuning.methods import METHODS, Method, apply
from adwright.tuning.modules import LINEAR, places
from adwright.tuning.reparameterised.lora import ActivatedLoRA, LoRA, is_packed
from adwright.tuning.selective import BitFit, FullTuning, HeadOnly
from tests.support.lm.tiny_gguf import save_tiny_gguf
from tests.support.lm.tiny_llama import save_tiny, tiny_tokenizer
from tests.support.lm.tuning_methods import shake
from tests.support.training.tune_distributed import texts
from tests.training.tuning.test_tune import CONFIG, tuned_by

transformers = pytest.importorskip("transformers")


class Codes(nn.Linear):
    """Like Linear4bit: the weight is [n, 1] of bytes, which only `forward` can read."""

    def __init__(self, plain: nn.Linear) -> None:
        super().__init__(plain.in_features, plain.out_features, bias=False)
        scale = plain.weight.detach().abs().max() / 127
        codes = (plain.weight.detach() / scale).round().add(128).to(torch.uint8)
        self.scale = float(scale)
        self.weight = nn.Parameter(codes.reshape(-1, 1), requires_grad=False)

    def whole(self) -> Tensor:
        return ((self.weight.float() - 128) * self.scale).view(self.out_features, -1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.whole().to(x.dtype))


def packed() -> nn.Module:
    model: nn.Module = tuned_by(LoRA(rank=1)).merge()
    for place in list(places(model, LINEAR)):
        place.put(Codes(place.linear))
    return model


@pytest.mark.parametrize("name", sorted(PACKABLE))
def test_methods_train_on_a_base_in_codes(name: str) -> None:
    said = texts().prompts[0][:1]
    method = METHODS[name]().in_tokens(lambda _: said, "the first word")
    tuned = apply(packed(), method)
    assert tuned.count() == method.count(tuned.sizes)
    beside_base(tuned)
    before = answer_nll(tuned, texts())
    codes = [place.linear.weight.clone() for place in places(packed(), LINEAR)]
    tune(tuned, texts(), CONFIG)
    assert answer_nll(tuned, texts()) < before
    kept = [module.weight for module in tuned.modules() if isinstance(module, Codes)]
    assert all(torch.equal(one, other) for one, other in zip(kept, codes, strict=True))


def test_lora_on_codes_is_lora_on_what_they_stand_for() -> None:
    model, plain = packed(), tuned_by(LoRA(rank=1)).merge()
    for coded, place in zip(places(model, LINEAR), places(plain, LINEAR), strict=True):
        assert isinstance(coded.linear, Codes)
        assert is_packed(coded.linear)
        assert not is_packed(place.linear)
        place.linear.weight.data = coded.linear.whole()
    pair = [apply(each, LoRA(rank=4)) for each in (model, plain)]
    for each in pair:
        tune(each, texts(), CONFIG)
    for one, other in zip(pair[0].parameters(), pair[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match="packed codes"):
        pair[0].merge()


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="FullTuning reads the base's weights"):
        require_four_bit(FullTuning())
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="needs a CUDA device"):
        require_four_bit(LoRA())
    # Before anything is loaded.
    asked = TuneRun(data=PairsConfig(path=tmp_path / "none"), model="no/such", quantise="nf4")
    with pytest.raises(ConfigError, match="needs a CUDA device"):
        run_tuning(asked)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("adwright.training.tuning.run.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"bitsandbytes.*pip install bitsandbytes"):
        require_four_bit(LoRA())


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny(tmp_path_factory.mktemp("base") / "model"))


@pytest.mark.parametrize("quick", [torch.bfloat16, torch.float32])
def test_a_base_is_loaded_in_the_type_that_its_method_needs(
    saved: str, monkeypatch: pytest.MonkeyPatch, quick: torch.dtype
) -> None:
    monkeypatch.setattr("adwright.training.tuning.run.quick_dtype", lambda _: quick)
    monkeypatch.setattr("adwright.training.tuning.run.fitting_dtype", lambda _: torch.bfloat16)
    found = {
        (method, dtype): load_base(saved, method, dtype=dtype)[0].dtype
        for method in (None, LoRA(), FullTuning())
        for dtype in (None, torch.float16)
    }
    # What moves by small steps has to be in float32.
    assert [found[method, None] for method in (None, LoRA(), FullTuning())] == [
        *(quick, quick, torch.float32)
    ]
    assert {dtype for (_, asked), dtype in found.items() if asked} == {torch.float16}
    monkeypatch.setattr("adwright.training.tuning.run.memory_left", lambda: 1000)
    assert load_base(saved)[0].dtype is torch.bfloat16


def test_an_invocation_is_encoded_and_by_default_what_opens_an_answer() -> None:
    plain = copy.deepcopy(tiny_tokenizer())
    opening = tuple(plain("<|begin|>assistant\n", add_special_tokens=False)["input_ids"])
    assert in_tokens(ActivatedLoRA(), plain).tokens == opening
    wanted = tuple(plain("tea:", add_special_tokens=False)["input_ids"])
    assert in_tokens(ActivatedLoRA(invocation="tea:"), plain).tokens == wanted
    plain.chat_template = None
    with pytest.raises(ConfigError, match="no chat template"):
        in_tokens(ActivatedLoRA(), plain)
    assert in_tokens(LoRA(), plain) == LoRA()


pytest.importorskip("gguf", reason="the extra lm is not installed")


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
