"""What both judges say of the ads for some briefs, beside the originals of these briefs.

    found = measure(written, originals, own, second, filters, at=2)
    found.own.value, found.second.low       # relative gain by each judge, interval over briefs

The gain is sum_b g_b / sum_b o_b - 1 over the briefs b that have a usable ad: o_b is the score of
the original ad, g_b the mean score of the usable ones. Briefs without one are told apart
(`answered`): counted as their originals, they would reward a writer that writes nothing of use.
The own judge is the reward that the rounds chase, so its gain alone proves nothing: the second
judge, of another kind, sees neither what is tuned on nor what is kept. Where the first gain rises
and the second does not, and the two agree less and less on the ads, the writer has found what the
own judge is wrong about.

What is tuned on, and when to stop: the best of the pool, the best of what was written.

    chosen = best_of(ads, scores, share=0.25)
    kept = kept_of(written, reasons, scores, share=0.5)
    should_stop([1.0, 1.1, 1.08, 1.09], patience=2)        # True: nothing since the second

A brand explains much of how well its ads are remembered, and a writer that is fed the ads of loved
brands learns nothing about writing. So an ad that was written is compared with the others for its
own brief alone: its lift is its score less their mean. Of each brief the best ad may be kept, of
all briefs those with the largest lift. The ads of a collection are compared within it.

Many of the kept ads could still be one ad with another name in it: one whose runs of three words
are mostly in those that were kept before it is passed over.

What a run costs, step by step, kept in a file; and whether its budget is spent.

    with ledger.step(2, "write") as cost:
        cost.add(read=usage.prompt_tokens, written=usage.completion_tokens)
    ledger.tokens

A step that is killed has not told what it took: sums are then a little low.
"""

from __future__ import annotations

import hashlib
import resource
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adwright.core.clock import Clock
from adwright.core.errors import ConfigError, DataError
from adwright.core.journal import append_rows, read_rows
from adwright.creative.judging import AdJudge, ConformalInterval, Judgements, Novelty
from adwright.creative.memory.block_ridge import fit_blocks
from adwright.creative.records.ad_record import AdRecord
from adwright.creative.records.encoders import Encoder
from adwright.creative.seed.texts import (
    AdBrief,
    AdFilters,
    KnownAd,
    SeedBudget,
    SeedConfig,
    answer_of,
    part_of,
    record_of,
    said_in,
)
from adwright.creative.seed.writer import WrittenAds
from adwright.lm.engine.generation import LanguageModel
from adwright.metrics.bootstrap import Interval, bootstrap_difference, bootstrap_ratio
from adwright.metrics.ranking import spearman
from adwright.metrics.text.agreement import distinct_n, ngrams, words_of

# --------------------------------------------------------------------------------------------------
# Two judges that know nothing of each other: another encoder, other brands, another kind.
#
#     own, second = two_judges(data.labelled, config, ModelEncoder(model), SentenceEncoder())
#
# The rounds chase the own judge, so that its mistakes become the writer's style. A second judge
# sees
# that only where it makes other mistakes: it has another encoder, and learned from the ads of other
# brands. The own judge may be the writer's base itself, by the vectors that it makes of texts.
# Neither saw a brand that is watched or held out, or its view of the original ads there were a
# memory
# of their scores.
#
# `RidgeJudge` is the ridge of `block_ridge` on the vector of the ad's text, with the interval and
# the
# novelty of `judging`. Any `AdJudge` may stand in the place of one of them, such as the encoder
# form
# of `memory.fitted` or a language model that `memory.language` tuned.
#
# Which written ads may be used, and what the own judge says of those.
#
# found = scored(written, own, filters)
# found.reasons[row][at]        # "" where the ad may be used
# found.scores[row][at]         # None where nobody asked

_FEWEST = 20
#: Texts that are computed together.
_BATCH = 64
_TEXT = "text"


