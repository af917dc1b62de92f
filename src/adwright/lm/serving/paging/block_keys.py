"""Keys of the blocks of tokens that a row begins with.

What a token's keys and values are follows from the adapter and from all tokens up to it. So a block
of T tokens has a key that follows from the key of the block before it,

    key_0 = adapter and its version,   key_i = hash(key_{i-1}, tokens of block i)

and two blocks with one key hold the same. The hash has 128 bits: no two blocks share one by chance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

__all__ = ["BlockKeys", "common"]


class BlockKeys:
    """The keys of the full blocks of a row. root: key_0. tokens: of the row, which may grow."""

    def __init__(self, root: bytes, tokens: Sequence[int], block: int) -> None:
        self.root, self._tokens, self._block = root, tokens, block
        self._keys = [root]

    def key(self, blocks: int) -> bytes:
        """The key of the last of so many blocks; the root for 0."""
        while len(self._keys) <= blocks:
            at = len(self._keys) - 1
            self._keys.append(_key(self._keys[-1], self.block(at)))
        return self._keys[blocks]

    def block(self, at: int, end: int | None = None) -> tuple[int, ...]:
        """Tokens of a block, none of them behind the first `end` tokens of the row."""
        first = at * self._block
        last = first + self._block
        return tuple(self._tokens[first : last if end is None else min(last, end)])


def _key(before: bytes, tokens: Sequence[int]) -> bytes:
    told = before + b"".join(token.to_bytes(8, "little") for token in tokens)
    return hashlib.blake2b(told, digest_size=16).digest()


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    least = min(len(one), len(other))
    return next((at for at in range(least) if one[at] != other[at]), least)
