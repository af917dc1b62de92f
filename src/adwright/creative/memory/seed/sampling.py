"""Several ads for each brief, written batch by batch into a file, so that a killed run goes on.

    path = folder / "samples.jsonl"
    written = write_ads(briefs, opened, config, path, samples=6, seed=7)

All samples of a brief stand in one call, so that an engine that shares beginnings reads the brief
once. Sample s of brief b draws from `seed + b * samples + s`: a run that was killed and goes on
asks for the same batches with the same seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adwright.core.errors import ResumeError
from adwright.core.journal import append_rows, read_rows, write_rows
from adwright.core.progress import progress
from adwright.creative.memory.seed.config import SeedConfig
from adwright.creative.memory.seed.round_files import DAMAGED
from adwright.creative.memory.seed.texts.brief import AdBrief
from adwright.lm.engine.generation import LanguageModel, Usage

__all__ = ["WrittenAds", "write_ads"]


@dataclass(frozen=True)
class WrittenAds:
    """What was written for one brief. cut: whether the tokens of a sample ran out."""

    brief: AdBrief
    texts: tuple[str, ...]
    cut: tuple[bool, ...]


def write_ads(
    briefs: Sequence[AdBrief],
    opened: Callable[[], AbstractContextManager[LanguageModel]],
    config: SeedConfig,
    path: Path,
    *,
    samples: int,
    seed: int,
    label: str = "write",
    told: Callable[[Usage], None] = lambda usage: None,
    spent: Callable[[], bool] = lambda: False,
) -> tuple[WrittenAds, ...] | None:
    """Write what the file lacks; None where the budget was spent before its end.

    opened: the writer, opened only where something is missing. told: tokens of each call. spent:
    asked before each. Raises as the model does, and ResumeError where the file is of other briefs.
    """
    found = read_rows(path, dict, hint=DAMAGED)
    done = _whole(found, briefs, config.batch, path)
    if done < len(found):
        write_rows(path, found[:done])
    if done < len(briefs):
        with (
            progress(len(briefs) - done, label, "briefs") as bar,
            opened() as model,
        ):
            while done < len(briefs):
                if spent():
                    return None
                some = briefs[done : done + config.batch]
                rows, usage = _batch(model, some, config, samples, seed + done * samples)
                append_rows(path, rows)
                told(usage)
                done += len(some)
                bar.advance(len(some))
    return tuple(
        WrittenAds(brief, tuple(row["texts"]), tuple(row["cut"]))
        for brief, row in zip(briefs, read_rows(path, dict), strict=True)
    )


def _whole(
    found: Sequence[dict[str, Any]], briefs: Sequence[AdBrief], batch: int, path: Path
) -> int:
    """How many lines are of whole batches. Raises ResumeError where they are of other briefs."""
    for row, brief in zip(found, briefs, strict=False):
        if row.get("brief") != brief.id:
            raise ResumeError(
                "what was written is of other briefs",
                where=f"{path}: {row.get('brief')!r} where {brief.id!r} is due",
                hint="name another folder, or remove this round",
            )
    if len(found) >= len(briefs):
        return len(briefs)
    return len(found) // batch * batch


def _batch(
    model: LanguageModel, briefs: Sequence[AdBrief], config: SeedConfig, samples: int, seed: int
) -> tuple[list[dict[str, Any]], Usage]:
    prompts = [brief.messages() for brief in briefs for _ in range(samples)]
    answers = model.generate(prompts, replace(config.generation(seed)))
    rows = []
    for at, brief in enumerate(briefs):
        mine = [answers[at * samples + one] for one in range(samples)]
        cut = [one.finish_reason == "length" for one in mine]
        rows.append({"brief": brief.id, "texts": [one.text for one in mine], "cut": cut})
    return rows, answers.usage
