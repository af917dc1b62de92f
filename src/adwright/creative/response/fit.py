"""fit_click_rate(): train on creatives that were shown, and say how sure the answers are.

1. Fields, prior and the linear part are fitted; stories are parted into folds, and of each creative
   a linear part that saw nothing of its story gives a held-out log rate.
2. AutoInt is trained by the one loop on what those held-out rates miss, on all folds but the first.
   The first decides when to stop, and which share of AutoInt's answer is added: none of it, where
   that is best.
3. The level and the interval come from held-out answers, of the first fold alone where AutoInt has
   a share. A simple rule, a ridge on hashed n-grams of all text, is measured on the first fold
   beside the model: where it orders the creatives as well, that is said.

Nothing of a creative but its record and its vectors is read as an input.

A run that trains a judge of click rates, and the model that it leaves.

    run = train_clicks(read_outcomes("creatives.parquet", UPWORTHY), Path("runs/clicks"))
    print("
".join(run.sentences()))

RUN/run holds curves and the checkpoint, RUN/model the artifact, RUN/report.json what the
validation says of it and of simpler rules.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from adwright.core.atomic import atomic_write_text
from adwright.core.clock import Clock
from adwright.core.config import Count, Natural, NotNegative, Positive, settings, to_jsonable
from adwright.core.errors import DataError
from adwright.core.hashing import content_hash, sha256_bytes
from adwright.core.progress import say
from adwright.creative.judging import Novelty, PastAds
from adwright.creative.records.encoders import HashedText
from adwright.creative.response.fitted import FittedClickRate, answers_of
from adwright.creative.response.inputs import AdFeatures, AdInputs, EncodedTexts, encoded_texts
from adwright.creative.response.models import (
    AutoInt,
    AutoIntConfig,
    CrossFitted,
    LinearConfig,
    click_rate_loss,
    fit_linear,
)
from adwright.creative.response.outcomes import CreativeOutcomes, stories_of, story_folds
from adwright.creative.response.rates import (
    RateCalibration,
    fit_prior,
    is_behind,
    order_measures,
)
from adwright.training.loop.loop import train
from adwright.training.loop.run_folder import RunPosition
from adwright.training.loop.trainee import LoopConfig, Trainee
from adwright.training.run_settings import require_free, seeded

Vectors = Mapping[str, npt.NDArray[np.float32]]
Floats = npt.NDArray[np.float64]
#: Shares of AutoInt's answer that are tried.
_SHARES = (0.0, 0.25, 0.5, 1.0)
_SIMPLE_PLACES = 1024


@settings
class ClickRateConfig:
    """A click rate and its training.

    network: AutoInt; None trains the linear part alone. linear: its penalties. folds: of stories,
    the first of which is for choices. min_count: values of categories and bags that fewer creatives
    have are unknown. epochs: at most so many; patience: stop after so many that are not better.
    batch: creatives a step, in whole tests. regression: g of the loss. coverage: of the interval.
    """

    network: AutoIntConfig | None = field(default_factory=AutoIntConfig)
    linear: LinearConfig = field(default_factory=LinearConfig)
    folds: Count = 5
    min_count: Count = 5
    epochs: Count = 6
    patience: Count = 2
    batch: Count = 128
    learning_rate: Positive = 3e-3
    weight_decay: NotNegative = 1e-2
    regression: NotNegative = 0.1
    clip_norm: NotNegative = 5.0
    coverage: Positive = 0.9
    seed: Natural = 0


def fit_click_rate(
    outcomes: CreativeOutcomes,
    config: ClickRateConfig | None = None,
    *,
    texts: EncodedTexts | None = None,
    vectors: Vectors | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    stop_now: bool = False,
) -> FittedClickRate:
    """Train on creatives and how they did.

    texts: makes vectors of texts, by default MiniLM where it is installed. vectors: further ones,
    name -> float32 [N, W], NaN where missing, of images for example. out: folder of the run, with
    config.json, metrics.jsonl and the checkpoint; None keeps nothing. resume, stop_now: as of the
    loop's `train`.

    Raises DataError for too few stories or creatives, or none that were clicked, and ConfigError,
    ResumeError and ResourceError as `train`.
    """
    config = config or ClickRateConfig()
    texts = texts or encoded_texts()
    stories = stories_of(outcomes)
    if (count := len(np.unique(stories))) < 2 * config.folds or config.folds < 2:
        raise DataError(
            f"{config.folds} folds take {2 * config.folds} stories or more, and 2 folds at least",
            value=f"{count} stories",
            hint="creatives that share a test, a title, a text or an image are one story",
        )
    folds = story_folds(stories, config.folds, seed=config.seed)
    prior = fit_prior(outcomes.clicks, outcomes.impressions)
    features = AdFeatures.fit(outcomes.records, texts, vectors=vectors, min_count=config.min_count)
    inputs = features.encode(outcomes.records, texts, vectors)
    flat = inputs.flat(features.sizes).numpy()
    log_rates = np.log(prior.smoothed(outcomes.clicks, outcomes.impressions))
    weights = prior.weights(outcomes.impressions)
    linear = fit_linear(flat, log_rates, outcomes.tests, folds, weights, config.linear)
    further = {name: sha256_bytes(array.tobytes()) for name, array in (vectors or {}).items()}
    data_hash = content_hash([outcomes.data_hash, further, texts.name, None])
    network, share, at = None, 0.0, RunPosition()
    if (net := config.network) is not None:
        network = seeded(config.seed, lambda: AutoInt(net, features))
        known = (linear.held_out, np.exp(log_rates), weights)
        trainee = _ClickRate(network, inputs, known, outcomes.tests, folds, config, data_hash)
        at = train(trainee, trainee.folder(out), resume=resume, stop_now=stop_now)
        losses = trainee.losses()
        share = min(losses, key=losses.__getitem__)
        say(f"{share:g} of the network's answer is added to the linear part's, by validation")
    first = np.flatnonzero(folds == 0)
    held_out = linear.held_out.copy()
    if network is not None and share:
        held_out[first] += share * answers_of(network, inputs.take(torch.from_numpy(first)))
    measures = _measured(outcomes, first, held_out, linear, folds, log_rates)
    rows = first if share else np.arange(len(outcomes))
    counts = outcomes.clicks[rows], outcomes.impressions[rows]
    calibration = RateCalibration.fit(held_out[rows], *counts, prior, coverage=config.coverage)
    novelty = Novelty.fit(flat, stories, seed=config.seed)
    some = outcomes.take(novelty.rows)
    titles = tuple(one.title or one.text.partition("\n")[0] for one in some.records)
    shown = some.impressions.astype(np.float64)
    return FittedClickRate(
        features,
        linear.part,
        network if share else None,
        share,
        calibration,
        prior,
        PastAds(novelty, some.ids, titles, some.rate, shown),
        texts,
        config=to_jsonable(config),
        measures=measures,
        records=at.records,
        epoch=at.best_epoch,
        data_hash=data_hash,
        seed=config.seed,
    )


def _measured(
    outcomes: CreativeOutcomes,
    rows: npt.NDArray[np.int64],
    held_out: Floats,
    linear: CrossFitted,
    folds: npt.NDArray[np.int64],
    log_rates: npt.NDArray[np.float64],
) -> dict[str, dict[str, float]]:
    """Of the model, its linear part and the simple rule on the rows for choices."""
    grams = HashedText(_SIMPLE_PLACES).encode(outcomes.texts)
    plain = LinearConfig(penalties=(1.0, 3.0, 10.0), ratio=0.0)
    simple = fit_linear(grams, log_rates, outcomes.tests, folds, None, plain).held_out
    some = outcomes.take(rows)
    answers = {"model": held_out, "linear part": linear.held_out, "simple rule": simple}
    found = {name: order_measures(answer[rows], some) for name, answer in answers.items()}
    if is_behind(found["model"], found["simple rule"]):
        say("on validation a ridge on n-grams orders the creatives as well as the model does")
    return found


class _ClickRate(Trainee[Tensor]):
    """AutoInt in training; `fit_click_rate` is its only user."""

    kind = "click-rate-checkpoint"
    goal = "valid_loss"
    higher_is_better: ClassVar[bool] = False
    hint = "lower the learning rate or clip_norm"

    def __init__(
        self,
        network: AutoInt,
        inputs: AdInputs,
        known: tuple[Floats, Floats, Floats],
        tests: npt.NDArray[np.int64],
        folds: npt.NDArray[np.int64],
        config: ClickRateConfig,
        data_hash: str,
    ) -> None:
        """known: of N creatives held-out log rates of the linear part, smoothed rates, weights."""
        self.network, self.inputs, self.config = network, inputs, config
        self.offset, self.smoothed, self.weights = (
            torch.from_numpy(one.astype(np.float32)) for one in known
        )
        self.tests = torch.from_numpy(tests)
        self.first = torch.from_numpy(np.flatnonzero(folds == 0))
        rows = np.flatnonzero(folds != 0)
        own = np.where(tests[rows] < 0, tests.max() + 1 + rows, tests[rows])
        order = np.argsort(own, kind="stable")
        cuts = np.flatnonzero(np.diff(own[order])) + 1
        #: Rows of each test of the training, and of each creative that is in none.
        self.groups = np.split(rows[order], cuts)
        self.steps = max(1, math.ceil(len(rows) / config.batch))
        optimiser = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        loop = LoopConfig(
            epochs=config.epochs,
            patience=config.patience,
            seed=config.seed,
            clip_norm=config.clip_norm,
        )
        asked = {"fit": to_jsonable(config), "data_hash": data_hash}
        super().__init__(network, {"adamw": optimiser}, loop, asked)

    def epoch(self, at: RunPosition) -> Iterator[Tensor]:
        """The rows of each step that is left: whole tests, in equal numbers of tests."""
        rng = np.random.default_rng([self.config.seed, at.epoch])
        order = np.array_split(rng.permutation(len(self.groups)), self.steps)
        for some in order[at.step :]:
            if len(some):
                yield torch.from_numpy(np.concatenate([self.groups[group] for group in some]))

    def left(self, at: RunPosition) -> int:
        """Steps that are left of the epoch."""
        return min(self.steps, len(self.groups)) - at.step

    def share_of_rate(self, at: RunPosition) -> float:
        """Half a cosine from 1 to 0 over all epochs."""
        return (1 + math.cos(math.pi * at.steps / (self.loop.epochs * self.steps))) / 2

    def loss(self, rows: Tensor) -> tuple[Tensor, int]:
        """Of the creatives `rows`."""
        scores = self.network(self.inputs.take(rows), self.offset[rows])
        return self._loss(scores, rows), len(rows)

    def validate(self, at: RunPosition) -> tuple[float | None, dict[str, Any]]:
        """The loss of a creative of the first fold, with all of the network's answer and with the
        share of it that does best, which decides."""
        losses = self.losses()
        best = min(losses.values())
        return best, {"valid_loss": best, "valid_whole": losses[1.0], "valid_linear": losses[0.0]}

    def losses(self) -> dict[float, float]:
        """The loss of a creative of the first fold by share of the network's answer."""
        first, count = self.first, max(1, len(self.first))
        answer = torch.from_numpy(answers_of(self.network, self.inputs.take(first))).float()
        offset = self.offset[first]
        return {
            share: float(self._loss(offset + share * answer, first)) / count for share in _SHARES
        }

    def _loss(self, scores: Tensor, rows: Tensor) -> Tensor:
        return click_rate_loss(
            scores,
            self.smoothed[rows],
            self.weights[rows],
            self.tests[rows],
            regression=self.config.regression,
        )


