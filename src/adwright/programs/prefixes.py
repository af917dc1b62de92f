"""Prefixes: what prompts begin with in common, told by hashes at the borders of variables.

    h(border) = hash(seed, tokens up to the border)

where the seed holds whoever may share (the tenant, or a domain of several), the model, the adapter,
and the version of what makes tokens of texts. Two prompts have the same hash at a border only where
all of these and every token before it are the same. How the tokens before it were divided into
variables plays no part: a text that stands in one prompt as a constant and in the other as a
variable is shared, too.

Equal texts are equal tokens, so that texts may stand for their tokens where only these are counted
(`text_prefixes`); hashes of the one are none of the other.

Engines that cache share whole blocks of tokens. `block_keys` are hashes at the ends of blocks, the
same ones; with them two prompts are compared that have no border in common.

A tenant without the seed of another cannot tell what that one's hashes stand for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from adwright.core.config import require_count, settings
from adwright.core.errors import ConfigError

__all__ = ["PrefixSeed", "Prefixes", "block_keys", "common_tokens", "prefixes_of", "text_prefixes"]

_BYTES = 16
_TOKEN_BYTES = 8


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


def prefixes_of(
    segments: Iterable[str], tokenize: Callable[[str], Sequence[int]], seed: PrefixSeed
) -> Prefixes:
    """The prefixes of a prompt. segments: cut at the borders of variables, see `Chain.segments`.
    tokenize: the tokens of a text, without those that begin and end a prompt.

    Each segment is tokenised by itself, so that a border stands between two tokens whatever follows
    it. An engine that is given the text as a whole may have another token across a border, so of
    what it has cached up to there one token may be missing. A border behind no new token is none.
    """
    running = hashlib.blake2b(seed.key(), digest_size=_BYTES)
    hashes: list[int] = []
    counts: list[int] = []
    count = 0
    for segment in segments:
        tokens = tokenize(segment)
        if not tokens:
            continue
        running.update(_packed(tokens))
        count += len(tokens)
        hashes.append(int.from_bytes(running.digest()))
        counts.append(count)
    return Prefixes(tuple(hashes), tuple(counts))


def text_prefixes(
    segments: Iterable[str], count: Callable[[str], int], seed: PrefixSeed
) -> Prefixes:
    """The prefixes of a prompt by its text. count: tokens of a segment by itself."""
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


def block_keys(tokens: Sequence[int], block: int, seed: PrefixSeed) -> tuple[int, ...]:
    """A hash at the end of each full block of so many tokens."""
    require_count("block", block)
    running = hashlib.blake2b(seed.key(), digest_size=_BYTES)
    keys: list[int] = []
    for start in range(0, len(tokens) - block + 1, block):
        running.update(_packed(tokens[start : start + block]))
        keys.append(int.from_bytes(running.digest()))
    return tuple(keys)


def common_tokens(one: Prefixes, other: Prefixes) -> int:
    """How many tokens both begin with, as far as borders tell: up to the last that they share."""
    known = dict(zip(one.hashes, one.tokens, strict=True))
    return max((known[each] for each in other.hashes if each in known), default=0)


def _packed(tokens: Sequence[int]) -> bytes:
    try:
        return b"".join(token.to_bytes(_TOKEN_BYTES, "little") for token in tokens)
    except OverflowError as error:
        raise ConfigError(
            "a token is below 0 or above 2^64", where="tokens", hint="pass ids of tokens"
        ) from error
