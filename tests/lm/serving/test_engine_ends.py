"""The engine over adapters: what ends, is cancelled, or does not answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adwright.core.errors import ResourceError
from adwright.lm.engine.generation import Cancellation, GenerationConfig
from adwright.lm.serving.adapter_cache import AdapterCache
from adwright.lm.serving.config import ServingConfig
from adwright.lm.serving.rows import ScoreRow
from tests.support.lm.adapter_engine import models_of, saved_parts


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
