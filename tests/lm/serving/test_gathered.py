"""?"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.errors import ArtifactError, ConfigError, ResourceError, ValueInvalidError
from adwright.lm.engine.generation import (
    Cancellation,
    Chunk,
    GenerationConfig,
    LanguageModel,
    ModelInfo,
    TokenPrompt,
)
from adwright.lm.serving.adapter_cache import BaseMaps, NotGathered
from adwright.lm.serving.adapter_folding import MergePolicy, Merger, folded_weights
from adwright.lm.serving.adapter_model import AdapterModel
from adwright.lm.serving.config import ServingConfig
from adwright.lm.serving.engine import AdapterModels
from adwright.lm.serving.kinds import GatheredMethod, MapUpdate
from adwright.lm.serving.scheduler import AnswerRow, Row
from adwright.lm.torch_engine.decode import Grammars
from adwright.tuning.additive.adapters import IA3, SSF, AdaMix, SerialAdapter, activated
from adwright.tuning.efficient import AdapterDrop, LoRAFA
from adwright.tuning.methods import load_tuned
from adwright.tuning.reparameterised.factors import KronA, LoRAHub, VeRA
from adwright.tuning.reparameterised.lora import DoRA, DyLoRA, LoRA, MoSLoRA, SoRA, cut
from adwright.tuning.selective import BitFit
from adwright.tuning.tuned import KIND
from tests.support.lm.adapter_engine import PARTS as adapter_engine_PARTS
from tests.support.lm.adapter_engine import alone, models_of, odd_texts, saved_parts
from tests.support.lm.tiny_llama import VOCABULARY, tiny_llama, tiny_model, tiny_tokens
from tests.support.lm.tuning_methods import attached, saved, shake
from tests.support.lm.tuning_methods import tiny_llama as tuning_methods_tiny_llama

NAMES = ("lora", "lora-fa", "dora", "lora-few", "ia3")
ALWAYS = ServingConfig(merge=MergePolicy(to_merge=2, to_unmerge=6))
LONG = GenerationConfig(max_tokens=20)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return saved_parts(
        tmp_path_factory.mktemp("parts"), {name: adapter_engine_PARTS[name] for name in NAMES}
    )


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
    assert len(found) == 3 * len(getattr(adapter_engine_PARTS[name], "targets", ()))


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


PARTS: dict[str, GatheredMethod] = {
    "lora": LoRA(rank=3),
    "lora-wide": LoRA(rank=6, rank_stabilised=True),
    "lora-few": LoRA(rank=2, targets=("q_proj", "v_proj")),
    "lora-fa": LoRAFA(rank=2),
    "dora": DoRA(rank=3),
    "houlsby": SerialAdapter(size=4),
    "pfeiffer": SerialAdapter(size=6, placement="pfeiffer", activation="gelu"),
    "ia3": IA3(),
    "bitfit": BitFit(),
    "ssf": SSF(),
    "dylora": DyLoRA(rank=4, serve=2),
    "sora": SoRA(rank=4),
    "mos-lora": MoSLoRA(rank=3),
    "vera": VeRA(rank=5),
    "vera-few": VeRA(rank=5, targets=("k_proj", "up_proj")),
    "lorahub": LoRAHub(rank=2),
    "adamix": AdaMix(size=4, experts=3),
    "adapter-drop": AdapterDrop(drop=1, serve=1, size=4),
}


@pytest.fixture(scope="module")
def gathered_adapters_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    top = tmp_path_factory.mktemp("parts")
    return {
        name: folder_of(method, top / name, seed)
        for seed, (name, method) in enumerate(PARTS.items(), start=1)
    }


def folder_of(method: GatheredMethod, folder: Path, seed: int) -> Path:
    """The folder of a part that was shaken, with its sources where it needs any."""
    tuned = attached(method, folder / "sources", seed)
    shake(tuned, seed, 2.0 if isinstance(method, LoRAHub) else 0.05)
    if isinstance(method, SoRA):
        gates = [each for name, each in tuned.named_parameters() if name.endswith(".gate")]
        with torch.no_grad():  # other ranks at other maps
            for at, gate in enumerate(gates):
                gate[: at % 4] = 0
        cut(tuned)
    tuned.save(folder / "part")
    return folder / "part"


def by_formula(update: MapUpdate | None, base: nn.Linear, x: Tensor) -> Tensor:
    """The formula of the module, term by term."""
    update = MapUpdate() if update is None else update
    bias = torch.zeros(base.out_features) if base.bias is None else base.bias
    y = x if update.before is None else x * update.before
    y = y @ base.weight.T + bias
    if update.factor is not None:
        y = y * update.factor
    if update.low is not None:
        y = y + x @ update.low[0] @ update.low[1]
    if update.shift is not None:
        y = y + update.shift
    if update.after is not None:
        down, inner, up, outer = update.after
        y = y + activated(y @ down + inner, update.activation) @ up + outer
    return y


@pytest.mark.parametrize("name", PARTS)
def test_updates_are_what_the_tuned_model_computes(
    gathered_adapters_folders: dict[str, Path], name: str
) -> None:
    base = BaseMaps.of(tuning_methods_tiny_llama())
    updates = base.updates(base.read(gathered_adapters_folders[name]))
    tuned = load_tuned(tuning_methods_tiny_llama(), gathered_adapters_folders[name]).model
    changed = 0
    for at, (_, linear) in base.linears.items():
        x = torch.randn(5, linear.in_features, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            wanted = tuned.get_submodule(at)(x[None])[0]
            assert torch.allclose(by_formula(updates.get(at), linear, x), wanted, atol=1e-4), at
            changed += not torch.allclose(wanted, linear(x), atol=1e-3)
    # Nothing is claimed for maps that stay as they are, and nothing is missing.
    assert changed == len(updates) > 0


def test_a_base_that_is_tuned_already(gathered_adapters_folders: dict[str, Path]) -> None:
    tuned = load_tuned(tuning_methods_tiny_llama(), gathered_adapters_folders["lora"]).model
    with pytest.raises(ConfigError, match="not plain"):
        BaseMaps.of(tuned)


def test_what_cannot_be_read(gathered_adapters_folders: dict[str, Path], tmp_path: Path) -> None:
    base = BaseMaps.of(tuning_methods_tiny_llama())
    with pytest.raises(NotGathered, match="KronA cannot be gathered"):
        base.read(saved(KronA(factor=5), tmp_path / "krona", 0))
    other = tuning_methods_tiny_llama()
    other.model.norm.weight.data[0] = 3
    with pytest.raises(ArtifactError, match="another base"):
        BaseMaps.of(other).read(gathered_adapters_folders["lora"])
    good = load_artifact(gathered_adapters_folders["lora"])
    changes = (({"rank": 10**9}, "more numbers"), ({"rank": "x"}, "cannot be read"))
    for change, words in (*changes, ({"rank": 2}, "the model wants")):
        config = good.config | {"config": good.config["config"] | change}
        save_artifact(tmp_path / words, kind=KIND, config=config, tensors=good.tensors)
        with pytest.raises(ArtifactError, match=words):
            base.read(tmp_path / words)


class Recording:
    """An engine that writes the token 40 until each job is over."""

    tokens = tiny_tokens()
    vocabulary = VOCABULARY
    grammars = Grammars(tokens.tokenizer, VOCABULARY, tokens.end_ids)

    def __init__(self) -> None:
        self.jobs: list[Row] = []

    def run(self, jobs: Sequence[Row]) -> None:
        self.jobs += jobs
        for job in jobs:
            while not job.over:
                if job.cancelled:
                    job.end("cancelled")
                elif isinstance(job, AnswerRow):
                    job.add(40, -0.5)

    def streamed(self, job: AnswerRow, chunks: SimpleQueue[Chunk | None]) -> Iterator[Chunk]:
        self.run([job])
        return iter(chunks.get, None)


def view() -> tuple[Recording, AdapterModel]:
    engine = Recording()
    return engine, AdapterModel(engine, "shop", ModelInfo("shop", "torch", 32))


def test_is_a_language_model() -> None:
    own = view()[1]
    assert isinstance(own, LanguageModel)
    for name in ("generate", "stream", "score", "embed"):
        wanted = inspect.signature(getattr(LanguageModel, name)).parameters
        assert list(inspect.signature(getattr(AdapterModel, name)).parameters) == list(wanted)


def test_a_row_a_prompt() -> None:
    engine, own = view()
    found = own.generate(["tea", "coffee and tea"], GenerationConfig(max_tokens=3, seed=5))
    assert [row.token_ids for row in found] == [(40, 40, 40)] * 2
    assert [job.adapter for job in engine.jobs] == ["shop"] * 2
    seeds = [job.random.initial_seed() for job in engine.jobs if isinstance(job, AnswerRow)]
    assert seeds == [5, 6]
    lengths = [len(engine.tokens.encode(text)) for text in ("tea", "coffee and tea")]
    assert [job.max_tokens for job in engine.jobs] == [length + 3 for length in lengths]


def test_no_more_than_the_context() -> None:
    engine, own = view()
    own.generate(["tea"], GenerationConfig(max_tokens=100))
    assert engine.jobs[0].max_tokens == 32
    with pytest.raises(ValueInvalidError):
        own.generate(["tea " * 40])


def test_streams_and_cancelled_scores() -> None:
    engine, own = view()
    pieces = list(own.stream("tea", GenerationConfig(max_tokens=2)))
    assert pieces[-1].finish_reason == "length"
    # There is a cancellation even where the caller has none.
    assert engine.jobs[0].cancel is not None
    cancel = Cancellation()
    cancel.cancel()
    with pytest.raises(ResourceError, match="score was cancelled"):
        own.score(["tea"], [" cup"], cancel=cancel)


def test_nothing_to_do() -> None:
    _, own = view()
    assert own.generate([]).texts == []
    assert own.embed([]).shape == (0, 0)
    assert own.score([], []).token_logprobs == ()
    own.close()
    with pytest.raises(ConfigError):
        own.generate("tea")


@pytest.mark.parametrize(
    "settings",
    [
        {"frequency_penalty": 1.5, "presence_penalty": 0.5},
        {"temperature": 1.0, "seed": 4, "min_p": 0.2},
        {"logit_bias": ((40, 4.0), (41, -100.0)), "repetition_penalty": 1.2},
        {"min_tokens": 8, "stop_token_ids": tuple(range(0, VOCABULARY, 3))},
        {"ignore_eos": True, "logprobs": True, "top_logprobs": 3},
        {"regex": "[a-c]{5}"},
        {"lark": 'start: "tea" | "coffee"'},
    ],
)
def test_further_settings_do_the_same_as_in_turns(settings: dict[str, Any]) -> None:
    config = GenerationConfig(max_tokens=12, **settings)
    prompts = ["the best", "buy two packs"]
    wanted = tiny_model().generate(prompts, config)
    models = models_of({})
    try:
        found = models["base"].generate(prompts, config)
    finally:
        models.close()
    plain = tiny_model().generate(prompts, GenerationConfig(max_tokens=12))
    for one, other in zip(found, wanted, strict=True):
        assert (one.token_ids, one.finish_reason) == (other.token_ids, other.finish_reason)
        for mine, theirs in zip(one.top_logprobs or (), other.top_logprobs or (), strict=True):
            assert [token for token, _ in mine] == [token for token, _ in theirs]
            assert [value for _, value in mine] == pytest.approx(
                [value for _, value in theirs], abs=1e-4
            )
    assert wanted.rows != plain.rows


def test_a_row_for_whoever_drives_the_engine_itself() -> None:
    own = view()[1]
    chunks: SimpleQueue[Chunk | None] = SimpleQueue()
    cancel = Cancellation()
    row = own.row([5, 6], GenerationConfig(), cancel=cancel, chunks=chunks, salt="tenant")
    assert (row.cancel, row.chunks, row.salt, row.tokens) == (cancel, chunks, "tenant", [5, 6])
    plain = own.row([5, 6], GenerationConfig())
    assert (plain.cancel, plain.chunks, plain.salt) == (None, None, "")
    assert own.prompt_ids("tea") == own.tokens.encode("tea")
    with pytest.raises(ValueInvalidError, match="tokens"):
        own.prompt_ids("tea " * 40)
