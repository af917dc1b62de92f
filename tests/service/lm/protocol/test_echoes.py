from __future__ import annotations

import math
from typing import Any

import pytest

from adwright.core.errors import ResourceError, ValueInvalidError
from adwright.lm.engine.generation import Cancellation, Prompt, TokenPrompt
from adwright.lm.engine.scripted import ByteTokens, ScriptedConfig, ScriptedModel
from adwright.service.lm.protocol.answers import Echo, echoes_of, silent, spelled
from tests.support.service.scripted_models import Recorded, app_of, events_of
from tests.support.service.small_shop import running


def echo(*prompts: Prompt, scored: bool = True) -> list[Echo]:
    return echoes_of(ScriptedModel(ScriptedConfig()), prompts, Cancellation(), scored=scored)


def test_one_that_is_cancelled_is_none() -> None:
    cancel = Cancellation()
    cancel.cancel()
    for scored in (True, False):
        with pytest.raises(ResourceError, match="cancelled"):
            echoes_of(ScriptedModel(ScriptedConfig()), ["ab"], cancel, scored=scored)


def test_characters_are_counted() -> None:
    (found,) = echo("é!")
    assert found.text == "é!"
    # Two bytes make the first character, so the second token begins where the first does.
    assert found.offsets == (0, 0, 1)
    assert spelled(ByteTokens(), [97, 98]) == ("ab", (0, 1))


def test_scores() -> None:
    each = -math.log(256)
    first, second = echo("abc", TokenPrompt((97,)))
    assert first.logprobs == (None, each, each)
    assert (second.ids, second.logprobs) == ((97,), (None,))
    assert echo("abc", scored=False)[0].logprobs is None
    assert silent([first])[0].usage.prompt_tokens == 3
    with pytest.raises(ValueInvalidError, match="no such token"):
        echo(TokenPrompt((97, 900)))


def asked(**fields: Any) -> Any:
    with running(app_of(Recorded("fresh tea", "no"))) as client:
        return client.post("/v1/completions", json={"model": "m", "prompt": "ab"} | fields)


def test_the_prompt_stands_before_its_answers() -> None:
    plain = asked(echo=True, max_tokens=3, n=2).json()
    assert [one["text"] for one in plain["choices"]] == ["abfre", "abno"]
    assert plain["choices"][0]["logprobs"] is None
    assert plain["usage"]["prompt_tokens"] == 2
    found = asked(echo=True, max_tokens=3, logprobs=1, prompt=["ab", "xyz"]).json()["choices"]
    assert [one["text"] for one in found] == ["abfre", "xyzno"]
    told = found[1]["logprobs"]
    assert told["tokens"] == ["x", "y", "z", "n", "o"]
    assert (told["token_logprobs"][0], len(told["token_logprobs"])) == (None, 5)
    assert told["text_offset"] == [0, 1, 2, 3, 4]
    alone = asked(echo=True, max_tokens=0, logprobs=1).json()["choices"][0]
    assert (alone["text"], alone["logprobs"]["tokens"]) == ("ab", ["a", "b"])
    assert alone["finish_reason"] == "length"


def test_a_stream_begins_with_the_prompt() -> None:
    events = events_of(asked(echo=True, max_tokens=3, logprobs=0, stream=True, n=2))
    texts = {0: "", 1: ""}
    for one in (event["choices"][0] for event in events):
        texts[one["index"]] += one["text"]
    assert texts == {0: "abfre", 1: "abno"}
    assert events[0]["choices"][0]["logprobs"]["tokens"] == ["a", "b"]


@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens": 0},
        {"max_tokens": 0, "echo": True},
        {"max_tokens": 0, "echo": True, "logprobs": 1, "n": 2},
        {"max_tokens": 0, "echo": True, "logprobs": 1, "stream": True},
        {"echo": True, "logprobs": 2},
        {"echo": True, "prompt": [97, 900]},
    ],
)
def test_what_is_refused(fields: dict[str, Any]) -> None:
    assert asked(**fields).status_code == 400
