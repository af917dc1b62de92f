from __future__ import annotations

from typing import Any

from adwright.lm.engine.base import AnswerWriter
from adwright.lm.engine.generation import GenerationConfig, Usage
from adwright.lm.engine.scripted import ByteTokens

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
