"""?"""

from __future__ import annotations

import copy
import functools
import inspect
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import FrozenInstanceError, astuple, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI

from adwright.core.errors import AssetError, ConfigError, ResourceError, ValueInvalidError
from adwright.lm.engine.base import AnswerWriter, Engine
from adwright.lm.engine.generation import (
    FURTHER,
    Cancellation,
    Capabilities,
    Chat,
    Chunk,
    Completion,
    Completions,
    GenerationConfig,
    LanguageModel,
    Message,
    ModelInfo,
    Scores,
    TemplateTokenizer,
    Tokenizer,
    TokenPrompt,
    Usage,
    check_least,
)
from adwright.lm.engine.hf_tokens import HuggingFaceTokens
from adwright.lm.engine.http import HttpConfig, HttpModel
from adwright.lm.engine.scripted import ByteTokens, ScriptedConfig, ScriptedModel
from adwright.lm.native_engines.llamacpp_model import XllamacppTokens
from adwright.lm.native_engines.openvino_model import OpenVinoTokens
from adwright.lm.open_model import ENGINES
from adwright.lm.torch_engine.model import TorchModel
from adwright.service.lm.app import create_lm_app
from adwright.service.lm.config import LmServiceConfig
from adwright.web.server import on_loopback
from tests.support.chat_server import chatting
from tests.support.lm.tiny_llama import tiny_model, tiny_tokenizer, tiny_tokens

pytest.importorskip("transformers", reason="the extra lm is not installed")
pytest.importorskip("httpx", reason="the extra lm is not installed")
pytest.importorskip("fastapi", reason="the extra service is not installed")


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
        with closing(HttpModel.open(config)) as model, pytest.raises(ResourceError, match="broke"):
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


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": 0},
        {"max_tokens": 2**31},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": 1e-320},
        {"top_p": 0.0},
        {"top_p": 1e-320},
        {"top_p": float("nan")},
        {"top_p": 1.1},
        {"top_k": -1},
        {"top_k": 10**30},
        {"seed": -1},
        {"stop": "text"},
        {"stop": ("",)},
        {"stop": ("a" * 1001,)},
        {"repetition_penalty": 0.0},
        {"repetition_penalty": 1e-320},
        {"repetition_penalty": float("inf")},
        {"grammar": ""},
        {"grammar": " \n"},
        {"json_schema": {"minimum": float("nan")}},
        {"json_schema": {"enum": functools.reduce(lambda inner, _: [inner], range(50_000), [])}},
        {"grammar": "root ::= [a]", "json_schema": {}},
        {"json_schema": {"enum": {1, 2}}},
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        GenerationConfig(**wrong)


