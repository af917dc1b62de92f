"""An adapter that waits for its invocation: what is before it is the base's, for everybody."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from adwright.core.errors import ArtifactError, ConfigError
from adwright.lm.engine.generation import Completions, GenerationConfig
from adwright.lm.serving.adapter_cache import BaseMaps, NotGathered
from adwright.lm.serving.adapter_folding import MergePolicy, Merger
from adwright.lm.serving.adapter_model import AloneAdapters
from adwright.lm.serving.config import ServingConfig
from adwright.lm.serving.engine import AdapterModels
from adwright.lm.serving.kinds import (
    GATHERED,
    AheadTokens,
    GatheredMethod,
    MapUpdate,
    acts_everywhere,
    ahead_of,
    first_acted,
    is_gathered,
    keys_ahead,
    shared_of,
    stored_as,
    update_of,
)
from adwright.lm.torch_engine.model import TorchModel
from adwright.lm.torch_engine.network import tuned_over
from adwright.tuning.additive.adapters import AdaMix, ParallelAdapter
from adwright.tuning.additive.prompts import MAM, DePT, PrefixTuning, PromptTuning, UniPELT
from adwright.tuning.efficient import AdapterDrop
from adwright.tuning.methods import PROMPTS, Method, PeftKind, Wrapped
from adwright.tuning.reparameterised.factors import KronA, LoRAHub, VeRA
from adwright.tuning.reparameterised.lora import ActivatedLoRA, DyLoRA, LoRA, MoSLoRA, SoRA
from adwright.tuning.selective import NormTuning
from adwright.tuning.tuned import fingerprint
from tests.support.lm.adapter_engine import BLOCK, models_of, odd_texts, saved_parts
from tests.support.lm.serving_methods import SERVED, tuned_and_saved
from tests.support.lm.tiny_llama import tiny_llama, tiny_tokens
from tests.support.lm.tuning_methods import OURS, WRAPPED, attached
from tests.support.lm.tuning_methods import tiny_llama as tuning_methods_tiny_llama

CALL = " tea"
COMMON = "the best coffee in the world is a cup of coffee with a friend, fresh bread and a light"
ASKED = COMMON + CALL
GREEDY = GenerationConfig(max_tokens=12, logprobs=True)


def encoded(text: str) -> tuple[int, ...]:
    return tuple(tiny_tokens().encode(text))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    methods = {
        **{f"a{at}": ActivatedLoRA(rank=2 + at, invocation=encoded(CALL)) for at in range(3)},
        "plain": LoRA(rank=3),
    }
    return saved_parts(tmp_path_factory.mktemp("parts"), methods)


@pytest.fixture
def opened(folders: dict[str, Path]) -> Iterator[Callable[..., AdapterModels]]:
    made: list[AdapterModels] = []

    def make(**settings: object) -> AdapterModels:
        made.append(models_of(folders, config=ServingConfig(**settings)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for models in made:
        models.close()


def alone(name: str, folders: dict[str, Path]) -> TorchModel:
    model = tuned_over(tiny_llama(), folders[name]) if name != "base" else tiny_llama()
    return TorchModel(model, tiny_tokens(), name=name)


def same(found: Completions, wanted: Completions) -> None:
    assert [one.token_ids for one in found] == [one.token_ids for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=2e-4)


def cached(found: Completions) -> list[int]:
    return [one.usage.cached_tokens for one in found]


@pytest.mark.parametrize("settings", [{}, {"prompt_tokens": 5}, {"share_prefixes": False}])
def test_answers_are_those_of_the_model_that_read_all_alone(
    settings: dict[str, int], opened: Callable[..., AdapterModels], folders: dict[str, Path]
) -> None:
    models = opened(**settings)
    texts = [ASKED, CALL, f"{CALL} and milk{CALL} or water", f"{ASKED} and a warm coat", "bread"]
    for name in ("a0", "base", "a1", "plain", "a2"):
        model = alone(name, folders)
        wanted = model.generate(texts, GREEDY)
        for _ in range(2):  # cold, and where all is there
            same(models[name].generate(texts, GREEDY), wanted)
        labels = [" milk", " water", CALL, " bread"]
        scores = models[name].score([ASKED] * 4, labels).token_logprobs
        for one, other in zip(scores, model.score([ASKED] * 4, labels).token_logprobs, strict=True):
            np.testing.assert_allclose(one, other, atol=2e-4)
        np.testing.assert_allclose(models[name].embed(texts), model.embed(texts), atol=1e-5)
    assert models.pool().keys == 0


def test_what_the_base_has_read_is_not_read_again(
    opened: Callable[..., AdapterModels], folders: dict[str, Path]
) -> None:
    models = opened()
    before = len(encoded(COMMON))
    assert before % BLOCK  # so that the invocation begins within a block
    assert cached(models["base"].generate([ASKED], GREEDY)) == [0]
    for name in ("a0", "a1", "a2"):
        found = models[name].generate([ASKED], GREEDY)
        assert cached(found) == [before]
        same(found, alone(name, folders).generate([ASKED], GREEDY))
        # From there on, keys are the adapter's own, and are there the second time.
        assert cached(models[name].generate([ASKED], GREEDY)) == [len(encoded(ASKED)) - 1]
    # A plain adapter has keys of its own from the first token on.
    assert cached(models["plain"].generate([ASKED], GREEDY)) == [0]


def test_what_an_adapter_has_read_before_it_acts_is_the_bases(
    opened: Callable[..., AdapterModels], folders: dict[str, Path]
) -> None:
    models = opened()
    whole = len(encoded(COMMON)) // BLOCK * BLOCK
    assert cached(models["a0"].generate([ASKED], GREEDY)) == [0]
    for name in ("a1", "base"):
        found = models[name].generate([ASKED], GREEDY)
        assert cached(found)[0] >= whole
        same(found, alone(name, folders).generate([ASKED], GREEDY))
    # It is gone, and what it has read for all is still there.
    models.remove("a0")
    assert cached(models["a2"].generate([ASKED], GREEDY))[0] >= whole


def test_a_later_call_leaves_what_was_called_earlier_to_the_base(
    opened: Callable[..., AdapterModels], folders: dict[str, Path]
) -> None:
    models = opened()
    twice = f"{ASKED} with milk{CALL}"
    for text in (ASKED, twice, ASKED, twice):
        same(models["a1"].generate([text], GREEDY), alone("a1", folders).generate([text], GREEDY))


def test_a_prompt_that_does_not_call_is_the_bases_and_told_of_once(
    opened: Callable[..., AdapterModels], folders: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    models = opened()
    wanted = models["base"].generate([COMMON], GREEDY)
    with caplog.at_level(logging.WARNING, "adwright.lm"):
        for name in ("a0", "a0", "a1"):
            found = models[name].generate([COMMON], GREEDY)
            same(found, wanted)
            assert cached(found) == [len(encoded(COMMON)) - 1]
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert "of the adapter a0: the base answers such prompts" in told[0]
    assert models.adapters()[0].tier == "disk"  # it was not even loaded


def test_it_is_never_folded(opened: Callable[..., AdapterModels], folders: dict[str, Path]) -> None:
    models = opened(merge=MergePolicy(to_merge=1, to_unmerge=1))
    same(
        models["a0"].generate([ASKED] * 3, GREEDY),
        alone("a0", folders).generate([ASKED] * 3, GREEDY),
    )
    assert models.pool().merges == 0
    models["plain"].generate([ASKED] * 3, GREEDY)
    assert models.pool().merges
    same(models["a0"].generate([ASKED], GREEDY), alone("a0", folders).generate([ASKED], GREEDY))
    hot = models._cache.acquire("a0")
    assert hot is not None
    with pytest.raises(ConfigError, match="cannot be folded"):
        Merger(MergePolicy(), {}, models._pool, models._cache.grain).merge(hot)
    models._cache.release("a0")


def test_where_adapters_begin_to_act() -> None:
    activated = ActivatedLoRA(invocation=(5, 6))
    assert first_acted(activated, [1, 5, 6, 2, 5, 6, 5]) == 4
    assert first_acted(activated, [1, 5, 7]) is None
    assert first_acted(LoRA(), [1, 5, 7]) == 0
    assert acts_everywhere(LoRA())
    assert not acts_everywhere(activated)


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
def ahead_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    top = tmp_path_factory.mktemp("parts")
    for seed, (name, method) in enumerate(AHEAD.items(), start=1):
        tuned_and_saved(method, top / name, seed)
    return {name: top / name for name in AHEAD}


@pytest.mark.parametrize("pages", [2000, 90])
def test_all_at_once_are_what_each_is_alone(ahead_folders: dict[str, Path], pages: int) -> None:
    """Also where the pool is so small that adapters are evicted and rows begin again."""
    drive = ServingConfig(drive="outside")
    models = models_of(ahead_folders, pages=pages, config=drive)
    config = GenerationConfig(max_tokens=9)
    wanted = {}
    rows = []
    for at, name in enumerate(ahead_folders):
        text = odd_texts()[at]
        part = tuned_over(tiny_llama(), ahead_folders[name])
        plain = TorchModel(part, tiny_tokens(), name=name)
        wanted[name] = list(plain.generate([text], config)[0].token_ids)
        rows.append(models[name].row(tiny_tokens().encode(text), config))  # type: ignore[union-attr]
    models.submit(rows)
    while models.step():
        pass
    found = dict(
        zip(ahead_folders, (list(row.answer.completion().token_ids) for row in rows), strict=True)
    )
    assert found == wanted


@pytest.mark.parametrize("name", AHEAD)
def test_scores_and_vectors(ahead_folders: dict[str, Path], name: str) -> None:
    models = models_of({name: ahead_folders[name]})
    plain = TorchModel(tuned_over(tiny_llama(), ahead_folders[name]), tiny_tokens(), name=name)
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


def test_a_prompt_shortens_the_context(ahead_folders: dict[str, Path]) -> None:
    models = models_of(ahead_folders)
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


CONFIG = GenerationConfig(max_tokens=6)
TEXTS = ("the best tea", "buy two packs of")
ALONE: dict[str, Method] = {
    "krona": KronA(factor=4),
    "norms": NormTuning(),
    "dept": DePT(length=3, longest=64, rank=2),
}


@pytest.fixture(scope="module")
def alone_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    top = tmp_path_factory.mktemp("parts")
    methods: dict[str, Method] = {**ALONE, "lora": LoRA(rank=2)}
    for seed, (name, method) in enumerate(methods.items(), start=1):
        tuned_and_saved(method, top / name, seed)
    return {name: top / name for name in methods}


# peft's SHIRA makes sparse tensors, of which torch warns.
@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("name", SERVED)
def test_every_method_is_served(name: str, tmp_path: Path) -> None:
    """In the batch or alone: the answers are those of the plain engine on that adapter."""
    tuned_and_saved(SERVED[name], tmp_path / "part")
    models = models_of({"part": tmp_path / "part"})
    plain = TorchModel(tuned_over(tiny_llama(), tmp_path / "part"), tiny_tokens(), name="part")
    assert models["part"].generate(TEXTS, CONFIG).texts == plain.generate(TEXTS, CONFIG).texts


def test_beside_the_batch(alone_folders: dict[str, Path]) -> None:
    models = models_of(alone_folders)
    assert list(models) == ["base", "lora", *ALONE]
    assert len(models) == 5
    answers = {name: tuple(models[name].generate(TEXTS, CONFIG).texts) for name in models}
    assert len(set(answers.values())) == 5
    states = {one.name: one for one in models.adapters()}
    assert {states[name].tier for name in ALONE} == {"alone"}
    assert states["krona"].method == "KronA"
    assert states["krona"].bytes > 0
    # Another engine over the same folders says the same, so nothing was left behind in the base.
    assert tuple(models_of({})["base"].generate(TEXTS, CONFIG).texts) == answers["base"]
    models.remove("krona")
    with pytest.raises(KeyError):
        models["krona"]
    with pytest.raises(ConfigError, match="name is taken"):
        models.add("norms", alone_folders["norms"])


def test_the_least_used_are_dropped(alone_folders: dict[str, Path]) -> None:
    base = tiny_llama()
    before = fingerprint(base)
    alone = AloneAdapters(base, tiny_tokens(), most_bytes=0)
    for name in ALONE:
        alone.check(alone_folders[name])
        alone.register(name, alone_folders[name])
    first = alone["krona"].generate(TEXTS, CONFIG).texts
    stream = alone["krona"].stream(TEXTS[0], CONFIG)
    start = next(stream).text
    alone["norms"].generate(TEXTS, CONFIG)
    found = {one.name: one for one in alone.states()}
    assert found["krona"].bytes == 0 < found["norms"].bytes
    # An answer that is being written keeps its network, and the next one reads the folder again.
    assert start + "".join(chunk.text for chunk in stream) == first[0]
    assert alone["krona"].generate(TEXTS, CONFIG).texts == first
    assert {one.name: one.loads for one in alone.states()} == {"krona": 2, "norms": 1, "dept": 0}
    kept = alone["krona"]
    alone.remove("krona")
    with pytest.raises(ConfigError, match="was removed"):
        kept.generate(TEXTS, CONFIG)
    assert fingerprint(base) == before


def test_all_of_them_stay_where_there_is_room(alone_folders: dict[str, Path]) -> None:
    alone = AloneAdapters(tiny_llama(), tiny_tokens(), most_bytes=1 << 30)
    for name in ALONE:
        alone.register(name, alone_folders[name])
    for _ in range(2):
        for name in ALONE:
            alone[name].generate(TEXTS, CONFIG)
    assert {one.loads for one in alone.states()} == {1}
    assert all(one.hits for one in alone.states())
    alone["krona"].close()
    assert alone["krona"].generate(TEXTS, CONFIG).texts


def test_what_is_refused(alone_folders: dict[str, Path], tmp_path: Path) -> None:
    outside = models_of({}, config=ServingConfig(drive="outside"))
    with pytest.raises(NotGathered, match="KronA cannot be gathered"):
        outside.add("krona", alone_folders["krona"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError):
        models_of({}).add("empty", tmp_path / "empty")


BASE = BaseMaps.of(tuning_methods_tiny_llama())
KINDS = tuple(GATHERED.values())
HELD: dict[str, GatheredMethod] = {
    name: method
    for name, method in (OURS | WRAPPED).items()
    if isinstance(method, KINDS) and is_gathered(method)
}


@pytest.mark.parametrize("name", HELD)
def test_names_and_shapes(name: str, tmp_path: Path) -> None:
    method = HELD[name]
    maps = BASE.expected(method)
    found = {stored_as(at, key): t.shape for at, own in maps.items() for key, t in own.items()}
    shared = {key: tensor.shape for key, tensor in shared_of(method, BASE.sizes).items()}
    saved = {key: tensor.shape for key, tensor in attached(method, tmp_path).state().items()}
    ahead = {key: shape for key, shape in saved.items() if ".prefix." in key or "outer." in key}
    beside = {key: shape for key, shape in saved.items() if key not in found and key not in ahead}
    assert found.items() <= saved.items()
    # What is left over is what the maps share, stored once.
    assert {key.rpartition(".")[-1]: shape for key, shape in beside.items()} == shared


def test_every_kind_is_tried() -> None:
    assert {type(method) for method in HELD.values()} == set(KINDS)


def test_of_peft_only_prompts_are_gathered() -> None:
    for kind in PeftKind:
        assert is_gathered(Wrapped(kind)) == (kind in PROMPTS)


MAP = nn.Linear(6, 5, bias=False)
RANDOM = torch.Generator().manual_seed(0)


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=RANDOM)


def weight(update: MapUpdate) -> Tensor:
    """What is added to the weight of the map [out, in]."""
    assert update.low is not None
    return (update.low[0] @ update.low[1]).T


def test_kin_of_lora() -> None:
    a, b, g, m = drawn(4, 6), drawn(5, 4), drawn(4), drawn(4, 4)
    own = {"a": a, "b": b}
    stabilised = LoRA(rank=4, alpha=8, rank_stabilised=True)
    rows = (
        (LoRA(rank=4, alpha=8), own, 2 * b @ a),
        (stabilised, own, 4 * b @ a),
        (DyLoRA(rank=4, serve=3, alpha=6), own, 2 * b[:, :3] @ a[:3]),
        (DyLoRA(rank=4, alpha=8), own, 2 * b @ a),
        (SoRA(rank=4, alpha=8), own | {"gate": g}, 2 * b @ torch.diag(g) @ a),
        (MoSLoRA(rank=4, alpha=8), own | {"mixer": m}, 2 * b @ m @ a),
    )
    for method, tensors, wanted in rows:
        assert torch.allclose(weight(update_of(method, "q_proj", MAP, tensors)), wanted, atol=1e-5)


def test_what_maps_share() -> None:
    # VeRA's pair is as large as the largest map.
    a, b, d, e = drawn(3, 9), drawn(8, 3), drawn(3), drawn(5)
    own = {"a": a, "b": b, "inner": d, "outer": e}
    wanted = torch.diag(e) @ b[:5] @ torch.diag(d) @ a[:, :6]
    found = update_of(VeRA(rank=3), "q_proj", MAP, own)
    assert torch.allclose(weight(found), wanted, atol=1e-5)
    many, other, w = drawn(2, 3, 6), drawn(2, 5, 3), drawn(2)
    hub = {"a": many, "b": other, "weights": w}
    wanted = 2 * (w[0] * other[0] + w[1] * other[1]) @ (w[0] * many[0] + w[1] * many[1])
    found = update_of(LoRAHub(rank=3, alpha=6), "q_proj", MAP, hub)
    assert torch.allclose(weight(found), wanted, atol=1e-5)


def test_bottlenecks() -> None:
    shapes = {"down": (2, 5), "inner_bias": (2,), "up": (5, 2), "outer_bias": (5,)}
    three = {f"adapter.{name}": drawn(3, *shape) for name, shape in shapes.items()}
    found = update_of(AdaMix(experts=3, size=2), "down_proj", MAP, three)
    assert found.after is not None
    assert torch.allclose(found.after[0], sum(three["adapter.down"]).T / 3)  # type: ignore[arg-type]
    one = {f"adapter.{name}": drawn(*shape) for name, shape in shapes.items()}
    beside = update_of(
        ParallelAdapter(size=2, scale=3.0),
        "down_proj",
        MAP,
        {f"beside.{name}": tensor for name, tensor in one.items()},
    )
    assert beside.after is None
    assert beside.beside is not None
    down, inner, up, outer = beside.beside
    x = drawn(7, 5)
    made = torch.relu(x @ one["adapter.down"].T + one["adapter.inner_bias"])
    wanted = 3 * (made @ one["adapter.up"].T + one["adapter.outer_bias"])
    assert torch.allclose(torch.relu(x @ down + inner) @ up + outer, wanted, atol=1e-5)
    dropped = AdapterDrop(serve=1, size=2)
    assert update_of(dropped, "down_proj", MAP, one, layer=0).empty
    assert not update_of(dropped, "down_proj", MAP, one, layer=1).empty
    assert not update_of(dropped, "down_proj", MAP, one).empty


def test_what_changes_no_map() -> None:
    assert update_of(PromptTuning(), "q_proj", MAP, {}).empty
    assert update_of(LoRA(), "q_proj", MAP, {}).empty
