"""?"""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.torch_engine.config import TorchConfig
from adwright.lm.torch_engine.model import TorchModel, give_back
from adwright.lm.torch_engine.network import (
    Network,
    PromptBatch,
    mapped,
    row_mapped,
    shared_beginning,
    tuned_folder,
    tuned_over,
)
from adwright.tuning.additive.prompts import DePT, PromptTuning
from adwright.tuning.methods import Method, apply
from adwright.tuning.reparameterised.lora import ActivatedLoRA
from adwright.tuning.tuned import Tuned, fingerprint
from tests.support.lm.serving_methods import SERVED, tuned_and_saved
from tests.support.lm.tiny_llama import CONTEXT, VOCABULARY, save_tiny, tiny_llama, tiny_tokens

pytest.importorskip("transformers", reason="the extra lm is not installed")


def after(ids: list[int]) -> torch.Tensor:
    """Logits after `ids`, computed by transformers in one piece."""
    logits: torch.Tensor = tiny_llama()(torch.tensor([ids])).logits[0, -1]
    return logits


def test_what_it_tells() -> None:
    network = Network(tiny_llama())
    assert (network.vocabulary, network.context) == (VOCABULARY, CONTEXT)


@pytest.mark.parametrize("shared", [0, 20])
@torch.no_grad()
def test_rows_equal_one_pass_over_each(shared: int) -> None:
    first = list(range(50, 50 + shared))
    rows = [[*first, 5, 6, 7, 8], [*first, 9], [*first, 10, 11]]
    batch = PromptBatch(Network(tiny_llama()), rows)
    for row, ids in enumerate(rows):
        torch.testing.assert_close(batch.logits[row], after(ids), atol=1e-4, rtol=1e-4)
    batch.step(torch.tensor([20, 21, 22]))
    batch.keep(torch.tensor([0, 2]))
    batch.step(torch.tensor([30, 32]))
    torch.testing.assert_close(batch.logits[0], after([*rows[0], 20, 30]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(batch.logits[1], after([*rows[2], 22, 32]), atol=1e-4, rtol=1e-4)


def test_the_head_sees_a_contiguous_matrix() -> None:
    model = tiny_llama()
    seen: list[torch.Tensor] = []
    model.lm_head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    network = Network(model)
    seen.clear()
    PromptBatch(network, [[1, 2, 3], [4, 5, 6]])
    assert [one.shape for one in seen] == [(2, 48)]
    assert seen[0].is_contiguous()


def test_shared_beginning() -> None:
    long = list(range(40))
    assert shared_beginning([[*long, 1], [*long, 2, 3], [*long[:30], 9]]) == 30
    # One token at least is left for each row, and a few are not worth a pass.
    assert shared_beginning([long, long]) == 39
    assert shared_beginning([long[:10], long[:10]]) == 0
    assert shared_beginning([[1], [2]]) == 0


pytest.importorskip("transformers", reason="the extra lm is not installed")


PROMPTS = ("the best tea", "a warm coat for cold days, a light", "buy")
TOKENS = 6


def greedy(tuned: Tuned, prompt: str) -> list[int]:
    """The likeliest tokens, the whole text read for each."""
    ids = tiny_tokens().encode(prompt)
    new: list[int] = []
    with torch.no_grad():
        for _ in range(TOKENS):
            hidden = tuned(torch.tensor([ids + new]))
            new.append(int(tuned.logits(hidden[0, -1]).argmax()))
            if new[-1] == 1:
                return new[:-1]
    return new


# peft's SHIRA makes sparse tensors, of which torch warns.
@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("name", SERVED)
def test_answers_are_those_of_the_tuned_model(name: str, tmp_path: Path) -> None:
    tuned = tuned_and_saved(SERVED[name], tmp_path / "part").eval()
    wanted = [greedy(tuned, prompt) for prompt in PROMPTS]
    base = tiny_llama()
    before = fingerprint(base)
    model = TorchModel(tuned_over(base, tmp_path / "part"), tiny_tokens(), name=name)
    config = GenerationConfig(max_tokens=TOKENS)
    assert [list(one.token_ids) for one in model.generate(PROMPTS, config)] == wanted
    # The base is as it was, also where the method trained parts of it.
    assert fingerprint(base) == before
    # A text that is scored, alone and beside others, has the probabilities of the tuned model.
    text = tiny_tokens().encode("in the world")
    ids = tiny_tokens().encode(PROMPTS[0])
    with torch.no_grad():
        logits = tuned.logits(tuned(torch.tensor([ids + text]))[0]).float().log_softmax(-1)
    alone = float(sum(logits[len(ids) - 1 + at, token] for at, token in enumerate(text)))
    scores = model.score([PROMPTS[0]] * 2, ["in the world", "in the morning"])
    assert scores.log_likelihood[0] == pytest.approx(alone, abs=1e-3)


@pytest.mark.parametrize("method", [PromptTuning(length=3), DePT(length=3, longest=64, rank=2)])
def test_a_model_whose_method_lies_around_it(method: Method) -> None:
    tuned = apply(tiny_llama(), method)
    with pytest.raises(ConfigError, match="lies around the model"):
        TorchModel(tuned.model, tiny_tokens(), name="part")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="lies around the model"):
        Network(tuned.causal)


def test_an_adapter_of_the_config(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base")
    # `adwright tune run` writes the adapter one folder deeper.
    tuned_and_saved(PromptTuning(length=4), tmp_path / "run" / "tuned")
    part = tmp_path / "run" / "tuned"
    assert tuned_folder(tmp_path / "run") == tuned_folder(part) == part
    config = GenerationConfig(max_tokens=8)
    found = {}
    for adapter in ("", str(tmp_path / "run"), str(tmp_path / "run" / "tuned")):
        asked = TorchConfig(str(base), dtype="float32", adapter=adapter, threads=1)
        model = TorchModel.open(asked)
        found[adapter] = model.generate(PROMPTS, config).texts
        assert ("PromptTuning" in model.info.note) == bool(adapter)
    plain, run, inner = found.values()
    assert run == inner != plain


def test_an_activated_lora_acts_from_the_last_invocation_of_each_prompt_on(tmp_path: Path) -> None:
    tokens = tiny_tokens()
    call = tuple(tokens.encode(" tea"))
    tuned = tuned_and_saved(ActivatedLoRA(rank=3, invocation=call), tmp_path / "part").eval()
    model = TorchModel(tuned_over(tiny_llama(), tmp_path / "part"), tokens, name="part")
    begin = "the best tea in the world is a cup of"
    prompts = [
        begin + " tea with milk and water",  # called twice, the second time behind what all share
        begin + " coffee",  # called within what all share
        "fresh bread, ripe cheese",  # never called
    ]
    config = GenerationConfig(max_tokens=TOKENS)
    found = model.generate(prompts, config)
    for prompt, one in zip(prompts, found, strict=True):
        assert list(one.token_ids) == greedy(tuned, prompt)
    assert model.generate(prompts[:2], config).texts == found.texts[:2]
    plain = TorchModel(tiny_llama(), tokens, name="base")
    assert found.texts[2] == plain.generate(prompts[2:], config).texts[0]
    assert found.texts[:2] != plain.generate(prompts[:2], config).texts
    # What is scored does not call it, as what is written does not.
    said = model.score(["fresh bread"], [" tea"]).log_likelihood
    np.testing.assert_allclose(said, plain.score(["fresh bread"], [" tea"]).log_likelihood)
    scores = model.score([begin] * 5, [" tea", " milk", " water", " bread", " a"])
    for at, label in enumerate((" tea", " milk", " water", " bread", " a")):
        alone = model.score([begin], [label]).log_likelihood
        np.testing.assert_allclose(scores.log_likelihood[at], alone[0], atol=1e-4)
    ids = [tokens.encode(prompt) for prompt in prompts]
    vectors = model.embed(prompts)
    for row, vector in zip(ids, vectors, strict=True):
        with torch.no_grad():
            mean = tuned(torch.tensor([row]))[0].mean(0)
        np.testing.assert_allclose(vector, mean / mean.norm(), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(1, 1, 24), (1, 24), (24,), (1, 3, 24), (1, 64), (2, 64)])
def test_is_the_linear_map(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(shape, generator=generator).to(dtype)
    weight = torch.randn(40, shape[-1], generator=generator).to(dtype)
    for bias in (None, torch.randn(40, generator=generator).to(dtype)):
        found = mapped(x, weight, bias)
        exact = functional.linear(
            x.double(), weight.double(), None if bias is None else bias.double()
        )
        assert found.shape == (*shape[:-1], 40)
        assert found.dtype == dtype
        # Rounded once, at the end: sums are in 32 bits.
        rounding = torch.finfo(dtype).eps * exact.abs() + 2e-5
        assert ((found.double() - exact).abs() <= rounding).all()


def test_one_row_of_a_part_of_a_tensor() -> None:
    x = torch.randn(1, 48, generator=torch.Generator().manual_seed(2)).bfloat16()[:, ::2]
    weight = torch.ones(3, 24, dtype=torch.bfloat16)
    assert torch.allclose(mapped(x, weight).float(), x.float().sum().expand(1, 3), atol=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("wide", [24, 64])
def test_one_row_into_a_part_of_a_tensor(dtype: torch.dtype, wide: int) -> None:
    generator = torch.Generator().manual_seed(3)
    row, weight = (torch.randn(n, wide, generator=generator).to(dtype) for n in (1, 5))
    for bias in (None, torch.randn(5, generator=generator).to(dtype)):
        into = torch.zeros(9, dtype=dtype)
        found = row_mapped(row[0], weight, bias, into[2:7])
        assert found.data_ptr() == into[2:].data_ptr()
        torch.testing.assert_close(found, functional.linear(row, weight, bias)[0])
        assert into[:2].tolist() == into[7:].tolist() == [0, 0]


def test_weights_that_do_not_lie_row_by_row() -> None:
    generator = torch.Generator().manual_seed(4)
    wide = torch.randn(64, 96, generator=generator).bfloat16()
    row = torch.randn(64, generator=generator).bfloat16()
    for weight in (wide.T, wide[:, :64], wide[::2, :64]):
        torch.testing.assert_close(
            row_mapped(row, weight), functional.linear(row[None], weight)[0], rtol=0.02, atol=0.1
        )


def resident_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmRSS"))


def test_what_lies_between_used_pieces_is_given_back() -> None:
    pieces = [bytearray(100_000) for _ in range(1000)]
    kept = pieces[::50]
    before = resident_mb()
    del pieces
    give_back()
    assert resident_mb() < before - 50
    assert len(kept) == 20


def test_without_such_a_library_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name: asked.append(name) or object())
    give_back()
    assert len(asked) == 1
