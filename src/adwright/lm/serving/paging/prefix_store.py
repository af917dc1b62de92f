"""Hold a prefix that was read, save it to a file, and take it back in another process.

What is held goes after all else that no row reads. Saved and taken back are its full blocks; what
is behind the last of them is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from adwright.core.errors import ArtifactError
from adwright.lm.serving.page_pool import PagePool
from adwright.lm.serving.paging.block_keys import BlockKeys
from adwright.lm.serving.paging.prefix_file import StoredPrefix, read_prefix, write_prefix
from adwright.lm.serving.paging.prefix_pages import PrefixPages

__all__ = ["PrefixStore"]


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
