"""Keys of the blocks of tokens that a row begins with.

What a token's keys and values are follows from the adapter and from all tokens up to it. So a block
of T tokens has a key that follows from the key of the block before it,

    key_0 = adapter and its version,   key_i = hash(key_{i-1}, tokens of block i)

and two blocks with one key hold the same. The hash has 128 bits: no two blocks share one by chance.

An adapter that acts from a token on (`tuning.reparameterised.activated`) leaves what is before it
to the base. Its chain begins as that of the base, and turns into one of its own with the block that
holds the token: with p of its places before that token, the key behind which that block stands is

    key_i-1 <- hash(key_i-1, adapter and its version, p)

Where tenants must not even learn by the time it takes what others have asked, each has a salt, and

    key_0 <- hash(key_0, salt)

so that rows with different salts share nothing. A text that everybody may share, such as the rules
of a house, is left out of that: behind p whole blocks of it

    key_p-1 <- hash(key_p-1, salt)

takes the place of that, for what stands behind them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

__all__ = ["BlockKeys", "common"]


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
