"""An adapter that waits for its invocation: what is before it is the base's, for everybody."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import Completions, GenerationConfig
from adwright.lm.serving.adapter_folding import MergePolicy, Merger
from adwright.lm.serving.config import ServingConfig
from adwright.lm.serving.engine import AdapterModels
from adwright.lm.serving.kinds import acts_everywhere, first_acted
from adwright.lm.torch_engine.model import TorchModel
from adwright.lm.torch_engine.network import tuned_over
from adwright.tuning.reparameterised.activated import ActivatedLoRA
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.lm.adapter_engine import BLOCK, models_of, saved_parts
from tests.support.lm.tiny_llama import tiny_llama, tiny_tokens

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
    opened: Callable[..., AdapterModels],
    folders: dict[str, Path],
    caplog: pytest.LogCaptureFixture,
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
