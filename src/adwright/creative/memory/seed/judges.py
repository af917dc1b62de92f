"""Two judges that know nothing of each other: another encoder, other brands, another kind.

    own, second = two_judges(data.labelled, config, ModelEncoder(model), SentenceEncoder())

The rounds chase the own judge, so that its mistakes become the writer's style. A second judge sees
that only where it makes other mistakes: it has another encoder, and learned from the ads of other
brands. The own judge may be the writer's base itself, by the vectors that it makes of texts.
Neither saw a brand that is watched or held out, or its view of the original ads there were a memory
of their scores.

`RidgeJudge` is a linear map from the vector of the ad's text,

    f(x) = m + w^T (x - x_0),   w = argmin sum_i (y_i - f(x_i))^2 + a |w|^2

a chosen by leave-one-out error among 13 powers of ten, in closed form (Hastie, Tibshirani and
Friedman 2009, section 7.10: the residual of row i divided by 1 - H_ii). Its interval is that of
split conformal prediction on these residuals; an ad is unlike all it knows where it lies farther
from its nearest known ad than all but one in a hundred of these lie from theirs.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import require_count
from adwright.core.errors import ConfigError, DataError
from adwright.creative.judging.judgement import Judgements
from adwright.creative.memory.seed.config import SeedConfig
from adwright.creative.memory.seed.pool import KnownAd
from adwright.creative.memory.seed.texts.ad_text import answer_of
from adwright.creative.memory.seed.texts.brief import part_of
from adwright.creative.records.encoders.store import Encoder
from adwright.creative.records.verbal.record import AdRecord
from adwright.lm.engine.language_model import LanguageModel

__all__ = ["ModelEncoder", "RidgeJudge", "text_of", "two_judges"]

Floats = NDArray[np.float64]
_PENALTIES = 10.0 ** np.arange(-3, 10)
_FEWEST = 8
_USUAL = 0.99


class ModelEncoder:
    """A language model as an encoder of texts: the mean of its last hidden states, of length 1;
    zeros for an empty text. batch: texts that are computed together."""

    def __init__(self, model: LanguageModel, *, batch: int = 64) -> None:
        require_count("batch", batch)
        self._model, self._batch = model, batch
        self._name = f"{model.info.name} vectors"
        self._width: int = model.embed(["width"]).shape[1]

    @property
    def name(self) -> str:
        """Of the model."""
        return self._name

    @property
    def width(self) -> int:
        """D, of its vectors."""
        return self._width

    def encode(self, contents: Sequence[str], /) -> NDArray[np.float32]:
        """float32 [B, D]."""
        made = np.zeros((len(contents), self._width), np.float32)
        filled = [row for row, text in enumerate(contents) if text]
        # Texts of one length have no padding.
        filled.sort(key=lambda row: len(contents[row]))
        for start in range(0, len(filled), self._batch):
            rows = filled[start : start + self._batch]
            made[rows] = self._model.embed([contents[row] for row in rows])
        return made


class RidgeJudge:
    """See the module. Fitted on N ads, each with a score; ads are read by their text alone.

    encoder: of texts. coverage: of the intervals. Raises DataError for fewer than 8 ads, ads
    without a score, or scores that are all the same.
    """

    def __init__(
        self,
        ads: Sequence[KnownAd],
        encoder: Encoder[str],
        *,
        name: str,
        coverage: float = 0.9,
    ) -> None:
        if not 0 < coverage < 1:
            raise ConfigError("coverage lies between 0 and 1", where=f"coverage {coverage}")
        scores = np.array([np.nan if ad.score is None else ad.score for ad in ads])
        if len(ads) < _FEWEST or np.isnan(scores).any() or float(scores.std()) == 0:
            raise DataError(
                f"a judge cannot be fitted on these {len(ads)} ads",
                column="score",
                hint=f"pass at least {_FEWEST} ads with scores that differ",
            )
        self._encoder, self._name, self._coverage = encoder, name, coverage
        vectors = encoder.encode([text_of(ad.record) for ad in ads]).astype(np.float64)
        self._centre, self._mean = vectors.mean(0), float(scores.mean())
        self._weights, residuals = _ridge(vectors - self._centre, scores - self._mean)
        #: Rank of the residual that covers so many, of split conformal prediction.
        rank = min(math.ceil((len(ads) + 1) * coverage), len(ads))
        self._reach = float(np.sort(np.abs(residuals))[rank - 1])
        self._known = vectors
        near = _nearest(vectors, vectors, apart=True)
        self._usual = float(np.quantile(near, _USUAL))

    @property
    def name(self) -> str:
        """As it was given, with the encoder."""
        return f"{self._name} ({self._encoder.name})"

    def judge(self, ads: Sequence[AdRecord], /) -> Judgements:
        """See `AdJudge`."""
        if not ads:
            none = np.empty(0, np.float32)
            return Judgements(none, none, none, np.empty(0, np.bool_), self._coverage)
        vectors = self._encoder.encode([text_of(ad) for ad in ads]).astype(np.float64)
        value = self._mean + (vectors - self._centre) @ self._weights
        low, high = value - self._reach, value + self._reach
        strange = _nearest(vectors, self._known, apart=False) > self._usual
        told = [one.astype(np.float32) for one in (value, low, high)]
        return Judgements(told[0], told[1], told[2], strange, self._coverage)


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
            halves[_half(group, config.seed)].append(ad)
    own = RidgeJudge(halves[0], own_encoder, name="own judge")
    return own, RidgeJudge(halves[1], second_encoder, name="second judge")


def text_of(record: AdRecord) -> str:
    """What a judge of texts reads: the written part alone, since the brand is the same for the
    original and all that is written for its brief."""
    if record.kind == "video":
        return answer_of(record, "video")
    # A slogan and a headline stand in the title, with their subject beside them.
    return record.title or record.words


def _half(group: str, seed: int) -> int:
    return hashlib.sha256(f"judges:{seed}:{group}".encode()).digest()[0] & 1


def _ridge(vectors: Floats, scores: Floats) -> tuple[Floats, Floats]:
    """Weights [D] and leave-one-out residuals [N] of the best penalty; both sides are centred."""
    left, sizes, right = np.linalg.svd(vectors, full_matrices=False)
    best: tuple[float, Floats, Floats] | None = None
    for penalty in _PENALTIES:
        shrink = sizes**2 / (sizes**2 + penalty)
        fitted = left @ (shrink * (left.T @ scores))
        # The mean is fitted too: 1 / N more for each row.
        own = (left**2) @ shrink + 1 / len(scores)
        residuals = (scores - fitted) / np.maximum(1 - own, 1e-9)
        error = float((residuals**2).mean())
        if best is None or error < best[0]:
            weights = right.T @ (sizes / (sizes**2 + penalty) * (left.T @ scores))
            best = error, weights, residuals
    if best is None:
        raise DataError("no penalty fits", hint="pass other ads")
    return best[1], best[2]


def _nearest(vectors: Floats, known: Floats, *, apart: bool) -> Floats:
    """Distance of each vector [N] to the nearest known one; apart: to another row than its own."""
    squares = (vectors**2).sum(1)[:, None] + (known**2).sum(1) - 2 * vectors @ known.T
    if apart:
        np.fill_diagonal(squares, np.inf)
    nearest: Floats = np.sqrt(np.maximum(squares.min(1), 0))
    return nearest
