from __future__ import annotations

from collections.abc import Sequence

import pytest

from adwright.audit.targets.chat import ChatTarget, ChatTargetConfig
from adwright.audit.targets.target import Ask
from adwright.core.errors import ConfigError, ResourceError
from adwright.lm.engine.generation import Cancellation, Completions, GenerationConfig, Prompt
from adwright.lm.engine.http import HttpConfig, HttpModel
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from tests.support.audit.shops import REQUEST, kettles

SHOP = kettles()
ASK = Ask(SHOP.listings, REQUEST, (5, 4, 3, 2, 1, 0))


def of(*replies: str) -> ChatTarget:
    return ChatTarget(ScriptedModel(ScriptedConfig(replies)))


def test_answers_become_rankings() -> None:
    list_, refusal = of("1. Teapot\n2. Glass Kettle Pro\n3. Ninja 9", "I'm sorry.").rank([ASK, ASK])
    assert (list_.order, list_.scores, list_.note) == ((4, 2), None, "1 invented")
    assert (refusal.order, refusal.note) == ((), "refused")
    assert refusal.ranks(6).tolist() == [7] * 6
    assert of("ok").rank([]) == []


def test_costs_are_what_the_model_says() -> None:
    ticks = iter((0.0, 3.0))
    model = ScriptedModel(ScriptedConfig(("1. Teapot",)))
    (answer,) = ChatTarget(model, cpu=lambda: next(ticks)).answers([ASK])
    assert answer.text == "1. Teapot"
    assert answer.cost.tokens_out == len("1. Teapot") + 1
    assert answer.cost.tokens_in > 500
    assert (answer.cost.calls, answer.cost.cpu_seconds) == (1, 3.0)


class Noting(ScriptedModel):
    """Keeps the settings that it is asked with."""

    asked: GenerationConfig

    def generate(
        self,
        prompts: Sequence[Prompt],
        config: GenerationConfig | None = None,
        *,
        cancel: Cancellation | None = None,
    ) -> Completions:
        assert config is not None
        self.asked = config
        return super().generate(prompts, config, cancel=cancel)


def test_settings_reach_the_model() -> None:
    model = Noting(ScriptedConfig())
    target = ChatTarget(model, ChatTargetConfig(max_tokens=1, temperature=0.5, seed=3))
    assert target.rank([ASK])[0].note == "nothing named"
    assert (model.asked.max_tokens, model.asked.temperature, model.asked.seed) == (1, 0.5, 3)
    assert target.name == "scripted, free answer (temperature 0.5)"
    target.close()


@pytest.mark.parametrize("wrong", [{"max_tokens": 0}, {"temperature": -1}, {"seed": -1}])
def test_settings_that_cannot_be(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="at least"):
        ChatTargetConfig(**wrong)  # type: ignore[arg-type]


def test_an_endpoint_that_is_not_there_is_said() -> None:
    config = HttpConfig("http://127.0.0.1:9/v1", "m", retries=0, timeout_seconds=2)
    target = ChatTarget(HttpModel.open(config))
    with pytest.raises(ResourceError, match="cannot be reached"):
        target.rank([ASK])
    target.close()
