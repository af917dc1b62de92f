from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adwright.console.review.marks import Piece, pieces_of

SPANS = st.lists(st.tuples(st.integers(-3, 25), st.integers(-3, 25)), max_size=6)


def test_changes_and_findings_lie_in_each_other() -> None:
    assert pieces_of("Best tea", ((0, 4),), [(0, 4)]) == (
        Piece("Best", changed=True, found=(1,), closes=(1,)),
        Piece(" tea"),
    )
    assert pieces_of("abcdef", ((1, 3),), [(2, 5), (2, 4)]) == (
        Piece("a"),
        Piece("b", changed=True),
        Piece("c", changed=True, found=(1, 2)),
        Piece("d", found=(1, 2), closes=(2,)),
        Piece("e", found=(1,), closes=(1,)),
        Piece("f"),
    )


def test_places_beyond_the_text_and_empty_ones_are_not_marked() -> None:
    assert pieces_of("ab", (), [(5, 9), (1, 1), (-4, 0)]) == (Piece("ab"),)
    assert pieces_of("ab", (), [(1, 9)])[1] == Piece("b", found=(1,), closes=(1,))
    assert pieces_of("") == ()


@given(st.text(max_size=20), SPANS)
def test_pieces_joined_are_the_text(text: str, found: list[tuple[int, int]]) -> None:
    pieces = pieces_of(text, (), found)
    assert "".join(one.text for one in pieces) == text
    marked = [sign for one in pieces for sign in [one.found] * len(one.text)]
    for at, numbers in enumerate(marked):
        assert numbers == tuple(n for n, (a, b) in enumerate(found, 1) if a <= at < b)
    closed = [number for one in pieces for number in one.closes]
    assert len(closed) == len(set(closed))


def test_very_many_findings_are_bounded() -> None:
    pieces = pieces_of("x" * 1000, (), [(n, n + 1) for n in range(1000)])
    assert sum(bool(one.found) for one in pieces) == 200
