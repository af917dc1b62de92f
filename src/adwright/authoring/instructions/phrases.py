"""The parts that are put together without a model, and new instructions out of them.

    kept = recombined_instructions(task, load_seeds("ads"), most=24, seed=7)

An instruction is an opening, a body and an ending. Those that are too much like a seed, or like one
another, are left out: ROUGE-L of 0.7 or more (Wang et al., "Self-Instruct", ACL 2023, section 2.2).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

from adwright.authoring.instructions.draws import drawn
from adwright.authoring.instructions.seeds import SeedInstruction
from adwright.authoring.tasks.task import AuthoringTask
from adwright.core.config import load_toml
from adwright.core.errors import ConfigError
from adwright.metrics.text.rouge import rouge_l

#: ROUGE-L with a kept instruction from which on a new one is left out.
MOST_ALIKE = 0.7
RECOMBINED = "recombination"


@dataclass(frozen=True)
class Phrases:
    """Parts of instructions: each opening goes with each body and each ending."""

    openings: tuple[str, ...]
    bodies: tuple[str, ...]
    endings: tuple[str, ...]


@dataclass(frozen=True)
class Sentences:
    """Sentences with facts in braces: of ads; and of descriptions, which have an opening, details
    and perhaps a closing."""

    ads: tuple[str, ...]
    openings: tuple[str, ...]
    details: tuple[str, ...]
    closings: tuple[str, ...]


@dataclass(frozen=True)
class Values:
    """What requests are filled with, and what customers ask although no listing says it."""

    occasions: tuple[str, ...]
    audiences: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """A question of a customer's and its reply."""

    ask: str
    reply: str


@dataclass(frozen=True)
class Parts:
    """All of them. general: questions without a product."""

    licence: str
    phrases: dict[str, Phrases]
    sentences: Sentences
    values: Values
    questions: tuple[Question, ...]
    general: tuple[Question, ...]


@cache
def parts() -> Parts:
    """Our parts, read once."""
    return load_toml(Path(__file__).with_name("recombination.toml"), Parts)


def alike(text: str, kept: Collection[str]) -> float:
    """The highest ROUGE-L F1 of `text` with one of `kept`, 0 where there are none."""
    return max((rouge_l(text, one) for one in kept), default=0.0)


def recombined_instructions(
    task: AuthoringTask,
    seeds: Sequence[SeedInstruction],
    *,
    most: int,
    seed: int = 0,
) -> tuple[SeedInstruction, ...]:
    """At most `most` new instructions of the task, put together in an order drawn by `seed`.

    None of them has a ROUGE-L of 0.7 or more with one of `seeds` or with one before it.
    Raises ConfigError where `most` is negative.
    """
    if most < 0:
        raise ConfigError("most must not be negative", where=f"most {most}", hint="0 for none")
    own = parts().phrases.get(task.name)
    if own is None or not most:
        return ()
    ways = sorted(product(own.openings, own.bodies, own.endings), key=lambda way: drawn(seed, *way))
    known, found = [one.text for one in seeds], list[SeedInstruction]()
    for way in ways:
        text = " ".join(way)
        if alike(text, known) >= MOST_ALIKE:
            continue
        known.append(text)
        name = f"{task.name}-{RECOMBINED}-{len(found) + 1:03d}"
        found.append(SeedInstruction(name, text, (), task.name, parts().licence))
        if len(found) == most:
            break
    return tuple(found)