class ModelEncoder:
    """A language model as an encoder of texts: the mean of its last hidden states, of length 1;
    zeros for an empty text."""

    def __init__(self, model: LanguageModel) -> None:
        self._model, self.name = model, f"{model.info.name} vectors"
        self.width: int = model.embed(["width"]).shape[1]

    def encode(self, contents: Sequence[str], /) -> NDArray[np.float32]:
        """float32 [B, D]."""
        made = np.zeros((len(contents), self.width), np.float32)
        filled = [row for row, text in enumerate(contents) if text]
        # Texts of one length have no padding.
        filled.sort(key=lambda row: len(contents[row]))
        for start in range(0, len(filled), _BATCH):
            rows = filled[start : start + _BATCH]
            made[rows] = self._model.embed([contents[row] for row in rows])
        return made


class RidgeJudge:
    """See the module. Fitted on N ads, each with a score; ads are read by their text alone.

    encoder: of texts. name: told with that of the encoder. The intervals come from folds that keep
    brands whole. Raises DataError for fewer than 20 ads, ads without a score or scores that are
    all the same, and as `fit_blocks`, `ConformalInterval.fit` and `Novelty.fit`.
    """

    def __init__(self, ads: Sequence[KnownAd], encoder: Encoder[str], *, name: str) -> None:
        scores = np.array([np.nan if ad.score is None else ad.score for ad in ads])
        if len(ads) < _FEWEST or np.isnan(scores).any() or float(scores.std()) == 0:
            raise DataError(
                f"a judge cannot be fitted on these {len(ads)} ads",
                column="score",
                hint=f"pass at least {_FEWEST} ads with scores that differ",
            )
        self._encoder, self.name = encoder, f"{name} ({encoder.name})"
        vectors = encoder.encode([text_of(ad.judged) for ad in ads])
        _, groups = np.unique([ad.brief.held_by for ad in ads], return_inverse=True)
        groups = groups.astype(np.int64)
        self._ridge = fit_blocks({_TEXT: vectors}, scores, groups)
        self._interval = ConformalInterval.fit(self._ridge.unseen, scores)
        self._novelty = Novelty.fit(vectors, groups, k=1)

    def judge(self, ads: Sequence[AdRecord], /) -> Judgements:
        """See `AdJudge`."""
        if not ads:
            none = np.empty(0, np.float32)
            return Judgements(none, none, none, np.empty(0, np.bool_), self._interval.coverage)
        vectors = self._encoder.encode([text_of(ad) for ad in ads])
        value = self._ridge.predict({_TEXT: vectors})
        told = [one.astype(np.float32) for one in (value, *self._interval.bounds(value))]
        strange = self._novelty.unlike(vectors)
        return Judgements(told[0], told[1], told[2], strange, self._interval.coverage)


def two_judges(
    ads: Sequence[KnownAd],
    config: SeedConfig,
    own_encoder: Encoder[str],
    second_encoder: Encoder[str],
) -> tuple[RidgeJudge, RidgeJudge]:
    """The own judge and the second one, each fitted on the brands of one half.

    ads: labelled ones. config: tells which brands are watched and held out, of which neither judge
    sees any. Raises ConfigError where both encoders are one, and as `RidgeJudge`.
    """
    if own_encoder.name == second_encoder.name:
        raise ConfigError(
            "both judges have one encoder", where=own_encoder.name, hint="take another one"
        )
    halves: tuple[list[KnownAd], list[KnownAd]] = ([], [])
    for ad in ads:
        group = ad.brief.held_by
        part = part_of(group, watch=config.watch, held=config.held, seed=config.seed)
        if part == "train":
            digest = hashlib.sha256(f"judges:{config.seed}:{group}".encode()).digest()
            halves[digest[0] & 1].append(ad)
    own = RidgeJudge(halves[0], own_encoder, name="own judge")
    return own, RidgeJudge(halves[1], second_encoder, name="second judge")


def text_of(record: AdRecord) -> str:
    """What a judge of texts reads: title and words, of a video its sentences. The brand is left
    out, since it is the same for the original and for all that is written in its place."""
    if record.kind == "video":
        return answer_of(record, "video")
    return "\n".join(filter(None, (record.title, record.words)))


_CHUNK = 256


@dataclass(frozen=True)
class ScoredAds:
    """reasons, scores: of each text of each brief. A text that the own judge calls unlike all it
    knows has a score, and where the filters ask for it that reason too."""

    reasons: list[list[str]]
    scores: list[list[float | None]]

    @property
    def usable(self) -> list[tuple[int, int]]:
        """Brief and place of each text that may be used."""
        return [
            (row, place)
            for row, why in enumerate(self.reasons)
            for place, reason in enumerate(why)
            if not reason
        ]


