from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")
pytest.importorskip("httpx", reason="the extra lm is not installed")
pytest.importorskip("fastapi", reason="the extra service is not installed")

from fastapi import FastAPI

from adwright.core.errors import ConfigError, ResourceError, ValueInvalidError
from adwright.lm.engine.generation import (
    Cancellation,
    Chat,
    GenerationConfig,
    LanguageModel,
    Message,
    TokenPrompt,
)
from adwright.lm.engine.http import HttpConfig, HttpModel
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from adwright.lm.torch_engine.model import TorchModel
from adwright.service.lm.app import create_lm_app
from adwright.service.lm.config import LmServiceConfig
from adwright.web.server import on_loopback
from tests.support.chat_server import chatting
from tests.support.lm.tiny_llama import tiny_model, tiny_tokenizer

LONG = "the best tea in the world is a cup of tea with a friend, buy two packs of coffee and "
CHAT = (Message("system", "be brief"), Message("user", "name three teas"))


@pytest.fixture(scope="module")
def local() -> TorchModel:
    return tiny_model()


@pytest.fixture(scope="module")
def served(local: TorchModel) -> Iterator[tuple[FastAPI, str]]:
    slow = ScriptedModel(ScriptedConfig(("slow " * 200,), seconds_per_token=0.01))
    app = create_lm_app(LmServiceConfig(max_tokens=1000), {"tiny": local, "slow": slow})
    with on_loopback(app) as url:
        yield app, f"{url}/v1"


@pytest.fixture(scope="module")
def remote(served: tuple[FastAPI, str]) -> Iterator[HttpModel]:
    with closing(HttpModel.open(HttpConfig(served[1], "tiny", retries=0))) as model:
        yield model


def test_it_is_a_language_model(remote: HttpModel) -> None:
    assert {"generate", "stream", "score", "embed", "close"} <= set(dir(remote))
    assert (remote.info.name, remote.info.engine) == ("tiny", "http")


@pytest.mark.parametrize(
    "config",
    [
        GenerationConfig(max_tokens=12),
        GenerationConfig(max_tokens=12, temperature=1.0, seed=9, top_k=20, top_p=0.9),
        GenerationConfig(max_tokens=12, repetition_penalty=1.4, stop=("e",)),
        GenerationConfig(max_tokens=60, json_schema={"enum": ["tea", "coffee"]}),
        GenerationConfig(max_tokens=60, grammar='root ::= "tea" [0-9]'),
        GenerationConfig(max_tokens=5, logprobs=True),
        GenerationConfig(max_tokens=8, frequency_penalty=1.0, logit_bias=((40, 3.0), (41, -9.0))),
        GenerationConfig(max_tokens=8, presence_penalty=-1.0, min_tokens=4, ignore_eos=True),
        GenerationConfig(max_tokens=8, temperature=1.0, seed=2, min_p=0.2, stop_token_ids=(7, 8)),
        GenerationConfig(max_tokens=8, regex="[ab]{4}"),
    ],
)
def test_the_same_answers_as_the_model_behind_it(
    local: TorchModel, remote: HttpModel, config: GenerationConfig
) -> None:
    if config.constrained:
        pytest.importorskip("llguidance")
    prompts = [LONG, CHAT, TokenPrompt((5, 6, 7))]
    for ours, theirs in zip(
        local.generate(prompts, config), remote.generate(prompts, config), strict=True
    ):
        assert theirs.text == ours.text
        assert theirs.finish_reason == ours.finish_reason
        assert theirs.usage == ours.usage
        if ours.logprobs is None:
            assert theirs.logprobs is None
        else:
            np.testing.assert_allclose(theirs.logprobs, ours.logprobs, atol=1e-4)


def test_streams(local: TorchModel, remote: HttpModel) -> None:
    config = GenerationConfig(max_tokens=10)
    chunks = list(remote.stream(CHAT, config))
    assert len(chunks) > 3
    answer = local.generate([CHAT], config)[0]
    assert "".join(chunk.text for chunk in chunks) == answer.text
    assert (chunks[-1].finish_reason, chunks[-1].usage) == (answer.finish_reason, answer.usage)


def test_scores_and_embeddings(local: TorchModel, remote: HttpModel) -> None:
    tokens = local.tokens
    prompts, after = [TokenPrompt(tuple(tokens.encode(LONG)))], [TokenPrompt((9, 10))]
    ours, theirs = local.score(prompts, after), remote.score(prompts, after)
    np.testing.assert_allclose(theirs.token_logprobs[0], ours.token_logprobs[0], atol=1e-4)
    texts = [LONG.rstrip()], [" tea"]
    np.testing.assert_allclose(
        remote.score(*texts).log_likelihood, local.score(*texts).log_likelihood, atol=1e-4
    )
    with pytest.raises(ConfigError, match="two texts"):
        remote.score([CHAT], ["x"])
    with pytest.raises(ValueInvalidError, match="paired"):
        remote.score(["a"], [])
    np.testing.assert_allclose(remote.embed(["a", LONG]), local.embed(["a", LONG]), atol=1e-4)
    assert remote.embed([]).shape[0] == 0
    mixed = [TokenPrompt(tuple(tokens.encode("tea"))), LONG, TokenPrompt((5, 6))]
    np.testing.assert_allclose(remote.embed(mixed), local.embed(mixed), atol=1e-4)
    with pytest.raises(ConfigError, match="no top_logprobs"):
        remote.generate(["a"], GenerationConfig(logprobs=True, top_logprobs=2))


