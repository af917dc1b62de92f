"""Blocks are found by all that came before them, held by rows, and go when their room is needed."""

from __future__ import annotations

import torch

from adwright.lm.serving.prefixes import BlockKeys, PagePool, PageShape, PrefixPages

T = 4
SHAPE = PageShape(layers=2, heads=1, width=3, block=T)


def pages_of(pages: int = 12, *, on: bool = True) -> tuple[PagePool, PrefixPages]:
    pool = PagePool(SHAPE, pages + 1)
    return pool, PrefixPages(pool, on=on)


def chain(*tokens: int, root: bytes = b"") -> BlockKeys:
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
    pages = read(pool, prefixes, chain(*range(10)), 10)
    assert prefixes.find(chain(*range(10)), 10) == pages[:2]
    assert prefixes.find(chain(*range(10)), 7) == pages[:1]
    assert prefixes.find(chain(0, 1, 2, 3, 9, 9, 9, 9), 8) == pages[:1]
    assert prefixes.find(chain(9, *range(1, 10)), 9) == []
    assert prefixes.find(chain(*range(10), root=b"a"), 10) == []


def test_a_page_is_idle_without_a_holder_and_free_where_nobody_knows_it() -> None:
    pool, prefixes = pages_of()
    own = chain(*range(10))
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
    old, new = chain(*range(8)), chain(*range(20, 28))
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
    full = read(pool, prefixes, chain(1, 1, 1, 1, 2, 3, 4, 5), 8)
    part = read(pool, prefixes, chain(1, 1, 1, 1, 2, 3, 9), 7)
    (page,) = pool.allocate(1, "keys") or []
    assert prefixes.copy(chain(1, 1, 1, 1, 2, 3, 4, 7, 7), 1, 8, page) == 3
    assert torch.equal(pool.tensor[page], pool.tensor[full[1]])
    assert prefixes.copy(chain(1, 1, 1, 1, 2, 3, 9, 7, 7), 1, 8, page) == 3
    assert torch.equal(pool.tensor[page], pool.tensor[part[1]])
    # No more than asked for, nothing of another beginning, and nothing where nothing is the same.
    assert prefixes.copy(chain(1, 1, 1, 1, 2, 3, 9, 7), 1, 5, page) == 1
    assert prefixes.copy(chain(1, 1, 1, 1), 1, 4, page) == 0
    assert prefixes.copy(chain(1, 1, 1, 2, 2, 3), 1, 6, page) == 0
    assert prefixes.copy(chain(1, 1, 1, 1, 8), 1, 5, page) == 0


def test_one_block_is_told_once() -> None:
    pool, prefixes = pages_of()
    first = read(pool, prefixes, chain(*range(6)), 6)
    again = read(pool, prefixes, chain(*range(6)), 6)
    assert prefixes.find(chain(*range(6)), 6) == first[:1]
    prefixes.give_up(again)
    # Nobody can find the second row's pages: they are free at once.
    assert (prefixes.idle, pool.free) == (0, 10)


def test_a_block_that_is_filled_later() -> None:
    pool, prefixes = pages_of()
    own = chain(*range(8))
    pages = read(pool, prefixes, own, 6)
    assert prefixes.keep(own, pages, 1, 7) == 1
    assert prefixes._blocks[pages[1]].tokens == (4, 5)
    prefixes.keep(own, pages, 1, 7, last=True)
    assert prefixes._blocks[pages[1]].tokens == (4, 5, 6)
    assert prefixes.keep(own, pages, 1, 8) == 2
    assert prefixes.find(own, 8) == pages


def test_what_belongs_to_an_adapter_that_is_gone() -> None:
    pool, prefixes = pages_of()
    prefixes.give_up(read(pool, prefixes, chain(*range(8), root=b"a"), 8))
    prefixes.give_up(read(pool, prefixes, chain(*range(8)), 8))
    prefixes.drop(b"a")
    assert (prefixes.idle, pool.free) == (2, 10)
    assert prefixes.find(chain(*range(8), root=b"a"), 8) == []
    assert len(prefixes.find(chain(*range(8)), 8)) == 2


def test_nothing_is_kept_where_nothing_is_shared() -> None:
    pool, prefixes = pages_of(on=False)
    pages = read(pool, prefixes, chain(*range(8)), 8)
    assert prefixes.find(chain(*range(8)), 8) == []
    prefixes.give_up(pages)
    assert (prefixes.idle, pool.free) == (0, 12)
