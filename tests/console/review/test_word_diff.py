from __future__ import annotations

from difflib import SequenceMatcher

from hypothesis import given
from hypothesis import strategies as st

from adwright.console.review.word_diff import changed_spans

WORDS = st.lists(st.sampled_from(["red", "tea", "80", ",", "bags"]), max_size=12)


def test_words_that_differ_are_named() -> None:
    assert changed_spans("red tea, 80 bags", "green tea, 80 bags") == (((0, 3),), ((0, 5),))
    assert changed_spans("a b c", "a c") == (((2, 3),), ())
    assert changed_spans("a c", "a b c") == ((), ((2, 3),))
    assert changed_spans("", "new text") == ((), ((0, 8),))
    assert changed_spans("same", "same") == ((), ())


def test_signs_are_words_and_spaces_are_not() -> None:
    assert changed_spans("tea!", "tea?") == (((3, 4),), ((3, 4),))
    assert changed_spans("a  b\n", "a b") == ((), ())
    assert changed_spans("don't", "don’t") == (((0, 5),), ((0, 5),))


def test_scripts_without_spaces_differ_letter_by_letter() -> None:
    assert changed_spans("赤いお茶", "青いお茶") == (((0, 1),), ((0, 1),))


@given(WORDS, WORDS)
def test_what_is_left_is_the_same_and_as_long_as_difflib_finds(a: list[str], b: list[str]) -> None:
    before, after = " ".join(a), " ".join(b)
    removed, added = changed_spans(before, after)

    def rest(text: str, spans: tuple[tuple[int, int], ...]) -> list[str]:
        for start, end in reversed(spans):
            assert text[start:end].strip() == text[start:end]
            text = text[:start] + " " + text[end:]
        return text.split()

    kept = rest(before, removed)
    assert kept == rest(after, added)
    matcher = SequenceMatcher(None, a, b, autojunk=False)
    assert len(kept) >= sum(one.size for one in matcher.get_matching_blocks()) * 0.5
    assert (kept == a == b) == (a == b)


def test_long_texts_are_bounded() -> None:
    before = " ".join(str(number) for number in range(20_000))
    after = before.replace("9", "8")
    removed, added = changed_spans(before, after)
    assert removed
    assert added
    assert changed_spans(before, before + " more") == ((), ((len(before) + 1, len(before) + 5),))
