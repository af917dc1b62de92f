"""How long things are, counted once and bounded."""

from __future__ import annotations

import asyncio
import threading

import pytest

from adwright.core.errors import ConfigError
from adwright.programs.dispatch.ready import AnswerLengths, TokenCounts


def test_each_text_is_counted_once_in_each_domain() -> None:
    counted: list[str] = []

    def count(text: str) -> int:
        counted.append(text)
        return len(text)

    counts = TokenCounts(count)
    assert [counts.of("tea", "a") for _ in range(3)] == [3, 3, 3]
    assert counted == ["tea"]
    assert counts.of("tea", "b") == 3
    assert counted == ["tea", "tea"], "whether another tenant has asked cannot be told by the time"


def test_domains_and_texts_are_told_apart_whatever_they_hold() -> None:
    counts = TokenCounts(len)
    assert (counts.of("bc", "a"), counts.of("c", "ab"), counts.of("abc", "")) == (2, 1, 3)


def test_so_many_counts_are_kept_and_those_used_last() -> None:
    counted: list[str] = []
    counts = TokenCounts(lambda text: counted.append(text) or 1, most=2)  # type: ignore[func-returns-value]
    for text in ("a", "b", "a", "c", "a", "b"):
        counts.of(text)
    assert counted == ["a", "b", "c", "b"]
    assert len(counts) == 2
    with pytest.raises(ConfigError, match="most must be at least 1"):
        TokenCounts(len, most=0)


def test_long_texts_are_counted_beside_the_event_loop() -> None:
    threads = set()

    def count(text: str) -> int:
        threads.add(threading.current_thread())
        return len(text)

    counts = TokenCounts(count)
    asyncio.run(counts.prepare(["short", "x" * 30_000], "d"))
    assert threads
    assert threading.current_thread() not in threads
    assert counts.of("x" * 30_000, "d") == 30_000
    assert threading.current_thread() not in threads
    assert counts.of("short", "d") == 5
    assert threading.current_thread() in threads


def test_answers_are_expected_to_be_as_long_as_those_before() -> None:
    lengths = AnswerLengths()
    assert lengths.expected(("t",), 100) == 100
    lengths.note(("t",), 10)
    lengths.note(("t",), 20)
    assert lengths.expected(("t",), 100) == 15
    assert lengths.expected(("t",), 8) == 8
    assert lengths.expected(("other",), 100) == 100
    lengths.note(("none",), 0)
    assert lengths.expected(("none",), 100) == 1


def test_lengths_follow_what_changes_and_are_bounded() -> None:
    lengths = AnswerLengths(most=2)
    for tokens in [10] * 100 + [50] * 100:
        lengths.note(("t",), tokens)
    assert 48 <= lengths.expected(("t",), 100) <= 50
    for name in "ab":
        lengths.note((name,), 5)
    assert lengths.expected(("t",), 100) == 100
