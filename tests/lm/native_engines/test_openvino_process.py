"""The engines of OpenVINO and llama.cpp: what they answer, and processes that die beneath them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adwright.core.child_process import WorkerProcess
from adwright.core.errors import AssetError, ConfigError, ResourceError, ValueInvalidError
from adwright.lm.engine.generation import (
    Cancellation,
    GenerationConfig,
    LanguageModel,
    Message,
    Tokenizer,
    TokenPrompt,
)
from adwright.lm.engine.hf_tokens import HuggingFaceTokens
from adwright.lm.engine.weights import smollm2_folder
from adwright.lm.native_engines.llamacpp_config import LoraFile, XllamacppConfig
from adwright.lm.native_engines.llamacpp_model import XllamacppModel
from adwright.lm.native_engines.openvino_model import (
    OpenVinoConfig,
    OpenVinoModel,
    OpenVinoTokens,
    PipelineProcess,
    _sizes,
)
from adwright.lm.native_engines.openvino_worker import (
    StepOutput,
    StepRequest,
    generation_config,
    serve,
)
from adwright.lm.torch_engine.model import TorchModel
from adwright.tuning.formats.gguf import from_rotary, to_gguf
from adwright.tuning.methods import apply
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.tuned import Tuned
from tests.support.lm.smollm2 import CAPITAL, smollm2
from tests.support.lm.tiny_gguf import save_tiny_gguf
from tests.support.lm.tiny_llama import CONTEXT, VOCABULARY, tiny_llama, tiny_model, tiny_tokens
from tests.support.lm.tuning_methods import shake

pytest.importorskip("openvino_genai", reason="the extra lm is not installed")
pytest.importorskip("gguf", reason="the extra lm is not installed")


CITY = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}
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
    config = GenerationConfig(max_tokens=40, json_schema=CITY)
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


class Counting:
    """Counts down from the first token of each prompt, in a thread of its own."""

    def submit(self, requests: Sequence[StepRequest]) -> None:
        for request in requests:
            if request.ids[0] == 98:
                raise ValueError("it is not taken")
            threading.Thread(target=self._count, args=(request,), daemon=True).start()

    def _count(self, request: StepRequest) -> None:
        left = request.ids[0]
        while left and not request.dropped:
            left -= 1
            request.tell(StepOutput((left,), (), ended=left == 0, full=left == 0))
            time.sleep(0.001)
        if request.dropped:
            request.tell(StepOutput((), (), ended=True))


class Life:
    """A worker without a process: it can be killed all the same. reads: whether it takes what is
    sent."""

    def __init__(self, pid: int, *, reads: bool = True) -> None:
        self.pid, self.folder = pid, Path(tempfile.mkdtemp(prefix="life-"))
        self.socket, self._reads = str(self.folder / "s"), reads
        self._gone = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.socket)
        self._listener.listen(1)
        self._connection: socket.socket | None = None

    connect = WorkerProcess.connect
    alive = property(lambda self: not self._gone.is_set())
    ending = property(lambda self: "was killed by SIGKILL" if self._gone.is_set() else "")

    def ready(self, *_: Any) -> None:
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError, ValueError):  # OSError: ended before anyone came
            self._connection, _ = self._listener.accept()
            if self._reads:
                serve(self._connection, Counting(), dict)  # type: ignore[arg-type]

    def gone_within(self, seconds: float) -> bool:
        return self._gone.wait(seconds)

    def kill(self) -> None:
        self._gone.set()
        if self._connection is not None:
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        self.kill()
        self._listener.close()
        if self._connection is not None:
            self._connection.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def process() -> Iterator[PipelineProcess]:
    lives = iter(range(1, 100))
    with closing(PipelineProcess({"model": "m"}, start=lambda: Life(next(lives)))) as opened:  # type: ignore[arg-type,return-value]
        yield opened


def ids_of(request: Any) -> list[int]:
    return [token for output in request for token in output.ids]


def test_many_requests_over_one_connection(process: PipelineProcess) -> None:
    requests = process.submit([([n], {}) for n in (3, 5, 4)])
    assert [ids_of(one) for one in requests] == [[2, 1, 0], [4, 3, 2, 1, 0], [3, 2, 1, 0]]
    assert (process.running, process.health()) == (0, "ready")
    with pytest.raises(ConfigError, match="not taken"):
        ids_of(*process.submit([([98], {})]))


def test_a_dropped_request_ends(process: PipelineProcess) -> None:
    (request,) = process.submit([([10**9], {})])
    assert request.next(20) is not None
    assert process.running == 1
    request.drop()
    assert list(request)[-1].ended
    request.drop()
    assert process.running == 0


def test_a_death_is_an_error_and_it_is_started_again() -> None:
    lives: list[Life] = []

    def start() -> Any:
        lives.append(Life(len(lives) + 1))
        return lives[-1]

    with closing(PipelineProcess({"model": "m"}, start=start)) as process:
        requests = process.submit([([10**9], {})] * 2)
        assert requests[0].next(20) is not None
        lives[0].kill()
        for one in requests:
            with pytest.raises(ResourceError, match="killed by SIGKILL"):
                list(one)
        assert ids_of(*process.submit([([2], {})])) == [1, 0]
        assert process.pid == 2


def test_closing_ends_what_runs(process: PipelineProcess) -> None:
    (request,) = process.submit([([10**9], {})])
    process.close()
    process.close()
    with pytest.raises(ResourceError, match="closed"):
        list(request)
    with pytest.raises(ResourceError, match="closed"):
        process.submit([([1], {})])


def test_one_that_takes_nothing_is_given_up() -> None:
    long = list(range(200_000))
    assert len(json.dumps(long)) > 1_000_000

    def start() -> Any:
        return Life(1, reads=False)

    with (
        closing(PipelineProcess({"model": "m"}, start=start, send_seconds=1)) as process,
        pytest.raises(ResourceError),
    ):
        list(*process.submit([(long, {})]))


class Refusing:
    """A tokeniser of a model without a chat template."""

    def get_eos_token_id(self) -> int:
        return -1

    def get_bos_token_id(self) -> int:
        return -1

    def get_vocab(self) -> dict[str, int]:
        return {"a": 3, "b": 7}

    def apply_chat_template(self, *_: Any, **__: Any) -> str:
        raise RuntimeError("somewhere:12\nthe template is empty\n")


def test_a_model_without_a_template_or_special_tokens() -> None:
    tokens = OpenVinoTokens(Refusing())  # type: ignore[arg-type]
    assert isinstance(tokens, Tokenizer)
    assert (tokens.end_ids, tokens.begin_id) == (frozenset(), None)
    assert tokens.vocabulary == 8
    assert (tokens.encode(""), tokens.decode([])) == ([], "")
    with pytest.raises(ConfigError, match="the template is empty"):
        tokens.chat([Message("user", "a")])


class Echo:
    """Answers each request with its own prompt at once; holds those that begin with 9."""

    def __init__(self) -> None:
        self.held: list[StepRequest] = []
        self.together: list[int] = []

    def submit(self, requests: Sequence[StepRequest]) -> None:
        self.together.append(len(requests))
        for request in requests:
            if request.ids[0] == 9:
                self.held.append(request)
            elif request.ids[0] == 8:
                raise OverflowError("too large")
            else:
                request.tell(StepOutput(tuple(request.ids), (), ended=True))


def settings_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    if "wrong" in settings:
        raise ValueError("a wrong setting")
    return dict(settings)


@pytest.fixture
def talk() -> Iterator[tuple[Any, Any, Echo]]:
    here, there = socket.socketpair()
    echo = Echo()
    thread = threading.Thread(target=serve, args=(there, echo, settings_of))
    thread.start()
    with here, here.makefile("rb") as lines:

        def say(what: dict[str, Any]) -> None:
            here.sendall(json.dumps(what).encode() + b"\n")

        yield say, lambda: json.loads(lines.readline()), echo
        here.shutdown(socket.SHUT_RDWR)
        thread.join(20)
    assert not thread.is_alive()
    there.close()


def test_requests_pings_and_errors(talk: tuple[Any, Any, Echo]) -> None:
    say, told, echo = talk
    say({"ping": 4})
    assert told() == {"pong": 4}
    say({"ask": [{"id": 1, "prompt": [5, 6], "settings": {}}]})
    assert told() == {"id": 1, "ids": [5, 6], "logprobs": [], "ended": True, "full": False}
    say({"ask": [{"id": 2, "prompt": [8], "settings": {}}]})
    wrong = told()
    assert (wrong["id"], wrong["error"], wrong["refused"]) == (2, "too large", True)
    say({"ask": [{"id": 3, "prompt": [9], "settings": {}}]})
    say({"drop": 3})
    say({"drop": 77})
    say({"ping": 5})
    assert told() == {"pong": 5}
    assert echo.held[0].dropped


def test_the_requests_of_a_call_go_on_together(talk: tuple[Any, Any, Echo]) -> None:
    say, told, echo = talk
    rows = [{"id": n, "prompt": [n], "settings": {}} for n in (4, 5, 6)]
    rows[1]["settings"] = {"wrong": 1}
    say({"ask": rows})
    answers = {one["id"]: one for one in (told(), told(), told())}
    assert echo.together == [2]
    assert [answers[n]["ids"] for n in (4, 6)] == [[4], [6]]
    assert answers[5]["error"] == "a wrong setting"


def test_the_settings_of_a_request() -> None:
    found = generation_config({"max_new_tokens": 7, "echo": True, "grammar": "g", "end": 2})
    assert (found.max_new_tokens, found.echo, found.eos_token_id) == (7, True, 2)
    assert found.structured_output_config.grammar == "g"


pytest.importorskip("xllamacpp", reason="the extra lm is not installed")
pytest.importorskip("llguidance", reason="the extra lm is not installed")


TEA = (Message("user", "the best tea"),)
#: A random model writes half characters, unless it may not.
WORDS = "root ::= [a-z ]+"
LONG = GenerationConfig(max_tokens=200, temperature=1.0)
#: The cache of keys and values is in half floats.
NEAR = 0.02


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_gguf(tmp_path_factory.mktemp("models") / "tiny.gguf")


def config_of(file: Path, *loras: LoraFile) -> XllamacppConfig:
    return XllamacppConfig(str(file), loras=loras, threads=1, cache_tokens=1024, max_running=4)


@pytest.fixture(scope="module")
def llama(file: Path) -> Iterator[XllamacppModel]:
    with closing(XllamacppModel.open(config_of(file))) as opened:
        yield opened


@pytest.fixture(scope="module")
def theirs() -> TorchModel:
    """The same weights on torch."""
    return tiny_model()


def at_rest(llama: XllamacppModel) -> bool:
    until = time.monotonic() + 20
    process = llama.processes[0]
    while time.monotonic() < until:
        if not process.running and not any(one["is_processing"] for one in process.ask("/slots")):
            return True
        time.sleep(0.01)
    return False


def test_it_answers_as_torch_does(llama: XllamacppModel, theirs: TorchModel) -> None:
    assert isinstance(llama, LanguageModel)
    assert (llama.info.engine, llama.info.context) == ("xllamacpp", CONTEXT)
    config = GenerationConfig(max_tokens=6, logprobs=True, grammar=WORDS)
    asked = [TEA, "buy two", TokenPrompt((40, 41))]
    ours, wanted = llama.generate(asked, config), theirs.generate(asked, config)
    assert ours.texts == wanted.texts
    for one, other in zip(ours, wanted, strict=True):
        assert one.token_ids == other.token_ids
        assert one.usage == other.usage
        assert one.finish_reason == other.finish_reason
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=NEAR)


def test_its_tokens_are_those_of_torch(llama: XllamacppModel) -> None:
    other = tiny_tokens()
    assert llama.tokens.encode(TEXT) == other.encode(TEXT)
    assert llama.tokens.chat(TEA) == other.chat(TEA)
    assert llama.tokens.decode(other.encode(TEXT)) == TEXT
    assert (llama.tokens.end_ids, llama.tokens.begin_id) == (other.end_ids, other.begin_id)
    with pytest.raises(ConfigError, match="do not fit"):
        llama.tokens.chat([Message("user", "a"), Message("system", "b")])


def test_scores_are_those_of_torch(llama: XllamacppModel, theirs: TorchModel) -> None:
    """An end in the middle, characters of several tokens, and more than is forced at once."""
    asked = [TEA, "the best", "", "fresh", "a"]
    after = [" tea", " née € 你好 🍵!", " a<|end|> b<|end|>", " é", TokenPrompt((40, 41) * 120)]
    ours, wanted = llama.score(asked, after), theirs.score(asked, after)
    for one, other in zip(ours.token_logprobs, wanted.token_logprobs, strict=True):
        np.testing.assert_allclose(one, other, atol=NEAR)


def test_characters_of_several_tokens_are_told(llama: XllamacppModel, theirs: TorchModel) -> None:
    for logprobs in (True, False):
        config = GenerationConfig(max_tokens=30, logprobs=logprobs, grammar='root ::= "é🍵你"')
        (one,), (other,) = (llama.generate(["a"], config), theirs.generate(["a"], config))
        assert one.text == other.text == "é🍵你"
        assert one.token_ids == other.token_ids
        assert len(one.token_ids) > 3
    assert "".join(chunk.text for chunk in llama.stream("a", config)) == "é🍵你"


def test_stop_strings_and_streams(llama: XllamacppModel) -> None:
    config = GenerationConfig(max_tokens=20, grammar='root ::= "one two three four"')
    whole = llama.generate(["a"], config)[0]
    assert (whole.text, whole.finish_reason) == ("one two three four", "stop")
    cut = GenerationConfig(max_tokens=20, grammar=config.grammar, stop=("wo th",))
    chunks = list(llama.stream("a", cut))
    assert "".join(chunk.text for chunk in chunks) == "one t"
    assert chunks[-1].finish_reason == "stop"
    assert at_rest(llama)


def test_seeds_repeat_in_llama(llama: XllamacppModel) -> None:
    """One request at a time: beside others the last digits differ, which moves close draws."""

    def drawn(seed: int) -> str:
        config = GenerationConfig(
            max_tokens=12, temperature=0.9, top_k=50, top_p=0.95, seed=seed, grammar=WORDS
        )
        return llama.generate(["a"], config).texts[0]

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)
    two = GenerationConfig(max_tokens=12, temperature=0.9, grammar=WORDS)
    assert len(set(llama.generate(["a"] * 2, two).texts)) == 2


def test_a_penalty_ends_repetitions(llama: XllamacppModel, theirs: TorchModel) -> None:
    config = GenerationConfig(max_tokens=12, repetition_penalty=1.5, grammar=WORDS)
    assert llama.generate([TEA], config).texts == theirs.generate([TEA], config).texts


def test_constraints_in_llama(llama: XllamacppModel) -> None:
    config = GenerationConfig(max_tokens=60, json_schema=CITY)
    text = llama.generate([TEA], config).texts[0]
    assert json.loads(text)["city"] in ("Paris", "Rome")
    assert " " not in text
    config = GenerationConfig(max_tokens=40, grammar='root ::= "Lyon" | "Nice"')
    assert llama.generate([TEA], config).texts[0] in ("Lyon", "Nice")
    with pytest.raises(ConfigError, match="schema or grammar"):
        llama.generate([TEA], GenerationConfig(json_schema={"type": "nothing"}))
    with pytest.raises(ConfigError, match="grammar"):
        llama.generate([TEA], GenerationConfig(grammar="root ::= ("))
    assert at_rest(llama)


def test_what_is_cancelled_or_left_ends(llama: XllamacppModel) -> None:
    cancel = Cancellation()
    chunks = llama.stream(TEA, LONG, cancel=cancel)
    assert len(list(islice(chunks, 2))) == 2
    cancel.cancel()
    assert list(chunks)[-1].finish_reason == "cancelled"
    assert at_rest(llama)
    left = llama.stream(TEA, LONG)
    next(left)
    left.close()  # type: ignore[attr-defined]
    assert at_rest(llama)
    assert llama.generate([TEA], LONG, cancel=cancel)[0].finish_reason == "cancelled"
    with pytest.raises(ResourceError, match="cancelled"):
        llama.score(["a"], ["b"], cancel=cancel)
    assert at_rest(llama)


def test_embeddings_are_those_of_torch(llama: XllamacppModel, theirs: TorchModel) -> None:
    texts = ["the best tea", "two packs of coffee"]
    np.testing.assert_allclose(llama.embed(texts), theirs.embed(texts), atol=1e-3)
    assert llama.embed([]).shape == (0, 0)


def test_what_llama_cannot_do(llama: XllamacppModel, file: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueInvalidError, match="no room"):
        llama.generate([TokenPrompt((5,) * CONTEXT)])
    for call in (
        lambda: llama.generate(["a", TokenPrompt((VOCABULARY,))]),
        lambda: llama.stream(TokenPrompt((99_999_999,))),
        lambda: llama.score(["a"], [TokenPrompt((5, VOCABULARY))]),
    ):
        with pytest.raises(ValueInvalidError, match="no such token"):
            call()
    with pytest.raises(ConfigError, match="2 scales for 0"):
        llama.scale_loras([1.0, 2.0])
    with pytest.raises(AssetError, match="no such model"):
        XllamacppModel.open(XllamacppConfig("nowhere"))
    (tmp_path / "model.gguf").write_bytes(b"GGUFnot really")
    with pytest.raises(AssetError, match="cannot be read"):
        XllamacppModel.open(XllamacppConfig(str(tmp_path / "model.gguf")))
    with pytest.raises(ConfigError, match="lora adapter"):
        XllamacppModel.open(config_of(file, LoraFile(str(file))))


def test_a_kill_while_it_writes_is_an_error_and_the_next_answer_comes(file: Path) -> None:
    with closing(XllamacppModel.open(config_of(file))) as opened:
        pid = opened.processes[0].pid
        os.kill(pid, signal.SIGSTOP)  # it would be done before it is killed
        threading.Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()
        with pytest.raises(ResourceError, match="killed by SIGKILL"):
            list(opened.stream(TEA, LONG))
        assert opened.tokens.encode("a")
        assert opened.generate([TEA], GenerationConfig(max_tokens=2))[0].token_ids
        assert opened.health() == "ready"


def test_an_embedding_that_is_cancelled_ends(file: Path) -> None:
    with closing(XllamacppModel.open(config_of(file))) as opened:
        assert opened.embed(["a", "b"]).shape[0] == 2
        cancel = Cancellation()
        threading.Timer(0.05, cancel.cancel).start()
        with pytest.raises(ResourceError, match="cancelled"):
            opened.embed(["a tea " * 20] * 2000, cancel=cancel)
        assert opened.embed(["a"]).shape[0] == 1


def test_closing_while_it_writes_is_an_error(file: Path) -> None:
    opened = XllamacppModel.open(config_of(file))
    opened.embed(["a"])
    pids = [process.pid for process in opened.processes]
    assert len(pids) == 2
    found: list[Exception] = []
    os.kill(pids[0], signal.SIGSTOP)  # it would be done before it is closed

    def write() -> None:
        try:
            list(opened.stream(TEA, LONG))
        except ResourceError as error:
            found.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    thread.join(0.5)
    opened.close()
    opened.close()
    thread.join(20)
    assert "was closed" in str(found[0])
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    with pytest.raises(ConfigError, match="is closed"):
        opened.generate([TEA])
    with pytest.raises(ConfigError, match="closed"):
        opened.embed(["a"])


def forgotten(tuned: Tuned, path: Path) -> Path:
    """The adapter with the rows of q and k in the order of transformers: the known mistake."""
    with torch.no_grad():
        for place in tuned.places(("q_proj", "k_proj")):
            heads = tuned.sizes.heads if place.target == "q_proj" else tuned.sizes.kv_heads
            b = place.linear.b  # type: ignore[attr-defined]
            b.copy_(torch.from_numpy(from_rotary(b.numpy().copy(), heads)))
    return to_gguf(tuned, path)


def test_an_exported_adapter_does_what_it_does_in_torch(file: Path, tmp_path: Path) -> None:
    tuned = apply(tiny_llama(), LoRA(rank=3, targets=("q_proj", "k_proj", "down_proj")))
    shake(tuned, size=0.2)
    right = to_gguf(tuned, tmp_path / "right.gguf")
    asked, after = [TEA, "the best", "buy"], [" tea in the world", " price", " two packs of coffee"]
    plain = np.concatenate(tiny_model().score(asked, after).token_logprobs)
    adapted = TorchModel(tuned.causal, tiny_tokens(), name="tuned").score(asked, after)
    wanted = np.concatenate(adapted.token_logprobs)
    wrong = forgotten(tuned, tmp_path / "wrong.gguf")
    loras = (LoraFile(str(right)), LoraFile(str(wrong), 0.0))
    with closing(XllamacppModel.open(config_of(file, *loras))) as opened:
        assert opened.lora_scales == (1.0, 0.0)
        found = {}
        for name, scales in {"right": (1, 0), "none": (0, 0), "wrong": (0, 1)}.items():
            opened.scale_loras(scales)
            found[name] = np.concatenate(opened.score(asked, after).token_logprobs)
    np.testing.assert_allclose(found["none"], plain, atol=NEAR)
    np.testing.assert_allclose(found["right"], wanted, atol=NEAR)
    assert np.abs(wanted - plain).max() > 10 * NEAR
    assert np.abs(found["wrong"] - wanted).max() > 10 * NEAR
    changes = {name: found[name] - found["none"] for name in ("right", "wrong")}
    right_one, wrong_one = (np.corrcoef(one, wanted - plain)[0, 1] for one in changes.values())
    assert right_one > 0.99
    assert wrong_one < right_one - 0.05


def test_the_default_model() -> None:
    config = XllamacppConfig(smollm2(), weights="f16", threads=1, cache_tokens=1024)
    with closing(XllamacppModel.open(config)) as opened:
        assert "dequantised Q4_1" in opened.info.note
        theirs = HuggingFaceTokens.load(smollm2_folder())
        messages = [Message("system", "Be brief."), Message("user", TEXT)]
        assert opened.tokens.encode(TEXT) == theirs.encode(TEXT)
        assert opened.tokens.chat(messages) == theirs.chat(messages)
        answers = opened.generate([CAPITAL, "One, two, three,"], GenerationConfig(max_tokens=12))
        assert "Paris" in answers.texts[0]
        assert "four" in answers.texts[1]
        found = opened.score([CAPITAL] * 2, ["Paris", "Banana"])
        assert found.log_likelihood[0] > found.log_likelihood[1] + 5
