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

import hashlib
import json
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from adwright.core.atomic import atomic_write_bytes
from adwright.core.errors import ArtifactError, ConfigError
from adwright.tuning.modules import Sizes

# --------------------------------------------------------------------------------------------------
# Keys of the blocks of tokens that a row begins with.
#
# What a token's keys and values are follows from the adapter and from all tokens up to it. So a
# block of T tokens has a key that follows from the key of the block before it,
#
#     key_0 = adapter and its version,   key_i = hash(key_{i-1}, tokens of block i)
#
# and two blocks with one key hold the same. The hash has 128 bits: no two blocks share one by
# chance.
#
# An adapter that acts from a token on (`tuning.reparameterised.lora`) leaves what is before it
# to the base. Its chain begins as that of the base, and turns into one of its own with the block
# that holds the token: with p of its places before that token, the key behind which that block
# stands is
#
#     key_i-1 <- hash(key_i-1, adapter and its version, p)
#
# Where tenants must not even learn by the time it takes what others have asked, each has a salt,
# and
#
#     key_0 <- hash(key_0, salt)
#
# so that rows with different salts share nothing. A text that everybody may share, such as the
# rules of a house, is left out of that: behind p whole blocks of it
#
#     key_p-1 <- hash(key_p-1, salt)
#
# takes the place of that, for what stands behind them.


class BlockKeys:
    """The keys of the full blocks of a row. root: key_0. tokens: of the row, which may grow.

    turn: the first token whose keys are those of `root`; those before it are of the base, whose
    key_0 is `base`. 0 for all of them. salt: of whoever may share them; "" for everybody. public:
    so many blocks are everybody's whatever the salt.
    """

    def __init__(
        self,
        root: bytes,
        tokens: Sequence[int],
        block: int,
        turn: int = 0,
        base: bytes = b"",
        salt: str = "",
        public: int = 0,
    ) -> None:
        self.root, self._tokens, self._block = root, tokens, block
        self._turn, self._base = turn, base
        first = base if turn else root
        self._salt, self._public = salt, public
        self._keys = [_salted(first, salt) if salt and not public else first]

    def key(self, blocks: int) -> bytes:
        """The key of the last of so many blocks; that of none for 0."""
        while len(self._keys) <= blocks:
            at = len(self._keys) - 1
            self._keys.append(_key(self.before(at), self.block(at)))
        return self._keys[blocks]

    def before(self, at: int) -> bytes:
        """The key behind which a block stands."""
        inside = self._turn - at * self._block
        if not self._turn or not 0 <= inside < self._block:
            return self._behind(at)
        return _key(self._behind(at) + self.root, [inside])

    def root_of(self, at: int) -> bytes:
        """Whose keys a block holds: the root of the adapter, or that of the base."""
        return self.root if (at + 1) * self._block > self._turn else self._base

    def block(self, at: int, end: int | None = None) -> tuple[int, ...]:
        """Tokens of a block, none of them behind the first `end` tokens of the row."""
        first = at * self._block
        last = first + self._block
        return tuple(self._tokens[first : last if end is None else min(last, end)])

    def sources(self, at: int, end: int) -> Iterator[tuple[bytes, tuple[int, ...]]]:
        """Keys behind which blocks may stand that begin as this one does, and with which tokens of
        the first `end` of the row."""
        yield self.before(at), self.block(at, end)
        if at * self._block < self._turn < (at + 1) * self._block:
            yield self._behind(at), self.block(at, min(end, self._turn))

    def _behind(self, at: int) -> bytes:
        """The key of so many blocks, for what stands behind them."""
        turns = self._salt and at and at == self._public
        return _salted(self.key(at), self._salt) if turns else self.key(at)


def _key(before: bytes, tokens: Sequence[int]) -> bytes:
    told = before + b"".join(token.to_bytes(8, "little") for token in tokens)
    return hashlib.blake2b(told, digest_size=16).digest()


def _salted(root: bytes, salt: str) -> bytes:
    told = len(root).to_bytes(8, "little") + root + salt.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(told, digest_size=16, person=b"salt").digest()


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    least = min(len(one), len(other))
    return next((at for at in range(least) if one[at] != other[at]), least)


