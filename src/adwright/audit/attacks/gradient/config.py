"""The settings of the attack by gradient, and what others take ("Manipulating LLMs to Increase
Product Visibility" is 2404.07981).

| | steps | candidates | top-k | start | orders |
|---|---|---|---|---|---|
| 2404.07981 | 2,000 | 512 | 256 | thirty stars | shuffled after each step |
| nanoGCG 0.3.0 | 250 | 512 | 256 | twenty "x" | - |
| default here, for a processor | 60 | 64 | 256 | twenty stars | three, fixed |
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

from adwright.core.config import settings
from adwright.core.errors import ConfigError

#: Nats of the suffix against nats of the answer. At .1 an attack of 120 readings of the prompt won
#: nothing on ten coffee machines; at .03 it won -20 and 100 percent on two books (with a pool of
#: 4,096 tokens 60 and 10).
FLUENCY = 0.03

_WORDS = (
    *("and", "it", "is", "made", "of", "good", "parts", "and", "works", "well"),
    *("every", "day", "for", "all", "who", "use", "it", "at"),
)


@settings
class GradientConfig:
    """tokens: of the suffix. start: what it begins as: stars, letters x, or plain words, which a
        fluent attack needs, since stars that repeat are what a model expects most.
    steps: at most; a budget may end it before. candidates: that are tried in a step. top_k: tokens
        of a position among which they are drawn.
    swaps: positions that a candidate changes.
    orders: "fixed" takes the mean loss over `order_count` orders and keeps what is best; "shuffled"
        draws a new order for each step and takes the best of the step even if it is worse, as in
        the paper.
    buffer: with fixed orders, so many of the best are kept, and a candidate has to beat the worst
        of them; the best goes on.
    reading: "look" tries candidates by an approximation first and reads the best exactly; "exact"
        reads all of them.
    abandon: the share that goes on from one order to the next; 1 tries all in all orders.
    verified: after looks, so many are read exactly.
    coordinates: the changes of so many of the best candidates are also tried together; 0 for none.
    fluency: weight of the mean cross-entropy of the suffix itself, in nats; 0 for none.
    pool: with fluency, tokens are drawn from so many that the model itself expects there.

    Raises ConfigError that names the setting.
    """

    tokens: int = 20
    start: Literal["stars", "x", "words"] = "stars"
    steps: int = 60
    candidates: int = 64
    top_k: int = 256
    swaps: int = 1
    orders: Literal["fixed", "shuffled"] = "fixed"
    order_count: int = 3
    buffer: int = 1
    reading: Literal["look", "exact"] = "look"
    abandon: float = 0.25
    verified: int = 1
    coordinates: int = 0
    fluency: float = 0.0
    pool: int = 512

    def __post_init__(self) -> None:
        least = {"tokens": 1, "steps": 1, "candidates": 1, "top_k": 1, "swaps": 1, "order_count": 1}
        least |= {"buffer": 1, "verified": 1, "coordinates": 0, "pool": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise _wrong(name, getattr(self, name), f"use a whole number from {bound} on")
        if self.swaps > self.tokens:
            raise _wrong(
                "swaps", self.swaps, "a candidate cannot change more tokens than there are"
            )
        if not 0 < self.abandon <= 1:
            raise _wrong("abandon", self.abandon, "use a share above 0 and up to 1")
        if not (math.isfinite(self.fluency) and self.fluency >= 0):
            raise _wrong("fluency", self.fluency, "use a weight from 0 on")

    @property
    def start_text(self) -> str:
        """The text that the suffix begins as, about a token a word."""
        if self.start == "words":
            return "".join(f" {_WORDS[at % len(_WORDS)]}" for at in range(self.tokens))
        return (" *" if self.start == "stars" else " x") * self.tokens

    @property
    def fixed(self) -> bool:
        """Whether the orders stay the same."""
        return self.orders == "fixed"


def fluent_config(config: GradientConfig) -> GradientConfig:
    """The same for text that reads less odd: begins as plain words, and is weighed by FLUENCY."""
    return replace(config, start="words", fluency=FLUENCY)


def paper_config() -> GradientConfig:
    """As the released code of 2404.07981, with the check of retokenisation that it lacks."""
    return GradientConfig(
        tokens=30, steps=2000, candidates=512, orders="shuffled", order_count=1, reading="exact"
    )


def _wrong(name: str, value: object, hint: str) -> ConfigError:
    return ConfigError("a setting of the attack does not work", where=f"{name} {value}", hint=hint)
