"""?"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from adwright.core.errors import AssetError, ConfigError, ResourceError, ValueInvalidError
from adwright.lm.compiling.bounds import ConstraintBounds
from adwright.lm.compiling.compiler import refused
from adwright.lm.engine.base import (
    AnswerText,
    AnswerWriter,
    Pair,
    TokenEngine,
    Vectors,
    cancelled_score,
    continuation_ids,
    paired,
    prompt_ids,
    prompts_ids,
    require_known,
    require_room,
    require_text,
    runs,
)
from adwright.lm.engine.generation import (
    Cancellation,
    Chat,
    GenerationConfig,
    LanguageModel,
    Message,
    ModelInfo,
    TokenPrompt,
)
from adwright.lm.engine.hf_tokens import (
    check_bounds,
    check_constraint,
    check_settings,
    check_template,
    compiled,
    template_names,
)
from adwright.lm.engine.scripted import ByteTokens, ScriptedConfig, ScriptedModel
from adwright.lm.engine.weights import (
    SMOLLM2,
    SMOLLM2_NOTE,
    fitting_threads,
    folder_of_gguf,
    gguf_fields,
    gguf_rewritten,
    locate,
    quiet,
    smollm2_folder,
    smollm2_gguf,
)
from tests.support.lm.smollm2 import smollm2
from tests.support.lm.tiny_gguf import save_tiny_gguf

CONTEXT = 12


class Reversed(TokenEngine):
    """Answers with the prompt from its last token to its first."""

    info = ModelInfo("backwards", "reversed", CONTEXT)
    tokens = ByteTokens()

    def __init__(self) -> None:
        self.left = 0

    def close(self) -> None:
        """Nothing to free."""

    def _check(self, config: GenerationConfig, cancel: Cancellation | None) -> None:
        if config.top_k:
            raise ConfigError("no top_k", where="top_k", hint="leave it")

    def _write(
        self, answers: Sequence[AnswerWriter], config: GenerationConfig, cancel: Cancellation | None
    ) -> Generator[None, None, None]:
        try:
            for answer in answers:
                for token in [*reversed(answer.prompt), 256]:
                    if cancel is not None and cancel.cancelled:
                        answer.end("cancelled")
                    if answer.finish_reason is None:
                        answer.add(token)
                        yield
        finally:
            self.left += 1


class Complete(Reversed):
    """Has scores and vectors too."""

    def _score_pairs(
        self, pairs: Sequence[Pair], cancel: Cancellation | None
    ) -> Iterable[npt.NDArray[np.float64]]:
        return (np.array([-float(len(before))] * len(after)) for before, after in pairs)

    def _embed_ids(self, rows: Sequence[list[int]], cancel: Cancellation | None) -> Vectors:
        return np.array([[len(ids), 0] for ids in rows], dtype=np.float32)


def test_generate_and_stream_agree() -> None:
    model = Reversed()
    assert isinstance(model, LanguageModel)
    found = model.generate(["abc", TokenPrompt((100, 101))])
    assert found.texts == ["cba", "ed"]
    assert found.usage.prompt_tokens == 5
    assert "".join(chunk.text for chunk in model.stream("abc")) == "cba"
    assert model.generate(["abc"], GenerationConfig(max_tokens=2)).texts == ["cb"]
    assert model.generate([]).texts == []


def test_no_answer_is_longer_than_the_context_leaves_room_for() -> None:
    answer = Reversed().generate(["abcdefgh"])[0]
    assert (answer.text, answer.finish_reason) == ("hgfe", "length")
    for call in (lambda prompt: Reversed().generate(["a", prompt]), Reversed().stream):
        with pytest.raises(ValueInvalidError, match="no room"):
            call("a" * CONTEXT)


def test_arguments_are_refused_at_once() -> None:
    model = Complete()
    with pytest.raises(ConfigError, match="one string"):
        model.generate("abc")
    refused = GenerationConfig(top_k=1)
    with pytest.raises(ConfigError, match="no top_k"):
        model.generate(["a"], refused)
    with pytest.raises(ConfigError, match="no top_k"):
        model.stream("a", refused)
    with pytest.raises(ValueInvalidError, match="paired"):
        model.score(["a"], [])
    with pytest.raises(ValueInvalidError, match="no room") as caught:
        model.score(["a", "a" * CONTEXT], ["b", "b"])
    assert caught.value.row == 1
    assert model.left == 0


def test_leaving_a_stream_ends_the_computation() -> None:
    model = Reversed()
    chunks = model.stream("abc")
    assert next(chunks).text == "c"
    assert model.left == 0
    chunks.close()  # type: ignore[attr-defined]
    assert model.left == 1


def test_cancelling() -> None:
    model, cancel = Complete(), Cancellation()
    assert model.score(["a"], ["b"], cancel=cancel).tokens.tolist() == [1]
    cancel.cancel()
    assert model.generate(["abc"], cancel=cancel)[0].finish_reason == "cancelled"
    with pytest.raises(ResourceError, match="cancelled"):
        model.score(["a"], ["b"], cancel=cancel)


def test_scores_and_vectors() -> None:
    model = Complete()
    scores = model.score(["a", "abc"], ["bc", TokenPrompt((7,))])
    assert scores.log_likelihood.tolist() == [-2.0, -3.0]
    assert model.embed(["a", "abc"]).tolist() == [[1, 0], [3, 0]]
    assert model.health() == "ready"
    cancel = Cancellation()
    cancel.cancel()
    with pytest.raises(ResourceError, match="cancelled"):
        model.embed(["a"], cancel=cancel)
    assert model.embed([]).shape == (0, 0)
    assert math.isfinite(model.embed(["a" * CONTEXT])[0, 0])


def test_what_an_engine_does_not_give_is_refused() -> None:
    with pytest.raises(ConfigError, match="no scores"):
        Reversed().score(["a"], ["b"])
    with pytest.raises(ConfigError, match="no embeddings"):
        Reversed().embed(["a"])


def test_what_would_be_ignored_is_refused() -> None:
    model = Reversed()
    for ask in (model.generate, lambda prompts, config: model.stream(prompts[0], config)):
        with pytest.raises(ConfigError, match="this engine has no min_p"):
            ask(["ab"], GenerationConfig(min_p=0.1))
    # Every engine that sees tokens can end at one.
    ended = model.generate(["ab"], GenerationConfig(stop_token_ids=(97,)))
    assert ended.texts == ["b"]
    with pytest.raises(ValueInvalidError, match="no such token"):
        ScriptedModel(ScriptedConfig()).generate(["ab"], GenerationConfig(stop_token_ids=(300,)))
    with pytest.raises(ValueInvalidError, match="no such token"):
        ScriptedModel(ScriptedConfig()).generate(["ab"], GenerationConfig(logit_bias=((300, 1.0),)))


class NoBeginning(ByteTokens):
    @property
    def begin_id(self) -> int | None:
        return None


def test_each_kind_of_prompt() -> None:
    tokens = ByteTokens()
    assert prompt_ids(tokens, "ab", vocabulary=300) == [97, 98]
    assert prompt_ids(tokens, TokenPrompt((5, 6)), vocabulary=300) == [5, 6]
    assert prompt_ids(tokens, [Message("user", "hi")], vocabulary=300) == list(
        b"user: hi\nassistant: "
    )
    assert prompt_ids(tokens, "", vocabulary=300) == [256]
    with pytest.raises(ValueInvalidError, match="empty"):
        prompt_ids(NoBeginning(), "", vocabulary=300)


def test_settings_of_a_chat_are_told_or_refused() -> None:
    turns = (Message("user", "a"),)
    plain = prompt_ids(ByteTokens(), turns, vocabulary=0)
    assert prompt_ids(ByteTokens(), Chat(turns), vocabulary=0) == plain
    assert list(Chat(turns)) == list(turns)
    with pytest.raises(ConfigError, match="nothing but the messages"):
        prompt_ids(ByteTokens(), Chat(turns, {"loud": True}), vocabulary=0)

    class Loud(ByteTokens):
        """Has a template with one setting."""

        def chat_with(
            self, messages: Sequence[Message], settings: Mapping[str, object]
        ) -> list[int]:
            return [*self.chat(messages), 33] if settings["loud"] else self.chat(messages)

    assert prompt_ids(Loud(), Chat(turns, {"loud": True}), vocabulary=0) == [*plain, 33]


def test_tokens_that_the_network_lacks_are_refused() -> None:
    tokens = ByteTokens()
    assert prompt_ids(tokens, TokenPrompt((299,)), vocabulary=300) == [299]
    # A tokeniser may know more than the network.
    for prompt in (TokenPrompt((5, 98)), "ab", [Message("user", "b")]):
        with pytest.raises(ValueInvalidError, match=r"no such token .*0 to 97") as caught:
            prompts_ids(tokens, [TokenPrompt((5,)), prompt], 0, vocabulary=98)
        assert caught.value.row == 1
    with pytest.raises(ValueInvalidError, match="no such token"):
        prompt_ids(NoBeginning(), TokenPrompt((-1,)), vocabulary=0)
    for pair in ((TokenPrompt((98,)), "a"), ("a", TokenPrompt((7, 98)))):
        with pytest.raises(ValueInvalidError, match="no such token"):
            continuation_ids(tokens, [pair[0]], [pair[1]], vocabulary=98)
    require_known([10**9], 0)
    require_known([97], 98)
    for beyond in (2**31, 2**63, 10**30):
        with pytest.raises(ValueInvalidError, match="no such token"):
            require_known([beyond], 0)
    with pytest.raises(ValueInvalidError, match="row 3, value 98"):
        require_known([97, 98], 98, row=3)


def test_half_a_character_has_no_tokens() -> None:
    tokens = ByteTokens()
    for prompt in ("a\udc00", [Message("user", "a\ud800")]):
        with pytest.raises(ValueInvalidError, match="half a character") as caught:
            prompts_ids(tokens, ["a", prompt], 0, vocabulary=300)
        assert caught.value.row == 1
    with pytest.raises(ValueInvalidError, match="half a character"):
        continuation_ids(tokens, ["a"], ["\ud83d"], vocabulary=300)
    require_text("\U0001f600")


def test_room() -> None:
    assert prompts_ids(ByteTokens(), ["abc", "d"], 4, vocabulary=300) == [[97, 98, 99], [100]]
    with pytest.raises(ValueInvalidError, match="no room") as caught:
        prompts_ids(ByteTokens(), ["d", "abc"], 3, vocabulary=300)
    assert caught.value.row == 1
    require_room([[1, 2, 3]], 3, room=0)
    require_room([[1] * 1000], 0, room=1)


def test_pairs() -> None:
    found = continuation_ids(ByteTokens(), ["a", ""], ["b", TokenPrompt((7,))], vocabulary=300)
    assert found == [([97], [98]), ([256], [7])]
    with pytest.raises(ValueInvalidError, match="continuation is empty") as caught:
        continuation_ids(ByteTokens(), ["a", "a"], ["b", ""], vocabulary=300)
    assert caught.value.row == 1
    with pytest.raises(ValueInvalidError, match="1 prompts cannot be paired with 2"):
        paired(["a"], ["b", "c"])
    assert "cancelled" in str(cancelled_score())


def test_runs_of_rows() -> None:
    found = [(one.start, one.stop) for one in runs([3, 2, 9, 1, 1], 5)]
    assert found == [(0, 2), (2, 3), (3, 5)]


def decode(ids: Sequence[int]) -> str:
    return bytes(ids).decode("utf-8", "replace")


def written(text: str, stop: tuple[str, ...]) -> tuple[AnswerText, list[str]]:
    answer = AnswerText(decode, stop)
    pieces = []
    for byte in text.encode("utf-8"):
        pieces.append(answer.add(byte))
        if answer.stopped:
            break
    return answer, [*pieces, answer.finish()]


@given(st.text(max_size=60), st.lists(st.text(min_size=1, max_size=4), max_size=3))
def test_it_is_the_text_up_to_the_first_stop(text: str, stops: list[str]) -> None:
    answer, pieces = written(text, tuple(stops))
    found = [text.index(stop) for stop in stops if stop in text]
    wanted = text[: min(found)] if found else text
    if found:
        # Of two stops, the one that is complete first ends it; it may begin later.
        ends = [text.index(stop) + len(stop) for stop in stops if stop in text]
        seen = text[: min(ends)]
        wanted = seen[: min(seen.index(stop) for stop in stops if stop in seen)]
    assert answer.text == wanted
    assert "".join(pieces) == wanted
    assert answer.stopped == bool(found)
    assert decode(text.encode("utf-8")[: answer.kept]).startswith(wanted)


@given(st.text(alphabet="ab", max_size=40))
def test_nothing_that_may_become_a_stop_is_shown(text: str) -> None:
    answer = AnswerText(decode, ("abab",))
    shown = ""
    for byte in text.encode():
        shown += answer.add(byte)
        if not answer.stopped:
            assert answer.text.startswith(shown)
            held = answer.text[len(shown) :]
            assert "abab".startswith(held)


def test_characters_over_several_tokens_come_whole() -> None:
    answer = AnswerText(decode)
    assert [answer.add(byte) for byte in "é€😀".encode()] == ["", "é", "", "", "€", *[""] * 3, "😀"]


def test_what_is_no_character_comes_after_some_patience() -> None:
    answer = AnswerText(decode)
    pieces = [answer.add(0xFF) for _ in range(8)]
    assert "".join([*pieces, answer.finish()]) == "\ufffd" * 8
    assert any(pieces)
    half = AnswerText(decode)
    half.add(0xC3)
    assert half.finish() == "\ufffd"


@pytest.mark.parametrize("stop", [("x",), ()])
def test_a_long_answer_is_decoded_in_small_windows(stop: tuple[str, ...]) -> None:
    longest = 0

    def counted(ids: Sequence[int]) -> str:
        nonlocal longest
        longest = max(longest, len(ids))
        return decode(ids)

    answer = AnswerText(counted, stop)
    text = "the best tea in the world, for all of us. " * 20
    shown = "".join(answer.add(byte) for byte in text.encode())
    assert shown + answer.finish() == text
    assert longest < 20
    assert answer.kept == len(text)


def test_nothing_is_kept_of_a_text_that_begins_with_a_stop() -> None:
    answer, pieces = written("stop", ("st",))
    assert (answer.text, answer.kept, "".join(pieces)) == ("", 0, "")
    assert answer.add(1) == ""


pytest.importorskip("llguidance", reason="the extra lm is not installed")


def test_good_ones_pass() -> None:
    check_constraint(GenerationConfig())
    check_constraint(GenerationConfig(json_schema={"type": "object"}))
    check_constraint(GenerationConfig(grammar='root ::= "a" [0-9]+'))
    check_constraint(GenerationConfig(regex="[a-c]{2}x?"))
    check_constraint(GenerationConfig(lark='start: "a" | %json {"type": "integer"}'))
    assert "start" in compiled(GenerationConfig(grammar='root ::= "a"'))


@pytest.mark.parametrize(
    "wrong",
    [
        GenerationConfig(json_schema={"type": "nothing"}),
        GenerationConfig(grammar="root ::= ("),
        GenerationConfig(grammar="root ::= other"),
        GenerationConfig(regex="(a"),
        GenerationConfig(lark="start: other"),
    ],
)
def test_bad_ones_are_refused(wrong: GenerationConfig) -> None:
    with pytest.raises(ConfigError, match="schema or grammar cannot be used"):
        check_constraint(wrong)


def test_the_reason_is_one_line() -> None:
    assert refused("\n first \n second").what.endswith("used: first")
    assert refused("").what.endswith("used: it is empty")


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (GenerationConfig(regex="a" * 140_000), "bytes, at most 131072"),
        (GenerationConfig(regex="a" * 9_000), "characters in one string"),
        (GenerationConfig(lark="start: /" + "a" * 140_000 + "/"), "bytes, at most 131072"),
        (GenerationConfig(json_schema={"const": "é" * 70_000}), "bytes, at most 131072"),
        (GenerationConfig(grammar='root ::= "' + "a" * 140_000), "bytes, at most 131072"),
        (GenerationConfig(json_schema={"anyOf": [{}] * 600}), "objects, at most 500"),
        (GenerationConfig(grammar="root ::= [a]{3000}"), "repetitions of one item"),
        (GenerationConfig(json_schema={"const": "\ud800"}), "cannot be used"),
    ],
)
def test_sizes_are_looked_at_first(config: GenerationConfig, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check_constraint(config)


def test_half_a_character_in_a_grammar() -> None:
    with pytest.raises(ConfigError, match="half a character"):
        check_bounds(GenerationConfig(grammar='root ::= "\ud800"'))


def test_an_engine_may_have_closer_bounds() -> None:
    config = GenerationConfig(json_schema={"type": "string", "maxLength": 90})
    check_constraint(config, bounds=ConstraintBounds(states=90))
    with pytest.raises(ConfigError, match="90 counted characters, at most 89"):
        check_bounds(config, ConstraintBounds(states=89))


def test_who_has_gone_waits_for_nothing() -> None:
    cancel = Cancellation()
    cancel.cancel()
    chain = {f"d{at}": {"items": {"$ref": f"#/d{at + 1}"}} for at in range(300)}
    config = GenerationConfig(json_schema={**chain, "enum": list(range(20_000))})
    with pytest.raises((ConfigError, ResourceError)):
        compiled(config, cancel=cancel)


def test_a_template_that_never_ends() -> None:
    check_template("{{ messages[0]['content'] }}")
    with pytest.raises(ConfigError, match="more than 1 s of computing"):
        check_template("{% for i in range(99999) %}" * 3 + "{% endfor %}" * 3)


TEMPLATE = """{{ bos_token }}{% if enable_thinking is defined and enable_thinking %}think{% endif %}
{%- for message in messages %}{{ message.content }}{{ style }}{% if tools %}{{ tools }}{% endif %}
{%- set local = strftime_now("%d") %}{{ local }}{% endfor %}{{ range(3) | list }}{{ loop }}"""


def test_what_a_caller_may_set() -> None:
    assert template_names(TEMPLATE) == {"enable_thinking", "style"}
    assert template_names("{% broken") == frozenset()
    for value in (True, False, 0, 1.5, "", "short"):
        check_settings(TEMPLATE, {"enable_thinking": value, "style": value})


@pytest.mark.parametrize(
    "name",
    [
        *("messages", "tools", "bos_token", "range", "strftime_now", "local", "message", "loop"),
        *("add_generation_prompt", "chat_template", "tokenize", "self", "other", ""),
    ],
)
def test_what_it_may_not(name: str) -> None:
    with pytest.raises(ConfigError, match="no such setting") as caught:
        check_settings(TEMPLATE, {name: "x"})
    assert caught.value.hint == "it has: enable_thinking, style"


@pytest.mark.parametrize("value", [10**7, float("nan"), float("inf"), "a" * 1001, None, [], {}])
def test_values(value: Any) -> None:
    with pytest.raises(ConfigError, match="a flag, a number"):
        check_settings(TEMPLATE, {"style": value})


def test_replies_come_in_turn() -> None:
    model = ScriptedModel(ScriptedConfig(("a", "bc")))
    assert isinstance(model, LanguageModel)
    assert model.generate(["x", "y", [Message("user", "z")]]).texts == ["a", "bc", "a"]
    assert [chunk.text for chunk in model.stream("x")] == ["b", "c", ""]
    assert model.info.engine == "scripted"


def test_limits_and_stops_hold() -> None:
    model = ScriptedModel(ScriptedConfig(("tea, coffee",)))
    config = GenerationConfig(stop=(",",), logprobs=True)
    answer = model.generate(["x"], config)[0]
    assert (answer.text, answer.finish_reason) == ("tea", "stop")
    assert answer.logprobs == (-math.log(256),) * 3
    assert model.generate(["x"], GenerationConfig(max_tokens=2)).texts == ["te"]


def test_scores_and_vectors_are_the_same_everywhere() -> None:
    model = ScriptedModel(ScriptedConfig())
    np.testing.assert_allclose(model.score(["a"], ["bc"]).log_likelihood, [-2 * math.log(256)])
    vectors = model.embed(["a", "b", "a"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(vectors[0], vectors[2])
    assert (vectors[0] != vectors[1]).any()
    assert model.embed(["a"]).shape == (1, 16)
    assert model.embed([]).shape == (0, 0)


def test_scripted_cancelling() -> None:
    cancel = Cancellation()
    model = ScriptedModel(ScriptedConfig(("abcdef",), seconds_per_token=0.001))
    chunks = model.stream("x", cancel=cancel)
    assert next(chunks).text == "a"
    cancel.cancel()
    assert next(chunks).finish_reason == "cancelled"
    with pytest.raises(ResourceError, match="cancelled"):
        model.score(["a"], ["b"], cancel=cancel)
    model.close()


def test_bytes() -> None:
    tokens = ByteTokens()
    assert tokens.decode([*tokens.encode("é"), 256]) == "é"
    assert tokens.count("é") == 2
    assert tokens.decode([0xC3]) == "\ufffd"


@pytest.mark.parametrize("wrong", [(), "text"])
def test_a_reply_is_needed(wrong: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="replies"):
        ScriptedConfig(wrong)


def test_the_name_before() -> None:
    with pytest.warns(DeprecationWarning, match="seconds_per_token"):
        config = ScriptedConfig(seconds_a_token=0.5)
    assert config == ScriptedConfig(seconds_per_token=0.5)


pytest.importorskip("gguf", reason="the extra lm is not installed")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with a field of every kind."""
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_uint8("a.u8", 7)
    writer.add_int64("a.i64", -7)
    writer.add_float32("a.f32", 0.5)
    writer.add_float64("a.f64", 0.25)
    writer.add_bool("a.bool", True)
    writer.add_string("a.text", "née")
    writer.add_array("a.texts", ["x", "", "née"])
    writer.add_array("a.numbers", [3, 1, 2])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "a.gguf"