# --------------------------------------------------------------------------------------------------
# One tensor of pages for all that a served base needs beside its weights: adapters, keys, values.
#
# The unified paging of S-LoRA (Sheng et al., 2023, arXiv 2311.03285): matrices of adapters and keys
# and values of requests take pages from the same pool, so that neither has a share that the other
# cannot use. With L layers, G heads of keys, width D of a head and T tokens per block, a page is
#
#     [L, e],   e = 2 G T D     keys and values of T tokens in all layers: [L, 2, G, T, D], or
#                               e numbers per layer of one adapter, grain by grain
#
# The same page serves both because both are read in the same way: layer by layer, as rows picked
# from a view of the pool. Keys are picked as rows of T D numbers, matrices as rows of u numbers (a
# grain, see `layout`): `index_select` copies what one layer needs into a contiguous batch. The
# other ways to read pages: contiguous extents, which fragment, and need one call of torch's kernel
# per row; attention compiled for pages, which needs a compiler where it runs. The copy is the
# simplest, and with it a layer takes less time than with a call per row (`attention_choices` of
# benchmarks/lm/_adapters_serving.py).
#
# Uses: "adapters"; "keys" of rows that are live; "prefixes", keys that no row reads now and that
# stay while there is room (`prefix_pages`).
#
# Page 0 is never given out and holds zeros: what an adapter lacks is picked from there.

PageUse = Literal["adapters", "keys", "prefixes"]