def scored(written: Sequence[WrittenAds], own: AdJudge, filters: AdFilters) -> ScoredAds:
    """Ask the own judge of all that passes the filters."""
    reasons: list[list[str]] = [
        list(filters.reasons(ads.texts, ads.brief, cut=ads.cut)) for ads in written
    ]
    found = ScoredAds(reasons, [[None] * len(why) for why in reasons])
    places = found.usable
    records = [record_of(written[row].texts[place], written[row].brief) for row, place in places]
    values, unlike = judged(own, records)
    for (row, place), value, strange in zip(places, values.tolist(), unlike.tolist(), strict=True):
        found.scores[row][place] = value
        if strange and filters.config.unlike:
            reasons[row][place] = "unlike"
    return found


def judged(
    judge: AdJudge, ads: Sequence[AdRecord]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Values and what is unlike, [N] each, asked for some at a time."""
    values, unlike = [np.empty(0)], [np.empty(0, np.bool_)]
    for start in range(0, len(ads), _CHUNK):
        found = judge.judge(ads[start : start + _CHUNK])
        values.append(found.value.astype(np.float64))
        unlike.append(found.unlike)
    return np.concatenate(values), np.concatenate(unlike)


Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TextMeasures:
    """What the texts of a writer are like, apart from any judge.

    usable: share that may be used; reasons: why others may not. distinct1, distinct2: of all texts
    that say something. copied: mean share of words that stand in what the writer read. grounded:
    share that claims only what the brief tells; delivered: the same of the usable ones. words: mean
    of a text.
    """

    usable: float
    reasons: Mapping[str, int]
    distinct1: float
    distinct2: float
    copied: float
    grounded: float
    delivered: float
    words: float


@dataclass(frozen=True)
class Measured:
    """Of one round's writer on B briefs.

    at: the round. briefs: ids [B]. own, second: relative gain over the originals; None where no
    brief has a usable ad, or the originals score 0 or less together. counts: usable ads of each
    brief [B]. own_values, second_values: their mean scores [B], 0 without any; original_own,
    original_second: of the original ads. agreement: rank correlation of the two judges over usable
    texts; None for fewer than three, or equal scores.
    """

    at: int
    briefs: tuple[str, ...]
    own: Interval | None
    second: Interval | None
    counts: tuple[int, ...]
    own_values: tuple[float, ...]
    second_values: tuple[float, ...]
    original_own: tuple[float, ...]
    original_second: tuple[float, ...]
    agreement: float | None
    texts: TextMeasures

    @property
    def answered(self) -> float:
        """Share of the briefs that have a usable ad."""
        return sum(count > 0 for count in self.counts) / len(self.counts)

    @property
    def goal(self) -> float:
        """The second judge's gain, what tells when to stop; where the originals score 0 or less,
        its mean difference; -1, the loss of everything, where no brief has a usable ad."""
        if self.second is not None:
            return self.second.value
        rows = [row for row, count in enumerate(self.counts) if count]
        lifts = [self.second_values[row] - self.original_second[row] for row in rows]
        return float(np.mean(lifts)) if lifts else -1.0


def measure(
    written: Sequence[WrittenAds],
    originals: Sequence[KnownAd],
    own: AdJudge,
    second: AdJudge,
    filters: AdFilters,
    *,
    at: int,
    draws: int = 1000,
    seed: int = 0,
) -> Measured:
    """Both judges on B briefs: `written` for each, and its original. at: the writer's round.

    Raises DataError where the briefs differ, or there are none.
    """
    if not written or [ads.brief.id for ads in written] != [ad.brief.id for ad in originals]:
        raise DataError(
            "the ads that were written and the originals are of other briefs",
            hint="raise the share of briefs that is watched or held out",
        )
    found = scored(written, own, filters)
    places = found.usable
    rows = np.array([row for row, _ in places], np.int64)
    by_own = np.array([found.scores[row][place] for row, place in places], np.float64)
    usable = [record_of(written[row].texts[place], written[row].brief) for row, place in places]
    by_second, _ = judged(second, usable)
    first = [ad.judged for ad in originals]
    own_first, second_first = judged(own, first)[0], judged(second, first)[0]
    counts = np.bincount(rows, minlength=len(written))
    # Means of the usable ads of each brief [B], 0 where there is none.
    own_values, second_values = (
        np.bincount(rows, one, len(counts)) / np.maximum(counts, 1) for one in (by_own, by_second)
    )
    return Measured(
        at,
        tuple(ads.brief.id for ads in written),
        _gain(own_values, own_first, counts, draws, seed),
        _gain(second_values, second_first, counts, draws, seed),
        tuple(counts.tolist()),
        tuple(own_values.tolist()),
        tuple(second_values.tolist()),
        tuple(own_first.tolist()),
        tuple(second_first.tolist()),
        None if len(rows) < 3 or np.isnan(rho := spearman(by_own, by_second)) else rho,
        _texts(written, found.reasons, filters),
    )


def compared(after: Measured, before: Measured, *, draws: int = 1000) -> Interval | None:
    """Gain by the second judge of one writer less that of another, on the briefs that have a usable
    ad of both, paired; None as in `Measured`."""
    if after.briefs != before.briefs:
        raise DataError("two writers are compared on the same briefs")
    both = np.minimum(after.counts, before.counts) > 0
    originals = np.where(both, before.original_second, 0.0)
    if originals.sum() <= 0:
        return None
    return bootstrap_difference(
        np.where(both, after.second_values, 0.0),
        np.where(both, before.second_values, 0.0),
        originals,
        np.random.default_rng(0),
        draws,
    )


def _gain(
    values: Floats, originals: Floats, counts: NDArray[np.int64], draws: int, seed: int
) -> Interval | None:
    first = np.where(counts > 0, originals, 0.0)
    if first.sum() <= 0:
        return None
    found = bootstrap_ratio(values, first, np.random.default_rng(seed), draws)
    return Interval(found.value - 1, found.low - 1, found.high - 1)


def _texts(
    written: Sequence[WrittenAds], reasons: Sequence[Sequence[str]], filters: AdFilters
) -> TextMeasures:
    every = [
        (said_in(record_of(text, ads.brief), ads.brief.kind), text, ads.brief, reason)
        for ads, why in zip(written, reasons, strict=True)
        for text, reason in zip(ads.texts, why, strict=True)
    ]
    said = [one for one in every if words_of(one[0])]
    grounded = [float(filters.grounded(text, brief)) for _, text, brief, _ in said]
    kept = [good for good, one in zip(grounded, said, strict=True) if not one[3]]
    answers = [one[0] for one in said]
    return TextMeasures(
        usable=sum(not one[3] for one in every) / max(len(every), 1),
        reasons=dict(Counter(one[3] for one in every if one[3])),
        distinct1=float(np.nan_to_num(distinct_n(answers, 1))),
        distinct2=float(np.nan_to_num(distinct_n(answers, 2))),
        copied=_mean([filters.index.share(one) for one in answers]),
        grounded=_mean(grounded),
        delivered=_mean(kept or [1.0]),
        words=_mean([float(len(words_of(answer))) for answer in answers]),
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0


_RUN, _ALIKE = 3, 0.5


@dataclass(frozen=True)
class KeptAd:
    """An ad that was written and is tuned on. lift: see the module."""

    brief: AdBrief
    answer: str
    score: float
    lift: float


def best_of(
    ads: Sequence[KnownAd], scores: Sequence[float], *, share: float, most: int = 0
) -> tuple[KnownAd, ...]:
    """The best ads of each collection, in the order given. share: of each. most: of all together,
    the same share of each; 0 for all of these."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, ad in enumerate(ads):
        rows[ad.source].append(row)
    if most and ads:
        share = min(share, most / len(ads))
    chosen: list[int] = []
    for mine in rows.values():
        best = sorted(mine, key=lambda row: -scores[row])
        chosen += best[: round(share * len(mine))]
    return tuple(ads[row] for row in sorted(chosen))


def kept_of(
    written: Sequence[WrittenAds],
    reasons: Sequence[Sequence[str]],
    scores: Sequence[Sequence[float | None]],
    *,
    share: float,
) -> tuple[KeptAd, ...]:
    """What is tuned on, the largest lift first.

    reasons, scores: of each text of each brief; a text with a reason is out. share: of the briefs,
    those with the largest lift. A brief with one usable ad has no lift to tell, and keeps none; an
    ad of whose runs of three words more than half stand in those kept before it is passed over.
    """
    best: list[KeptAd] = []
    for ads, why, values in zip(written, reasons, scores, strict=True):
        usable = [
            (value, at)
            for at, (reason, value) in enumerate(zip(why, values, strict=True))
            if not reason and value is not None
        ]
        if len(usable) < 2:
            continue
        mean = float(np.mean([value for value, _ in usable]))
        top, at = max(usable, key=lambda one: (one[0], -one[1]))
        answer = answer_of(record_of(ads.texts[at], ads.brief), ads.brief.kind)
        best.append(KeptAd(ads.brief, answer, top, top - mean))
    best.sort(key=lambda one: -one.lift)
    seen: set[tuple[str, ...]] = set()
    found = []
    for one in best[: round(share * len(written))]:
        words = words_of(one.answer)
        runs = ngrams(words, min(_RUN, len(words)))
        if sum(run in seen for run in runs) <= _ALIKE * len(runs):
            seen.update(runs)
            found.append(one)
    return tuple(found)


def best_round(values: Sequence[float]) -> int:
    """The round of the highest value, the earliest of several."""
    return max(range(len(values)), key=lambda at: (values[at], -at))


def should_stop(values: Sequence[float], *, patience: int, gain: float = 0.0) -> bool:
    """Whether the last `patience` rounds brought nothing.

    values: the second judge's view of each round from 0 on. gain: relative, beyond the best value
    of the rounds before.
    """
    if len(values) <= patience:
        return False
    before = max(values[: len(values) - patience])
    return max(values[-patience:]) <= before + gain * abs(before)


#: CPU-seconds below which a step that did nothing is not written down.
_LEAST = 0.05
_DAMAGED = "remove the file; what was spent before is then not counted"


@dataclass
class StepCost:
    """Of a step of a round. read: tokens of prompts that were computed. written: tokens of answers.
    tuned: tokens of training. judged: ads that a judge looked at. cpu_seconds: of this process and
    of those that it started and that have ended."""

    round: int
    step: str
    read: int = 0
    written: int = 0
    tuned: int = 0
    judged: int = 0
    cpu_seconds: float = 0.0

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.read + self.written + self.tuned

    def add(self, *, read: int = 0, written: int = 0, tuned: int = 0, judged: int = 0) -> None:
        """Count more."""
        self.read += read
        self.written += written
        self.tuned += tuned
        self.judged += judged


class CostLedger:
    """The costs of the run in `path`. clock: measures the minutes of this call."""

    def __init__(self, path: Path, budget: SeedBudget, clock: Clock) -> None:
        self._path, self._budget, self._clock = path, budget, clock
        self._start = clock.monotonic()
        self._steps = read_rows(path, lambda row: StepCost(**row), hint=_DAMAGED)

    @property
    def steps(self) -> tuple[StepCost, ...]:
        """All steps, one for each time that it was done or gone on with."""
        return tuple(replace(one) for one in self._steps)

    @property
    def tokens(self) -> int:
        """Of all steps."""
        return sum(one.tokens for one in self._steps)

    def spent(self) -> bool:
        """Whether no further step may begin."""
        budget, minutes = self._budget, (self._clock.monotonic() - self._start) / 60
        return bool(budget.minutes and minutes >= budget.minutes) or bool(
            budget.tokens and self.tokens >= budget.tokens
        )

    @contextmanager
    def step(self, at: int, name: str) -> Iterator[StepCost]:
        """Measure what a block takes; written down at its end, also where it raises."""
        cost, before = StepCost(at, name), _cpu_seconds()
        self._steps.append(cost)
        try:
            yield cost
        finally:
            cost.cpu_seconds = round(_cpu_seconds() - before, 3)
            if cost.tokens or cost.judged or cost.cpu_seconds >= _LEAST:
                append_rows(self._path, [asdict(cost)])


def _cpu_seconds() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime
