"""Objectives: what the reader of an output waits for.

    kind         what counts                                   seconds
    deadline     all of the text is there in time              from the arrival of the program
    ttft         its first token is there in time              from the arrival of the program
    tpot         tokens come no slower than                    between two tokens
    latency      all of the text, as soon as possible          none
    throughput   the work of many programs, not this text      none

Who needs several of them at once is served by the strictest: the kinds stand in that order, and
among two of one kind the shorter time is stricter.

What an output wants is wanted of all that it is made from, but not in the same words. A text that
has to be read before the first token can be written has to be there as a whole, so what feeds a
`ttft` of s seconds has a deadline of s. How fast tokens follow each other is up to the call that
writes them, so what feeds a `tpot` is asked for `latency`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, get_args

from adwright.core.config import settings
from adwright.core.errors import ConfigError

__all__ = ["LATENCY", "THROUGHPUT", "Objective", "ObjectiveKind", "strictest"]

ObjectiveKind = Literal["deadline", "ttft", "tpot", "latency", "throughput"]

_TIMED = ("deadline", "ttft", "tpot")
_ORDER = {kind: at for at, kind in enumerate(get_args(ObjectiveKind))}


@settings
class Objective:
    """What counts for a text. seconds: see the table above; None where the kind has none."""

    kind: ObjectiveKind = "latency"
    seconds: float | None = None

    def __post_init__(self) -> None:
        timed = self.kind in _TIMED
        if not timed and self.seconds is not None:
            raise ConfigError(
                f"an objective of {self.kind} has no seconds",
                where=f"Objective.seconds {self.seconds!r}",
                hint=f"leave them out, or choose one of {', '.join(_TIMED)}",
            )
        if timed and (self.seconds is None or not 0 < self.seconds < math.inf):
            raise ConfigError(
                f"an objective of {self.kind} needs seconds above 0",
                where=f"Objective.seconds {self.seconds!r}",
                hint=f"write Objective({self.kind!r}, 2.0)",
            )

    @property
    def strictness(self) -> tuple[int, float]:
        """Orders objectives, the strictest first."""
        return _ORDER[self.kind], 0.0 if self.seconds is None else self.seconds

    def of_producers(self, share: float) -> Objective:
        """What it asks of a text that it is made from.

        share: of the expected work up to the output, how much is done once that text is there;
        above 0, at most 1. A deadline is divided in that proportion.
        """
        match self.kind:
            case "deadline" | "ttft":
                return Objective("deadline", (self.seconds or 0.0) * share)
            case "tpot":
                return LATENCY
            case _:
                return self

    def __str__(self) -> str:
        return self.kind if self.seconds is None else f"{self.kind} {self.seconds:g} s"


#: The objectives without a time.
LATENCY, THROUGHPUT = Objective("latency"), Objective("throughput")


def strictest(asked: Iterable[Objective]) -> Objective:
    """The strictest of one or more objectives."""
    return min(asked, key=lambda each: each.strictness)