@dataclass(frozen=True)
class PageShape:
    """Sizes of a page: layers L, heads of keys G, width of a head D, tokens of a block T."""

    layers: int
    heads: int
    width: int
    block: int = 16

    @staticmethod
    def of(sizes: Sizes, block: int = 16) -> PageShape:
        """The page for a base; ConfigError where `block` is below 1."""
        if block < 1:
            raise ConfigError("a block has at least one token", where=f"block {block}", hint="16")
        return PageShape(sizes.layers, sizes.kv_heads, sizes.head_width, block)

    @property
    def slice(self) -> int:
        """e: numbers of a page that belong to one layer."""
        return 2 * self.heads * self.block * self.width

    @property
    def numbers(self) -> int:
        """Numbers of a page."""
        return self.layers * self.slice

    def blocks(self, tokens: int) -> int:
        """Pages for the keys and values of so many tokens."""
        return -(-tokens // self.block)


class PagePool:
    """Pages and their uses. Nothing grows: `pages` of them are allocated once.

    pages: with page 0, which is never given out, so at least 2. tensor: [pages, L, e].
    """

    def __init__(
        self,
        shape: PageShape,
        pages: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        if pages < 2:
            raise ConfigError("a pool has at least two pages", where=f"pages {pages}", hint="512")
        self.shape = shape
        self.tensor = torch.zeros(pages, shape.layers, shape.slice, dtype=dtype, device=device)
        self._use: dict[int, PageUse] = {}
        self._used: dict[PageUse, int] = {"adapters": 0, "keys": 0, "prefixes": 0}
        self._ticks = 0
        # Popped from the end: the lowest first, so that a small load touches little memory.
        self._free = list(range(pages - 1, 0, -1))

    @property
    def capacity(self) -> int:
        """Pages that can be given out."""
        return len(self.tensor) - 1

    @property
    def free(self) -> int:
        """Pages that are free."""
        return len(self._free)

    @property
    def page_bytes(self) -> int:
        """Bytes of one page."""
        return self.shape.numbers * self.tensor.element_size()

    @property
    def bytes(self) -> int:
        """Bytes of all pages: the bound."""
        return self.tensor.numel() * self.tensor.element_size()

    def used(self, use: PageUse) -> int:
        """Pages in that use."""
        return self._used[use]

    def allocate(self, number: int, use: PageUse) -> list[int] | None:
        """Take so many pages; None, and nothing taken, where fewer are free.

        Pages for keys are zeroed, others are not: an adapter is written whole, but keys are read
        in whole blocks, and NaN in unused places would get through the mask.
        """
        if number > len(self._free):
            return None
        pages = [self._free.pop() for _ in range(number)]
        self._use.update(dict.fromkeys(pages, use))
        self._used[use] += number
        if use == "keys":
            for page in pages:
                self.tensor[page].zero_()
        return pages

    def release(self, pages: Sequence[int]) -> None:
        """Give pages back. Raises ConfigError, and gives none back, where one is free already."""
        unknown = [page for page in pages if page not in self._use]
        if unknown or len(set(pages)) < len(pages):
            raise ConfigError(
                "a page that is free cannot be given back",
                where=f"pages {unknown or list(pages)}",
                hint="give back what `allocate` returned, once",
            )
        for page in pages:
            self._used[self._use.pop(page)] -= 1
        self._free.extend(reversed(pages))

    def move(self, pages: Sequence[int], use: PageUse) -> None:
        """Put pages, none of them free, to another use; what they hold stays."""
        for page in pages:
            self._used[self._use[page]] -= 1
            self._use[page] = use
        self._used[use] += len(pages)

    def tick(self) -> int:
        """A number above all before it: when something in the pool was used."""
        self._ticks += 1
        return self._ticks

    def copy(self, pages: Sequence[int], into: Sequence[int]) -> None:
        """Copy pages into as many others."""
        device = self.tensor.device
        here, there = (torch.tensor(list(each), device=device) for each in (pages, into))
        self.tensor[there] = self.tensor[here]

    def grains(self, size: int) -> Tensor:
        """All pages as rows of `size` numbers, a view; a divisor of e."""
        return self.tensor.view(-1, size)

    @property
    def blocks(self) -> Tensor:
        """All pages as keys or values of one block, layer and head: a view [pages L 2 G, T D]."""
        return self.tensor.view(-1, self.shape.block * self.shape.width)

    @property
    def tokens(self) -> Tensor:
        """All pages as keys or values of one token: a view [pages L 2 G T, D]."""
        return self.tensor.view(-1, self.shape.width)


# --------------------------------------------------------------------------------------------------
# Blocks of keys and values that had to leave the pool, by what they hold.
#
# The pool is allocated once, and adapters, rows and prefixes share it. A block that has to go is
# kept here as it is, up to a bound, and copied back where a row begins with it: bit by bit what it
# was, and far quicker than reading the tokens again. With a pool on a GPU this is the memory of the
# host. On a CPU both are the same memory: here it grows only with what is kept, while a larger pool
# would be there from the start, and rows could take all of it.
#
# A block is in the pool or here, never in both.


class _HostPage(NamedTuple):
    root: bytes
    page: Tensor


class HostPages:
    """Pages [L, e] by the keys of their blocks. most: bytes; 0 keeps none."""

    def __init__(self, most: int = 0) -> None:
        self._most = most
        #: Least recently used first.
        self._kept: OrderedDict[bytes, _HostPage] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: bytes) -> bool:
        return key in self._kept

    def put(self, key: bytes, root: bytes, page: Tensor) -> None:
        """Keep a copy of a page; those that were kept longest go where it needs their room.
        root: whose keys they are, see `BlockKeys.root_of`."""
        size = page.numel() * page.element_size()
        if size > self._most:
            return
        self._forget(key)
        while self.bytes + size > self._most:
            self._forget(next(iter(self._kept)))
        self._kept[key] = _HostPage(root, page.detach().to("cpu", copy=True))
        self.bytes += size

    def look(self, key: bytes) -> Tensor | None:
        """The page of a block, which stays; None where it is not kept."""
        kept = self._kept.get(key)
        return None if kept is None else kept.page

    def take(self, key: bytes) -> Tensor | None:
        """The page of a block, which is not kept any more; None where it is not."""
        kept = self._kept.get(key)
        self._forget(key)
        return None if kept is None else kept.page

    def touch(self, keys: Iterable[bytes]) -> None:
        """Let all others go before these, up to the first of them that is not kept."""
        for key in keys:
            if key not in self._kept:
                break
            self._kept.move_to_end(key)

    def drop(self, root: bytes) -> None:
        """Forget what belongs to an adapter that is gone."""
        for key in [key for key, kept in self._kept.items() if kept.root == root]:
            self._forget(key)

    def _forget(self, key: bytes) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.bytes -= kept.page.numel() * kept.page.element_size()


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


# --------------------------------------------------------------------------------------------------
# Keys and values of one beginning in a file: what a process has read is there for the next one.
#
# The blocks are one array [blocks, L, e], bit by bit as they lie in the pool. A file belongs to the
# base, and the adapter, whose keys it holds: with others, or pages of another form, it is refused.
#
# It tells the tokens of the beginning and whom it may be shared with; keep it as the text itself.

_FORMAT = "adwright-prefix-1"


@dataclass(frozen=True)
class StoredPrefix:
    """identity: of the base and the adapter, whatever else has other keys. tokens: of all of the
    blocks. pages [blocks, L, e]: on the CPU. adapter, salt: as of the row that read it."""

    identity: str
    tokens: tuple[int, ...]
    pages: Tensor
    adapter: str | None = None
    salt: str = ""


def write_prefix(file: str | Path, prefix: StoredPrefix) -> None:
    """Write the file whole or not at all; raises ResourceError where it cannot be written."""
    told = {"format": _FORMAT, "identity": prefix.identity, "salt": prefix.salt}
    told |= {"adapter": json.dumps(prefix.adapter)}
    tensors = {
        "tokens": torch.tensor(prefix.tokens, dtype=torch.int64),
        "pages": prefix.pages.contiguous(),
    }
    atomic_write_bytes(Path(file), save(tensors, told))


def read_prefix(file: str | Path) -> StoredPrefix:
    """Read it, its pages as they were. Raises ArtifactError where it is no such file."""
    try:
        with safe_open(str(file), "pt") as opened:
            told = opened.metadata() or {}
            if told.get("format") != _FORMAT:
                raise ArtifactError(
                    "the file holds no prefix", where=str(file), hint="name what was saved as one"
                )
            tokens = tuple(opened.get_tensor("tokens").tolist())
            pages = opened.get_tensor("pages")
    except (SafetensorError, OSError, ValueError) as error:
        raise ArtifactError(
            f"the file cannot be read: {error}", where=str(file), hint="save the prefix anew"
        ) from error
    return StoredPrefix(
        told.get("identity", ""),
        tokens,
        pages,
        json.loads(told.get("adapter", "null")),
        told.get("salt", ""),
    )


# --------------------------------------------------------------------------------------------------
# Hold a prefix that was read, save it to a file, and take it back in another process.
#
# What is held goes after all else that no row reads. Saved and taken back are its full blocks; what
# is behind the last of them is read again.


class PrefixStore:
    """The prefixes of one pool. room: makes so many pages free, or says that it cannot. identity:
    of an adapter over this base, or of the base. chain: the keys of tokens under an adapter, and
    for whom they are. Not safe for several threads."""

    def __init__(
        self,
        pool: PagePool,
        pages: PrefixPages,
        *,
        room: Callable[[int], bool],
        identity: Callable[[str | None], str],
        chain: Callable[[Sequence[int], str | None, str], BlockKeys],
    ) -> None:
        self._pool, self._pages = pool, pages
        self._room, self._identity, self._chain = room, identity, chain

    def hold(
        self, tokens: Sequence[int], *, adapter: str | None = None, salt: str = ""
    ) -> tuple[bytes, ...]:
        """Keep the blocks of these tokens longer than others; returns what `let_go` takes."""
        chain = self._chain(tokens, adapter, salt)
        blocks = len(tokens) // self._pool.shape.block
        keys = tuple(chain.key(at) for at in range(1, blocks + 1))
        self._pages.want(keys)
        return keys

    def let_go(self, keys: Sequence[bytes]) -> None:
        """They are not held any more, and the next to go."""
        self._pages.unwant(keys)

    def save(
        self,
        file: str | Path,
        tokens: Sequence[int],
        *,
        adapter: str | None = None,
        salt: str = "",
    ) -> int:
        """Write those of its blocks that are here, from the first on; returns how many tokens they
        have. With none nothing is written."""
        identity = self._identity(adapter)
        pages = self._pages.copied(self._chain(tokens, adapter, salt), len(tokens))
        saved = len(pages) * self._pool.shape.block
        if saved:
            own = tuple(tokens[:saved])
            write_prefix(file, StoredPrefix(identity, own, pages.cpu(), adapter, salt))
        return saved

    def restore(self, file: str | Path) -> int:
        """Take back what `save` wrote, as far as there is room; returns how many tokens are here.

        Raises ArtifactError where it is another base's or adapter's, or of another form.
        """
        stored = read_prefix(file)
        shape, dtype = tuple(self._pool.tensor.shape[1:]), self._pool.tensor.dtype
        pages, block = stored.pages, self._pool.shape.block
        fits = pages.shape[1:] == shape and len(pages) * block == len(stored.tokens)
        if not fits or pages.dtype != dtype or not pages.isfinite().all():
            raise ArtifactError(
                "the prefix has another form than the pages here",
                where=str(file),
                hint="open the model with the same type of number and block, or read it anew",
            )
        if stored.identity != self._identity(stored.adapter):
            raise ArtifactError(
                "the prefix was read by another model or adapter",
                where=str(file),
                hint="read it anew",
            )
        chain = self._chain(stored.tokens, stored.adapter, stored.salt)
        here = len(self._pages.find(chain, len(stored.tokens)))
        missing = len(pages) - here
        while missing and not self._room(missing):
            missing -= 1
        self._pages.adopt(chain, pages[here : here + missing], here)
        return (here + missing) * block