@pytest.mark.parametrize(
    "edge",
    [
        {"max_tokens": 1},
        {"temperature": 0.0},
        {"top_p": 1.0},
        {"top_p": 1e-6},
        {"top_k": 0},
        {"seed": 2**62 - 1},
        {"stop": ()},
        {"repetition_penalty": 0.01},
        {"json_schema": {}},
        {"temperature": 1e-6},
        {"top_k": 2**31 - 1},
        {"stop": ("a" * 1000,)},
    ],
)
def test_the_edges_are_allowed(edge: dict[str, Any]) -> None:
    (name,) = edge
    assert getattr(GenerationConfig(**edge), name) == edge[name]


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": float("inf")},
        {"repetition_penalty": float("nan")},
        {"repetition_penalty": -1.0},
        {"seed": 2**62},
        {"top_p": float("nan")},
        {"json_schema": {"a": float}},
    ],
)
def test_the_error_says_which_value_and_what_to_do(wrong: dict[str, Any]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(ConfigError) as caught:
        GenerationConfig(**wrong)
    assert name in caught.value.where
    assert name == "json_schema" or repr(value) in caught.value.where
    assert caught.value.hint == "correct it"


def test_settings_and_prompts_can_be_compared_and_kept() -> None:
    assert GenerationConfig(seed=1) == GenerationConfig(seed=1) != GenerationConfig(seed=2)
    prompts = {TokenPrompt((1, 2)), TokenPrompt((1, 2)), Message("user", "a"), Message("user", "a")}
    assert len(prompts) == 2
    for frozen, name in ((GenerationConfig(), "seed"), (TokenPrompt((1,)), "ids")):
        with pytest.raises(FrozenInstanceError):
            setattr(frozen, name, 1)


def test_what_is_constrained() -> None:
    assert not GenerationConfig().constrained
    assert GenerationConfig(json_schema={"type": "object"}).constrained
    assert GenerationConfig(grammar="root ::= [a]").constrained


def test_completions_are_a_sequence() -> None:
    rows = tuple(Completion(text, (1,), None, "stop", Usage(2, 3)) for text in "ab")
    found = Completions(rows)
    assert (len(found), found[1], list(found)) == (2, rows[1], list(rows))
    assert found.texts == ["a", "b"]
    assert found.usage == Usage(4, 6)
    assert Completions(()).usage == Usage()


def test_completions_can_be_cut_and_their_order_is_that_of_the_prompts() -> None:
    rows = tuple(Completion(text, (), None, "length", Usage(1, 1)) for text in "abc")
    found = Completions(rows)
    assert found[-1] == rows[2]
    assert found[1:] == rows[1:]
    assert rows[0] in found
    assert found.index(rows[2]) == 2
    with pytest.raises(IndexError):
        found[3]


def test_usage_adds_up() -> None:
    assert Usage(1, 2) + Usage(10, 20) == Usage(11, 22)
    assert Usage() == Usage(0, 0)


def test_a_chunk_holds_only_what_is_known() -> None:
    chunk = Chunk("a")
    assert (chunk.token_ids, chunk.logprobs) == ((), None)
    assert (chunk.finish_reason, chunk.usage) == (None, None)
    assert ModelInfo("m", "torch").context == 0


def test_scores_of_nothing_are_finite() -> None:
    empty = Scores((np.array([]), np.array([-1.5])))
    assert empty.log_likelihood.tolist() == [0.0, -1.5]
    assert empty.mean.tolist() == [0.0, -1.5]
    assert Scores(()).log_likelihood.shape == Scores(()).tokens.shape == (0,)
    assert empty.tokens.dtype == np.int64


def test_scores() -> None:
    scores = Scores((np.array([-1.0, -2.0]), np.array([-0.5])))
    np.testing.assert_array_equal(scores.log_likelihood, [-3.0, -0.5])
    np.testing.assert_array_equal(scores.tokens, [2, 1])
    np.testing.assert_array_equal(scores.mean, [-1.5, -0.5])


def test_cancellation_is_told_once_and_for_all() -> None:
    cancel = Cancellation()
    assert not cancel.cancelled
    cancel.cancel()
    cancel.cancel()
    assert cancel.cancelled
    assert not Cancellation().cancelled


def test_cancelling_reaches_other_threads() -> None:
    cancel, seen = Cancellation(), threading.Event()

    def wait() -> None:
        while not cancel.cancelled:
            time.sleep(0.001)
        seen.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not seen.is_set()
    cancel.cancel()
    thread.join(10)
    assert seen.is_set()


def test_programs_that_speak_of_prompts_load_no_engine() -> None:
    engines = {"torch", "transformers", "openvino_genai", "xllamacpp", "openai", "llguidance"}
    code = (
        "import sys, adwright.lm.engine.generation, adwright.lm.engine.base\n"
        f"print(sorted({engines!r} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("top_logprobs", {"top_logprobs": 2}),
        ("top_logprobs", {"top_logprobs": 21, "logprobs": True}),
        ("min_p", {"min_p": 1.5}),
        ("frequency_penalty", {"frequency_penalty": 2.5}),
        ("presence_penalty", {"presence_penalty": -3.0}),
        ("logit_bias", {"logit_bias": ((1, 101.0),)}),
        ("logit_bias", {"logit_bias": ((-1, 1.0),)}),
        ("stop_token_ids", {"stop_token_ids": (-5,)}),
        ("min_tokens", {"min_tokens": 9, "max_tokens": 5}),
        ("min_tokens", {"min_tokens": 2, "regex": "a"}),
        ("regex", {"regex": "a", "lark": "start: /a/"}),
        ("grammar", {"grammar": "root ::= [a]", "regex": "a"}),
    ],
)
def test_further_settings_are_checked(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=name):
        GenerationConfig(**settings)


