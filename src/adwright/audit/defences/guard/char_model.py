"""A language model of characters: how surprising is each character after those before it?

    model = CharModel.fit(texts, order=5)
    bits, offsets = model.surprisals(["Boils water.", "!!--> xQz("])   # flat, and where texts begin

The probability of character c after a history h is interpolated over the orders (Witten and Bell
1991, as in Chen and Goodman 1998, section 2.6): with n counts, and d(h) the number of different
characters seen after h,

    p_k(c | h) = (n(h c) + d(h) p_{k-1}(c | h')) / (n(h) + d(h)),    p_0 = 1 / 97

h' is h without its first character. Counts stand in sorted arrays, and all texts are looked up at
once: about a second for a million characters. Case counts; characters outside of ASCII are one
letter or one sign, so that the model says little of texts in other scripts (our choice).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adwright.core.config import require_count
from adwright.core.errors import ConfigError, DataError
from adwright.metrics.text.words import require_texts

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

#: Codes: 0 before a text, 1 to 95 ASCII from blank to tilde, 96 another letter, 97 another sign.
_BASE, _LETTER, _SIGN = 98, 96, 97
_MOST_ORDER = 8
#: Characters of a text that are looked at.
_LONGEST = 20_000


@dataclass(frozen=True, eq=False)
class NgramTable:
    """Of one order. grams [G]: codes of what was seen, sorted, and counts [G]. histories [H]: codes
    of the characters before, sorted, with totals [H] and how many different ones followed [H]."""

    grams: Codes
    counts: Floats
    histories: Codes
    totals: Floats
    followers: Floats


@dataclass(frozen=True, eq=False)
class CharModel:
    """Tables of the orders 1, 2, ...; base: the model whose p stands for p_0, if there is one."""

    tables: tuple[NgramTable, ...]
    base: CharModel | None = None

    @property
    def order(self) -> int:
        """Characters of the longest run that is counted."""
        return len(self.tables)

    @classmethod
    def fit(
        cls, texts: Sequence[str], *, order: int = 5, base: CharModel | None = None
    ) -> CharModel:
        """The model of ordinary texts. base: of many texts, for few of a format of their own: what
        they say nothing of is as likely as it says.

        Raises DataError without a character, ConfigError for an order outside of 1 to 8."""
        require_count("order", order)
        if order > _MOST_ORDER:
            raise ConfigError(f"order is at most {_MOST_ORDER}", where=f"order {order}")
        require_texts(texts, "texts")
        flat, own, _ = _flat(texts, order)
        if not own.any():
            raise DataError("there is no character to learn from", hint="give ordinary texts")
        return cls(tuple(_table(flat, own, size) for size in range(1, order + 1)), base)

    def surprisals(self, texts: Sequence[str]) -> tuple[Floats, Codes]:
        """-log2 p of each character of all texts, [S], and offsets [N + 1] of the texts in it."""
        flat, own, offsets = _flat(texts, self.order)
        at = np.flatnonzero(own)
        if self.base is None:
            chance = np.full(len(at), 1 / (_BASE - 1))
        else:
            chance = 2.0 ** -self.base.surprisals(texts)[0]
        for before, table in enumerate(self.tables):
            history = _before(flat, at, before)
            chance = _mixed(table, history * _BASE + flat[at], history, chance)
        return -np.log2(chance), offsets

    def means(self, texts: Sequence[str]) -> Floats:
        """Mean surprisal of each text in bits a character, [N]; 0 for an empty one."""
        bits, offsets = self.surprisals(texts)
        sizes = np.diff(offsets)
        sums = np.add.reduceat(np.append(bits, 0.0), offsets[:-1]) if len(sizes) else np.zeros(0)
        found: Floats = np.where(sizes > 0, sums / np.maximum(sizes, 1), 0.0)
        return found


def window_most(bits: Floats, width: int) -> float:
    """The largest mean of `width` characters in a row; of all where there are fewer, 0 of none."""
    if len(bits) <= width:
        return float(bits.mean()) if len(bits) else 0.0
    sums = np.cumsum(np.concatenate(([0.0], bits)))
    return float((sums[width:] - sums[:-width]).max() / width)


def _flat(texts: Sequence[str], order: int) -> tuple[Codes, npt.NDArray[np.bool_], Codes]:
    """Codes of all texts, each after order - 1 zeros; which of them are characters; offsets."""
    pieces, sizes = [np.zeros(0, np.int64)], []
    before = np.zeros(order - 1 or 1, np.int64)
    for text in texts:
        codes = _codes(text[:_LONGEST])
        pieces += [before, codes]
        sizes.append(len(codes))
    flat = np.concatenate(pieces)
    return flat, flat > 0, np.cumsum([0, *sizes])


def _codes(text: str) -> Codes:
    points = np.frombuffer(text.encode("utf-32-le", "replace"), np.uint32).astype(np.int64)
    codes = np.where((points >= 32) & (points < 127), points - 31, 1)
    others = np.flatnonzero(points >= 127)
    for at in others.tolist():
        codes[at] = _LETTER if text[at].isalpha() else _SIGN
    return codes


def _before(flat: Codes, at: Codes, size: int) -> Codes:
    """Codes of the `size` characters before each place."""
    code = np.zeros(len(at), np.int64)
    for back in range(size, 0, -1):
        code = code * _BASE + flat[at - back]
    return code


def _table(flat: Codes, own: npt.NDArray[np.bool_], size: int) -> NgramTable:
    at = np.flatnonzero(own)
    history = _before(flat, at, size - 1)
    grams, counts = np.unique(history * _BASE + flat[at], return_counts=True)
    histories, first = np.unique(grams // _BASE, return_index=True)
    ends = np.append(first[1:], len(grams))
    totals = np.add.reduceat(counts, first)
    return NgramTable(
        grams,
        counts.astype(np.float64),
        histories,
        totals.astype(np.float64),
        (ends - first).astype(np.float64),
    )


def _mixed(table: NgramTable, grams: Codes, histories: Codes, chance: Floats) -> Floats:
    seen = _found(table.grams, table.counts, grams)
    place = np.minimum(np.searchsorted(table.histories, histories), len(table.histories) - 1)
    known = table.histories[place] == histories
    total = np.where(known, table.totals[place], 0.0)
    followers = np.where(known, table.followers[place], 0.0)
    mixed: Floats = np.where(
        known, (seen + followers * chance) / np.maximum(total + followers, 1), chance
    )
    return mixed


def _found(keys: Codes, values: Floats, wanted: Codes) -> Floats:
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found: Floats = np.where(keys[place] == wanted, values[place], 0.0)
    return found
