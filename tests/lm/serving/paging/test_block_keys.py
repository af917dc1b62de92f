"""A block's key follows from all tokens up to its end, and from the adapter."""

from __future__ import annotations

from adwright.lm.serving.prefixes import BlockKeys, common

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


def test_an_adapter_that_acts_from_a_token_on_has_the_keys_of_the_base_before_it() -> None:
    tokens = list(range(12))
    base = BlockKeys(b"base", tokens, T)
    for turn in range(1, 12):
        own = BlockKeys(b"a", tokens, T, turn=turn, base=b"base")
        for at in range(4):
            assert (own.key(at) == base.key(at)) == (at * T <= turn)
        # Only the block with the turn stands behind another key than the base's.
        differs = [own.before(at) != own.key(at) for at in range(3)]
        assert differs == [at == turn // T for at in range(3)]
        assert [own.root_of(at) for at in range(3)] == [
            b"base" if (at + 1) * T <= turn else b"a" for at in range(3)
        ]
    # Other adapters, and other turns in one block, have other keys.
    keys = {
        BlockKeys(root, tokens, T, turn=turn, base=b"base").key(2)
        for root in (b"a", b"b")
        for turn in (5, 6)
    }
    assert len(keys) == 4
    assert BlockKeys(b"a", tokens, T, base=b"base").key(1) == BlockKeys(b"a", tokens, T).key(1)


def test_a_block_with_a_turn_may_begin_as_one_of_the_base() -> None:
    own = BlockKeys(b"a", list(range(12)), T, turn=6, base=b"")
    assert list(own.sources(0, 12)) == [(b"", (0, 1, 2, 3))]
    assert list(own.sources(1, 12)) == [(own.before(1), (4, 5, 6, 7)), (own.key(1), (4, 5))]
    assert list(own.sources(1, 5)) == [(own.before(1), (4,)), (own.key(1), (4,))]
    assert list(own.sources(2, 12)) == [(own.key(2), (8, 9, 10, 11))]


def test_rows_with_different_salts_share_no_key() -> None:
    tokens = list(range(12))
    found = [BlockKeys(b"1 a", tokens, 4, salt=salt) for salt in ("", "one", "two", "\udc80")]
    keys = {one.key(blocks) for one in found for blocks in range(4)}
    assert len(keys) == 16
    assert {one.root for one in found} == {b"1 a"}
    again = BlockKeys(b"1 a", tokens, 4, salt="one")
    assert again.key(3) == found[1].key(3)
    # An adapter that acts later begins as the base of the same salt, and as no other.
    base = BlockKeys(b"", tokens, 4, salt="one")
    late = BlockKeys(b"1 a", tokens, 4, turn=8, base=b"", salt="one")
    assert [late.key(at) == base.key(at) for at in range(4)] == [True, True, True, False]
    assert late.key(1) != BlockKeys(b"1 a", tokens, 4, turn=8, base=b"").key(1)


def test_public_blocks_are_everybodys_and_what_follows_is_not() -> None:
    tokens = list(range(20))
    plain = BlockKeys(b"1 a", tokens, 4)
    found = [BlockKeys(b"1 a", tokens, 4, salt=salt, public=2) for salt in ("one", "two")]
    for one in found:
        assert [one.key(at) for at in range(3)] == [plain.key(at) for at in range(3)]
        assert [one.before(at) == plain.before(at) for at in range(4)] == [True, True, False, False]
    keys = {one.key(at) for one in (plain, *found) for at in range(3, 6)}
    assert len(keys) == 9
    # What a tenant reads behind half of a public text is found by nobody who has all of it.
    half = BlockKeys(b"1 a", tokens, 4, salt="one", public=1)
    assert half.key(1) == plain.key(1)
    assert half.key(2) not in {plain.key(2), found[0].key(2)}
    # An adapter that acts from inside the first block behind it turns there, in one salt.
    late = [BlockKeys(b"1 a", tokens, 4, 9, b"", salt, 2) for salt in ("one", "two")]
    assert late[0].key(2) == late[1].key(2)
    assert late[0].key(3) != late[1].key(3)
    assert [key for key, _ in late[0].sources(2, 20)] != [key for key, _ in late[1].sources(2, 20)]
    assert not {*late[0].sources(2, 20)} & {*late[1].sources(2, 20)}
