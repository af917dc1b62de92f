"""The settings of a writing job, and the bounds of what it may cost."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Annotated

from adwright.authoring.writer.slots import WriterPlatform, slot_named
from adwright.core.config import Ge, settings
from adwright.core.errors import ConfigError


@settings
class WriterPrices:
    """Money for a million tokens: of prompts, of those of them that were cached, and of answers.
    cached: None for the price of the others. currency: in which they are."""

    prompt: float = 0.0
    answer: float = 0.0
    cached: float | None = None
    currency: str = "USD"

    def __post_init__(self) -> None:
        if min(self.prompt, self.answer, self.cached or 0.0) < 0:
            raise ConfigError("prices are 0 or above", where=str(self), hint="correct them")

    def of(self, prompt: int, cached: int, answer: int) -> float:
        """What so many tokens cost; cached ones are part of those of prompts."""
        for_cached = self.prompt if self.cached is None else self.cached
        millions = (prompt - cached) * self.prompt + cached * for_cached + answer * self.answer
        return millions / 1e6


@settings
class WriteBudget:
    """After which a job stops: tokens of prompts and answers, seconds, money. 0 for no bound. What
    is being written then is written to its end."""

    tokens: int = 0
    seconds: float = 0.0
    money: float = 0.0

    def __post_init__(self) -> None:
        if min(self.tokens, self.seconds, self.money) < 0:
            raise ConfigError("a budget is 0 or above", where=str(self), hint="correct it")


@settings
class WriteConfig:
    """What is written for each product, and how.

    slots: names, see `slots`. platform: whose limits hold, "" for none.
    variants: texts of each slot, for A/B tests. voice: a TOML file with the voice of a brand.
    labels: the closed list for the slot `category`. values: further fields of requests, the same
    for all, such as ("occasion", "Christmas"). value_columns: field -> column of the table.
    instructions: slot -> what the model is told in the place of our own words.

    temperature: of the first variant; variety: of the others, and of second attempts. seed: of
    what is drawn, the sample and the tokens. batch: products that are written at a time.
    attempts: times that a text is asked for, at most. pause: seconds before an engine that did not
    answer is asked again; it doubles. sample: only so many products, drawn by the seed; 0 for all.

    repair: mend what the checks find. rewrite: also texts that were written with other settings.
    again: also texts that were rejected. over_edits: also texts that a person edited or approved.

    Raises ConfigError that names the setting.
    """

    slots: tuple[str, ...]
    platform: WriterPlatform = ""
    variants: int = 1
    voice: Path | None = None
    labels: tuple[str, ...] = ()
    values: tuple[tuple[str, str], ...] = ()
    value_columns: tuple[tuple[str, str], ...] = ()
    instructions: tuple[tuple[str, str], ...] = ()
    temperature: Annotated[float, Ge(0)] = 0.0
    variety: Annotated[float, Ge(0)] = 0.8
    seed: int = 0
    batch: int = 64
    attempts: int = 3
    pause: Annotated[float, Ge(0)] = 1.0
    sample: int = 0
    repair: bool = True
    rewrite: bool = False
    again: bool = False
    over_edits: bool = False
    budget: WriteBudget = field(default_factory=WriteBudget)
    prices: WriterPrices = field(default_factory=WriterPrices)

    def __post_init__(self) -> None:
        if not self.slots or len(set(self.slots)) < len(self.slots):
            raise ConfigError(
                "slots are named, each once", where=f"slots {self.slots}", hint="name one or more"
            )
        needs_labels = [n for n in self.slots if slot_named(n, self.platform).task.form == "label"]
        if bool(needs_labels) != bool(self.labels):
            raise ConfigError(
                f"the slot {needs_labels[0]} needs a closed list of labels"
                if needs_labels
                else "labels are given, and no slot takes them",
                where="labels",
                hint="give --labels FILE, a label a line, with --slots category",
            )
        least = {"variants": 1, "batch": 1, "attempts": 1, "sample": 0, "seed": 0}
        for name, most in least.items():
            if getattr(self, name) < most:
                raise ConfigError(
                    f"{name} is {most} or more", where=f"{name} {getattr(self, name)}"
                )
        if self.variants > 1 and not self.variety:
            raise ConfigError(
                "variants differ by what is drawn, which needs variety",
                where="variety 0",
                hint="leave it out, or give 0.8",
            )
        if self.budget.money and not (self.prices.prompt or self.prices.answer):
            raise ConfigError(
                "a budget in money needs prices", where="budget", hint="give the price of tokens"
            )
        for name, _ in self.instructions:
            if name not in self.slots:
                raise ConfigError(
                    f"an instruction is for {name!r}, which is no slot of the job",
                    where="instructions",
                    hint=f"the slots are {', '.join(self.slots)}",
                )
