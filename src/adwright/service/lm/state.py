"""What the endpoints share: the models, the queue, the measures; and how one of them is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from adwright.core.clock import Clock
from adwright.lm.engine.generation import (
    Chunk,
    Completion,
    Completions,
    GenerationConfig,
    LanguageModel,
    Prompt,
)
from adwright.service.lm.adapters import Adapters
from adwright.service.lm.config import LmServiceConfig
from adwright.service.lm.keys import Callers
from adwright.service.lm.measures import LmMeasures
from adwright.service.lm.shares import Asked, prompt_tokens
from adwright.service.lm.streams import Piece, pieces
from adwright.service.lm.work import LmWork, TimeUp
from adwright.web.errors import ApiError
from adwright.web.gate import ServiceMetrics, admitted


@dataclass
class LmState:
    """What the endpoints share.

    models: by the name that a request carries; looked up for each request, so whoever owns the
    mapping may add to it and take from it while the service runs. adapters: they themselves where
    they are adapters of one base. callers: who they are, by their keys. leaving: names of models
    that are answered to the end, and asked no more.
    """

    config: LmServiceConfig
    models: Mapping[str, LanguageModel]
    work: LmWork
    metrics: ServiceMetrics
    clock: Clock
    callers: Callers
    adapters: Adapters | None = None
    draining: bool = False
    leaving: set[str] = field(default_factory=set)
    measures: LmMeasures = field(init=False)

    def __post_init__(self) -> None:
        self.measures = LmMeasures(self.metrics.registry)

    def now(self) -> int:
        """Seconds since 1970."""
        return int(self.clock.now().timestamp())

    def model(self, name: str) -> LanguageModel:
        """The model of that name. Raises ApiError where there is none."""
        try:
            if name in self.leaving:
                raise KeyError(name)
            return self.models[name]
        except KeyError:
            raise ApiError(
                404, "there is no model of this name", hint="GET /v1/models lists them"
            ) from None


async def _state(request: Request) -> LmState:
    state: LmState = request.app.state.service
    return state


State = Annotated[LmState, Depends(_state)]


def asked_for(
    model: LanguageModel, request: Request, prompts: Sequence[Prompt], most: int = 0
) -> Asked:
    """The share that a request asks for. most: tokens of each of its answers."""
    tokens = prompt_tokens(prompts) + most * len(prompts)
    return Asked(admitted(request.scope).tenant, max(1, len(prompts)), tokens, model.info.name)


async def whole_answers(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    settings: GenerationConfig,
    request: Request,
    state: LmState,
) -> Completions:
    """An answer to each of B prompts. Raises as `LmWork.run`; TimeUp where one has nothing in
    time."""
    answers = await state.work.run(
        lambda cancel: model.generate(prompts, settings, cancel=cancel),
        request,
        asked_for(model, request, prompts, settings.max_tokens),
    )
    if any(_is_empty(one) for one in answers):
        raise TimeUp(state.config.max_seconds)
    return answers


async def begun(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    settings: GenerationConfig,
    request: Request,
    state: LmState,
) -> AsyncIterator[Piece]:
    """Pieces of the answers to B prompts, once the first is there: what is wrong with the request
    shows by then, and can still be answered with its status. Raises as `LmWork.stream`."""
    found = state.work.stream(
        lambda cancel: pieces(model, prompts, settings, cancel),
        request,
        asked_for(model, request, prompts, settings.max_tokens),
    )
    first = await anext(found)
    if _is_empty(first[1]):
        raise TimeUp(state.config.max_seconds)
    return _chained(first, found)


async def _chained(first: Piece, rest: AsyncIterator[Piece]) -> AsyncIterator[Piece]:
    yield first
    async for piece in rest:
        yield piece


def _is_empty(one: Chunk | Completion) -> bool:
    """Whether it was cancelled before anything was written."""
    return one.finish_reason == "cancelled" and not (one.text or one.token_ids)
