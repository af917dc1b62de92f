"""Choices that depend on a seed and on what is chosen for, never on what came before.

    drawn(7, "ads", "product-12")        # a whole number below 2^64, the same everywhere
    chosen(names, 7, "product-12")       # one of them

A random generator that is asked in turn would give other rows another choice when one row is added;
a hash does not, and rows can be looked at in any order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

from adwright.core.errors import ConfigError

T = TypeVar("T")
_BYTES = 8


def drawn(seed: int, *parts: str) -> int:
    """A whole number below 2^64 that follows from `seed` and `parts` alone."""
    digest = hashlib.blake2b(digest_size=_BYTES, key=str(seed).encode())
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(_BYTES, "little") + data)
    return int.from_bytes(digest.digest(), "little")


def share(seed: int, *parts: str) -> float:
    """A number from 0 to below 1 that follows from `seed` and `parts` alone."""
    return (drawn(seed, *parts) >> 11) / (1 << 53)


def chosen(things: Sequence[T], seed: int, *parts: str) -> T:
    """One of `things`, by `drawn`. Raises ConfigError where there are none."""
    if not things:
        raise ConfigError("there is nothing to choose from", where="chosen", hint="give some")
    return things[drawn(seed, *parts) % len(things)]
