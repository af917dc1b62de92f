"""How much simulated people like the ads that they are shown.

    appeal = Appeal(AppealConfig(), planted={"bad-1": -2.0})
    moved = appeal.log_odds(user, ads)             # [V, k], added to the log-odds of a click
    appeal.remember(user, ads)                     # they have seen them once more

Of an ad there is a taste that all people share, normal about 0. A part of it follows from its
words, each of which has a weight that nobody is told; the rest is the ad's own. And who has seen
an ad before clicks it less: the odds of a click fall with (1 + times seen)^-wear. All of that is
assumed: the log has no ads.

Letters: V visits, k places.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import sqrt
from statistics import NormalDist
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import Ge, Le, NotNegative, settings

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_WORD = re.compile(r"\w+")


@settings
class AppealConfig:
    """spread: of the ads of an item, in log-odds of a click. words: share of its variance that
    follows from words. wear: see above; 0 never tires. seed: of the taste."""

    spread: NotNegative = 0.3
    words: Annotated[float, Ge(0), Le(1)] = 0.3
    wear: NotNegative = 0.3
    seed: int = 0

    def assumptions(self) -> tuple[str, ...]:
        """In sentences."""
        return (
            "Ads of an item differ in the log-odds that it is clicked at its place by "
            f"{self.spread:g} (one standard deviation); {self.words:.0%} of the variance follows "
            "from their words, whose weights are drawn by chance: assumed, the log has no ads.",
            "Who has seen an ad n times clicks it with odds that are (1 + n)^-"
            f"{self.wear:g} of those at first: assumed as well.",
        )


@dataclass(frozen=True)
class SeenAd:
    """The ad of a place: its id, and its text."""

    creative_id: str
    text: str


class Appeal:
    """The taste for ads, and what each person has seen. planted: ads whose log-odds are what is
    said here, whatever they say."""

    def __init__(self, config: AppealConfig, planted: Mapping[str, float] | None = None) -> None:
        self.config, self.planted = config, dict(planted or {})
        self._liking: dict[str, float] = {}
        self._seen: Counter[tuple[int, str]] = Counter()

    def liking(self, ad: SeenAd) -> float:
        """What the ad's words and itself are worth to anybody, in log-odds."""
        found = self._liking.get(ad.creative_id)
        if found is None:
            found = self._liking[ad.creative_id] = self._of_text(ad)
        return found

    def log_odds(self, user: Ints, ads: Sequence[Sequence[SeenAd | None]]) -> Floats:
        """[V, k] of V users and the ads of their places; 0 where there is none."""
        found = np.zeros((len(ads), max((len(row) for row in ads), default=0)))
        for v, (who, row) in enumerate(zip(user.tolist(), ads, strict=True)):
            for j, ad in enumerate(row):
                if ad is not None:
                    times = self._seen[who, ad.creative_id]
                    found[v, j] = self.liking(ad) - self.config.wear * np.log1p(times)
        return found

    def remember(self, user: Ints, ads: Sequence[Sequence[SeenAd | None]]) -> None:
        """Count what was seen."""
        for who, row in zip(user.tolist(), ads, strict=True):
            self._seen.update((who, ad.creative_id) for ad in row if ad is not None)

    def _of_text(self, ad: SeenAd) -> float:
        if ad.creative_id in self.planted:
            return self.planted[ad.creative_id]
        config = self.config
        words = [one.lower() for one in _WORD.findall(ad.text)]
        told = sum(self._normal(f"word {one}") for one in words) / sqrt(max(len(words), 1))
        own = self._normal(f"ad {ad.text}")
        return config.spread * (sqrt(config.words) * told + sqrt(1 - config.words) * own)

    def _normal(self, name: str) -> float:
        """Drawn by the seed and the name."""
        text = f"{self.config.seed}:{name}".encode("utf-8", "surrogatepass")
        point = int.from_bytes(blake2b(text, digest_size=8).digest(), "big")
        return NormalDist().inv_cdf((point + 0.5) / 2**64)