_MODEL, _RUN, _REPORT = "model", "run", "report.json"
_SAID = {
    "rho": "Spearman's rho of click rates",
    "best_of_test": "best of a test is picked",
    "pairs": "pairs in the right order",
    "rho_within": "rho within tests",
}


@dataclass(frozen=True, eq=False)
class ClickRun:
    """model: trained. id: of its artifact. folder: the artifact's."""

    model: FittedClickRate
    id: str
    folder: Path

    def sentences(self) -> list[str]:
        """What the validation says of the model, of its linear part and of the simple rule."""
        measures = self.model.measures
        said = ["on the stories for choices (model, its linear part, n-grams alone):"]
        for name, text in _SAID.items():
            if all(name in found for found in measures.values()):
                values = ", ".join(f"{found[name]:.3f}" for found in measures.values())
                said.append(f"{text}: {values}")
        if is_behind(measures["model"], measures["simple rule"]):
            said.append("n-grams order these creatives as well as the model does: take the rule")
        coverage = self.model.calibration.interval.coverage
        said.append(f"intervals are made to cover {coverage:.0%} of new creatives")
        return said


def train_clicks(
    outcomes: CreativeOutcomes,
    out: Path,
    config: ClickRateConfig | None = None,
    *,
    texts: EncodedTexts | None = None,
    vectors: Vectors | None = None,
    resume: bool = False,
    stop_now: bool = False,
    overwrite: bool = False,
    clock: Clock | None = None,
) -> ClickRun:
    """Train and save. texts, vectors, resume, stop_now: as of `fit_click_rate`. overwrite: replace
    a model and its run. Raises ResourceError where there is a model (without `overwrite`), and as
    `fit_click_rate`."""
    if not overwrite:
        require_free(out / _MODEL, "a model")
    if overwrite and not resume and (out / _RUN).exists():
        shutil.rmtree(out / _RUN)
    model = fit_click_rate(
        outcomes,
        config,
        texts=texts,
        vectors=vectors,
        out=out / _RUN,
        resume=resume,
        stop_now=stop_now,
    )
    identity = model.save(out / _MODEL, overwrite=overwrite, clock=clock)
    told = {"model": identity, "creatives": len(outcomes), "validation": model.measures}
    atomic_write_text(out / _REPORT, json.dumps(told, indent=1) + "\n")
    return ClickRun(model, identity, out / _MODEL)
