"""Blocks of keys and values that had to leave the pool, by what they hold.

The pool is allocated once, and adapters, rows and prefixes share it. A block that has to go is kept
here as it is, up to a bound, and copied back where a row begins with it: bit by bit what it was,
and far quicker than reading the tokens again. With a pool on a GPU this is the memory of the host.
On a CPU both are the same memory: here it grows only with what is kept, while a larger pool would
be there from the start, and rows could take all of it.

A block is in the pool or here, never in both.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor

__all__ = ["HostPages"]


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
