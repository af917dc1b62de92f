"""The engine over adapters: what ends, is cancelled, or does not answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adwright.core.errors import ResourceError
from adwright.lm.engine.generation import Cancellation, GenerationConfig
from adwright.lm.serving.adapter_cache import AdapterCache
from adwright.lm.serving.config import ServingConfig
from adwright.lm.serving.scheduler import ScoreRow
from tests.support.lm.adapter_engine import BLOCK, models_of, saved_parts


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One folder for each part."""
    return saved_parts(tmp_path_factory.mktemp("parts"))


def test_closing_while_texts_are_read(folders: dict[str, Path]) -> None:
    models = models_of(folders, config=ServingConfig(drive="outside"))
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


def test_an_embedding_that_is_cancelled_is_none(folders: dict[str, Path]) -> None:
    models = models_of(folders)
    cancel = Cancellation()
    cancel.cancel()
    with pytest.raises(ResourceError, match="cancelled"):
        models["base"].embed(["a cup of tea"], cancel=cancel)
    assert models["base"].embed(["a cup of tea"]).shape[0] == 1


def test_how_it_is(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    models = models_of(folders, config=ServingConfig(drive="outside"))
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
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    models = models_of({})
    reading, go_on = threading.Event(), threading.Event()
    check = AdapterCache.check

    def slow(self: AdapterCache, folder: str | Path) -> Any:
        reading.set()
        go_on.wait(20)
        return check(self, folder)

    monkeypatch.setattr(AdapterCache, "check", slow)
    thread = threading.Thread(target=models.add, args=("lora", folders["lora"]))
    thread.start()
    assert reading.wait(20)
    assert models["base"].generate(["tea"], GenerationConfig(max_tokens=2))[0].token_ids
    assert "lora" not in models
    go_on.set()
    thread.join(20)
    assert "lora" in models


def test_blocks_that_left_the_pool_give_the_same_logits(folders: dict[str, Path]) -> None:
    """Log-probabilities behind a beginning that was read, that is shared, and that was outside of
    the pool meanwhile, under the base and under an adapter."""
    text, after = "the best tea in the world is a cup of tea with a friend", " and warm bread"
    names = ("base", "lora", "pfeiffer")
    own = {name: folders[name] for name in names[1:]}
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


def test_prefixes_are_held_between_passes(folders: dict[str, Path], tmp_path: Path) -> None:
    with closing(models_of({"lora": folders["lora"]})) as models:
        models["lora"].generate(["the best tea in the world"], GenerationConfig(max_tokens=2))
        ids = models.tokens.encode("the best tea in the world")
        with models.prefixes() as store:
            assert store.save(tmp_path / "a", ids, adapter="lora") > 0
            store.let_go(store.hold(ids, adapter="lora"))
            assert store.restore(tmp_path / "a") > 0
