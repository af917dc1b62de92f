from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("openvino_genai", reason="the extra lm is not installed")
pytest.importorskip("gguf", reason="the extra lm is not installed")

from adwright.core.errors import AssetError, ConfigError, ResourceError, ValueInvalidError
from adwright.lm.engine.generation import (
    Cancellation,
    GenerationConfig,
    LanguageModel,
    Message,
    TokenPrompt,
)
from adwright.lm.engine.hf_tokens import HuggingFaceTokens
from adwright.lm.engine.weights import smollm2_folder
from adwright.lm.native_engines.openvino_model import OpenVinoConfig, OpenVinoModel, _sizes
from tests.support.lm.smollm2 import CAPITAL, smollm2
from tests.support.lm.tiny_gguf import save_tiny_gguf
from tests.support.lm.tiny_llama import CONTEXT, VOCABULARY

TEXT = "Our loose-leaf breakfast tea is blended in small batches. 38% of 1,250 shoppers, née €!"


@pytest.fixture(scope="module")
def model() -> Iterator[OpenVinoModel]:
    """The real model: there is no smaller one that OpenVINO reads."""
    with closing(OpenVinoModel.open(OpenVinoConfig(smollm2(), threads=1))) as opened:
        yield opened


def idle(model: OpenVinoModel) -> bool:
    until = time.monotonic() + 20
    while model.running and time.monotonic() < until:
        time.sleep(0.01)
    return model.running == 0


def test_it_answers(model: OpenVinoModel) -> None:
    assert isinstance(model, LanguageModel)
    assert (model.info.engine, model.info.context) == ("openvino", 8192)
    assert "dequantised Q4_1" in model.info.note
    config = GenerationConfig(max_tokens=12, logprobs=True)
    first, second = model.generate([CAPITAL, "One, two, three,"], config)
    assert "Paris" in first.text
    assert "four" in second.text
    assert len(first.logprobs or ()) == len(first.token_ids)
    assert second.usage.completion_tokens == 12
    assert second.finish_reason == "length"
    chunks = list(model.stream(CAPITAL, GenerationConfig(max_tokens=12, stop=("ris",))))
    assert "".join(chunk.text for chunk in chunks).endswith("Pa")
    assert chunks[-1].finish_reason == "stop"


def test_its_tokens_are_those_of_the_torch_engine(model: OpenVinoModel) -> None:
    theirs = HuggingFaceTokens.load(smollm2_folder())
    messages = [Message("system", "Be brief."), Message("user", TEXT)]
    assert model.tokens.encode(TEXT) == theirs.encode(TEXT)
    assert model.tokens.chat(messages) == theirs.chat(messages)
    assert model.tokens.decode(theirs.encode(TEXT)) == TEXT
    assert (model.tokens.end_ids, model.tokens.begin_id) == (theirs.end_ids, theirs.begin_id)


def test_scores(model: OpenVinoModel) -> None:
    found = model.score([CAPITAL] * 2, ["Paris", "Banana"])
    assert found.log_likelihood[0] > found.log_likelihood[1] + 5
    config = GenerationConfig(max_tokens=5, logprobs=True)
    answer = model.generate([CAPITAL], config)[0]
    again = model.score([CAPITAL], [TokenPrompt(answer.token_ids)])
    np.testing.assert_allclose(again.token_logprobs[0], answer.logprobs, atol=0.2)


def test_seeds_repeat(model: OpenVinoModel) -> None:
    config = GenerationConfig(max_tokens=8, temperature=0.9, top_k=50, top_p=0.95, seed=3)
    texts = [model.generate([TEXT] * 2, config).texts for _ in range(3)]
    assert texts[1] == texts[2]
    assert texts[1][0] != texts[1][1]


def test_constraints(model: OpenVinoModel) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
    config = GenerationConfig(max_tokens=40, json_schema=schema)
    assert json.loads(model.generate([CAPITAL], config).texts[0]) == {"city": "Paris"}
    config = GenerationConfig(max_tokens=40, grammar='root ::= "Lyon" | "Nice"')
    assert model.generate([CAPITAL], config).texts[0] in ("Lyon", "Nice")
    with pytest.raises(ConfigError, match="schema or grammar"):
        model.generate([CAPITAL], GenerationConfig(json_schema={"type": "nothing"}))


def test_what_is_cancelled_or_left_is_out_of_the_pipeline(model: OpenVinoModel) -> None:
    config = GenerationConfig(max_tokens=500, temperature=1.0)
    cancel = Cancellation()
    chunks = model.stream(TEXT, config, cancel=cancel)
    assert len(list(islice(chunks, 2))) == 2
    cancel.cancel()
    assert list(chunks)[-1].finish_reason == "cancelled"
    assert idle(model)
    left = model.stream(TEXT, config)
    next(left)
    left.close()  # type: ignore[attr-defined]
    assert idle(model)
    with pytest.raises(ResourceError, match="cancelled"):
        model.score(["a"], ["b"], cancel=cancel)


def test_a_kill_is_an_error_and_it_is_started_again(model: OpenVinoModel) -> None:
    chunks = model.stream(TEXT, GenerationConfig(max_tokens=500, temperature=1.0))
    next(chunks)
    pid = model.processes[0].pid
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ResourceError, match="killed by SIGKILL"):
        list(chunks)
    assert model.health() == "starting"
    until = time.monotonic() + 120
    while model.health() != "ready" and time.monotonic() < until:
        time.sleep(0.05)
    assert "Paris" in model.generate([CAPITAL], GenerationConfig(max_tokens=8)).texts[0]
    assert model.processes[0].pid != pid


def test_what_it_cannot_do(model: OpenVinoModel) -> None:
    with pytest.raises(ConfigError, match="no embeddings"):
        model.embed(["a"])
    with pytest.raises(ValueInvalidError, match="no room"):
        model.generate([TokenPrompt((5,) * 8192)])
    last = TokenPrompt((5, 49_151))
    assert model.generate([last], GenerationConfig(max_tokens=1))[0].usage.prompt_tokens == 2
    for wrong in (TokenPrompt((5, 49_152)), TokenPrompt((99_999_999,))):
        with pytest.raises(ValueInvalidError, match="no such token"):
            model.generate([wrong])
        with pytest.raises(ValueInvalidError, match="no such token"):
            model.stream(wrong)
        with pytest.raises(ValueInvalidError, match="no such token"):
            model.score(["a"], [wrong])


def test_what_lies_beside_the_weights_tells_the_sizes(tmp_path: Path) -> None:
    assert _sizes(tmp_path) == (0, 0)
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 64, "vocab_size": 300}')
    assert _sizes(tmp_path) == (64, 300)
    (tmp_path / "config.json").write_text('{"vocab_size": null}')
    assert _sizes(tmp_path) == (0, 0)
    file = save_tiny_gguf(tmp_path / "tiny.gguf")
    assert _sizes(file) == (CONTEXT, VOCABULARY)
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(file.read_bytes()[:100])
    with pytest.raises(AssetError, match="cannot be read"):
        _sizes(cut)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="no such model"):
        OpenVinoModel.open(OpenVinoConfig("nowhere"))
    (tmp_path / "model.gguf").write_bytes(b"GGUFnot really")
    with pytest.raises(AssetError, match="cannot be read"):
        OpenVinoModel.open(OpenVinoConfig(str(tmp_path / "model.gguf")))


@pytest.mark.parametrize("name", ["threads", "cache_gb", "max_running", "step_tokens"])
def test_wrong_settings_are_named(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        OpenVinoConfig(**{name: -1})  # type: ignore[arg-type]