def test_what_the_endpoint_refuses(served: tuple[FastAPI, str], remote: HttpModel) -> None:
    with pytest.raises(ConfigError, match="400"):
        remote.generate([TokenPrompt((5,) * 300)])
    # What the template is told goes along, to be refused there.
    with pytest.raises(ConfigError, match="has no such setting"):
        remote.generate([Chat((Message("user", "a"),), {"loud": True})])
    with closing(HttpModel.open(HttpConfig(served[1], "other", retries=0))) as other:
        with pytest.raises(ConfigError, match="no model of this name"):
            other.generate(["a"])
        with pytest.raises(ConfigError, match="tokens"):
            _ = other.tokens
    gone = HttpConfig("http://127.0.0.1:9/v1", "m", retries=0)
    with closing(HttpModel.open(gone)) as nobody, pytest.raises(ResourceError, match="reached"):
        nobody.generate(["a"])


def idle(app: FastAPI) -> bool:
    until = time.monotonic() + 20
    while app.state.service.work.pending:
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def test_cancelling_and_closing_end_the_work_there(served: tuple[FastAPI, str]) -> None:
    app, url = served
    with closing(HttpModel.open(HttpConfig(url, "slow", retries=0))) as slow:
        config = GenerationConfig(max_tokens=1000)
        cancel = Cancellation()
        chunks = slow.stream("a", config, cancel=cancel)
        assert len(list(islice(chunks, 3))) == 3
        cancel.cancel()
        assert list(chunks)[-1].finish_reason == "cancelled"
        assert idle(app)
        left = slow.stream("a", config)
        next(left)
        left.close()  # type: ignore[attr-defined]
        assert idle(app)
        assert slow.generate(["a"], config, cancel=cancel)[0].finish_reason == "cancelled"
        with pytest.raises(ResourceError, match="cancelled"):
            slow.score(["a"], ["b"], cancel=cancel)


def test_the_key_is_read_from_the_environment_and_never_shown(
    local: TorchModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_lm_app(LmServiceConfig(key="s3cret"), {"tiny": local})
    with on_loopback(app) as url:
        config = HttpConfig(f"{url}/v1", "tiny", key_variable="OUR_KEY", retries=0)
        monkeypatch.setenv("OUR_KEY", "wr0ng")
        with closing(HttpModel.open(config)) as model, pytest.raises(ConfigError) as caught:
            model.generate(["a"])
        assert "401" in str(caught.value)
        assert "wr0ng" not in str(caught.value)
        monkeypatch.setenv("OUR_KEY", "s3cret")
        with closing(HttpModel.open(config)) as model:
            assert len(model.generate(["a"], GenerationConfig(max_tokens=2))) == 1
        assert "s3cret" not in repr(config)


def test_tokens_of_a_named_tokeniser(tmp_path: Path) -> None:
    tiny_tokenizer().save_pretrained(tmp_path / "tiny")
    config = HttpConfig("http://127.0.0.1:9/v1", "m", tokenizer=str(tmp_path / "tiny"))
    with closing(HttpModel.open(config)) as model:
        assert isinstance(model, LanguageModel)
        assert model.tokens.count("tea") > 0


def test_a_connection_that_breaks_off() -> None:
    def half(door: socket.socket) -> None:
        line, _ = door.accept()
        with line:
            line.recv(65536)
            heads = ("HTTP/1.1 200 OK", "content-type: text/event-stream", "content-length: 9999")
            line.sendall("\r\n".join([*heads, "", ""]).encode())
            line.sendall(b'data: {"id": "x", "choices": []}\n\n')

    with socket.create_server(("127.0.0.1", 0)) as door:
        thread = threading.Thread(target=half, args=(door,))
        thread.start()
        config = HttpConfig(f"http://127.0.0.1:{door.getsockname()[1]}/v1", "m", retries=0)
        with (
            closing(HttpModel.open(config)) as model,
            pytest.raises(ResourceError, match="broke"),
        ):
            list(model.stream("a"))
        thread.join()


def test_a_server_that_calls_the_bound_otherwise_is_asked_so_from_then_on() -> None:
    def refuse(asked: dict[str, Any]) -> str:
        what = "'max_tokens' is not supported with this model, use 'max_completion_tokens'"
        return what if "max_tokens" in asked else ""

    with (
        chatting(lambda _: "green tea", refuse) as (url, server),
        closing(HttpModel.open(HttpConfig(url, "m", retries=0))) as model,
    ):
        for _ in range(2):
            assert model.generate([CHAT], GenerationConfig(max_tokens=7)).texts == ["green tea"]
    assert [one.get("max_completion_tokens") for one in server.asked] == [None, 7, 7]


def test_the_password_of_an_address_is_sent_and_never_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with chatting(lambda _: "tea") as (url, server), caplog.at_level(logging.INFO):
        config = HttpConfig(url.replace("://", "://shop:s3cret@"), "m", retries=0)
        with closing(HttpModel.open(config)) as model:
            assert model.generate([CHAT]).texts == ["tea"]
    assert server.logins == ["Basic c2hvcDpzM2NyZXQ="]
    with closing(HttpModel.open(config)) as model, pytest.raises(ResourceError) as caught:
        model.generate([CHAT])
    assert "shop:***@127.0.0.1" in str(caught.value)
    assert "s3cret" not in str(caught.value) + caplog.text
