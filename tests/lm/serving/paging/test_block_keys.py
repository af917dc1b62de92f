"""A block's key follows from all tokens up to its end, and from the adapter."""

from __future__ import annotations

from adwright.lm.serving.paging.block_keys import BlockKeys, common

T = 4


def chain(*tokens: int, root: bytes = b"") -> BlockKeys:
    return BlockKeys(root, list(tokens), T)


def test_a_key_follows_from_all_tokens_before_it() -> None:
    one = chain(*range(12))
    assert [one.key(at) for at in range(4)] == [chain(*range(12)).key(at) for at in range(4)]
    assert one.key(0) == b""
    other = chain(9, *range(1, 12))
    assert all(one.key(at) != other.key(at) for at in (1, 2, 3))
    assert all(one.key(at) != chain(*range(12), root=b"a").key(at) for at in range(4))
    # A token of several bytes is not two tokens.
    assert chain(256, 0, 1, 1).key(1) != chain(0, 1, 1, 1).key(1)


def test_a_chain_grows_with_its_row() -> None:
    tokens = [1, 2, 3, 4, 5]
    own = BlockKeys(b"", tokens, T)
    assert own.key(1) == chain(1, 2, 3, 4).key(1)
    tokens += [6, 7, 8]
    assert own.key(2) == chain(*range(1, 9)).key(2)
    assert own.block(1) == (5, 6, 7, 8)
    assert own.block(1, 6) == (5, 6)


def test_what_both_begin_with() -> None:
    assert common((), (1,)) == 0
    assert common((1, 2), (1, 3)) == 1
    assert common((1, 2), (1, 2, 3)) == 2
