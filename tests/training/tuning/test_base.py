"""A base in four bits: refused without CUDA; with it never run. Weights in codes stand for it."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.errors import ConfigError, MissingExtraError

transformers = pytest.importorskip("transformers")

from adwright.training.tuning.base import (  # noqa: E402
    PACKABLE,
    beside_base,
    in_tokens,
    load_base,
    load_tokenizer,
    require_four_bit,
)
from adwright.training.tuning.run import TuneRun, run_tuning  # noqa: E402
from adwright.training.tuning.texts import PairsConfig  # noqa: E402
from adwright.training.tuning.tune import answer_nll, tune  # noqa: E402
from adwright.tuning.methods import METHODS, apply  # noqa: E402
from adwright.tuning.modules import LINEAR, places  # noqa: E402
from adwright.tuning.references import FullTuning  # noqa: E402
from adwright.tuning.reparameterised.activated import ActivatedLoRA  # noqa: E402
from adwright.tuning.reparameterised.lora import LoRA, is_packed  # noqa: E402
from tests.support.lm.tiny_llama import save_tiny, tiny_tokenizer  # noqa: E402
from tests.training.tuning.test_tune import CONFIG, texts, tuned_by  # noqa: E402


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
    monkeypatch.setattr("adwright.training.tuning.base.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"bitsandbytes.*pip install bitsandbytes"):
        require_four_bit(LoRA())


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny(tmp_path_factory.mktemp("base") / "model"))


@pytest.mark.parametrize("quick", [torch.bfloat16, torch.float32])
def test_a_base_is_loaded_in_the_type_that_its_method_needs(
    saved: str, monkeypatch: pytest.MonkeyPatch, quick: torch.dtype
) -> None:
    monkeypatch.setattr("adwright.training.tuning.base.quick_dtype", lambda _: quick)
    monkeypatch.setattr("adwright.training.tuning.base.fitting_dtype", lambda _: torch.bfloat16)
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
    monkeypatch.setattr("adwright.training.tuning.base.memory_left", lambda: 1000)
    assert load_base(saved)[0].dtype is torch.bfloat16


def test_the_tokenizer_is_that_of_the_base(saved: str) -> None:
    _, tokenizer, note = load_base(saved)
    assert note == ""
    assert load_tokenizer(saved)("sale 1")["input_ids"] == tokenizer("sale 1")["input_ids"]


def test_without_transformers_the_extra_is_named(
    saved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    for load in (load_base, load_tokenizer):
        with pytest.raises(MissingExtraError, match=r"adwright\[lm\]"):
            load(saved)


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
