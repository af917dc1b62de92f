"""?"""

from __future__ import annotations

import gc
import json
import threading
import time
import weakref
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adwright.core.errors import AssetError, ConfigError, ResourceError, ValueInvalidError
from adwright.lm.engine.generation import (
    Cancellation,
    GenerationConfig,
    LanguageModel,
    Message,
    TokenPrompt,
)
from adwright.lm.torch_engine import network
from adwright.lm.torch_engine.config import TorchConfig
from adwright.lm.torch_engine.decode import Grammars
from adwright.lm.torch_engine.model import TorchModel, fitting_dtype, quick_dtype
from tests.support.lm.smollm2 import CAPITAL, smollm2
from tests.support.lm.tiny_llama import (
    VOCABULARY,
    save_tiny,
    tiny_llama,
    tiny_model,
    tiny_tokenizer,
    tiny_tokens,
)

pytest.importorskip("transformers", reason="the extra lm is not installed")


LONG = "the best tea in the world is a cup of tea with a friend, buy two packs of coffee and "
PROMPTS = [LONG + "get", "buy two", LONG, "a", LONG + "fresh bread, ripe cheese and", "red apples"]


@pytest.fixture(scope="module")
def model() -> TorchModel:
    return tiny_model()


def theirs(prompt: str, tokens: int, **settings: Any) -> list[int]:
    """What transformers generates, one prompt at a time, without the end token."""
    ids = torch.tensor([tiny_tokens().encode(prompt)])
    out = tiny_llama().generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, **settings
    )
    new = out[0, ids.shape[1] :].tolist()
    return new[: new.index(1)] if 1 in new else new


def test_it_is_a_language_model(model: TorchModel) -> None:
    assert isinstance(model, LanguageModel)
    assert (model.info.engine, model.info.context) == ("torch", 256)


@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_greedy_is_that_of_transformers(batch_size: int) -> None:
    ours = tiny_model(batch_size=batch_size).generate(PROMPTS, GenerationConfig(max_tokens=24))
    for prompt, answer in zip(PROMPTS, ours, strict=True):
        assert list(answer.token_ids) == theirs(prompt, 24, do_sample=False)
        assert answer.text == tiny_tokens().decode(answer.token_ids)


def test_repetition_penalty_is_that_of_transformers(model: TorchModel) -> None:
    config = GenerationConfig(max_tokens=24, repetition_penalty=1.3)
    for prompt, answer in zip(PROMPTS, model.generate(PROMPTS, config), strict=True):
        wanted = theirs(prompt, 24, do_sample=False, repetition_penalty=1.3)
        assert list(answer.token_ids) == wanted


