"""Answers from the shared batch are those of each adapter alone, whatever else goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adwright.core.errors import ConfigError, ResourceError, ValueInvalidError
from adwright.lm.engine.generation import Cancellation, Completions, GenerationConfig, TokenPrompt
from adwright.lm.serving.adapter_cache import AdapterCache
from adwright.lm.serving.config import ServingConfig
from adwright.lm.serving.engine import AdapterModels
from adwright.lm.serving.scheduler import ScoreRow
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.lm.adapter_engine import BLOCK, PARTS, alone, models_of, odd_texts, saved_parts

NAMES = ("base", *PARTS)
LONG = GenerationConfig(max_tokens=24, logprobs=True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return saved_parts(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def wanted(folders: dict[str, Path]) -> dict[str, Completions]:
    return {name: alone(name, folders).generate(texts_of(name), LONG) for name in NAMES}


def texts_of(name: str) -> list[str]:
    at = NAMES.index(name)
    return list(odd_texts()[at : at + 3])


def same(found: Completions, wanted: Completions) -> None:
    assert found.texts == wanted.texts
    for one, other in zip(found, wanted, strict=True):
        assert one.token_ids == other.token_ids
        assert one.finish_reason == other.finish_reason
        assert replace(one.usage, cached_tokens=0) == other.usage
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=2e-4)


def together(models: AdapterModels) -> dict[str, Completions]:
    """All names at once, a thread each."""
    found: dict[str, Completions] = {}

    def ask(name: str) -> None:
        found[name] = models[name].generate(texts_of(name), LONG)

    threads = [threading.Thread(target=ask, args=(name,)) for name in NAMES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


CONFIGS = {
    "callers": (2000, ServingConfig()),
    "thread": (2000, ServingConfig(drive="thread")),
    "prompts in pieces": (2000, ServingConfig(prompt_tokens=5)),
    "nothing shared": (2000, ServingConfig(share_prefixes=False)),
    "few rows": (2000, ServingConfig(rows=3)),
    "few pages": (110, ServingConfig(rows=12)),
    "few pages, no host": (110, ServingConfig(rows=12, host_bytes=0)),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_is_what_each_part_gives_alone(
    kind: str, folders: dict[str, Path], wanted: dict[str, Completions]
) -> None:
    pages, config = CONFIGS[kind]
    models = models_of(folders, pages=pages, config=config)
    found = together(models)
    assert set(found) == set(NAMES)
    for name in NAMES:
        same(found[name], wanted[name])
    state = models.pool()
    assert state.keys == 0
    assert all(one.pins == 0 for one in models.adapters())
    if pages < 200:
        assert state.counts.evictions > 0
    models.close()


def test_one_beginning_is_read_once_and_the_answers_are_those_of_each_alone(
    folders: dict[str, Path],
) -> None:
    common = "the best tea in the world is a cup of tea with "
    texts = [common + own for own in ("a friend", "a friend", "milk and water", "tea", "")]
    labels = ["milk", "water", "a friend", "no"]
    for name in ("base", "lora", "pfeiffer"):
        models, plain = models_of(folders), alone(name, folders)
        for cold in (True, False):  # and once more, where all is there
            before = models.pool().shared_tokens
            found = models[name].generate(texts, LONG)
            same(found, plain.generate(texts, LONG))
            shared = [row.usage.cached_tokens for row in found]
            assert sum(shared) == models.pool().shared_tokens - before
            if cold:
                # The same prompt twice: all but its last token.
                assert shared[0] == 0
                assert shared[1] == found[1].usage.prompt_tokens - 1
                assert min(shared[1:]) > BLOCK
            else:
                assert all(row.usage.cached_tokens == row.usage.prompt_tokens - 1 for row in found)
            scores = models[name].score([common] * len(labels), labels)
            wanted = plain.score([common] * len(labels), labels)
            for one, other in zip(scores.token_logprobs, wanted.token_logprobs, strict=True):
                np.testing.assert_allclose(one, other, atol=2e-4)
            np.testing.assert_allclose(models[name].embed(texts), plain.embed(texts), atol=1e-5)
        state = models.pool()
        assert state.keys == 0
        assert state.prefixes > 0
        models.close()


def test_a_name_that_comes_again_has_its_own_keys(folders: dict[str, Path]) -> None:
    models = models_of({"swapped": folders["lora"]})
    for name in ("lora", "bitfit", "lora"):
        found = models["swapped"].generate(texts_of("lora"), LONG)
        same(found, alone(name, folders).generate(texts_of("lora"), LONG))
        models.remove("swapped")
        assert models.pool().prefixes == 0
        models.add("swapped", folders["bitfit" if name == "lora" else "lora"])


def test_pages_run_out_and_rows_begin_again(
    folders: dict[str, Path], wanted: dict[str, Completions]
) -> None:
    # One row needs 9 of these 14 pages at its end; two rows do not fit.
    models = models_of({}, pages=15)
    found = models["base"].generate(texts_of("base"), LONG)
    same(found, wanted["base"])
    state = models.pool()
    assert state.preemptions > 0
    assert (state.pages, state.keys, state.adapters) == (14, 0, 0)


def test_steps_from_outside(folders: dict[str, Path], wanted: dict[str, Completions]) -> None:
    models = models_of(folders, config=ServingConfig(drive="outside"))
    assert not models.step()
    found: list[Completions] = []
    thread = threading.Thread(
        target=lambda: found.append(models["dora"].generate(texts_of("dora"), LONG))
    )
    thread.start()
    steps = []
    while not found:
        step = models.step(prompt_tokens=4)
        if step:
            steps.append(step)
    thread.join()
    same(found[0], wanted["dora"])
    assert max(step.prompted for step in steps) == 4
    assert max(step.written for step in steps) == 3
    assert sum(step.written + step.prompted for step in steps) == sum(
        row.usage.prompt_tokens - row.usage.cached_tokens + row.usage.completion_tokens - 1
        for row in found[0]
    )


def test_streams_side_by_side(folders: dict[str, Path], wanted: dict[str, Completions]) -> None:
    models = models_of(folders)
    names = ("lora", "pfeiffer")
    streams = [models[name].stream(texts_of(name)[0], LONG) for name in names]
    texts = ["", ""]
    last = [None, None]
    while any(one is None for one in last):
        for at, stream in enumerate(streams):
            chunk = next(stream, None)
            if chunk is not None:
                texts[at] += chunk.text
                last[at] = chunk.finish_reason
    assert texts == [wanted[name].texts[0] for name in names]


def test_a_stream_that_is_left_frees_its_pages(folders: dict[str, Path]) -> None:
    models = models_of(folders)
    stream = models["lora"].stream("the best tea", LONG)
    next(stream)
    assert models.pool().keys > 0
    stream.close()
    assert models.pool().keys == 0
    assert {state.name: state.pins for state in models.adapters()}["lora"] == 0


def test_cancelling(folders: dict[str, Path]) -> None:
    models = models_of(folders, config=ServingConfig(drive="thread"))
    cancel = Cancellation()
    cancel.cancel()
    (row,) = models["lora"].generate(["the best tea"], LONG, cancel=cancel)
    assert row.finish_reason == "cancelled"
    assert row.token_ids == ()
    models.close()


def test_scores_and_embeddings(folders: dict[str, Path]) -> None:
    models = models_of(folders, config=ServingConfig(prompt_tokens=7))
    for name in ("base", "houlsby", "lora-wide"):
        plain, own = alone(name, folders), models[name]
        prompts, after = ["the best", "a friend of the world"], [" tea in the world", " with"]
        wanted = plain.score(prompts, after).token_logprobs
        for found, one in zip(own.score(prompts, after).token_logprobs, wanted, strict=True):
            np.testing.assert_allclose(found, one, atol=2e-4)
        np.testing.assert_allclose(own.embed(prompts), plain.embed(prompts), atol=1e-5)


def test_drawn_constrained_and_stopped(folders: dict[str, Path]) -> None:
    models = models_of(folders)
    configs = (
        GenerationConfig(max_tokens=9, temperature=0.8, top_p=0.9, seed=4),
        GenerationConfig(max_tokens=9, temperature=1.2, top_k=9, repetition_penalty=1.3),
        GenerationConfig(max_tokens=12, grammar='root ::= ("tea" | "coffee") " for " [0-9]+'),
        GenerationConfig(max_tokens=20, stop=("e",)),
    )
    for config in configs:
        for name in ("ssf", "lora-fa"):
            wanted = alone(name, folders).generate(texts_of(name), config)
            assert models[name].generate(texts_of(name), config).texts == wanted.texts


def test_the_mapping(folders: dict[str, Path]) -> None:
    models = models_of(folders)
    assert list(models) == ["base", *folders]
    assert len(models) == len(folders) + 1
    assert models["lora"].info.name == "lora"
    assert models["lora"].info.context == 256
    assert models["lora"].tokens is models.tokens
    with pytest.raises(KeyError):
        models["other"]
    with pytest.raises(ConfigError, match="the base has this name"):
        models.add("base", folders["lora"])
    models["lora"].close()
    models.remove("lora")
    assert "lora" not in models


def test_a_part_in_use_stays(folders: dict[str, Path]) -> None:
    models = models_of(folders)
    view = models["ia3"]
    stream = view.stream("tea", LONG)
    next(stream)
    with pytest.raises(ConfigError, match="in use"):
        models.remove("ia3")
    stream.close()
    models.remove("ia3")
    with pytest.raises(ConfigError, match="no adapter of that name"):
        view.generate(["tea"])


def test_what_is_too_long(folders: dict[str, Path]) -> None:
    models = models_of({"lora": folders["lora"]}, pages=30)
    with pytest.raises(ValueInvalidError, match="the pool has 29"):
        models["lora"].generate(["tea"], GenerationConfig(max_tokens=200))
    with pytest.raises(ValueInvalidError, match="context of 256"):
        models["lora"].generate([TokenPrompt((3,) * 256)])
    # Nothing is left behind.
    assert models["lora"].generate(["tea"], GenerationConfig(max_tokens=2)).usage.completion_tokens


def test_closing(folders: dict[str, Path]) -> None:
    models = models_of(folders, config=ServingConfig(drive="thread"))
    stream = models["lora"].stream("tea", GenerationConfig(max_tokens=240))
    next(stream)
    models.close()
    models.close()
    assert [chunk.finish_reason for chunk in stream][-1] == "cancelled"
    with pytest.raises(ConfigError, match="closed"):
        models["lora"].generate(["tea"])


def test_what_comes_while_it_is_closed(folders: dict[str, Path]) -> None:
    models = models_of(folders)
    job = models["lora"].row([5, 6], LONG)
    stream = models["lora"].stream(TokenPrompt((5,)), LONG)
    next(stream)
    models.submit([job])
    models._closed = True  # between the check of `submit` and the queue
    models._advance()
    assert job.over
    assert job.answer.finish_reason == "cancelled"
    models.close()
    assert list(stream)[-1].finish_reason == "cancelled"


def test_a_fault_in_a_pass_ends_its_requests(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    models = models_of(folders)

    def broken(*_: object) -> None:
        raise MemoryError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(models._passes, "run", broken)
        with pytest.raises(ResourceError, match="the pass failed: no memory"):
            models["lora"].generate(["tea"])
    assert models.pool().keys == 0
    assert models["lora"].generate(["tea"], GenerationConfig(max_tokens=2)).texts


def test_a_token_that_the_base_lacks_is_refused(folders: dict[str, Path]) -> None:
    models = models_of({"lora": folders["lora"]})
    own, wrong = models["lora"], TokenPrompt((5, models.vocabulary))
    calls: tuple[Callable[[], object], ...] = (
        lambda: own.generate(["tea", wrong], LONG),
        lambda: own.stream(wrong, LONG),
        lambda: own.score([wrong], ["tea"]),
        lambda: own.score(["tea"], [wrong]),
    )
    for call in calls:
        with pytest.raises(ValueInvalidError, match="no such token"):
            call()
    assert models.pool().keys == 0


@pytest.mark.parametrize("joins", [0, 7])
def test_a_request_that_cannot_be_computed_ends_alone(
    joins: int, folders: dict[str, Path], wanted: dict[str, Completions]
) -> None:
    models = models_of(folders, config=ServingConfig(drive="outside", prompt_tokens=9))
    names = ("base", "lora", "houlsby")
    jobs = {
        name: [
            models[name].row(models.tokens.encode(text), LONG, row)
            for row, text in enumerate(texts_of(name))
        ]
        for name in names
    }
    # Past the checks of the views: as if something else had been overlooked. A score's last
    # token is a target only, and its error comes after the network.
    wrong = [
        models["lora"].row([5, 10**6], LONG),
        ScoreRow("lora", [5, 6], [7, 10**6]),
        models["base"].row([10**6] * 12, LONG),
    ]
    score = ScoreRow("lora", [5, 6], [7, 8])
    models.submit([job for own in jobs.values() for job in own])
    for _ in range(joins):
        models.step()
    models.submit([*wrong, score])
    while models.step():
        pass
    for name in names:
        assert all(job.error is None for job in jobs[name])
        same(Completions(tuple(job.answer.completion() for job in jobs[name])), wanted[name])
    for job in wrong:
        assert isinstance(job.error, ResourceError)
        assert "the pass failed" in job.error.what
    one = alone("lora", folders).score([TokenPrompt((5, 6))], [TokenPrompt((7, 8))])
    np.testing.assert_allclose(score.logprobs, one.token_logprobs[0], atol=2e-4)
    assert models.pool().keys == 0
    assert all(state.pins == 0 for state in models.adapters())


@pytest.mark.parametrize("where", ["hidden", "logits"])
def test_a_failed_pass_leaves_its_requests_as_they_were(
    where: str,
    folders: dict[str, Path],
    wanted: dict[str, Completions],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    models = models_of(folders, config=ServingConfig(prompt_tokens=5))
    network: Any = models._passes.network
    owner = network if where == "hidden" else network.network
    plain, failed = getattr(owner, where), []

    def fails_for_many(*given: Any) -> Any:
        """After the keys and values were written."""
        found = plain(*given)
        if len(found) > 1:
            failed.append(len(found))
            raise MemoryError("no memory for so many")
        return found

    monkeypatch.setattr(owner, where, fails_for_many)
    drawn = GenerationConfig(max_tokens=9, temperature=0.9, seed=4, repetition_penalty=1.2)
    if where == "logits":
        assert together(models).keys() == wanted.keys()
        found = models["lora"].generate(texts_of("lora"), LONG)
        same(found, wanted["lora"])
    # Prompts of one token each: a pass for one alone goes through in both cases.
    texts = ["t", "c", "b"]
    for config in (LONG, drawn):
        found = models["lora"].generate(texts, config)
        assert found.texts == alone("lora", folders).generate(texts, config).texts
    assert failed
    assert models.pool().keys == 0


def test_a_fault_between_passes_ends_the_requests_at_hand_alone(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise IndexError("a fault of ours")

    models = models_of(folders, config=ServingConfig(drive="thread"))
    with monkeypatch.context() as patch:
        patch.setattr(models._scheduler, "turns", broken)
        with pytest.raises(ResourceError, match="the pass failed: a fault of ours"):
            models["lora"].generate(["tea"])
    # The thread goes on.
    assert models["lora"].generate(["tea"], GenerationConfig(max_tokens=2)).texts
    models.close()
    outside = models_of(folders, config=ServingConfig(drive="outside"))
    job = outside["lora"].row([5, 6], LONG)
    outside.submit([job])
    with monkeypatch.context() as patch:
        patch.setattr(outside._scheduler, "turns", broken)
        step = outside.step()  # does not raise: it may be a loop that tunes
    assert not step
    assert (step.live, step.waiting) == (0, 0)
    assert isinstance(job.error, ResourceError)


def test_keys_that_are_no_numbers_stay_with_their_owner(
    folders: dict[str, Path], wanted: dict[str, Completions]
) -> None:
    models = models_of({"lora": folders["lora"]})
    # As if every page had been given back by a part that makes them.
    models._pool.tensor[1:].fill_(float("nan"))
    for name in ("base", "lora"):
        same(models[name].generate(texts_of(name), LONG), wanted[name])


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_no_numbers_end_their_request_alone(
    temperature: float, folders: dict[str, Path], wanted: dict[str, Completions], tmp_path: Path
) -> None:
    wild = saved_parts(tmp_path, {"wild": LoRA(rank=1, alpha=1e38)})["wild"]
    models = models_of({"wild": wild, "lora": folders["lora"]}, config=ServingConfig())
    hot = GenerationConfig(max_tokens=24, temperature=temperature)
    jobs = [
        models["wild"].row(models.tokens.encode("the best"), hot),
        *(models["lora"].row(models.tokens.encode(text), LONG) for text in texts_of("lora")),
    ]
    with pytest.raises(ResourceError, match=r"logits are not finite .*wild"):
        models.run(jobs[:1])
    with pytest.raises(ResourceError, match=r"logits are not finite .*wild"):
        models.run([models["wild"].row(jobs[0].tokens, hot), *jobs[1:]])
    same(Completions(tuple(job.answer.completion() for job in jobs[1:])), wanted["lora"])


@pytest.fixture(scope="module")
def engine_ends_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One folder for each part."""
    return saved_parts(tmp_path_factory.mktemp("parts"))


