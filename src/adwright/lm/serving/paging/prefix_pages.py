"""Keys and values that several rows read, and that stay for those that come later.

What a token's keys and values are follows from the adapter and from all tokens up to it. So a block
of tokens has a key that follows from the key of the block before it (`block_keys`), and a row whose
tokens begin with blocks that are here takes their pages by reference, as in vLLM
(Kwon et al., 2023, arXiv 2309.06180) and SGLang (Zheng et al., 2023, arXiv 2312.07104). Nobody
writes into a page that is shared: a row's next token goes into a page of its own. Where a block
here begins with some of the tokens that follow, its page is copied, and the row writes behind them.

A page has as many holders as rows that read it. Without one it is idle: it stays until its room is
needed, the least recently used first, the last block of a row before the first. When that is is up
to `AdapterCache.room`, since adapters take the same pages. Blocks that somebody wants kept (`want`)
go after all others, and what has gone may be kept outside of the pool (`host_pages`).
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adwright.lm.serving.page_pool import PagePool
from adwright.lm.serving.paging.block_keys import BlockKeys, common
from adwright.lm.serving.paging.host_pages import HostPages

__all__ = ["PrefixPages"]


@dataclass(frozen=True)
class _Held:
    """What a page holds: tokens, at most T, that stand behind the block of the key `before`."""

    root: bytes
    before: bytes
    tokens: tuple[int, ...]
    key: bytes


class PrefixPages:
    """The pages for keys of one pool, by what they hold. on: whether rows share them at all. host:
    where blocks go that the pool has no room for.

    shared_tokens: tokens that rows found here, so far; restored_tokens: those of them that came
    back from `host`. Not safe for several threads.
    """

    def __init__(self, pool: PagePool, *, on: bool = True, host: HostPages | None = None) -> None:
        self.host = HostPages() if host is None else host
        self._pool, self._on = pool, on
        self._block = pool.shape.block
        self._blocks: dict[int, _Held] = {}
        self._full: dict[bytes, int] = {}
        #: Pages by the key of the block before and the first token.
        self._after: dict[tuple[bytes, int], set[int]] = {}
        self._holders: Counter[int] = Counter()
        #: Page and when it was used last; the first goes first.
        self._idle: OrderedDict[int, int] = OrderedDict()
        #: Keys of blocks that are wanted, how often; and idle pages of these, as above.
        self._wanted: Counter[bytes] = Counter()
        self._kept: OrderedDict[int, int] = OrderedDict()
        self.shared_tokens = self.restored_tokens = 0

    @property
    def idle(self) -> int:
        """Pages without a holder, which can be made free."""
        return len(self._idle) + len(self._kept)

    @property
    def kept(self) -> int:
        """Those of them that are wanted."""
        return len(self._kept)

    @property
    def oldest(self) -> int | None:
        """When the page was last used that `evict` takes, by `PagePool.tick`; None without one."""
        return next(iter((self._idle or self._kept).values()), None)

    def find(self, chain: BlockKeys, most: int) -> list[int]:
        """Pages of the blocks that a row begins with, of at most `most` tokens together."""
        found: list[int] = []
        if self._on:
            for blocks in range(1, most // self._block + 1):
                page = self._full.get(chain.key(blocks))
                if page is None:
                    # What is outside will be asked for next: let others go from there first.
                    self.host.touch(map(chain.key, range(blocks, most // self._block + 1)))
                    break
                found.append(page)
        return found

    def hold(self, pages: Sequence[int]) -> None:
        """Add a holder to each page: those of `find`, and new ones of the pool."""
        woken = [page for page in pages if self._wake(page)]
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
                wanted = self._blocks[page].key in self._wanted
                (self._kept if wanted else self._idle)[page] = now
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
            for idle in (self._idle, self._kept):
                if source in idle:
                    idle[source] = self._pool.tick()
                    idle.move_to_end(source)
        return best

    def restore(self, chain: BlockKeys, first: int, most: int, pages: Sequence[int]) -> int:
        """Copy into `pages`, in their order, the blocks behind the first `first` of a row that lie
        outside of the pool, of its first `most` tokens; return how many those are."""
        found = 0
        if not len(self.host):
            return 0
        for page, blocks in zip(pages, range(first + 1, most // self._block + 1), strict=False):
            kept = self.host.take(chain.key(blocks))
            if kept is None:
                break
            self._pool.tensor[page].copy_(kept)
            found += 1
        self.restored_tokens += found * self._block
        return found

    def copied(self, chain: BlockKeys, most: int) -> Tensor:
        """The blocks that a row begins with, of at most `most` tokens, wherever they are: a copy
        [blocks, L, e]."""
        found: list[Tensor] = []
        for blocks in range(1, most // self._block + 1):
            key = chain.key(blocks)
            page = self._full.get(key)
            here = self.host.look(key) if page is None else self._pool.tensor[page]
            if here is None:
                break
            found.append(here.cpu())
        return torch.stack(found) if found else self._pool.tensor[:0].cpu()

    def adopt(self, chain: BlockKeys, pages: Tensor, first: int) -> None:
        """Take blocks [blocks, L, e] that stand behind the first `first` of a chain, as if a row
        had read them and gone. As many pages have to be free."""
        own = self._pool.allocate(len(pages), "keys")
        if own is None:
            raise RuntimeError("room was made, and there is none")
        for page, values in zip(own, pages, strict=True):
            self._pool.tensor[page].copy_(values)
        self.hold(own)
        before = [0] * first  # told before, and not looked at
        self.keep(chain, [*before, *own], first, (first + len(own)) * self._block)
        self.give_up(own)

    def want(self, keys: Iterable[bytes]) -> None:
        """Keep the blocks of these keys longer than others, whether they are here or will be."""
        for key in keys:
            self._wanted[key] += 1
            page = self._full.get(key)
            if page is not None and page in self._idle:
                self._kept[page] = self._idle.pop(page)

    def unwant(self, keys: Iterable[bytes]) -> None:
        """Take back one `want` of each; those that nobody wants any more are the next to go."""
        for key in keys:
            self._wanted[key] -= 1
            if self._wanted[key] > 0:
                continue
            del self._wanted[key]
            page = self._full.get(key)
            if page is not None and page in self._kept:
                self._idle[page] = self._kept.pop(page)
                self._idle.move_to_end(page, last=False)

    def evict(self) -> None:
        """Free the page that was used least recently of those that are idle; what it holds may stay
        outside of the pool."""
        page, _ = (self._idle or self._kept).popitem(last=False)
        block = self._blocks[page]
        if block.key:
            self.host.put(block.key, block.root, self._pool.tensor[page])
        self._forget(page)
        self._pool.release([page])

    def drop(self, root: bytes) -> None:
        """Free all idle pages of an adapter that is gone."""
        self.host.drop(root)
        for page in [*self._idle, *self._kept]:
            if self._blocks[page].root == root:
                self._wake(page)
                self._forget(page)
                self._pool.release([page])

    def _wake(self, page: int) -> bool:
        """Whether it was idle; it is no more."""
        return any(idle.pop(page, None) is not None for idle in (self._idle, self._kept))

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