def test_further_settings_are_told() -> None:
    assert GenerationConfig().further == frozenset()
    asked = GenerationConfig(min_p=0.1, ignore_eos=True, stop_token_ids=(3,), lark="start: /a/")
    assert asked.further == {"min_p", "ignore_eos", "lark"}
    assert asked.constrained
    assert asked.further <= FURTHER


END = 256


def write(text: str, *, end: bool = True, **settings: Any) -> AnswerWriter:
    answer = AnswerWriter(ByteTokens(), [1, 2], GenerationConfig(**settings), context=40)
    for token in [*text.encode(), *[END] * end]:
        if answer.finish_reason is None:
            answer.add(token, -0.5)
    return answer


def test_the_end_token_ends_and_is_no_text() -> None:
    done = write("tea", logprobs=True).completion()
    assert (done.text, done.token_ids, done.logprobs) == ("tea", (116, 101, 97), (-0.5,) * 3)
    assert (done.finish_reason, done.usage) == ("stop", Usage(2, 4))
    assert write("tea").completion().logprobs is None


def test_lengths() -> None:
    assert write("teapot", max_tokens=3).completion().text == "tea"
    assert write("teapot", max_tokens=3).finish_reason == "length"
    # Two tokens of prompt in a context of forty.
    assert len(write("x" * 100, max_tokens=99).completion().text) == 38


def test_a_stop_string_leaves_as_many_tokens_as_the_text_takes() -> None:
    done = write("tea, pot", stop=(", ",), logprobs=True).completion()
    assert (done.text, len(done.token_ids), done.finish_reason) == ("tea", 3, "stop")
    assert len(done.logprobs or ()) == 3


def test_an_answer_that_was_left() -> None:
    answer = write("te", end=False)
    assert answer.completion().finish_reason == "cancelled"
    answer.end("cancelled")
    answer.end("length")
    assert answer.completion().finish_reason == "cancelled"


def test_chunks_hold_what_is_new() -> None:
    answer = AnswerWriter(ByteTokens(), [1], GenerationConfig(logprobs=True, stop=("zz",)))
    answer.add(ord("a"), -1.0)
    first = answer.chunk()
    assert (first.text, first.token_ids, first.logprobs) == ("a", (97,), (-1.0,))
    assert first.finish_reason is first.usage is None
    assert answer.chunk().text == ""
    answer.add(ord("z"), -2.0)
    assert (answer.chunk().text, answer.finish_reason) == ("", None)
    answer.add(END, -3.0)
    last = answer.chunk()
    assert (last.text, last.token_ids, last.finish_reason) == ("z", (), "stop")
    assert last.usage == Usage(1, 3)


def test_further_tokens_end_an_answer_and_others_do_not() -> None:
    ended = AnswerWriter(ByteTokens(), [1], GenerationConfig(stop_token_ids=(98,)))
    for token in b"ab":
        ended.add(token)
    assert (ended.completion().text, ended.finish_reason) == ("a", "stop")
    assert ended.completion().usage.completion_tokens == 2
    going = AnswerWriter(ByteTokens(), [1], GenerationConfig(ignore_eos=True, max_tokens=3))
    for token in (97, 256, 98):
        assert going.finish_reason is None
        going.add(token)
    assert (going.completion().text, going.finish_reason) == ("ab", "length")


def test_the_likeliest_tokens_are_kept_beside_each() -> None:
    config = GenerationConfig(logprobs=True, top_logprobs=1, stop=("zz",))
    answer = AnswerWriter(ByteTokens(), [1], config)
    told = []
    for token in b"azz":
        answer.add(token, -1.0, ((token, -1.0),))
        told += list(answer.chunk().top_logprobs or ())
    assert answer.completion().top_logprobs == (((97, -1.0),),)
    assert told == [((97, -1.0),), ((122, -1.0),)]


pytest.importorskip("transformers", reason="the extra lm is not installed")