def test_closing_while_texts_are_read(engine_ends_folders: dict[str, Path]) -> None:
    models = models_of(engine_ends_folders, config=ServingConfig(drive="outside"))
    errors: list[str] = []

    def ask(what: Callable[[], object]) -> None:
        with pytest.raises(ResourceError) as found:
            what()
        errors.append(found.value.what)

    own = models["lora"]
    asks = (lambda: own.score(["the best"], [" tea in the world"]), lambda: own.embed(["the best"]))
    threads = [threading.Thread(target=ask, args=(one,)) for one in asks]
    for thread in threads:
        thread.start()
    while models.step(prompt_tokens=0).waiting < 2:
        pass
    models.step(prompt_tokens=1)
    models.close()
    for thread in threads:
        thread.join(60)
    assert sorted(errors) == ["the embedding was cancelled", "the score was cancelled"]


def test_an_embedding_that_is_cancelled_is_none(engine_ends_folders: dict[str, Path]) -> None:
    models = models_of(engine_ends_folders)
    cancel = Cancellation()
    cancel.cancel()
    with pytest.raises(ResourceError, match="cancelled"):
        models["base"].embed(["a cup of tea"], cancel=cancel)
    assert models["base"].embed(["a cup of tea"]).shape[0] == 1


def test_how_it_is(engine_ends_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    models = models_of(engine_ends_folders, config=ServingConfig(drive="outside"))
    assert models.health() == models["lora"].health() == "ready"
    models.submit([ScoreRow(None, [5], [6])])
    assert models.health() == "ready"
    later = time.monotonic() + 1000
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert models.health() == "stuck"
    while models.step():
        pass
    assert models.health() == "ready"
    models.close()
    assert models.health() == "dead"


def test_a_folder_that_does_not_answer_holds_up_nobody(
    engine_ends_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    models = models_of({})
    reading, go_on = threading.Event(), threading.Event()
    check = AdapterCache.check

    def slow(self: AdapterCache, folder: str | Path) -> Any:
        reading.set()
        go_on.wait(20)
        return check(self, folder)

    monkeypatch.setattr(AdapterCache, "check", slow)
    thread = threading.Thread(target=models.add, args=("lora", engine_ends_folders["lora"]))
    thread.start()
    assert reading.wait(20)
    assert models["base"].generate(["tea"], GenerationConfig(max_tokens=2))[0].token_ids
    assert "lora" not in models
    go_on.set()
    thread.join(20)
    assert "lora" in models


def test_blocks_that_left_the_pool_give_the_same_logits(
    engine_ends_folders: dict[str, Path],
) -> None:
    """Log-probabilities behind a beginning that was read, that is shared, and that was outside of
    the pool meanwhile, under the base and under an adapter."""
    text, after = "the best tea in the world is a cup of tea with a friend", " and warm bread"
    names = ("base", "lora", "pfeiffer")
    own = {name: engine_ends_folders[name] for name in names[1:]}
    with closing(models_of(own, config=ServingConfig(share_prefixes=False))) as models:
        wanted = [models[name].score([text], [after]).token_logprobs[0] for name in names]
    with closing(models_of(own, pages=40, config=ServingConfig(prefix_bytes=1 << 20))) as models:
        for turn in range(3):
            for name, logprobs in zip(names, wanted, strict=True):
                found = models[name].score([text], [after]).token_logprobs[0]
                np.testing.assert_allclose(found, logprobs, atol=1e-4)
                # What comes between needs all of the pool.
                models["base"].score([f"{turn} {name} " * 12], ["tea"])
        state = models.pool()
        assert state.restored_tokens >= 6 * 2 * BLOCK
        assert 0 < state.prefix_bytes <= 1 << 20
    assert models.pool().keys == 0


def test_prefixes_are_held_between_passes(
    engine_ends_folders: dict[str, Path], tmp_path: Path
) -> None:
    with closing(models_of({"lora": engine_ends_folders["lora"]})) as models:
        models["lora"].generate(["the best tea in the world"], GenerationConfig(max_tokens=2))
        ids = models.tokens.encode("the best tea in the world")
        with models.prefixes() as store:
            assert store.save(tmp_path / "a", ids, adapter="lora") > 0
            store.let_go(store.hold(ids, adapter="lora"))
            assert store.restore(tmp_path / "a") > 0
