from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("xllamacpp", reason="the extra lm is not installed")
pytest.importorskip("gguf", reason="the extra lm is not installed")
pytest.importorskip("llguidance", reason="the extra lm is not installed")

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
from adwright.lm.native_engines.llamacpp_config import LoraFile, XllamacppConfig
from adwright.lm.native_engines.llamacpp_model import XllamacppModel
from adwright.lm.torch_engine.model import TorchModel
from adwright.tuning.formats.gguf import from_rotary, to_gguf
from adwright.tuning.methods import apply
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.tuned import Tuned
from tests.support.lm.smollm2 import CAPITAL, smollm2
from tests.support.lm.tiny_gguf import save_tiny_gguf
from tests.support.lm.tiny_llama import CONTEXT, VOCABULARY, tiny_llama, tiny_model, tiny_tokens
from tests.support.lm.tuning_methods import shake

TEXT = "Our loose-leaf breakfast tea is blended in small batches. 38% of 1,250 shoppers, née €!"
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
def model(file: Path) -> Iterator[XllamacppModel]:
    with closing(XllamacppModel.open(config_of(file))) as opened:
        yield opened


@pytest.fixture(scope="module")
def theirs() -> TorchModel:
    """The same weights on torch."""
    return tiny_model()


def idle(model: XllamacppModel) -> bool:
    until = time.monotonic() + 20
    process = model.processes[0]
    while time.monotonic() < until:
        if not process.running and not any(one["is_processing"] for one in process.ask("/slots")):
            return True
        time.sleep(0.01)
    return False


def test_it_answers_as_torch_does(model: XllamacppModel, theirs: TorchModel) -> None:
    assert isinstance(model, LanguageModel)
    assert (model.info.engine, model.info.context) == ("xllamacpp", CONTEXT)
    config = GenerationConfig(max_tokens=6, logprobs=True, grammar=WORDS)
    asked = [TEA, "buy two", TokenPrompt((40, 41))]
    ours, wanted = model.generate(asked, config), theirs.generate(asked, config)
    assert ours.texts == wanted.texts
    for one, other in zip(ours, wanted, strict=True):
        assert one.token_ids == other.token_ids
        assert one.usage == other.usage
        assert one.finish_reason == other.finish_reason
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=NEAR)


def test_its_tokens_are_those_of_torch(model: XllamacppModel) -> None:
    other = tiny_tokens()
    assert model.tokens.encode(TEXT) == other.encode(TEXT)
    assert model.tokens.chat(TEA) == other.chat(TEA)
    assert model.tokens.decode(other.encode(TEXT)) == TEXT
    assert (model.tokens.end_ids, model.tokens.begin_id) == (other.end_ids, other.begin_id)
    with pytest.raises(ConfigError, match="do not fit"):
        model.tokens.chat([Message("user", "a"), Message("system", "b")])


def test_scores_are_those_of_torch(model: XllamacppModel, theirs: TorchModel) -> None:
    """An end in the middle, characters of several tokens, and more than is forced at once."""
    asked = [TEA, "the best", "", "fresh", "a"]
    after = [" tea", " née € 你好 🍵!", " a<|end|> b<|end|>", " é", TokenPrompt((40, 41) * 120)]
    ours, wanted = model.score(asked, after), theirs.score(asked, after)
    for one, other in zip(ours.token_logprobs, wanted.token_logprobs, strict=True):
        np.testing.assert_allclose(one, other, atol=NEAR)


def test_characters_of_several_tokens_are_told(model: XllamacppModel, theirs: TorchModel) -> None:
    config = GenerationConfig(max_tokens=30, logprobs=True, grammar='root ::= "é🍵你"')
    for logprobs in (True, False):
        config = GenerationConfig(max_tokens=30, logprobs=logprobs, grammar='root ::= "é🍵你"')
        (one,), (other,) = model.generate(["a"], config), theirs.generate(["a"], config)
        assert one.text == other.text == "é🍵你"
        assert one.token_ids == other.token_ids
        assert len(one.token_ids) > 3
    assert "".join(chunk.text for chunk in model.stream("a", config)) == "é🍵你"


