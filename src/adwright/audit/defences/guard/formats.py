"""What is usual in one merchant's field, so that only what is unusual there counts.

    formats = Formats.learn(model, texts)              # of honest texts
    formats = formats.with_peers(texts)                # of a merchant that was never seen
    formats.unusual(texts)                             # [N, F]: features in spreads of their format

Each merchant and field with enough texts has a model of characters over the general one, and of
each feature the median and the spread (from the 10th to the 90th percentile), both of which hold
though some of the texts are attacks. A feature then counts as (value - median) / spread, within
8. Fewer texts, or none, fall back to the field, then to all.

Whatever is learned of texts is cross-fitted: features of one half come from the models of the other
half, since a model is never surprised by what it has seen. Letters: N texts, F features.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from adwright.audit.defences.guard.char_model import CharModel
from adwright.audit.defences.guard.features import FEATURES, GuardText, text_features

Floats = npt.NDArray[np.float64]
Change = Callable[[Sequence[GuardText]], Sequence[GuardText]]

#: Texts of a merchant and field from which on they are a format of their own.
ENOUGH = 12
_FOLDS = 2
_FARTHEST = 8.0
#: Of the spread over all texts, below which no spread is taken to be: a feature that is always 0
#: in a format should not count without end when it is not.
_FLOOR = 0.15
_LOCAL_ORDER = 4


@dataclass(frozen=True, eq=False)
class TextFormat:
    """local: the model of its characters. middle, spread: [F] of its features."""

    local: CharModel
    middle: Floats
    spread: Floats


@dataclass(frozen=True, eq=False)
class Formats:
    """general: the model of all texts. known: formats by ("merchant", merchant, field), ("field",
    field) and (). least: [F], below which no spread is."""

    general: CharModel
    known: Mapping[tuple[str, ...], TextFormat]
    least: Floats

    @classmethod
    def learn(cls, general: CharModel, texts: Sequence[GuardText]) -> Formats:
        """The formats of honest texts, of which there is at least one."""
        everything = _cross_fitted(general, texts)
        least = _FLOOR * everything.std(0) + 1e-3
        first = TextFormat(general, *_middle(everything))
        found = cls(general, {(): first}, least)
        return found.with_peers(texts, fields=True)

    def with_peers(self, texts: Sequence[GuardText], *, fields: bool = False) -> Formats:
        """The same with the formats of these texts too, which need not be known to be honest: so
        that a merchant that was never seen is compared with itself.

        fields: learn what fields are like over all merchants as well.
        """
        groups: defaultdict[tuple[str, ...], list[GuardText]] = defaultdict(list)
        for one in texts:
            for key in _keys(one):
                if key and (fields or key[0] == "merchant"):
                    groups[key].append(one)
        made = {
            key: TextFormat(_local(self.general, some), *_middle(_cross_fitted(self.general, some)))
            for key, some in groups.items()
            if len(some) >= ENOUGH
        }
        return replace(self, known={**self.known, **made})

    def unusual(self, texts: Sequence[GuardText]) -> Floats:
        """[N, F] features in spreads from the middle of their format."""
        found = np.zeros((len(texts), len(FEATURES)))
        for key, rows in self._by_format(texts).items():
            some = [texts[row] for row in rows]
            found[rows] = self._spreads(
                text_features(some, self.general, self.known[key].local), self.known[key]
            )
        return found

    def cross_fitted(self, texts: Sequence[GuardText], change: Change) -> tuple[Floats, Floats]:
        """[N, F] twice, for texts that the formats were learned of: of them, and of what `change`
        makes of them, by models of the other half."""
        plain, changed = (np.zeros((len(texts), len(FEATURES))) for _ in range(2))
        for key, rows in self._by_format(texts).items():
            some = [texts[row] for row in rows]
            form = self.known[key]
            other = list(change(some))
            plain[rows] = self._spreads(_cross_fitted(self.general, some), form)
            changed[rows] = self._spreads(_cross_fitted(self.general, some, other), form)
        return plain, changed

    def _spreads(self, features: Floats, form: TextFormat) -> Floats:
        scaled = (features - form.middle) / np.maximum(form.spread, self.least)
        return np.clip(scaled, -_FARTHEST, _FARTHEST)

    def _by_format(self, texts: Sequence[GuardText]) -> dict[tuple[str, ...], list[int]]:
        found: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        for row, one in enumerate(texts):
            found[next(key for key in _keys(one) if key in self.known)].append(row)
        return dict(found)


def _keys(one: GuardText) -> Iterator[tuple[str, ...]]:
    if one.merchant:
        yield ("merchant", one.merchant, one.field)
    yield ("field", one.field)
    yield ()


def _local(general: CharModel, texts: Sequence[GuardText]) -> CharModel:
    words = [one.text for one in texts]
    if not any(words):
        return general
    return CharModel.fit(words, order=_LOCAL_ORDER, base=general)


def _cross_fitted(
    general: CharModel, texts: Sequence[GuardText], looked_at: Sequence[GuardText] | None = None
) -> Floats:
    """[N, F] features of `looked_at`, by default the texts themselves, each by a local model of the
    texts of the other fold."""
    looked_at = texts if looked_at is None else looked_at
    found = np.zeros((len(texts), len(FEATURES)))
    fold = np.arange(len(texts)) % _FOLDS
    for one in range(_FOLDS):
        rows = np.flatnonzero(fold == one).tolist()
        others = [texts[row] for row in np.flatnonzero(fold != one).tolist()]
        local = _local(general, others)
        found[rows] = text_features([looked_at[row] for row in rows], general, local)
    return found


def _middle(features: Floats) -> tuple[Floats, Floats]:
    low, middle, high = np.quantile(features, (0.1, 0.5, 0.9), axis=0)
    # Of a normal distribution, the spread would be its standard deviation.
    return middle, (high - low) / 2.563
