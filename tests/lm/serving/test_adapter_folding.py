from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig, TokenPrompt
from adwright.lm.serving.adapter_folding import MergePolicy, Merger, folded_weights
from adwright.lm.serving.config import ServingConfig
from adwright.lm.serving.engine import AdapterModels
from adwright.lm.serving.scheduler import Row
from adwright.tuning.methods import load_tuned
from tests.support.lm.adapter_engine import PARTS, alone, models_of, odd_texts, saved_parts
from tests.support.lm.tiny_llama import tiny_llama

NAMES = ("lora", "lora-fa", "dora", "lora-few", "ia3")
ALWAYS = ServingConfig(merge=MergePolicy(to_merge=2, to_unmerge=6))
LONG = GenerationConfig(max_tokens=20)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return saved_parts(tmp_path_factory.mktemp("parts"), {name: PARTS[name] for name in NAMES})


def merger_of(models: AdapterModels) -> Merger:
    assert models._merger is not None
    return models._merger


def job(models: AdapterModels, name: str, hot: bool = True) -> Row:
    found = models[name].row([5, 6], LONG)
    if hot and name != "base":
        found.hot = models._cache.acquire(name)
    return found


@pytest.mark.parametrize("name", ["lora", "lora-fa", "dora", "lora-few"])
def test_folded_weights_are_those_of_the_tuned_part(name: str, folders: dict[str, Path]) -> None:
    models = models_of(folders, config=ALWAYS)
    hot = models._cache.acquire(name)
    assert hot is not None
    merger = merger_of(models)
    found = folded_weights(hot, merger._maps, models._pool, models._cache.grain)
    plain = load_tuned(tiny_llama(), folders[name]).merge()
    for at in merger._maps:
        weight = plain.get_submodule(at).weight
        own = found.get(at, tiny_llama().get_submodule(at).weight)
        assert torch.allclose(own, weight, atol=1e-5)
    assert len(found) == 3 * len(getattr(PARTS[name], "targets", ()))


def test_answers_are_the_same_in_both_states(folders: dict[str, Path]) -> None:
    models = models_of(folders, config=ALWAYS)
    texts = list(odd_texts()[:3])
    for name in ("lora", "dora"):
        assert (
            models[name].generate(texts, LONG).texts
            == alone(name, folders).generate(texts, LONG).texts
        )
        state = models.pool()
        assert state.merged == name
        assert state.merged_bytes > 0
    assert models.pool().merges == 2
    before = [linear.base.weight.clone() for linear in merger_of(models)._maps.values()]
    models["base"].generate(texts, LONG)
    assert models.pool().merged is None
    assert models.pool().merged_bytes == 0
    for linear, weight in zip(merger_of(models)._maps.values(), before, strict=True):
        assert torch.equal(linear.base.weight, weight)


def test_the_base_is_exact_afterwards_in_bfloat16(folders: dict[str, Path]) -> None:
    model = tiny_llama().to(torch.bfloat16)
    wanted = {name: p.clone() for name, p in model.named_parameters()}
    plain = models_of(folders, config=ALWAYS)
    models = AdapterModels(model, plain.tokens, name="base", config=plain.config)
    models.add("lora", folders["lora"])
    models["lora"].generate(["tea"], LONG)
    assert models.pool().merged == "lora"
    models["base"].generate(["tea"], LONG)
    assert models.pool().merged is None
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, wanted[name])


def test_others_wait_but_not_for_long(folders: dict[str, Path]) -> None:
    models = models_of(folders, config=ALWAYS)
    long = [models["lora"].row([5, 6], GenerationConfig(max_tokens=40)) for _ in range(6)]
    models.submit(long)
    while models.pool().merged is None:
        models.step()
    other = models["ia3"].row([5, 6, 7], GenerationConfig(max_tokens=1))
    models.submit([other])
    passes = 0
    while not other.over:
        models.step()
        passes += 1
    assert 2 <= passes <= 7
    while not all(job.over for job in long):
        models.step()
    (wanted,) = alone("lora", folders).generate(
        [TokenPrompt((5, 6))], GenerationConfig(max_tokens=40)
    )
    assert all(job.answer.completion() == wanted for job in long)


def literally(policy: MergePolicy, passes: list[list[str]]) -> list[str | None]:
    """The formula of the module, for passes with these live parts; all can be folded but x."""
    state, credit, debt, last, found = None, 0, 0, None, []
    for names in passes:
        if state is not None:
            debt += sum(name != state for name in names)
            if state not in names or debt >= policy.to_unmerge:
                state, credit, debt, last = None, 0, 0, None
        else:
            best = max(sorted({n for n in names if n != "ia3"}), key=names.count, default=None)
            enough = best is not None and names.count(best) >= policy.share * len(names)
            credit = 0 if not enough else credit + 1 if best == last else 1
            last = best if enough else None
            if credit >= policy.to_merge:
                state, debt = best, 0
        found.append(state)
    return found


def test_credits_are_counted_as_written(folders: dict[str, Path]) -> None:
    policy = MergePolicy(to_merge=3, share=0.7, to_unmerge=5)
    models = models_of(folders, config=ServingConfig(merge=policy))
    merger = merger_of(models)
    generator = torch.Generator().manual_seed(4)
    jobs = {name: [job(models, name) for _ in range(12)] for name in ("lora", "dora", "ia3")}
    passes = []
    for at in range(300):
        favourite = ("lora", "dora", "ia3")[(at // 11) % 3]
        number = 3 + int(torch.randint(5, (1,), generator=generator))
        others = int(torch.randint(3, (1,), generator=generator))
        passes.append([favourite] * number + ["ia3"] * others)
    found = []
    for names in passes:
        merger.decide([jobs[name][at] for at, name in enumerate(names)], [])
        found.append(merger.merged)
    assert found == literally(policy, passes)
    assert {"lora", "dora", None} == set(found)


def test_own_requests_behind_another_in_the_queue_cannot_run(folders: dict[str, Path]) -> None:
    models = models_of(folders, config=ALWAYS)
    merger = merger_of(models)
    own, other = job(models, "lora"), job(models, "dora")
    assert own.hot is not None
    merger.merge(own.hot)
    assert merger.decide([], [own, other]) is not None
    assert merger.decide([], [other, own]) is None
    assert merger.merged is None


def test_what_cannot_be_folded(folders: dict[str, Path]) -> None:
    models = models_of(folders, config=ALWAYS)
    hot = job(models, "ia3").hot
    assert hot is not None
    with pytest.raises(ConfigError, match="cannot be folded"):
        merger_of(models).merge(hot)
    models["ia3"].generate(["tea"], LONG)
    assert models.pool().merges == 0


def test_a_removed_part_is_not_kept(folders: dict[str, Path]) -> None:
    models = models_of(folders, config=ALWAYS)
    models["lora"].generate(["tea"], LONG)
    models.remove("lora")
    assert models.pool().merged is None


@pytest.mark.parametrize("change", [{"to_merge": 0}, {"to_unmerge": 0}, {"share": 0.5}])
def test_settings_that_cannot_be(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        MergePolicy(**change)
