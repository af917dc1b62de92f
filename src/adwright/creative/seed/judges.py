"""Two judges that know nothing of each other: another encoder, other brands, another kind.

    own, second = two_judges(data.labelled, config, ModelEncoder(model), SentenceEncoder())

The rounds chase the own judge, so that its mistakes become the writer's style. A second judge sees
that only where it makes other mistakes: it has another encoder, and learned from the ads of other
brands. The own judge may be the writer's base itself, by the vectors that it makes of texts.
Neither saw a brand that is watched or held out, or its view of the original ads there were a memory
of their scores.

`RidgeJudge` is the ridge of `block_ridge` on the vector of the ad's text, with the interval and the
novelty of `judging`. Any `AdJudge` may stand in the place of one of them, such as the encoder form
of `memory.fitted` or a language model that `memory.language` tuned.

Which written ads may be used, and what the own judge says of those.

found = scored(written, own, filters)
found.reasons[row][at]        # "" where the ad may be used
found.scores[row][at]         # None where nobody asked
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ConfigError, DataError
from adwright.creative.judging import AdJudge, ConformalInterval, Judgements, Novelty
from adwright.creative.memory.block_ridge import fit_blocks
from adwright.creative.records.ad_record import AdRecord
from adwright.creative.records.encoders import Encoder
from adwright.creative.seed.pool import KnownAd, SeedConfig
from adwright.creative.seed.texts import AdFilters, answer_of, part_of, record_of
from adwright.creative.seed.writer import WrittenAds
from adwright.lm.engine.generation import LanguageModel

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
