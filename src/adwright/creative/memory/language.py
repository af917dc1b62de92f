"""The language form, Henry's: a language model reads the verbalised ad and answers two digits.

    judge = LanguageMemory(open_lm("smollm2+engine=torch"))    # untuned, zero-shot
    judge = LanguageMemory(model, examples=[(ad, 0.7)])
    judge = tune_memory(table, LanguageConfig(out=Path("runs/henry")))
    judge.judge(ads)                                            # Judgements: recall, 0 to 1

Both tasks of `write_rows` in one mixture are what the model is tuned on, by any method of `tuning`,
as `adwright tune run` does it. Some brands are kept out of that: on them it is measured how far off
the answers are, which makes the interval. An untuned model has none, so its interval is 0 to 1.

The published model has 13 billion weights and eyes; this one reads what `creative describe` or a
user wrote down of the ad. The default of 135 million shows how it works, and is no match for the
encoder form on hundreds of ads.

A number between 0 and 1 as two digits that a language model writes, and back as an expectation.

    answer_of(0.655)                               # "65"
    found = Digits(model).expected(prompts)        # DigitAnswers of N prompts
    found.scores                                   # float64 [N], 0 to 1

Harini S I et al. (WACV 2025, arXiv 2309.00378) let a model answer ceil(100 s - 1), clamped, as two
digits. The likeliest answer throws away what else the model holds possible, so it is read as

    E = sum over d1, d2 of P(d1) P(d2 | d1) (10 d1 + d2)

over the ten digits alone, renormalised at both places. A prompt is read once: its ten first digits
share that, and each gives the ten that can follow. Engines that cannot branch so score all hundred
answers, which is the same number for more work. The middle of an answer's range, (E + 1/2) / 100,
is the score (our choice).

The two tasks that a language model learns from the same ads: recall from the ad, the ad from a
brief.

    recall_prompt(record)                          # ends where two digits are to be written
    content_prompt(record), content_answer(record)
    write_rows(Path("rows.jsonl"), table)          # a mixture, as `adwright tune run` reads it

After Harini S I et al. (WACV 2025, arXiv 2309.00378): behaviour simulation answers the recall of a
verbalised ad, content simulation writes the verbalised ad from brand, title and length. A film's
ad is its scenes; an ad of text alone has only a title, which is then what is to be written. A text
is cut at whole words, from its end, so that no prompt grows with its ad.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from adwright.core.atomic import atomic_write_text
from adwright.core.config import Count, Ge, from_jsonable, settings, to_jsonable
from adwright.core.errors import ArtifactError, ConfigError, DataError, ValueInvalidError
from adwright.creative.judging import ConformalInterval, Judgements, ResidualScale
from adwright.creative.memory.block_ridge import group_folds
from adwright.creative.memory.outcomes import RecallTable
from adwright.creative.records.ad_record import AdRecord, verbalised
from adwright.lm.engine.generation import LanguageModel, Message, Prompt, Tokenizer, TokenPrompt
from adwright.lm.engine.weights import SMOLLM2
from adwright.lm.open_model import LmSpec, open_lm

if TYPE_CHECKING:
    from adwright.training.tuning.run import TuneRun


Floats = NDArray[np.float64]

_PLACES = 10.0 * np.arange(10)[:, None] + np.arange(10)[None, :]  # [d1, d2]


@dataclass(frozen=True, eq=False)
class DigitAnswers:
    """What a model answers on N prompts.

    expectation: float64 [N], E, 0 to 99. likeliest: int64 [N], the pair of digits of the largest
    probability. digits: float64 [N], how much of the model's first token are digits: near 0 it does
    not know that it is asked for any.
    """

    expectation: Floats
    likeliest: NDArray[np.int64]
    digits: Floats

    @property
    def scores(self) -> Floats:
        """float64 [N], the expectation between 0 and 1."""
        return (self.expectation + 0.5) / 100


def answer_of(score: float) -> str:
    """ceil(100 score - 1), clamped to 0 and 99, as two digits.

    >>> [answer_of(score) for score in (0.0, 0.01, 0.011, 1.0)]
    ['00', '00', '01', '99']

    Raises ValueInvalidError for a score outside 0 to 1.
    """
    if not 0 <= score <= 1:
        raise ValueInvalidError("a score lies between 0 and 1", value=score, hint="divide it")
    # 100 * 0.07 is 7.000000000000001: what differs by rounding alone is the same number.
    return f"{min(max(math.ceil(round(100 * score, 9) - 1), 0), 99):02d}"


def digit_tokens(tokens: Tokenizer) -> tuple[int, ...]:
    """The tokens of 0 to 9.

    Raises ConfigError where the tokenizer does not write each pair of digits as those two tokens:
    then the expectation over digits is not that over answers.
    """
    singles = [tokens.encode(str(digit), special=False) for digit in range(10)]
    found = tuple(ids[0] for ids in singles if len(ids) == 1)
    pairs = len(set(found)) == 10 and all(
        tokens.encode(f"{a}{b}", special=False) == [found[a], found[b]]
        for a in range(10)
        for b in range(10)
    )
    if not pairs:
        raise ConfigError(
            "this model's tokenizer does not split numbers into digits",
            where="two digits as an answer",
            hint="take a model that does, such as SmolLM2 or Llama 2, or the encoder form",
        )
    return found


class Digits:
    """Two digits as answers of `model`. Raises ConfigError as `digit_tokens`."""

    def __init__(self, model: LanguageModel) -> None:
        self._model, self._tokens = model, digit_tokens(model.tokens)

    def expected(self, prompts: Sequence[Prompt]) -> DigitAnswers:
        """The answers to N prompts; a prompt ends where the first digit would stand.

        Raises as the model's `score` does.
        """
        if not prompts:
            return DigitAnswers(np.empty(0), np.empty(0, np.int64), np.empty(0))
        first, second = self._logs(prompts)
        lead = np.exp(first)  # [N, 10]
        whole = lead.sum(1)
        joint = _share(first)[:, :, None] * _share(second)  # [N, 10, 10]
        flat = joint.reshape(len(joint), 100)
        return DigitAnswers(
            expectation=(joint * _PLACES).sum((1, 2)),
            likeliest=flat.argmax(1).astype(np.int64),
            digits=whole,
        )

    def _logs(self, prompts: Sequence[Prompt]) -> tuple[Floats, Floats]:
        # log P(first | prompt) [N, 10], log P(second | prompt, first) [N, 10, 10] at one reading.
        if branches := getattr(self._model, "branches", None):
            found: tuple[Floats, Floats] = branches(prompts, self._tokens, self._tokens)
            return found
        answers = [TokenPrompt((a, b)) for a in self._tokens for b in self._tokens]
        asked = [prompt for prompt in prompts for _ in answers]
        logs = self._model.score(asked, answers * len(prompts)).token_logprobs
        pairs = np.stack([np.asarray(one) for one in logs]).reshape(len(prompts), 10, 10, 2)
        # The first digit's number is the same in each of its ten answers.
        return pairs[:, :, 0, 0], pairs[..., 1]


def _share(logs: Floats) -> Floats:
    """Probabilities of log-probabilities [..., K], renormalised over K."""
    raised = np.exp(logs - logs.max(-1, keepdims=True))
    found: Floats = raised / raised.sum(-1, keepdims=True)
    return found


MemoryTask = Literal["recall", "content"]
Example: TypeAlias = tuple[AdRecord, float]

_QUESTION = (
    "How well is this ad remembered after one to three days, from 00 (by nobody) to 99 (by all)? "
    "Answer with two digits."
)
_WRITE = "Write an ad that is remembered."
#: What the brief tells, and the ad therefore does not.
_BRIEF = ("kind", "brand", "seconds")


def recall_prompt(ad: AdRecord, *, words: int = 120, examples: Sequence[Example] = ()) -> str:
    """The question, the examples with their answers, and the ad. words: of each ad, at most.
    examples: ads with their recall, 0 to 1."""
    shown = [
        f"{_cut(verbalised(one), words)}\nAnswer: {answer_of(score)}" for one, score in examples
    ]
    return "\n\n".join([_QUESTION, *shown, _cut(verbalised(ad), words)])


def content_prompt(ad: AdRecord) -> str:
    """The brief: brand, length, and of an ad with scenes or words its title."""
    given = [f"Brand: {ad.brand}."] if ad.brand else []
    given += [] if ad.seconds is None else [f"Seconds: {ad.seconds:g}."]
    if ad.title and not _title_alone(ad):
        given.append(f"Title: {ad.title}")
    return " ".join([_WRITE, *given])


def content_answer(ad: AdRecord, *, words: int = 120) -> str:
    """The ad that the brief asks for: orientation, pace, speech, then scene by scene; of an ad of
    text alone its title. At most so many words."""
    if _title_alone(ad):
        return _cut(ad.title, words)
    return _cut(verbalised(ad, leave_out=(*_BRIEF, "title")), words)


def write_rows(
    path: Path,
    table: RecallTable,
    *,
    tasks: Sequence[MemoryTask] = ("recall", "content"),
    words: int = 120,
) -> int:
    """Write the mixture: a JSON object a line, with prompt, answer, task and group (the brand);
    returns how many. Ads of whom there is nothing to write have no row of that task.

    Raises DataError where no row is left.
    """
    rows: list[dict[str, Any]] = []
    for ad, score, group in zip(table.records, table.scores, table.group_names, strict=True):
        about = {"group": group}
        if "recall" in tasks:
            prompt = recall_prompt(ad, words=words)
            rows.append({"prompt": prompt, "answer": answer_of(score), "task": "recall", **about})
        answer = content_answer(ad, words=words) if "content" in tasks else ""
        # Without a brief there is nothing that the ad could follow from.
        if answer and content_prompt(ad) != _WRITE:
            rows.append(
                {"prompt": content_prompt(ad), "answer": answer, "task": "content", **about}
            )
    if not rows:
        raise DataError("there is nothing to learn from these ads", file=table.name)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    atomic_write_text(path, text)
    return len(rows)


def _cut(text: str, words: int) -> str:
    return " ".join(text.split(" ")[:words])


def _title_alone(ad: AdRecord) -> bool:
    return not (ad.scenes or ad.words or ad.speech or ad.pace or ad.orientation)


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
    words: Count = 120
    tokens: int = 384
    held: Annotated[int, Ge(2)] = 5
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
