"""What is held stays longest, and what is saved is there again bit by bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from adwright.core.errors import ArtifactError
from adwright.lm.serving.prefixes import (
    BlockKeys,
    HostPages,
    PagePool,
    PageShape,
    PrefixPages,
    PrefixStore,
    StoredPrefix,
    common,
    read_prefix,
    write_prefix,
)

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


PAGE = torch.arange(6.0).view(2, 3)
BYTES = 24


def test_bounded_by_bytes_and_the_oldest_goes_first() -> None:
    pages = HostPages(3 * BYTES)
    for at in range(4):
        pages.put(bytes([at]), b"", PAGE + at)
    assert (len(pages), pages.bytes, b"\0" in pages) == (3, 3 * BYTES, False)
    pages.put(b"\1", b"", PAGE)  # used again
    pages.put(b"\5", b"", PAGE)
    assert [bytes([at]) in pages for at in range(6)] == [False, True, False, True, False, True]


def test_what_is_kept_is_a_copy_bit_by_bit() -> None:
    pages, page = HostPages(BYTES), PAGE.clone()
    page[0, 0] = -0.0
    pages.put(b"a", b"", page)
    wanted = page.clone()
    page.zero_()
    looked, found = pages.look(b"a"), pages.take(b"a")
    assert looked is found
    assert found is not None
    assert torch.equal(found.view(torch.int32), wanted.view(torch.int32))
    assert (pages.take(b"a"), pages.look(b"a"), pages.bytes) == (None, None, 0)


def test_nothing_is_kept_without_room() -> None:
    for most in (0, BYTES - 1):
        pages = HostPages(most)
        pages.put(b"a", b"", PAGE)
        assert (len(pages), pages.bytes) == (0, 0)


def test_what_belongs_to_an_adapter_that_is_gone() -> None:
    pages = HostPages(9 * BYTES)
    pages.put(b"a", b"one", PAGE)
    pages.put(b"b", b"two", PAGE)
    pages.drop(b"one")
    assert (b"a" in pages, b"b" in pages, pages.bytes) == (False, True, BYTES)


def test_what_is_asked_for_goes_last() -> None:
    pages = HostPages(3 * BYTES)
    for key in (b"a", b"b", b"c"):
        pages.put(key, b"", PAGE)
    pages.touch(iter((b"a", b"x", b"b")))
    pages.put(b"d", b"", PAGE)
    assert [key in pages for key in (b"a", b"b", b"c", b"d")] == [True, False, True, True]


PREFIX = StoredPrefix("base", (5, 6, 7, 8), torch.randn(2, 3, 4), "lora", "tenant")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("adapter", ["lora", None])
def test_there_and_back(tmp_path: Path, dtype: torch.dtype, adapter: str | None) -> None:
    prefix = replace(PREFIX, pages=PREFIX.pages.to(dtype), adapter=adapter)
    write_prefix(tmp_path / "a", prefix)
    found = read_prefix(tmp_path / "a")
    assert found.pages.dtype == dtype
    assert torch.equal(found.pages, prefix.pages)
    assert replace(found, pages=prefix.pages) == prefix


def test_what_is_none(tmp_path: Path) -> None:
    write_prefix(tmp_path / "whole", PREFIX)
    data = (tmp_path / "whole").read_bytes()
    (tmp_path / "half").write_bytes(data[: len(data) // 2])
    save_file({"tokens": torch.zeros(1)}, tmp_path / "other")
    save_file({}, tmp_path / "empty", {"format": "adwright-prefix-1"})
    for name in ("missing", "half", "other", "empty"):
        with pytest.raises(ArtifactError, match=name):
            read_prefix(tmp_path / name)


SHAPE = PageShape(layers=2, heads=1, width=3, block=T)


def pages_of(pages: int = 12, *, on: bool = True) -> tuple[PagePool, PrefixPages]:
    pool = PagePool(SHAPE, pages + 1)
    return pool, PrefixPages(pool, on=on)


def prefix_pages_chain(*tokens: int, root: bytes = b"") -> BlockKeys:
    return BlockKeys(root, list(tokens), T)


def read(pool: PagePool, prefixes: PrefixPages, own: BlockKeys, tokens: int) -> list[int]:
    """A row that read so many tokens, and is still there."""
    pages = pool.allocate(SHAPE.blocks(tokens), "keys") or []
    prefixes.hold(pages)
    for page in pages:
        pool.tensor[page] = page
    prefixes.keep(own, pages, 0, tokens)
    return pages


def test_full_blocks_are_found_from_the_first_on() -> None:
    pool, prefixes = pages_of()
    pages = read(pool, prefixes, prefix_pages_chain(*range(10)), 10)
    assert prefixes.find(prefix_pages_chain(*range(10)), 10) == pages[:2]
    assert prefixes.find(prefix_pages_chain(*range(10)), 7) == pages[:1]
    assert prefixes.find(prefix_pages_chain(0, 1, 2, 3, 9, 9, 9, 9), 8) == pages[:1]
    assert prefixes.find(prefix_pages_chain(9, *range(1, 10)), 9) == []
    assert prefixes.find(prefix_pages_chain(*range(10), root=b"a"), 10) == []


def test_a_page_is_idle_without_a_holder_and_free_where_nobody_knows_it() -> None:
    pool, prefixes = pages_of()
    own = prefix_pages_chain(*range(10))
    pages = read(pool, prefixes, own, 8)
    extra = pool.allocate(1, "keys") or []
    prefixes.hold(extra)
    prefixes.hold(pages[:1])  # a second row
    prefixes.give_up([*pages, *extra])
    assert (pool.used("keys"), pool.used("prefixes"), prefixes.idle, pool.free) == (1, 1, 1, 10)
    prefixes.give_up(pages[:1])
    assert (pool.used("keys"), prefixes.idle) == (0, 2)
    prefixes.hold(prefixes.find(own, 8))
    assert (pool.used("keys"), pool.used("prefixes"), prefixes.idle) == (2, 0, 0)


def test_the_last_block_of_the_oldest_row_goes_first() -> None:
    pool, prefixes = pages_of()
    old, new = prefix_pages_chain(*range(8)), prefix_pages_chain(*range(20, 28))
    for own in (old, new):
        prefixes.give_up(read(pool, prefixes, own, 8))
    assert prefixes.oldest == 1
    prefixes.evict()
    assert len(prefixes.find(old, 8)) == 1
    assert len(prefixes.find(new, 8)) == 2
    # What is used again is no longer the oldest.
    found = prefixes.find(old, 8)
    prefixes.hold(found)
    prefixes.give_up(found)
    prefixes.evict()
    assert (len(prefixes.find(old, 8)), len(prefixes.find(new, 8))) == (1, 1)
    prefixes.evict()
    prefixes.evict()
    assert (prefixes.idle, prefixes.oldest, pool.free) == (0, None, 12)
    assert not prefixes._blocks
    assert not prefixes._after


def test_the_page_that_begins_with_most_is_copied() -> None:
    pool, prefixes = pages_of()
    full = read(pool, prefixes, prefix_pages_chain(1, 1, 1, 1, 2, 3, 4, 5), 8)
    part = read(pool, prefixes, prefix_pages_chain(1, 1, 1, 1, 2, 3, 9), 7)
    (page,) = pool.allocate(1, "keys") or []
    assert prefixes.copy(prefix_pages_chain(1, 1, 1, 1, 2, 3, 4, 7, 7), 1, 8, page) == 3
    assert torch.equal(pool.tensor[page], pool.tensor[full[1]])
    assert prefixes.copy(prefix_pages_chain(1, 1, 1, 1, 2, 3, 9, 7, 7), 1, 8, page) == 3
    assert torch.equal(pool.tensor[page], pool.tensor[part[1]])
    # No more than asked for, nothing of another beginning, and nothing where nothing is the same.
    assert prefixes.copy(prefix_pages_chain(1, 1, 1, 1, 2, 3, 9, 7), 1, 5, page) == 1
    assert prefixes.copy(prefix_pages_chain(1, 1, 1, 1), 1, 4, page) == 0
    assert prefixes.copy(prefix_pages_chain(1, 1, 1, 2, 2, 3), 1, 6, page) == 0
    assert prefixes.copy(prefix_pages_chain(1, 1, 1, 1, 8), 1, 5, page) == 0


def test_one_block_is_told_once() -> None:
    pool, prefixes = pages_of()
    first = read(pool, prefixes, prefix_pages_chain(*range(6)), 6)
    again = read(pool, prefixes, prefix_pages_chain(*range(6)), 6)
    assert prefixes.find(prefix_pages_chain(*range(6)), 6) == first[:1]
    prefixes.give_up(again)
    # Nobody can find the second row's pages: they are free at once.
    assert (prefixes.idle, pool.free) == (0, 10)


def test_a_block_that_is_filled_later() -> None:
    pool, prefixes = pages_of()
    own = prefix_pages_chain(*range(8))
    pages = read(pool, prefixes, own, 6)
    assert prefixes.keep(own, pages, 1, 7) == 1
    assert prefixes._blocks[pages[1]].tokens == (4, 5)
    prefixes.keep(own, pages, 1, 7, last=True)
    assert prefixes._blocks[pages[1]].tokens == (4, 5, 6)
    assert prefixes.keep(own, pages, 1, 8) == 2
    assert prefixes.find(own, 8) == pages


def test_prefix_pages_what_belongs_to_an_adapter_that_is_gone() -> None:
    pool, prefixes = pages_of()
    prefixes.give_up(read(pool, prefixes, prefix_pages_chain(*range(8), root=b"a"), 8))
    prefixes.give_up(read(pool, prefixes, prefix_pages_chain(*range(8)), 8))
    prefixes.drop(b"a")
    assert (prefixes.idle, pool.free) == (2, 10)
    assert prefixes.find(prefix_pages_chain(*range(8), root=b"a"), 8) == []
    assert len(prefixes.find(prefix_pages_chain(*range(8)), 8)) == 2


def test_nothing_is_kept_where_nothing_is_shared() -> None:
    pool, prefixes = pages_of(on=False)
    pages = read(pool, prefixes, prefix_pages_chain(*range(8)), 8)
    assert prefixes.find(prefix_pages_chain(*range(8)), 8) == []
    prefixes.give_up(pages)
    assert (prefixes.idle, pool.free) == (0, 12)


def prefix_store_chain(
    tokens: Sequence[int], adapter: str | None = None, salt: str = ""
) -> BlockKeys:
    return BlockKeys((adapter or "").encode(), list(tokens), T, salt=salt)


class Held:
    """A pool of so many pages, and rows that read and go."""

    def __init__(
        self,
        pages: int = 6,
        *,
        identity: str = "base",
        host: int = 0,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.pool = PagePool(SHAPE, pages + 1, dtype or torch.float32)
        self.pages = PrefixPages(self.pool, host=HostPages(host * self.pool.page_bytes))
        self.store = PrefixStore(
            self.pool,
            self.pages,
            room=self.room,
            identity=lambda name: f"{identity} {name}",
            chain=prefix_store_chain,
        )

    def room(self, pages: int) -> bool:
        if self.pool.free + self.pages.idle < pages:
            return False
        while self.pool.free < pages:
            self.pages.evict()
        return True

    def read(self, tokens: Sequence[int], salt: str = "") -> None:
        own = prefix_store_chain(tokens, salt=salt)
        shared = self.pages.find(own, len(tokens))
        self.pages.hold(shared)
        needed = SHAPE.blocks(len(tokens)) - len(shared)
        assert self.room(needed)
        new = self.pool.allocate(needed, "keys") or []
        self.pages.hold(new)
        back = self.pages.restore(own, len(shared), len(tokens), new)
        for page in new[back:]:
            self.pool.tensor[page].normal_()
        pages = [*shared, *new]
        self.pages.keep(own, pages, len(shared), len(tokens), last=True)
        self.pages.give_up(pages)

    def found(self, tokens: Sequence[int], salt: str = "") -> int:
        return len(self.pages.find(prefix_store_chain(tokens, salt=salt), len(tokens)))


def test_what_is_held_goes_last() -> None:
    held = Held()
    rules = range(10)
    held.read(rules)
    assert held.pages.kept == 0
    keys = held.store.hold(rules)
    for at in (20, 40, 60):
        held.read(range(at, at + 12))
    assert (held.found(rules), held.pages.kept) == (2, 2)
    held.store.let_go(keys)
    assert held.pages.kept == 0
    held.read(range(80, 92))
    assert held.found(rules) < 2


def test_it_may_be_held_before_it_is_read_and_twice() -> None:
    held = Held()
    rules = range(8)
    once, twice = held.store.hold(rules), held.store.hold(rules)
    held.read(rules)
    held.store.let_go(once)
    for at in (20, 40, 60):
        held.read(range(at, at + 12))
    assert held.found(rules) == 2
    held.store.let_go(twice)
    held.read(range(80, 92))
    assert held.found(rules) < 2


def test_what_is_held_goes_where_nothing_else_can() -> None:
    held = Held()
    for at in (0, 20):
        held.store.hold(range(at, at + 12))
        held.read(range(at, at + 12))
    held.read(range(40, 60))
    assert held.found(range(40, 60)) == 5
    assert held.found(range(12)) + held.found(range(20, 32)) == 1


def test_blocks_that_had_to_go_come_back_bit_by_bit() -> None:
    held = Held(host=8)
    rules = list(range(12))
    held.read(rules)
    before = held.pages.copied(prefix_store_chain(rules), 12)
    assert before.shape == (3, 2, SHAPE.slice)
    for at in (20, 40):
        held.read(range(at, at + 12))
    assert held.found(rules) == 0
    # Wherever the blocks are, they are those.
    assert torch.equal(held.pages.copied(prefix_store_chain(rules), 12), before)
    assert (len(held.pages.host), held.pages.host.bytes) == (3, 3 * held.pool.page_bytes)
    held.read([*rules, 90])
    assert held.pages.restored_tokens == 12
    assert held.found(rules) == 3
    assert torch.equal(held.pages.copied(prefix_store_chain(rules), 12), before)
    assert not any(prefix_store_chain(rules).key(at) in held.pages.host for at in (1, 2, 3))


def test_what_host_memory_has_no_room_for_is_read_again() -> None:
    held = Held(host=4)
    held.read(range(12))
    for at in (20, 40, 60):
        held.read(range(at, at + 12))
    # Three blocks, of which two had to go for those that went later; the first was asked for last.
    held.read(range(12))
    assert held.pages.restored_tokens == 4
    assert held.pages.host.bytes <= 4 * held.pool.page_bytes


def test_saved_and_taken_back(tmp_path: Path) -> None:
    one, two = Held(), Held()
    rules = list(range(14))
    assert one.store.save(tmp_path / "a", rules, salt="s") == 0
    assert not (tmp_path / "a").exists()
    one.read(rules, salt="s")
    assert one.store.save(tmp_path / "a", rules, salt="s") == 12
    for _ in range(2):  # what is there stays
        assert two.store.restore(tmp_path / "a") == 12
        assert (two.found(rules, "s"), two.found(rules), two.pages.idle) == (3, 0, 3)
    wanted = one.pages.copied(prefix_store_chain(rules, salt="s"), 14)
    assert torch.equal(two.pages.copied(prefix_store_chain(rules, salt="s"), 14), wanted)
    assert Held(2).store.restore(tmp_path / "a") == 8


def test_what_belongs_to_another_is_refused(tmp_path: Path) -> None:
    one = Held()
    one.read(range(8))
    one.store.save(tmp_path / "a", range(8))
    with pytest.raises(ArtifactError, match="another model"):
        Held(identity="other").store.restore(tmp_path / "a")
    with pytest.raises(ArtifactError, match="another form"):
        Held(dtype=torch.bfloat16).store.restore(tmp_path / "a")
    one.pool.tensor[:] = torch.nan
    one.store.save(tmp_path / "a", range(8))
    with pytest.raises(ArtifactError, match="another form"):
        Held().store.restore(tmp_path / "a")
