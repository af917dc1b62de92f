"""How long prompts are and answers will be, in tokens, as far as it can be known beforehand."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import blake2b

from adwright.core.config import require_count

__all__ = ["AnswerLengths", "TokenCounts"]

#: A text of more characters is counted in another thread, as the event loop must not stand still.
_LONG = 20_000
#: Answers over which a mean is formed at the most, so that it follows what changes.
_WINDOW = 32


class TokenCounts:
    """Counts each text once. count: tokens of a text. most: texts whose counts are kept, the ones
    used last; of the texts themselves nothing is.

    What one domain has had counted makes no other domain's counting faster.
    """

    def __init__(self, count: Callable[[str], int], *, most: int = 20_000) -> None:
        require_count("most", most)
        self.count, self._most = count, most
        self._known: OrderedDict[bytes, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def of(self, text: str, domain: str = "") -> int:
        """Tokens of a text."""
        key = _key(text, domain)
        known = self._known.get(key)
        if known is None:
            known = self._keep(key, self.count(text))
        else:
            self._known.move_to_end(key)
        return known

    def is_slow(self, text: str, domain: str = "") -> bool:
        """Whether it would take long to count."""
        return len(text) > _LONG and _key(text, domain) not in self._known

    async def prepare(self, texts: Sequence[str], domain: str = "") -> None:
        """Count the long ones among the texts while the event loop goes on."""
        for text in texts:
            if self.is_slow(text, domain):
                tokens = await asyncio.to_thread(self.count, text)
                self._keep(_key(text, domain), tokens)

    def _keep(self, key: bytes, tokens: int) -> int:
        self._known[key] = tokens
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return tokens


def _key(text: str, domain: str) -> bytes:
    return blake2b(f"{len(domain)} {domain}{text}".encode(), digest_size=16).digest()


class AnswerLengths:
    """How many tokens an answer will have: the mean of those that its template had before, with its
    settings' bound. most: templates that are known, the ones used last."""

    def __init__(self, *, most: int = 10_000) -> None:
        require_count("most", most)
        self._most = most
        self._means: OrderedDict[tuple[object, ...], tuple[int, float]] = OrderedDict()

    def expected(self, of: tuple[object, ...], bound: int) -> int:
        """Tokens of an answer. of: what its length goes by, such as tenant and template. bound: the
        most that it may have, which is expected until there was an answer."""
        known = self._means.get(of)
        if known is None:
            return bound
        self._means.move_to_end(of)
        return max(1, min(bound, math.ceil(known[1])))

    def note(self, of: tuple[object, ...], tokens: int) -> None:
        """An answer had so many."""
        count, mean = self._means.pop(of, (0, 0.0))
        count = min(count + 1, _WINDOW)
        self._means[of] = count, mean + (tokens - mean) / count
        if len(self._means) > self._most:
            self._means.popitem(last=False)
