"""An ad as a page shows it: what it says, its picture, and what each judge answered."""

from __future__ import annotations

from dataclasses import dataclass

from adwright.creative.records.verbal.record import AdRecord

__all__ = ["MovedBy", "PastLikeIt", "ShownAd", "ShownAnswer"]


@dataclass(frozen=True)
class MovedBy:
    """How much higher the answer is with a part of the ad than without it, in the judge's unit."""

    part: str
    change: float


@dataclass(frozen=True)
class PastLikeIt:
    """A past ad that is near: what it says, what became of it, and how far off it is."""

    text: str
    outcome: float
    distance: float


@dataclass(frozen=True)
class ShownAnswer:
    """Of one judge on one ad. judge: its name. percent: whether values are shares, to be shown as
    such. better: share of the judge's training ads that it answers lower values for; None where
    nobody knows. unlike: the ad is unlike anything seen in training."""

    judge: str
    value: float
    low: float
    high: float
    unlike: bool = False
    coverage: float = 0.9
    percent: bool = True
    better: float | None = None
    moved: tuple[MovedBy, ...] = ()
    near: tuple[PastLikeIt, ...] = ()

    def said(self, value: float) -> str:
        """A number of this judge, as people read it."""
        return f"{value:.2%}" if self.percent else f"{value:.3g}"


@dataclass(frozen=True)
class ShownAd:
    """name: of the ad, its id. picture: a data address of a small picture, empty for none."""

    name: str
    record: AdRecord
    picture: str = ""
    answers: tuple[ShownAnswer, ...] = ()

    def answer(self, judge: str) -> ShownAnswer | None:
        """Of the judge with this name."""
        return next((one for one in self.answers if one.judge == judge), None)
