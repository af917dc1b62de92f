"""The settings of a writing job, and the bounds of what it may cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from adwright.authoring.plan.planning import TextKind
from adwright.authoring.tasks import AuthoringTask, task_named
from adwright.core.config import Count, Ge, Natural, check_literals, name_hint, read_toml, settings
from adwright.core.errors import ConfigError

# --------------------------------------------------------------------------------------------------
# What can be written for a product, each with its task, its instruction and its length.
#
#     slot_named("headline", "google-rsa").instruction(30)
#
# On an advertising platform, `description` is the short text of an ad; without one it is the
# description of the product. All rows of a slot have the same instruction, so that an engine reads
# it once.

#: Whose limits hold; "" for none.
WriterPlatform = Literal["", "google-rsa", "google-shopping", "meta", "amazon"]
#: Those on which a description is the text of an ad.
AD_PLATFORMS = frozenset(("google-rsa", "meta"))


@dataclass(frozen=True)
class WriterSlot:
    """name: as commands and tables call it. task_name: of `authoring.tasks`. asks: what the model
    is told, with {limit} for the characters. characters: the most, where no platform says
    otherwise; 0 for labels. tokens: the most of an answer. one_line: the answer ends with its
    line. kind: what it is, which says what a plan makes of it."""

    name: str
    task_name: str
    asks: str
    characters: int
    tokens: int
    one_line: bool = True
    kind: TextKind = "headline"

    def __post_init__(self) -> None:
        check_literals(self)

    @property
    def sentences(self) -> bool:
        """Whether its texts are whole sentences."""
        return self.kind in ("ad", "description", "answer")

    @property
    def task(self) -> AuthoringTask:
        """What the model is shown, and what it has to write."""
        return task_named(self.task_name)

    def instruction(self, limit: int = 0) -> str:
        """What the model is told. limit: characters that a platform allows; 0 for its own."""
        return self.asks.format(limit=limit or self.characters)


@cache
def slots() -> dict[str, WriterSlot]:
    """By name; `description` without a platform, and `ad_text`, which stands for it on others."""
    told = read_toml(Path(__file__).with_name("slots.toml"))
    return {name: WriterSlot(**values) for name, values in told.items()}


def slot_named(name: str, platform: str = "") -> WriterSlot:
    """The slot of that name. platform: an advertising platform, or none.

    Raises ConfigError with the names that there are.
    """
    found = slots()
    if name == "description" and platform in AD_PLATFORMS:
        return found["ad_text"]
    if name in found and name != "ad_text":
        return found[name]
    names = [one for one in found if one != "ad_text"]
    raise ConfigError(f"there is no slot {name!r}", where="slots", hint=name_hint(name, names))


@settings
class WriterPrices:
    """Money for a million tokens: of prompts, of those of them that were cached, and of answers.
    cached: None for the price of the others. currency: in which they are."""

    prompt: Annotated[float, Ge(0)] = 0.0
    answer: Annotated[float, Ge(0)] = 0.0
    cached: Annotated[float, Ge(0)] | None = None
    currency: str = "USD"

    def of(self, prompt: int, cached: int, answer: int) -> float:
        """What so many tokens cost; cached ones are part of those of prompts."""
        for_cached = self.prompt if self.cached is None else self.cached
        millions = (prompt - cached) * self.prompt + cached * for_cached + answer * self.answer
        return millions / 1e6


@settings
class WriteBudget:
    """After which a job stops: tokens of prompts and answers, seconds, money. 0 for no bound. What
    is being written then is written to its end."""

    tokens: Natural = 0
    seconds: Annotated[float, Ge(0)] = 0.0
    money: Annotated[float, Ge(0)] = 0.0


#: plan: a model chooses facts and frames, which a grammar says. free: the model's own words.
WritingWay = Literal["plan", "free"]


@settings
class WriteConfig:
    """What is written for each product, and how.

    by: how texts come about. codes: what the codes in names mean, in small letters, see
    `plan.names`. judge: what chooses among texts, by its folder; for the recipe alone.
    slots: names, see `slots`. platform: whose limits hold, "" for none.
    variants: texts of each slot, for A/B tests. voice: a TOML file with the voice of a brand.
    labels: the closed list for the slot `category`. train: a column of the table in which some rows
    have their label, from which the others' are learned. values: further fields of requests, the
    same for all, such as ("occasion", "Christmas"). value_columns: field -> column of the table.
    instructions: slot -> what the model is told in the place of our own words.

    temperature: of the first variant; variety: of the others, and of second attempts. seed: of
    what is drawn: the sample, frames and tokens. batch: products that are written at a time.
    attempts: times that a text is asked for, at most. pause: seconds before an engine that did not
    answer is asked again; it doubles. sample: only so many products, drawn by the seed; 0 for all.

    repair: mend what the checks find. rewrite: also texts that were written with other settings.
    again: also texts that were rejected. over_edits: also texts that a person edited or approved.

    Raises ConfigError that names the setting.
    """

    slots: tuple[str, ...]
    by: WritingWay = "plan"
    codes: tuple[tuple[str, str], ...] = ()
    judge: str = ""
    platform: WriterPlatform = ""
    variants: Count = 1
    voice: Path | None = None
    labels: tuple[str, ...] = ()
    train: str = ""
    values: tuple[tuple[str, str], ...] = ()
    value_columns: tuple[tuple[str, str], ...] = ()
    instructions: tuple[tuple[str, str], ...] = ()
    temperature: Annotated[float, Ge(0)] = 0.0
    variety: Annotated[float, Ge(0)] = 0.8
    seed: Natural = 0
    batch: Count = 64
    attempts: Count = 3
    pause: Annotated[float, Ge(0)] = 1.0
    sample: Natural = 0
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
        if bool(needs_labels) != bool(self.labels or self.train):
            raise ConfigError(
                f"the slot {needs_labels[0]} needs a closed list of labels"
                if needs_labels
                else "labels are given, and no slot takes them",
                where="labels",
                hint="give --labels FILE or --train COLUMN, with --slots category",
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
