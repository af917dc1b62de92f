"""Keys and values that several rows read, and that stay for those that come later.

What a token's keys and values are follows from the adapter and from all tokens up to it. So a block
of tokens has a key that follows from the key of the block before it (`block_keys`), and a row whose
tokens begin with blocks that are here takes their pages by reference, as in vLLM
(Kwon et al., 2023, arXiv 2309.06180) and SGLang (Zheng et al., 2023, arXiv 2312.07104). Nobody
writes into a page that is shared: a row's next token goes into a page of its own. Where a block
here begins with some of the tokens that follow, its page is copied, and the row writes behind them.

A page has as many holders as rows that read it. Without one it is idle: it stays until its room is
needed, the least recently used first, the last block of a row before the first. When that is is up
to `AdapterCache.room`, since adapters take the same pages.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from adwright.lm.serving.page_pool import PagePool
from adwright.lm.serving.paging.block_keys import BlockKeys, common

__all__ = ["PrefixPages"]


@dataclass(frozen=True)
class _Held:
    """What a page holds: tokens, at most T, that stand behind the block of the key `before`."""

    root: bytes
    before: bytes
    tokens: tuple[int, ...]
    key: bytes


class PrefixPages:
    """The pages for keys of one pool, by what they hold. on: whether rows share them at all.

    shared_tokens: tokens that rows found here, so far. Not safe for several threads.
    """

    def __init__(self, pool: PagePool, *, on: bool = True) -> None:
        self._pool, self._on = pool, on
        self._block = pool.shape.block
        self._blocks: dict[int, _Held] = {}
        self._full: dict[bytes, int] = {}
        #: Pages by the key of the block before and the first token.
        self._after: dict[tuple[bytes, int], set[int]] = {}
        self._holders: Counter[int] = Counter()
        #: Page and when it was used last; the first goes first.
        self._idle: OrderedDict[int, int] = OrderedDict()
        self.shared_tokens = 0

    @property
    def idle(self) -> int:
        """Pages without a holder, which can be made free."""
        return len(self._idle)

    @property
    def oldest(self) -> int | None:
        """When the page was last used that `evict` takes, by `PagePool.tick`; None without one."""
        return next(iter(self._idle.values()), None)

    def find(self, chain: BlockKeys, most: int) -> list[int]:
        """Pages of the blocks that a row begins with, of at most `most` tokens together."""
        found: list[int] = []
        if self._on:
            for blocks in range(1, most // self._block + 1):
                page = self._full.get(chain.key(blocks))
                if page is None:
                    break
                found.append(page)
        return found

    def hold(self, pages: Sequence[int]) -> None:
        """Add a holder to each page: those of `find`, and new ones of the pool."""
        woken = [page for page in pages if self._idle.pop(page, None) is not None]
        self._pool.move(woken, "keys")
        self._holders.update(pages)

    def give_up(self, pages: Sequence[int]) -> None:
        """Take a holder from each page of a row, which come in their order."""
        now = self._pool.tick()
        for page in reversed(pages):
            self._holders[page] -= 1
            if self._holders[page]:
                continue
            del self._holders[page]
            if page in self._blocks:
                self._pool.move([page], "prefixes")
                self._idle[page] = now
            else:
                self._pool.release([page])

    def keep(
        self, chain: BlockKeys, pages: Sequence[int], first: int, done: int, *, last: bool = False
    ) -> int:
        """Tell what the pages of a row hold whose first `done` tokens have keys and values, and
        whose first `first` blocks were told already; return how many blocks have been by now.

        A block that is not full is told once; again when the row leaves, which is `last`.
        """
        if not self._on:
            return first
        full = done // self._block
        for at in range(first, full):
            known = self._full.get(chain.key(at + 1))
            if known is None:
                self._tell(pages[at], chain, at, None)
            elif known != pages[at]:
                self._forget(pages[at])
        if done % self._block and (last or pages[full] not in self._blocks):
            self._tell_rest(pages[full], chain, full, done)
        return full

    def copy(self, chain: BlockKeys, blocks: int, most: int, page: int) -> int:
        """Copy into `page` the block here that begins with most of the tokens which come behind so
        many blocks of a row, of its first `most`; return how many those are."""
        best, source = 0, 0
        for before, wanted in chain.sources(blocks, most):
            for one in self._like(before, wanted):
                same = common(self._blocks[one].tokens, wanted)
                if same > best:
                    best, source = same, one
        if best:
            self._pool.tensor[page].copy_(self._pool.tensor[source])
            if source in self._idle:
                self._idle[source] = self._pool.tick()
                self._idle.move_to_end(source)
        return best

    def evict(self) -> None:
        """Free the page that was used least recently of those that are idle."""
        page, _ = self._idle.popitem(last=False)
        self._forget(page)
        self._pool.release([page])

    def drop(self, root: bytes) -> None:
        """Free all idle pages of an adapter that is gone."""
        for page in [page for page in self._idle if self._blocks[page].root == root]:
            del self._idle[page]
            self._forget(page)
            self._pool.release([page])

    def _tell(self, page: int, chain: BlockKeys, at: int, end: int | None) -> None:
        self._forget(page)
        tokens, before = chain.block(at, end), chain.before(at)
        block = _Held(chain.root_of(at), before, tokens, b"" if end else chain.key(at + 1))
        self._blocks[page] = block
        if block.key:
            self._full[block.key] = page
        self._after.setdefault((before, tokens[0]), set()).add(page)

    def _tell_rest(self, page: int, chain: BlockKeys, at: int, done: int) -> None:
        """A block that is not full yet, unless another page has its tokens."""
        tokens = chain.block(at, done)
        for one in self._like(chain.before(at), tokens):
            if one != page and common(self._blocks[one].tokens, tokens) == len(tokens):
                self._forget(page)
                return
        self._tell(page, chain, at, done)

    def _forget(self, page: int) -> None:
        block = self._blocks.pop(page, None)
        if block is None:
            return
        if block.key:
            del self._full[block.key]
        at = block.before, block.tokens[0]
        self._after[at].remove(page)
        if not self._after[at]:
            del self._after[at]

    def _like(self, before: bytes, tokens: Sequence[int]) -> Collection[int]:
        """Pages behind a block that begin with the first of these tokens."""
        return self._after.get((before, tokens[0]), ()) if tokens else ()