def test_fields_are_those_that_the_package_reads(file: Path) -> None:
    theirs = {
        key: one.contents()
        for key, one in gguf.GGUFReader(file).fields.items()
        if not key.startswith("GGUF.")
    }
    assert gguf_fields(file, lambda key: True) == theirs
    assert gguf_fields(file, lambda key: key == "a.numbers") == {"a.numbers": [3, 1, 2]}


def test_what_is_no_file_is_refused(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    bad = tmp_path / "bad.gguf"
    nested = struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + struct.pack("<Q1sIIQ", 1, b"a", 9, 9, 1)
    endless = struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + struct.pack("<Q1sIIQ", 1, b"a", 9, 4, 2**60)
    cuts = [whole[:at] for at in range(0, 200, 7)]
    for content in (b"GGUFnot really a file at all", nested, endless, *cuts):
        bad.write_bytes(content)
        with pytest.raises(AssetError, match="cannot be read"):
            gguf_fields(bad, lambda key: True)
    with pytest.raises(AssetError, match="cannot be read"):
        gguf_fields(tmp_path / "nowhere.gguf", lambda key: True)


pytest.importorskip("transformers", reason="the extra lm is not installed")
pytest.importorskip("gguf", reason="the extra lm is not installed")


def tensors(path: Path) -> dict[str, tuple[str, np.ndarray]]:
    from gguf.quants import dequantize

    return {
        one.name: (one.tensor_type.name, dequantize(one.data, one.tensor_type))
        for one in gguf.GGUFReader(path).tensors
    }


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A file with one matrix in Q4_1 and one vector."""
    writer = gguf.GGUFWriter(tmp_path / "small.gguf", "llama")
    writer.add_key_value("llama.context_length", 64, gguf.GGUFValueType.UINT32)
    writer.add_array("tokenizer.ggml.tokens", ["a", "b"])
    values = np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32)
    kind = gguf.GGMLQuantizationType.Q4_1
    writer.add_tensor("w", gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.add_tensor("norm", np.ones(64, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "small.gguf"


@pytest.mark.parametrize(("kind", "atol"), [("f16", 2e-3), ("q8_0", 2e-2)])
def test_rewriting_keeps_the_numbers(small: Path, kind: str, atol: float, tmp_path: Path) -> None:
    made = gguf_rewritten(small, kind, cache=tmp_path / "cache")  # type: ignore[arg-type]
    before, after = tensors(small), tensors(made)
    assert (before["w"][0], after["w"][0]) == ("Q4_1", kind.upper())
    np.testing.assert_allclose(after["w"][1], before["w"][1], atol=atol)
    np.testing.assert_array_equal(after["norm"][1], before["norm"][1])
    fields = gguf.GGUFReader(made).fields
    assert fields["llama.context_length"].contents() == 64
    assert fields["tokenizer.ggml.tokens"].contents() == ["a", "b"]
    stamp = made.stat().st_mtime_ns
    assert gguf_rewritten(small, kind, cache=tmp_path / "cache").stat().st_mtime_ns == stamp  # type: ignore[arg-type]


def test_what_is_no_gguf(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.gguf"
    wrong.write_bytes(b"something else" * 10)
    for read in (
        lambda: gguf_rewritten(wrong, "f16", cache=tmp_path),
        lambda: folder_of_gguf(wrong, cache=tmp_path),
    ):
        with pytest.raises(AssetError, match="cannot be read"):
            read()
    assert not list(tmp_path.glob("wrong-*"))


def test_where_models_are(tmp_path: Path) -> None:
    assert locate(str(tmp_path)) == (str(tmp_path), "")
    assert locate("owner/name") == ("owner/name", "")
    for wrong in ("nowhere", str(tmp_path / "no.gguf"), "a/b/c"):
        with pytest.raises(AssetError, match="no such model"):
            locate(wrong)


def test_the_bars_of_transformers_come_back() -> None:
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled()
    with quiet():
        assert not logging.is_progress_bar_enabled()
    assert logging.is_progress_bar_enabled() == before


def test_the_default_model_is_plain_float32_without_a_memory_of_its_quantisation() -> None:
    assert locate(smollm2()) == (str(smollm2_folder()), SMOLLM2_NOTE)
    folder = smollm2_folder()
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert str(folder.parent) not in (folder / "config.json").read_text()
    theirs = tensors(smollm2_gguf())
    ours = load_file(folder / "model.safetensors")
    assert {one.dtype.name for one in ours.values()} == {"float32"}
    np.testing.assert_array_equal(
        ours["model.layers.3.mlp.up_proj.weight"], theirs["blk.3.ffn_up.weight"][1]
    )
    assert locate(str(folder))[1] == SMOLLM2_NOTE
    assert SMOLLM2 in folder.name


def test_reading_a_gguf_shows_no_bar(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = save_tiny_gguf(tmp_path / "tiny.gguf")
    folder_of_gguf(file, cache=tmp_path / "cache")
    told = capfd.readouterr()
    assert "de-quantizing" not in told.err + told.out
    assert "Loading weights" not in told.err + told.out


def test_what_is_asked_for_is_taken() -> None:
    assert fitting_threads(3) == 3


def test_the_variable_comes_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5,2")
    assert fitting_threads() == 5


def test_one_on_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(os, "getloadavg", lambda: (4.0, 0.0, 0.0))
    assert fitting_threads() == 1
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 9.0, 9.0))
    assert fitting_threads() == 4
