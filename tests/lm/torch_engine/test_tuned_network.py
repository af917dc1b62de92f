"""Each method answers over a shared base as its own `Tuned` does, and leaves the base alone."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

import numpy as np
import torch

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.torch_engine.config import TorchConfig
from adwright.lm.torch_engine.model import TorchModel
from adwright.lm.torch_engine.network import Network, tuned_folder, tuned_over
from adwright.tuning.additive.prompts import DePT, PromptTuning
from adwright.tuning.methods import Method, apply
from adwright.tuning.reparameterised.activated import ActivatedLoRA
from adwright.tuning.storage import fingerprint
from adwright.tuning.tuned import Tuned
from tests.support.lm.serving_methods import SERVED, tuned_and_saved
from tests.support.lm.tiny_llama import save_tiny, tiny_llama, tiny_tokens

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
