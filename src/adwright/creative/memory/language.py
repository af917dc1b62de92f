"""The language form, Henry's: a language model reads the verbalised ad and answers two digits.

    judge = LanguageMemory(open_lm("smollm2+engine=torch"))    # untuned, zero-shot
    judge = LanguageMemory(model, examples=few_examples(table, 4))
    judge = tune_memory(table, LanguageConfig(out=Path("runs/henry")))
    judge.judge(ads)                                            # Judgements: recall, 0 to 1

Both tasks of `ad_tasks` in one mixture are what the model is tuned on, by any method of `tuning`,
as `adwright tune run` does it. Some brands are kept out of that: on them it is measured how far off
the answers are, which makes the interval. An untuned model has none, so its interval is 0 to 1.

The published model has 13 billion weights and eyes; this one reads what `records.seeing` or a user
wrote down of the ad. The default of 135 million shows how it works, and is no match for the encoder
form on hundreds of ads.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from adwright.core.atomic import atomic_write_text
from adwright.core.config import from_jsonable, settings, to_jsonable
from adwright.core.errors import ArtifactError, ConfigError
from adwright.creative.judging.conformal import ConformalInterval, ResidualScale
from adwright.creative.judging.judgement import Judgements
from adwright.creative.memory.ad_tasks import Example, MemoryTask, recall_prompt, write_rows
from adwright.creative.memory.block_ridge import group_folds
from adwright.creative.memory.digits import DigitAnswers, Digits
from adwright.creative.memory.outcomes import RecallTable
from adwright.creative.records.verbal.record import AdRecord
from adwright.lm.engine.generation import Message
from adwright.lm.engine.language_model import LanguageModel
from adwright.lm.engine.weights import SMOLLM2
from adwright.lm.open_model import LmSpec, open_lm

if TYPE_CHECKING:
    from adwright.training.tuning.run import TuneRun

__all__ = [
    "LanguageConfig",
    "LanguageMemory",
    "load_language_memory",
    "tune_memory",
    "tune_run_of",
]

_RECORD = "memory.json"
_ROWS = "rows.jsonl"
_WARMUP = 0.05


@settings
class LanguageConfig:
    """How the language form is tuned.

    model, device: as `adwright tune run` has them. tasks: of the mixture. method: as
    `adwright tune methods` names it; LoRA with the rank, twice that as its alpha and a little
    dropout where it is empty. rate, epochs, batch: of the training; a rate of None is the method's
    own. words: of an ad, at most. tokens: of a row. held: one in so many brands is kept out, for
    the interval. coverage: of it. out: the folder.

    Raises ConfigError for no task, and for numbers out of range.
    """

    model: str = SMOLLM2
    tasks: tuple[MemoryTask, ...] = ("recall", "content")
    method: str = ""
    rank: int = 16
    rate: float | None = 5e-4
    epochs: int = 2
    batch: int = 8
    words: int = 120
    tokens: int = 384
    held: int = 5
    coverage: float = 0.9
    device: str = "cpu"
    seed: int = 0
    out: Path = field(default=Path("runs/memory"))

    def __post_init__(self) -> None:
        if "recall" not in self.tasks:
            raise ConfigError(
                "a judge of recall is tuned on the task recall",
                where=f"tasks {self.tasks}",
                hint='tasks = ["recall", "content"]',
            )
        if self.held < 2 or self.words < 1:
            raise ConfigError(
                "at least one in two brands is held, and an ad has a word",
                where=f"held {self.held}, words {self.words}",
                hint="held = 5, words = 120",
            )


class LanguageMemory:
    """A language model as a judge of recall.

    model: any engine that scores. words: of an ad, as it was tuned. examples: shown before each ad.
    scale, interval: how far off it is; None where nobody measured. Raises ConfigError where the
    model's tokenizer does not split numbers into digits.
    """

    name = "memorability"

    def __init__(
        self,
        model: LanguageModel,
        *,
        words: int = 120,
        examples: Sequence[Example] = (),
        scale: ResidualScale | None = None,
        interval: ConformalInterval | None = None,
    ) -> None:
        self.model, self.words, self.examples = model, words, tuple(examples)
        self.scale, self.interval = scale, interval
        self._digits = Digits(model)

    def answers(self, ads: Sequence[AdRecord]) -> DigitAnswers:
        """What it answers on N ads: the expectation, and the likeliest digits beside it."""
        prompts = [
            (Message("user", recall_prompt(ad, words=self.words, examples=self.examples)),)
            for ad in ads
        ]
        return self._digits.expected(prompts)

    def judge(self, ads: Sequence[AdRecord]) -> Judgements:
        """Recall of N ads, 0 to 1. An ad without a word or a scene is unlike all that it knows.

        Raises as the model's `score` does.
        """
        value = self.answers(ads).scores
        coverage = 0.9
        low, high = np.zeros(len(ads)), np.ones(len(ads))
        if self.interval is not None and len(ads):
            scales = None if self.scale is None else self.scale(value)
            low, high = (np.clip(one, 0, 1) for one in self.interval.bounds(value, scales))
            coverage = self.interval.coverage
        unlike = np.array([not (ad.text or ad.scenes or ad.speech) for ad in ads], bool)
        middle, least, most = (np.asarray(one, np.float32) for one in (value, low, high))
        return Judgements(middle, least, most, unlike, coverage)

    def close(self) -> None:
        """Free the model."""
        self.model.close()


def tune_run_of(config: LanguageConfig) -> TuneRun:
    """The tuning that a config stands for, on the rows in its folder, as `run_tuning` takes it.

    Raises ConfigError for an unknown method and for numbers out of range.
    """
    from adwright.training.tuning.run import TuneRun
    from adwright.training.tuning.texts import PairsConfig
    from adwright.training.tuning.tune import TuneConfig
    from adwright.tuning.methods import method_of

    lora = {"rank": config.rank, "alpha": 2.0 * config.rank, "dropout": 0.05}
    named = config.method or "LoRA"
    return TuneRun(
        data=PairsConfig(config.out / _ROWS, group="group", valid=0.0, max_length=config.tokens),
        method=method_of({**({} if config.method else lora), "kind": named}),
        model=config.model,
        tune=TuneConfig(
            epochs=config.epochs,
            batch=config.batch,
            micro=config.batch,
            learning_rate=config.rate,
            warmup=_WARMUP,
        ),
        device=config.device,
        seed=config.seed,
        out=config.out,
    )


def tune_memory(
    table: RecallTable, config: LanguageConfig, *, resume: bool = False, overwrite: bool = False
) -> LanguageMemory:
    """Tune on both tasks, measure on brands that were held out, and open the judge.

    `config.out` then holds what `run_tuning` writes, the rows and memory.json. resume: continue a
    run that was interrupted. overwrite: replace one that is there.
    Raises DataError for too few brands or held-out ads, and as `run_tuning`.
    """
    from adwright.training.tuning.run import run_tuning

    held = group_folds(table.groups, config.held, seed=config.seed) == 0
    asked = tune_run_of(config)
    learned = table.some(np.flatnonzero(~held))
    write_rows(config.out / _ROWS, learned, tasks=config.tasks, words=config.words)
    run_tuning(asked, resume=resume, overwrite=overwrite)
    judge = LanguageMemory(_opened(config), words=config.words)
    kept = table.some(np.flatnonzero(held))
    values = judge.answers(kept.records).scores
    judge.scale = ResidualScale.fit(values, kept.scores)
    scales = judge.scale(values)
    judge.interval = ConformalInterval.fit(values, kept.scores, scales, coverage=config.coverage)
    told = {
        "form": "language",
        "config": to_jsonable(config),
        "scale": to_jsonable(judge.scale),
        "interval": to_jsonable(judge.interval),
        "held": list(kept.ids),
    }
    atomic_write_text(config.out / _RECORD, json.dumps(told, indent=1) + "\n")
    return judge


def load_language_memory(folder: str | Path) -> LanguageMemory:
    """The judge that `tune_memory` left in a folder. Raises ArtifactError where there is none, and
    as `open_lm`."""
    place = Path(folder)
    try:
        told = json.loads((place / _RECORD).read_text("utf-8"))
        config = from_jsonable(LanguageConfig, {**told["config"], "out": str(place)})
        scale = from_jsonable(ResidualScale, told["scale"])
        interval = from_jsonable(ConformalInterval, told["interval"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"this is no language form of a judge of memorability: {error}",
            where=str(place),
            hint="name a folder that it was tuned into",
        ) from error
    return LanguageMemory(_opened(config), words=config.words, scale=scale, interval=interval)


def _opened(config: LanguageConfig) -> LanguageModel:
    return open_lm(LmSpec(config.model, "torch", str(config.out), device=config.device))
