"""Which of the written ads may be kept at all, and why the others may not.

    filters = AdFilters(AdFilterConfig(), CopyIndex(read))
    filters.reason("Baked at nine.", brief)          # "ungrounded": the brief says six
    filters.reason("Fresh at six.", brief)           # "": it may be kept

A judge of memory never saw such texts, and what it loves in them may be their faults. So what is
cut off, too short or long, copied, repeats itself, merely says the brief again, or claims what the
brief does not is out before a judge is asked. The reasons are looked at in the order of
`FilterReason`, and the first one that holds is told.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby
from typing import Annotated, Literal, get_args

from adwright.core.config import Ge, Le, settings
from adwright.core.errors import ConfigError
from adwright.creative.memory.seed.texts.ad_text import claimed_in, record_of, said_in
from adwright.creative.memory.seed.texts.brief import AdBrief
from adwright.creative.memory.seed.texts.copying import CopyIndex, echo_share
from adwright.metrics.text.grounding import grounded
from adwright.metrics.text.words import ngrams, words_of

__all__ = ["REASONS", "AdFilterConfig", "AdFilters", "FilterReason"]

#: empty: nothing is left of it. cut: it had no end within the tokens. short, long: too few or many
#: words. signs: hardly a letter in it. repeats: words or pairs of words come again and again.
#: copied: it stands in an ad that the writer read. echo: it says the brief again. ungrounded: a
#: number, colour, claim or name that the brief does not tell. twice: the same brief has it already.
#: unlike: the own judge knows nothing like it.
FilterReason = Literal[
    "empty",
    "cut",
    "short",
    "long",
    "signs",
    "repeats",
    "copied",
    "echo",
    "ungrounded",
    "twice",
    "unlike",
]
#: Words from which on a text is long.
_LONG = 40
REASONS: tuple[FilterReason, ...] = get_args(FilterReason)


@settings
class AdFilterConfig:
    """What is asked of an ad.

    least_words, most_words: of it; video_words: most of a video. letters: least share of its
    characters, blanks aside. distinct: least share of different words, and of different pairs, in
    it; of pairs alone in a long one. in_a_row: most times that a word follows itself. copied: most
    share of its words in copied runs of `run` words. echo: most ROUGE-L with what the brief tells.
    ground: whether claims are checked. unlike: whether an ad that the own judge calls unlike all it
    knows is kept out. locale: of the texts.

    Raises ConfigError for numbers out of range.
    """

    least_words: int = 2
    most_words: int = 40
    video_words: int = 300
    letters: Annotated[float, Ge(0), Le(1)] = 0.6
    distinct: Annotated[float, Ge(0), Le(1)] = 0.6
    in_a_row: int = 2
    copied: Annotated[float, Ge(0), Le(1)] = 0.6
    run: int = 4
    echo: Annotated[float, Ge(0), Le(1)] = 0.8
    ground: bool = True
    unlike: bool = True
    locale: str = "en"

    def __post_init__(self) -> None:
        if not 1 <= self.least_words <= self.most_words or min(self.in_a_row, self.run) < 1:
            raise ConfigError(
                "words and runs are counted from 1, the least before the most",
                where=f"{self.least_words} to {self.most_words} words, {self.in_a_row}, {self.run}",
            )


class AdFilters:
    """The filters of a run. index: of what the writer read. brands: of the catalogue, so that the
    name of another's is found."""

    def __init__(
        self, config: AdFilterConfig, index: CopyIndex, *, brands: Collection[str] = ()
    ) -> None:
        self.config, self.index, self.brands = config, index, frozenset(brands)

    def reasons(
        self, texts: Sequence[str], brief: AdBrief, *, cut: Sequence[bool] = ()
    ) -> list[FilterReason | Literal[""]]:
        """Of each text written for one brief why it is out, "" where it may be kept.

        cut: whether its tokens ran out. Of texts with the same words the first may be kept.
        """
        ends = list(cut) or [False] * len(texts)
        seen: set[tuple[str, ...]] = set()
        found: list[FilterReason | Literal[""]] = []
        for text, ended in zip(texts, ends, strict=True):
            reason = self.reason(text, brief, cut=ended)
            words = tuple(words_of(_ad(text, brief)))
            if not reason and words in seen:
                reason = "twice"
            seen.add(words)
            found.append(reason)
        return found

    def reason(self, text: str, brief: AdBrief, *, cut: bool = False) -> FilterReason | Literal[""]:
        """Why one text is out by itself, "" where it may be kept."""
        asked, ad = self.config, _ad(text, brief)
        words = words_of(ad)
        if not words:
            return "empty"
        if cut:
            return "cut"
        most = asked.video_words if brief.kind == "video" else asked.most_words
        if not asked.least_words <= len(words) <= most:
            return "short" if len(words) < asked.least_words else "long"
        if _letters(ad) < asked.letters:
            return "signs"
        if self._repeats(words):
            return "repeats"
        if self.index.share(ad) > asked.copied:
            return "copied"
        if echo_share(ad, brief.known) > asked.echo:
            return "echo"
        return "ungrounded" if asked.ground and not self.grounded(text, brief) else ""

    def grounded(self, text: str, brief: AdBrief) -> bool:
        """Whether an ad claims only what its brief tells."""
        claims = claimed_in(record_of(text, brief), brief.kind)
        return grounded(claims, brief.known, brands=self.brands, locale=self.config.locale)

    def _repeats(self, words: list[str]) -> bool:
        row = max(len(list(same)) for _, same in groupby(words))
        pairs = ngrams(words, 2)
        shares = [len(set(pairs)) / max(len(pairs), 1)]
        # Words of a long text come again by themselves, pairs of them hardly.
        if len(words) <= _LONG:
            shares.append(len(set(words)) / len(words))
        return row > self.config.in_a_row or (len(words) > 2 and min(shares) < self.config.distinct)


def _ad(text: str, brief: AdBrief) -> str:
    """What an answer says, without labels and form."""
    return said_in(record_of(text, brief), brief.kind)


def _letters(text: str) -> float:
    signs = "".join(text.split())
    return sum(sign.isalnum() for sign in signs) / max(len(signs), 1)