def test_a_shared_beginning_is_computed_once(
    model: TorchModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = GenerationConfig(max_tokens=6, logprobs=True)
    prompts = [LONG + end for end in ("tea", "coffee", "bread and cheese")]
    widths: list[tuple[int, int]] = []
    hidden = network.Network.hidden

    def counted(self: Any, ids: torch.Tensor, **rest: Any) -> torch.Tensor:
        widths.append((ids.shape[0], ids.shape[1]))
        return hidden(self, ids, **rest)

    monkeypatch.setattr(network.Network, "hidden", counted)
    together = model.generate(prompts, config)
    assert widths[0][0] == 1
    assert widths[0][1] > 16
    assert widths[1][0] == 3
    assert widths[1][1] < 16
    for prompt, answer in zip(prompts, together, strict=True):
        alone = model.generate([prompt], config)[0]
        assert alone.token_ids == answer.token_ids
        np.testing.assert_allclose(alone.logprobs, answer.logprobs, atol=1e-4)


def literal_scores(prompt: list[int], after: list[int]) -> list[float]:
    """One pass over everything, full logits, one token at a time."""
    with torch.no_grad():
        logits = tiny_llama()(torch.tensor([prompt + after])).logits[0].double()
    found = []
    for at, token in enumerate(after):
        row = logits[len(prompt) - 1 + at]
        found.append(float(row[token] - row.logsumexp(0)))
    return found


@pytest.mark.parametrize("batch_size", [2, 32])
def test_scores_equal_a_literal_loop(batch_size: int) -> None:
    prompts = [LONG] * 5 + PROMPTS + [""]
    labels = [" tea", " coffee", " a", " fresh bread, ripe cheese", " x"]
    after = labels + [" and more"] * len(PROMPTS) + ["tea"]
    scores = tiny_model(batch_size=batch_size).score(prompts, after)
    tokens = tiny_tokens()
    for row, (prompt, end) in enumerate(zip(prompts, after, strict=True)):
        ids = tokens.encode(prompt) or [0]
        wanted = literal_scores(ids, tokens.encode(end, special=False))
        np.testing.assert_allclose(scores.token_logprobs[row], wanted, atol=1e-4)
        assert scores.log_likelihood[row] == pytest.approx(sum(wanted), abs=1e-3)
        assert scores.tokens[row] == len(wanted)
        assert scores.mean[row] == pytest.approx(np.mean(wanted), abs=1e-4)


def test_the_logprobs_of_an_answer_are_its_score(model: TorchModel) -> None:
    config = GenerationConfig(max_tokens=12, temperature=1.5, top_k=20, seed=3, logprobs=True)
    answer = model.generate([LONG], config)[0]
    score = model.score([LONG], [TokenPrompt(answer.token_ids)])
    np.testing.assert_allclose(answer.logprobs, score.token_logprobs[0], atol=1e-4)
    assert model.generate([LONG])[0].logprobs is None


def test_seeds_repeat_and_differ(model: TorchModel) -> None:
    def texts(seed: int) -> list[str]:
        config = GenerationConfig(max_tokens=12, temperature=1.0, seed=seed)
        return model.generate([LONG, LONG], config).texts

    first, second = texts(5)
    assert texts(5) == [first, second]
    assert first != second
    # Row i draws from seed + i, whatever else is in the batch.
    assert texts(6)[0] == second


def test_stop_strings_across_tokens(model: TorchModel) -> None:
    whole = model.generate([LONG], GenerationConfig(max_tokens=30))[0]
    for start in range(3, len(whole.text) - 6):
        stop = whole.text[start : start + 4]
        config = GenerationConfig(max_tokens=30, stop=("never there", stop))
        answer = model.generate([LONG], config)[0]
        assert answer.text == whole.text[: whole.text.index(stop)]
        assert answer.finish_reason == "stop"
        assert tiny_tokens().decode(answer.token_ids).startswith(answer.text)
        pieces = list(model.stream(LONG, config))
        assert "".join(piece.text for piece in pieces) == answer.text
        streamed = sum((piece.token_ids for piece in pieces), ())
        assert streamed[: len(answer.token_ids)] == answer.token_ids


def test_chunks_are_the_answer(model: TorchModel) -> None:
    config = GenerationConfig(max_tokens=20, temperature=1.0, seed=1, logprobs=True)
    answer = model.generate([LONG], config)[0]
    chunks = list(model.stream(LONG, config))
    assert "".join(chunk.text for chunk in chunks) == answer.text
    assert sum((chunk.token_ids for chunk in chunks), ()) == answer.token_ids
    assert sum((chunk.logprobs or () for chunk in chunks), ()) == answer.logprobs
    assert [chunk.finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert (chunks[-1].finish_reason, chunks[-1].usage) == (answer.finish_reason, answer.usage)


SCHEMA = {
    "type": "object",
    "properties": {"category": {"enum": ["tea", "coffee"]}, "n": {"type": "integer", "maximum": 9}},
    "required": ["category", "n"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_json_schema_output_parses(model: TorchModel, temperature: float) -> None:
    pytest.importorskip("llguidance")
    config = GenerationConfig(max_tokens=80, json_schema=SCHEMA, temperature=temperature)
    for answer in model.generate(PROMPTS, config):
        found = json.loads(answer.text)
        assert found["category"] in ("tea", "coffee")
        assert isinstance(found["n"], int)
        assert answer.finish_reason == "stop"


def test_grammar(model: TorchModel) -> None:
    pytest.importorskip("llguidance")
    config = GenerationConfig(max_tokens=20, grammar='root ::= ("tea" | "coffee") [0-9] "!"')
    for answer in model.generate(PROMPTS, config):
        assert answer.text[:-2] in ("tea", "coffee")
        assert answer.text[-1] == "!"
    with pytest.raises(ConfigError, match="schema or grammar"):
        model.generate(["a"], GenerationConfig(grammar="root ::= ("))
    with pytest.raises(ConfigError, match="schema or grammar"):
        model.generate(["a"], GenerationConfig(json_schema={"type": "nothing"}))


def test_chat_goes_through_the_template(model: TorchModel) -> None:
    messages = [Message("system", "be brief"), Message("user", "name three teas")]
    ids = model.tokens.chat(messages)
    assert model.tokens.tokenizer.decode(ids).endswith("<|end|><|begin|>assistant\n")
    config = GenerationConfig(max_tokens=8)
    answers = [model.generate([one], config)[0] for one in (messages, TokenPrompt(tuple(ids)))]
    assert answers[0] == answers[1]
    assert answers[0].usage.prompt_tokens == len(ids)
    with pytest.raises(ConfigError, match="the system speaks first"):
        model.generate([messages[::-1]])


def test_room_in_the_context(model: TorchModel) -> None:
    nearly = TokenPrompt((5,) * 250)
    answer = model.generate([nearly], GenerationConfig(max_tokens=50, temperature=1.0))[0]
    assert answer.usage.completion_tokens <= 6
    for call in (
        lambda: model.generate(["a", TokenPrompt((5,) * 256)]),
        lambda: list(model.stream(TokenPrompt((5,) * 256))),
        lambda: model.score(["a", TokenPrompt((5,) * 250)], ["b", TokenPrompt((5,) * 7)]),
    ):
        with pytest.raises(ValueInvalidError, match="no room"):
            call()
    for call in (
        lambda: model.generate(["a", TokenPrompt((5, VOCABULARY))]),
        lambda: model.stream(TokenPrompt((99_999_999,))),
        lambda: model.score(["a"], [TokenPrompt((5, VOCABULARY))]),
        lambda: model.score([TokenPrompt((VOCABULARY,))], ["a"]),
    ):
        with pytest.raises(ValueInvalidError, match="no such token"):
            call()
    with pytest.raises(ConfigError, match="one string"):
        model.generate("a")
    with pytest.raises(ValueInvalidError, match="paired"):
        model.score(["a"], [])
    with pytest.raises(ValueInvalidError, match="empty"):
        model.score(["a"], [""])


def test_cancelling_ends_a_call(model: TorchModel) -> None:
    cancel = Cancellation()
    config = GenerationConfig(max_tokens=200, temperature=1.0, top_k=5)
    stream = model.stream(LONG, config, cancel=cancel)
    first = list(islice(stream, 3))
    cancel.cancel()
    rest = list(stream)
    assert [chunk.finish_reason for chunk in first] == [None] * 3
    assert [chunk.finish_reason for chunk in rest] == ["cancelled"]
    answers = model.generate([LONG, "a"], config, cancel=cancel)
    assert [answer.finish_reason for answer in answers] == ["cancelled"] * 2
    with pytest.raises(ResourceError, match="cancelled"):
        model.score(["a"], ["b"], cancel=cancel)


def test_a_closed_stream_frees_its_memory_and_the_model(
    model: TorchModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches: list[weakref.ref[Any]] = []
    new_cache = network.Network.new_cache

    def watched(self: Any) -> Any:
        made = new_cache(self)
        caches.append(weakref.ref(made))
        return made

    monkeypatch.setattr(network.Network, "new_cache", watched)
    stream = model.stream(LONG, GenerationConfig(max_tokens=100))
    next(stream)
    assert not torch.is_inference_mode_enabled()
    assert caches[0]() is not None
    stream.close()
    gc.collect()
    assert caches[0]() is None
    assert len(model.generate(["a"], GenerationConfig(max_tokens=2))) == 1


def test_something_else_may_be_asked_while_a_stream_is_read(model: TorchModel) -> None:
    config = GenerationConfig(max_tokens=6)
    texts = []
    for chunk in model.stream(LONG, config):
        texts.append(chunk.text)
        assert model.generate(["a"], config) == model.generate(["a"], config)
    assert "".join(texts) == model.generate([LONG], config).texts[0]


def test_calls_from_many_threads(model: TorchModel) -> None:
    config = GenerationConfig(max_tokens=8)
    alone = [model.generate([prompt], config).texts[0] for prompt in PROMPTS]
    found: dict[int, str] = {}

    def one(row: int) -> None:
        found[row] = model.generate([PROMPTS[row]], config).texts[0]

    threads = [threading.Thread(target=one, args=(row,)) for row in range(len(PROMPTS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[row] for row in range(len(PROMPTS))] == alone


def test_embeddings(model: TorchModel) -> None:
    found = model.embed(PROMPTS)
    assert (found.shape, found.dtype) == ((6, 48), np.float32)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found[3], model.embed(["a"])[0], atol=1e-5)


def test_nothing_asked(model: TorchModel) -> None:
    assert len(model.generate([])) == 0
    assert model.score([], []).log_likelihood.shape == (0,)
    assert model.embed([]).shape[0] == 0


def test_open_and_close(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "tiny")
    before = torch.get_num_threads()
    config = TorchConfig(str(folder), dtype="float32", offline=True, threads=before)
    with closing(TorchModel.open(config)) as opened:
        settings = GenerationConfig(max_tokens=6)
        assert opened.generate(["a"], settings) == tiny_model().generate(["a"], settings)
        assert opened.tokens.end_ids == {1}
    opened.close()
    with pytest.raises(ConfigError, match="closed"):
        opened.generate(["a"])


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="no such model"):
        TorchModel.open(TorchConfig("nowhere"))
    with pytest.raises(AssetError, match="cannot be loaded"):
        TorchModel.open(TorchConfig(str(tmp_path)))
    folder = save_tiny(tmp_path / "pickled")
    torch.save(tiny_llama().state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(AssetError, match="safetensors"):
        TorchModel.open(TorchConfig(str(folder)))


def test_a_head_that_is_not_the_last_step_is_refused() -> None:
    model = tiny_llama()
    forward = model.forward

    def doubled(*args: Any, **rest: Any) -> Any:
        out = forward(*args, **rest)
        out.logits = out.logits * 2
        return out

    model.forward = doubled
    with pytest.raises(ConfigError, match="not its head"):
        TorchModel(model, tiny_tokens(), name="doubled")


def test_dtype_fits_the_processor() -> None:
    assert fitting_dtype() in (torch.bfloat16, torch.float32)
    assert fitting_dtype("mps") is quick_dtype("mps") is torch.float32
    assert quick_dtype() in (fitting_dtype(), torch.float32)


def test_the_real_model_answers() -> None:
    with closing(TorchModel.open(TorchConfig(smollm2(), threads=torch.get_num_threads()))) as real:
        assert "dequantised Q4_1" in real.info.note
        began = time.process_time()
        answer = real.generate([CAPITAL], GenerationConfig(max_tokens=12))[0]
        assert "Paris" in answer.text
        scores = real.score([CAPITAL] * 2, ["Paris", "Banana"]).log_likelihood
        assert scores[0] > scores[1] + 5
        assert time.process_time() - began < 60


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_tuned_model_runs_as_any_other() -> None:
    peft = pytest.importorskip("peft", reason="the extra lm is not installed")
    torch.manual_seed(0)
    lora = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    tuned = peft.get_peft_model(tiny_llama(), lora).eval()
    answer = TorchModel(tuned, tiny_tokens(), name="tuned").generate(
        PROMPTS, GenerationConfig(max_tokens=8)
    )
    assert answer.texts != tiny_model().generate(PROMPTS, GenerationConfig(max_tokens=8)).texts
    ids = torch.tensor([tiny_tokens().encode(PROMPTS[1])])
    theirs = tuned.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False
    )
    assert list(answer[1].token_ids) == theirs[0, ids.shape[1] :].tolist()


pytest.importorskip("transformers", reason="the extra lm is not installed")
pytest.importorskip("llguidance", reason="the extra lm is not installed")


END = 1


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    return Grammars(tiny_tokenizer(), VOCABULARY, frozenset((END,)))


def allowed(grammars: Grammars, grammar: str, *taken: str) -> set[str]:
    constraint = grammars.constraint(GenerationConfig(grammar=grammar), 1)
    assert constraint is not None
    for text in taken:
        for token in tiny_tokens().encode(text):
            constraint.take([token])
    logits = constraint.apply(torch.zeros(1, VOCABULARY))[0]
    ids = [token for token in range(VOCABULARY) if torch.isfinite(logits[token])]
    return {"END" if token == END else tiny_tokens().decode([token]) for token in ids}


def test_only_what_the_grammar_admits(grammars: Grammars) -> None:
    digits = {str(n) for n in range(10)}
    first = allowed(grammars, 'root ::= [0-9] "x"?')
    assert digits <= first
    assert "x" not in first
    assert allowed(grammars, 'root ::= [0-9] "x"?', "4") == {"x", "END"}
    assert grammars.constraint(GenerationConfig(), 3) is None


def test_rows_go_their_own_ways(grammars: Grammars) -> None:
    constraint = grammars.constraint(GenerationConfig(grammar='root ::= "a" | "b" "c"'), 2)
    assert constraint is not None
    a, b, c = (tiny_tokens().encode(one)[0] for one in "abc")
    assert constraint.take([a, b]) == [True, False]
    constraint.keep([1])
    logits = constraint.apply(torch.zeros(1, VOCABULARY))[0]
    assert torch.isfinite(logits).nonzero()[:, 0].tolist() == [c]
    assert constraint.take([c]) == [True]


def test_a_token_that_is_not_allowed_is_noticed(grammars: Grammars) -> None:
    constraint = grammars.constraint(GenerationConfig(grammar='root ::= "a"'), 1)
    assert constraint is not None
    with pytest.raises(ConfigError, match="cannot be used"):
        constraint.take([tiny_tokens().encode("b")[0]])


def test_one_that_grows_too_complex_on_the_way(grammars: Grammars) -> None:
    schema = {"type": "string", "pattern": "^(" + ".*" * 100 + ")$"}
    constraint = grammars.constraint(GenerationConfig(json_schema=schema), 1)
    assert constraint is not None

    def write() -> None:
        for token in tiny_tokens().encode('"a b c d e'):
            constraint.apply(torch.zeros(1, VOCABULARY))
            constraint.take([token])

    with pytest.raises(ConfigError, match=r"too many|too complex|limit"):
        write()


def test_a_head_that_is_wider_than_the_tokeniser(grammars: Grammars) -> None:
    constraint = grammars.constraint(GenerationConfig(grammar='root ::= "a"'), 1)
    assert constraint is not None
    logits = constraint.apply(torch.zeros(1, VOCABULARY + 100))
    assert torch.isinf(logits[0, VOCABULARY:]).all()


def test_json_is_written_without_blanks(grammars: Grammars) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    constraint = grammars.constraint(GenerationConfig(json_schema=schema), 1)
    assert constraint is not None
    for token in tiny_tokens().encode("{"):
        constraint.take([token])
    logits = constraint.apply(torch.zeros(1, VOCABULARY))[0]
    blank = tiny_tokens().encode(" ")[0]
    assert torch.isinf(logits[blank])