def test_stop_strings_and_streams(model: XllamacppModel) -> None:
    config = GenerationConfig(max_tokens=20, grammar='root ::= "one two three four"')
    whole = model.generate(["a"], config)[0]
    assert (whole.text, whole.finish_reason) == ("one two three four", "stop")
    cut = GenerationConfig(max_tokens=20, grammar=config.grammar, stop=("wo th",))
    chunks = list(model.stream("a", cut))
    assert "".join(chunk.text for chunk in chunks) == "one t"
    assert chunks[-1].finish_reason == "stop"
    assert idle(model)


def test_seeds_repeat(model: XllamacppModel) -> None:
    """One request at a time: beside others the last digits differ, which moves close draws."""

    def drawn(seed: int) -> str:
        config = GenerationConfig(
            max_tokens=12, temperature=0.9, top_k=50, top_p=0.95, seed=seed, grammar=WORDS
        )
        return model.generate(["a"], config).texts[0]

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)
    two = GenerationConfig(max_tokens=12, temperature=0.9, grammar=WORDS)
    assert len(set(model.generate(["a"] * 2, two).texts)) == 2


def test_a_penalty_ends_repetitions(model: XllamacppModel, theirs: TorchModel) -> None:
    config = GenerationConfig(max_tokens=12, repetition_penalty=1.5, grammar=WORDS)
    assert model.generate([TEA], config).texts == theirs.generate([TEA], config).texts


def test_constraints(model: XllamacppModel) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
    config = GenerationConfig(max_tokens=60, json_schema=schema)
    text = model.generate([TEA], config).texts[0]
    assert json.loads(text)["city"] in ("Paris", "Rome")
    assert " " not in text
    config = GenerationConfig(max_tokens=40, grammar='root ::= "Lyon" | "Nice"')
    assert model.generate([TEA], config).texts[0] in ("Lyon", "Nice")
    with pytest.raises(ConfigError, match="schema or grammar"):
        model.generate([TEA], GenerationConfig(json_schema={"type": "nothing"}))
    with pytest.raises(ConfigError, match="grammar"):
        model.generate([TEA], GenerationConfig(grammar="root ::= ("))
    assert idle(model)


def test_what_is_cancelled_or_left_ends(model: XllamacppModel) -> None:
    cancel = Cancellation()
    chunks = model.stream(TEA, LONG, cancel=cancel)
    assert len(list(islice(chunks, 2))) == 2
    cancel.cancel()
    assert list(chunks)[-1].finish_reason == "cancelled"
    assert idle(model)
    left = model.stream(TEA, LONG)
    next(left)
    left.close()  # type: ignore[attr-defined]
    assert idle(model)
    assert model.generate([TEA], LONG, cancel=cancel)[0].finish_reason == "cancelled"
    with pytest.raises(ResourceError, match="cancelled"):
        model.score(["a"], ["b"], cancel=cancel)
    assert idle(model)


def test_embeddings_are_those_of_torch(model: XllamacppModel, theirs: TorchModel) -> None:
    texts = ["the best tea", "two packs of coffee"]
    np.testing.assert_allclose(model.embed(texts), theirs.embed(texts), atol=1e-3)
    assert model.embed([]).shape == (0, 0)


def test_what_it_cannot_do(model: XllamacppModel, file: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueInvalidError, match="no room"):
        model.generate([TokenPrompt((5,) * CONTEXT)])
    for call in (
        lambda: model.generate(["a", TokenPrompt((VOCABULARY,))]),
        lambda: model.stream(TokenPrompt((99_999_999,))),
        lambda: model.score(["a"], [TokenPrompt((5, VOCABULARY))]),
    ):
        with pytest.raises(ValueInvalidError, match="no such token"):
            call()
    with pytest.raises(ConfigError, match="2 scales for 0"):
        model.scale_loras([1.0, 2.0])
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
