"""Scripted models behind the endpoints, for the tests of serving language models."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
from fastapi import FastAPI

from adwright.core.clock import FixedClock
from adwright.lm.engine.generation import (
    Cancellation,
    Chunk,
    Completions,
    GenerationConfig,
    LanguageModel,
    Prompt,
)
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from adwright.service.lm.app import create_lm_app
from adwright.service.lm.config import LmServiceConfig
from adwright.web.gate import LOCAL_HOSTS


class Recorded(ScriptedModel):
    """Remembers what it was asked, and may wait before each token."""

    def __init__(self, *replies: str) -> None:
        super().__init__(ScriptedConfig(replies or ("fresh tea",)))
        self.asked: list[tuple[Prompt, GenerationConfig]] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.entered = threading.Event()
        self.ended = threading.Event()
        self.cancelled = False

    def generate(
        self,
        prompts: Sequence[Prompt],
        config: GenerationConfig = GenerationConfig(),  # noqa: B008
        *,
        cancel: Cancellation | None = None,
    ) -> Completions:
        self.asked += [(prompt, config) for prompt in prompts]
        self._hold(cancel)
        return super().generate(prompts, config, cancel=cancel)

    def stream(
        self,
        prompt: Prompt,
        config: GenerationConfig = GenerationConfig(),  # noqa: B008
        *,
        cancel: Cancellation | None = None,
    ) -> Iterator[Chunk]:
        self.asked.append((prompt, config))
        try:
            for chunk in super().stream(prompt, config, cancel=cancel):
                yield chunk
                self._hold(cancel)
        finally:
            self.ended.set()

    def _hold(self, cancel: Cancellation | None) -> None:
        self.entered.set()
        while not self.go_on.wait(0.01):
            if cancel is not None and cancel.cancelled:
                self.cancelled = True
                break


def app_of(model: LanguageModel, name: str = "m", **settings: Any) -> FastAPI:
    """The application with one model, which the tests' client calls "test"."""
    settings.setdefault("allowed_hosts", ("test", *LOCAL_HOSTS))
    return create_lm_app(LmServiceConfig(**settings), {name: model}, clock=FixedClock())


def events_of(answer: httpx.Response) -> list[Any]:
    """The server-sent events of a stream, without the last, which says that it is the last."""
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]