def test_there_and_back() -> None:
    tokens = tiny_tokens()
    assert isinstance(tokens, Tokenizer)
    text = "the best tea , isn't it? é€😀"
    ids = tokens.encode(text)
    assert tokens.decode(ids) == text
    assert tokens.count(text) == len(ids)
    assert tokens.decode([0, *ids, 1]) == text
    assert (tokens.end_ids, tokens.begin_id) == ({1}, 0)


def test_chat() -> None:
    tokens = tiny_tokens()
    ids = tokens.chat([Message("user", "tea?")])
    assert tokens.tokenizer.decode(ids) == "<|begin|>user\ntea?<|end|><|begin|>assistant\n"
    with pytest.raises(ConfigError, match="the system speaks first"):
        tokens.chat([Message("user", "a"), Message("system", "b")])


def test_settings_of_the_template() -> None:
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.chat_template = "{{ messages[0].content }}{% if loud %}!{{ loud * 2 }}{% endif %}"
    tokens = HuggingFaceTokens(tokenizer)
    assert isinstance(tokens, TemplateTokenizer)
    turns = [Message("user", "tea")]
    assert tokens.decode(tokens.chat(turns)) == "tea"
    assert tokens.decode(tokens.chat_with(turns, {"loud": 2})) == "tea!4"
    with pytest.raises(ConfigError, match="no such setting"):
        tokens.chat_with(turns, {"messages": "x"})
    tokenizer.chat_template = "{{ loud + 'a' }}"
    with pytest.raises(ConfigError, match="do not fit the chat template"):
        HuggingFaceTokens(tokenizer).chat_with(turns, {"loud": 2})


def test_a_template_that_never_ends() -> None:
    loops = "{% for i in range(99999) %}" * 3 + "{% endfor %}" * 3
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.chat_template = loops
    with pytest.raises(ConfigError, match="more than 1 s of computing"):
        HuggingFaceTokens(tokenizer).chat([Message("user", "tea?")])


def test_load(tmp_path: Path) -> None:
    tiny_tokenizer().save_pretrained(tmp_path / "tiny")
    loaded = HuggingFaceTokens.load(tmp_path / "tiny", frozenset((7,)))
    assert loaded.encode("tea") == tiny_tokens().encode("tea")
    assert loaded.end_ids == {1, 7}
    with pytest.raises(AssetError, match="no tokeniser"):
        HuggingFaceTokens.load(tmp_path / "nothing")


def test_each_engine_has_a_column_of_its_own() -> None:
    told = [kind.capabilities for kind in ENGINES.values()]
    assert len({one.title for one in told}) == len(told)
    # They stand in a table of the documentation.
    assert not any("|" in text or "\n" in text for one in told for text in astuple(one))


def test_nothing_is_claimed_by_default() -> None:
    bare = Capabilities("a", "b")
    assert (bare.score, bare.embed, bare.constraint) == ("no", "no", "no")
    assert ENGINES["openvino"].capabilities.embed == "no"
    assert ENGINES["torch"].capabilities.embed == "yes"


@dataclass
class Settings:
    threads: int = 2
    seconds: float = 0.5


def test_settings_below_their_least_value_are_named() -> None:
    check_least(Settings(), {"threads": 2, "seconds": 0.5})
    with pytest.raises(ConfigError, match="seconds must be at least") as told:
        check_least(Settings(), {"threads": 0, "seconds": 0.6})
    assert told.value.where == "seconds 0.5"


def names_of(protocol: type) -> set[str]:
    return {name for name in vars(protocol) if not name.startswith("_")}


def test_engines_have_what_the_protocol_asks_for() -> None:
    assert names_of(LanguageModel) <= set(dir(Engine))
    for name in ("generate", "stream", "score", "embed"):
        wanted = inspect.signature(getattr(LanguageModel, name)).parameters
        assert list(inspect.signature(getattr(Engine, name)).parameters) == list(wanted)


def test_tokenizers_have_what_the_protocol_asks_for() -> None:
    for tokens in (HuggingFaceTokens, OpenVinoTokens, XllamacppTokens, ByteTokens):
        assert names_of(Tokenizer) <= set(dir(tokens))
