"""One tensor of pages for all that a served base needs beside its weights: adapters, keys, values.

The unified paging of S-LoRA (Sheng et al., 2023, arXiv 2311.03285): matrices of adapters and keys
and values of requests take pages from the same pool, so that neither has a share that the other
cannot use. With L layers, G heads of keys, width D of a head and T tokens per block, a page is

    [L, e],   e = 2 G T D     keys and values of T tokens in all layers: [L, 2, G, T, D], or
                              e numbers per layer of one adapter, grain by grain

The same page serves both because both are read in the same way: layer by layer, as rows picked
from a view of the pool. Keys are picked as rows of T D numbers, matrices as rows of u numbers (a
grain, see `layout`): `index_select` copies what one layer needs into a contiguous batch. The other
ways to read pages: contiguous extents, which fragment, and need one call of torch's kernel per row;
attention compiled for pages, which needs a compiler where it runs. The copy is the simplest, and
with it a layer takes less time than with a call per row (`attention_choices` of
benchmarks/lm/_adapters_serving.py).

Uses: "adapters"; "keys" of rows that are live; "prefixes", keys that no row reads now and that stay
while there is room (`prefix_pages`).

Page 0 is never given out and holds zeros: what an adapter lacks is picked from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from adwright.core.errors import ConfigError
from adwright.tuning.modules import Sizes

__all__ = ["PagePool", "PageShape", "PageUse"]

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
