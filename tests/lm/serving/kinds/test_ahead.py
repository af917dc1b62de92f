"""Prefixes and prompts as keys and values in pages: the answers are those of the plain engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from adwright.core.errors import ArtifactError
from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.serving.config import ServingConfig
from adwright.lm.serving.kinds import AheadTokens, GatheredMethod, ahead_of, keys_ahead
from adwright.lm.torch_engine.model import TorchModel
from adwright.lm.torch_engine.network import tuned_over
from adwright.tuning.additive.adapters import ParallelAdapter
from adwright.tuning.additive.prompts import PrefixTuning, PromptTuning
from adwright.tuning.hybrid import MAM, UniPELT
from adwright.tuning.peft_kinds import PeftKind, Wrapped
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.lm.adapter_engine import BLOCK, models_of, odd_texts
from tests.support.lm.serving_methods import tuned_and_saved
from tests.support.lm.tiny_llama import tiny_llama, tiny_tokens

#: Lengths below, at and above whole blocks.
AHEAD: dict[str, GatheredMethod] = {
    "prefix": PrefixTuning(length=BLOCK + 1),
    "prefix-mlp": PrefixTuning(length=BLOCK, made_by="mlp", hidden=6),
    "prompt": PromptTuning(length=BLOCK - 1),
    "mam": MAM(length=3, size=5),
    "p-tuning": Wrapped(PeftKind.P_TUNING, length=5),
    "cpt": Wrapped(PeftKind.CPT, tokens=(3, 4, 5)),
    "parallel": ParallelAdapter(size=4, beside="both"),
    "lora": LoRA(rank=2),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    top = tmp_path_factory.mktemp("parts")
    for seed, (name, method) in enumerate(AHEAD.items(), start=1):
        tuned_and_saved(method, top / name, seed)
    return {name: top / name for name in AHEAD}


@pytest.mark.parametrize("pages", [2000, 90])
def test_all_at_once_are_what_each_is_alone(folders: dict[str, Path], pages: int) -> None:
    """Also where the pool is so small that adapters are evicted and rows begin again."""
    drive = ServingConfig(drive="outside")
    models = models_of(folders, pages=pages, config=drive)
    config = GenerationConfig(max_tokens=9)
    wanted = {}
    rows = []
    for at, name in enumerate(folders):
        text = odd_texts()[at]
        part = tuned_over(tiny_llama(), folders[name])
        plain = TorchModel(part, tiny_tokens(), name=name)
        wanted[name] = list(plain.generate([text], config)[0].token_ids)
        rows.append(models[name].row(tiny_tokens().encode(text), config))  # type: ignore[union-attr]
    models.submit(rows)
    while models.step():
        pass
    found = dict(
        zip(folders, (list(row.answer.completion().token_ids) for row in rows), strict=True)
    )
    assert found == wanted


@pytest.mark.parametrize("name", AHEAD)
def test_scores_and_vectors(folders: dict[str, Path], name: str) -> None:
    models = models_of({name: folders[name]})
    plain = TorchModel(tuned_over(tiny_llama(), folders[name]), tiny_tokens(), name=name)
    pair = (["the best tea", "buy"], ["in the world", "two packs of coffee"])
    found, wanted = models[name].score(*pair), plain.score(*pair)
    for mine, theirs in zip(found.token_logprobs, wanted.token_logprobs, strict=True):
        assert np.allclose(mine, theirs, atol=1e-4)
    texts = ["a warm coat for cold days"]
    assert np.allclose(models[name].embed(texts), plain.embed(texts), atol=1e-4)


def test_lengths_and_positions() -> None:
    assert ahead_of(PrefixTuning(length=7)) == AheadTokens(7, 0)
    assert ahead_of(MAM(length=7)) == AheadTokens(7, 0)
    assert ahead_of(PromptTuning(length=7)) == AheadTokens(7, 7)
    assert ahead_of(Wrapped(PeftKind.MPT, length=6)) == AheadTokens(6, 6)
    assert ahead_of(Wrapped(PeftKind.CPT, tokens=(1, 2))) == AheadTokens(2, 2)
    assert ahead_of(LoRA()) == AheadTokens()


def test_a_prompt_shortens_the_context(folders: dict[str, Path]) -> None:
    models = models_of(folders)
    context = models["base"].info.context
    assert models["prompt"].info.context == context - (BLOCK - 1)
    assert models["prefix"].info.context == context


def test_a_prefix_behind_a_gate(tmp_path: Path) -> None:
    tuned_and_saved(UniPELT(rank=2, length=3, size=4), tmp_path / "part")
    with pytest.raises(ArtifactError, match="not the same for every text"):
        keys_ahead(tiny_llama(), tmp_path / "part")


def test_keys_of_a_prefix_are_the_learned_ones(tmp_path: Path) -> None:
    tuned = tuned_and_saved(PrefixTuning(length=3), tmp_path / "part")
    found = keys_ahead(tiny_llama(), tmp_path / "part")
    assert found.shape == (3, 2, 2, 3, 12)
    learned = [layer.self_attn.prefix.maker.values for layer in tuned.layers()]  # type: ignore[union-attr]
    assert torch.equal(found, torch.stack(learned))  # type: ignore[arg-type]
