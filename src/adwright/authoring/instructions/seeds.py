"""Seed instructions, written by us: several ways to ask for each task, some with slots.

    seeds = load_seeds("ads")
    seeds[1].text     # 'Create an attractive advertisement for the {occasion} sale of ...'
    filled(seeds[1].text, request)     # the slots filled from the request's values

Each task has a file of TOML beside this module, and a file of one's own has the same form:

    task = "ads"
    licence = "Apache-2.0"

    [[seeds]]
    id = "ads-01"
    slots = []
    text = "Write a short ad for this product."
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from adwright.authoring.tasks.harmless import harmless
from adwright.authoring.tasks.task import PRODUCT_SLOT, AuthoringRequest, AuthoringTask, task_named
from adwright.core.config import load_toml
from adwright.core.errors import ConfigError

_FOLDER = Path(__file__).with_name("seed_files")
_SLOT = re.compile(r"\{(\w+)\}")
#: Characters of a value within an instruction.
_VALUE = 80
_QUOTES = str.maketrans(dict.fromkeys("\u201c\u201d{}", " "))


@dataclass(frozen=True)
class SeedInstruction:
    """One way to ask for a task. text: the instruction; `{name}` stands for a value of a request.
    slots: the names in it, in order. task and licence: of its file, where they are not given."""

    id: str
    text: str
    slots: tuple[str, ...] = ()
    task: str = ""
    licence: str = ""


@dataclass(frozen=True)
class SeedFile:
    """What a file of seeds holds."""

    task: str
    seeds: tuple[SeedInstruction, ...]
    licence: str = ""


def load_seeds(task: str) -> tuple[SeedInstruction, ...]:
    """Our seeds of a task. Raises ConfigError where there is no such task."""
    return read_seeds(_FOLDER / f"{task_named(task).name}.toml")


def read_seeds(path: str | Path) -> tuple[SeedInstruction, ...]:
    """The seeds of a file.

    Raises ConfigError naming the file and the seed: as `load_toml`, for an unknown task, an id or
    a text that is empty or stands twice, and for slots that the text has not or the task does not
    fill.
    """
    found = load_toml(path, SeedFile)
    task = task_named(found.task)
    seen_ids, seen_texts = set[str](), set[str]()
    for seed in found.seeds:
        problem = _problem(seed, task, seen_ids, seen_texts)
        if problem:
            raise ConfigError(problem, where=f"{path}, seed {seed.id!r}", hint="correct the seed")
        seen_ids.add(seed.id)
        seen_texts.add(seed.text)
    return tuple(
        SeedInstruction(one.id, one.text, one.slots, task.name, one.licence or found.licence)
        for one in found.seeds
    )


def slots_of(text: str) -> tuple[str, ...]:
    """Names in braces, in order."""
    return tuple(_SLOT.findall(text))


def value_slots(task: AuthoringTask) -> frozenset[str]:
    """What an instruction of the task may have in braces: values, never fields of the product,
    which are a stranger's text."""
    return frozenset(slot.name for slot in task.presented) - {PRODUCT_SLOT}


def fits(text: str, filled_slots: Collection[str]) -> bool:
    """Whether all slots of an instruction can be filled."""
    return set(slots_of(text)) <= set(filled_slots)


def filled(text: str, request: AuthoringRequest) -> str:
    """The instruction with the request's values in its slots, each made one harmless line.

    Raises ConfigError for a slot without a value.
    """
    values = {name: value for name, value in request.values if value.strip()}
    for name in slots_of(text):
        if name not in values:
            raise ConfigError(
                f"the instruction asks for {name}, which the request does not have",
                where=text[:80],
                hint="choose another instruction",
            )
    return _SLOT.sub(
        lambda found: " ".join(harmless(values[found[1]].translate(_QUOTES), _VALUE).split()), text
    )


def _problem(
    seed: SeedInstruction,
    task: AuthoringTask,
    ids: Collection[str],
    texts: Collection[str],
) -> str:
    """What is wrong with a seed; empty where nothing is."""
    if not seed.id.strip() or not seed.text.strip():
        return "a seed needs an id and a text"
    if seed.id in ids or seed.text in texts:
        return "an id or a text stands twice"
    if seed.task not in ("", task.name):
        return f"it is a seed of {seed.task}, in a file of {task.name}"
    own = slots_of(seed.text)
    if own != seed.slots:
        return f"its slots are {list(own)}, not {list(seed.slots)}"
    unknown = set(own) - value_slots(task)
    return f"{task.name} does not fill {', '.join(sorted(unknown))}" if unknown else ""
