from __future__ import annotations

import functools
import subprocess
import sys
import threading
import time
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import (
    FURTHER,
    Cancellation,
    Chunk,
    Completion,
    Completions,
    GenerationConfig,
    Message,
    ModelInfo,
    Scores,
    TokenPrompt,
    Usage,
)


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
