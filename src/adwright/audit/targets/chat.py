"""Rank by what a chat model answers: a local one, or any behind an OpenAI-compatible endpoint.

    model = open_model(HttpConfig("https://models.example/v1", model="large"))
    target = ChatTarget(model)

The answer is read by `parse_answer`; what was not named has rank n + 1. A greedy answer
(temperature 0) is the same for the same question on a local engine; a server may differ from time
to time, so ask again with another `seed`, and count what comes back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adwright.audit.targets.parsing import ParsedAnswer, parse_answer
from adwright.audit.targets.prompts import list_messages
from adwright.audit.targets.target import Ask, Ranking, RankingCost
from adwright.lm.engine.generation import GenerationConfig, LanguageModel, check_least


@dataclass(frozen=True)
class ChatTargetConfig:
    """max_tokens: of an answer; a list of ten with reasons has about 400. temperature, seed: as
    `GenerationConfig`."""

    max_tokens: int = 500
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_least(self, {"max_tokens": 1, "temperature": 0, "seed": 0})


@dataclass(frozen=True)
class ChatAnswer:
    """text: as the model wrote it. parsed: what it says of the listings. cost: of the call."""

    text: str
    parsed: ParsedAnswer
    cost: RankingCost


class ChatTarget:
    """A chat model asked for a list. It closes the model with itself. cpu: seconds of this process
    so far, for the costs."""

    def __init__(
        self,
        model: LanguageModel,
        config: ChatTargetConfig | None = None,
        *,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self.model = model
        self.config = ChatTargetConfig() if config is None else config
        self._cpu = cpu

    @property
    def name(self) -> str:
        """The model and how it is asked."""
        return f"{self.model.info.name}, free answer (temperature {self.config.temperature:g})"

    def rank(self, asks: Sequence[Ask]) -> list[Ranking]:
        """One ranking per question, of the products that its answer names. Raises as the model's
        `generate`: ConfigError where an endpoint refuses, ResourceError where it is not there."""
        return [
            Ranking(one.parsed.order, None, one.cost, one.parsed.note) for one in self.answers(asks)
        ]

    def answers(self, asks: Sequence[Ask]) -> list[ChatAnswer]:
        """The answers themselves."""
        if not asks:
            return []
        began, config = self._cpu(), self.config
        generation = GenerationConfig(
            max_tokens=config.max_tokens, temperature=config.temperature, seed=config.seed
        )
        answers = self.model.generate([list_messages(ask) for ask in asks], generation)
        seconds = (self._cpu() - began) / len(asks)
        found = []
        for ask, answer in zip(asks, answers, strict=True):
            usage = answer.usage
            cost = RankingCost(1, usage.prompt_tokens, usage.completion_tokens, seconds)
            parsed = parse_answer(answer.text, [one.name for one in ask.listings])
            found.append(ChatAnswer(answer.text, parsed, cost))
        return found

    def close(self) -> None:
        """Close the model."""
        self.model.close()
