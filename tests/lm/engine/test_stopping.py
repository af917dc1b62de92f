from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.lm.engine.base import AnswerText


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
