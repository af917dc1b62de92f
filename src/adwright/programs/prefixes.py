"""Prefixes: what prompts begin with in common, told by hashes at the borders of variables.

    h(border) = hash(seed, text up to the border)

where the seed holds whoever may share (the tenant, or a domain of several), the model, the adapter,
and the version of what makes tokens of texts. Two prompts have the same hash at a border only where
all of these and every token before it are the same. How the tokens before it were divided into
variables plays no part: a text that stands in one prompt as a constant and in the other as a
variable is shared, too.

Equal texts are equal tokens, so that texts stand for their tokens where only these are counted.

A tenant without the seed of another cannot tell what that one's hashes stand for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from adwright.core.config import settings

_BYTES = 16


@settings
class PrefixSeed:
    """Who shares prefixes, and of what.

    domain: the tenant; or the name of a domain, for prefixes that several tenants may share.
    public: whether it is such a domain: a tenant's own name never reaches one.
    version: of the tokenizer and the chat template, or whatever else makes tokens of texts.
    """

    domain: str
    model: str
    adapter: str | None = None
    version: str = ""
    public: bool = False

    def key(self) -> bytes:
        """The bytes that a hash begins with: no two seeds have the same."""
        parts = [self.domain, self.model, self.adapter, self.version, self.public]
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=32).digest()


@dataclass(frozen=True)
class Prefixes:
    """The prefixes of a prompt at its borders, the shortest first.

    hashes: one a border, 128 bits. tokens: up to each border, ascending; the last is all of them.
    """

    hashes: tuple[int, ...]
    tokens: tuple[int, ...]


def text_prefixes(
    segments: Iterable[str], count: Callable[[str], int], seed: PrefixSeed
) -> Prefixes:
    """The prefixes of a prompt. segments: cut at the borders of variables, see `Chain.segments`.
    count: tokens of a segment by itself. A border behind no new token is none."""
    running = hashlib.blake2b(seed.key(), digest_size=_BYTES, person=b"text")
    hashes: list[int] = []
    counts: list[int] = []
    total = 0
    for segment in segments:
        if not segment:
            continue
        running.update(segment.encode())
        if own := count(segment):
            total += own
            hashes.append(int.from_bytes(running.digest()))
            counts.append(total)
    return Prefixes(tuple(hashes), tuple(counts))
