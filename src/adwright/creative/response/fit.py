"""fit_click_rate(): train on creatives that were shown, and say how sure the answers are.

1. Fields, prior and the linear part are fitted; stories are parted into folds, and of each creative
   a linear part that saw nothing of its story gives a held-out log rate.
2. A network, by default AutoInt, is trained by the one loop on what those held-out rates miss, on
   all folds but the first. The first decides when to stop, and which share of the network's answer
   is added: none of it, where that is best.
3. The level and the interval come from held-out answers, of the first fold alone where the network
   has a share. A simple rule, a ridge on hashed n-grams of all text, is measured on the first fold
   beside the model: where it orders the creatives as well, that is said.

A further network is a file of its own and a line of `NetworkConfig`: a class under `@settings` with
a `kind` that no other has, whose `network(features)` is an nn.Module. Of `AdInputs` and the offset
of the linear part, or None, that makes log rates [B].

Nothing of a creative but its record and its vectors is read as an input.

A run that trains a judge of click rates, and the model that it leaves.

    run = train_clicks(read_outcomes("creatives.parquet"), Path("runs/clicks"))
    print("
".join(run.sentences()))

RUN/run holds curves and the checkpoint, RUN/model the artifact, RUN/report.json what the
validation says of it and of simpler rules.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from adwright.core.artifacts import Artifact, save_artifact
from adwright.core.atomic import atomic_write_text
from adwright.core.clock import Clock
from adwright.core.config import (
    Count,
    Natural,
    NotNegative,
    Positive,
    from_jsonable,
    require_count,
    settings,
    to_jsonable,
)
from adwright.core.errors import DataError
from adwright.core.hashing import content_hash, sha256_bytes
from adwright.core.progress import say
from adwright.creative.judging import Judgements, Novelty, PastAd, PastAds
from adwright.creative.records.ad_record import AdRecord
from adwright.creative.records.encoders import HashedText
from adwright.creative.response.autoint import AutoIntConfig
from adwright.creative.response.inputs import AdFeatures, AdInputs, EncodedTexts, encoded_texts
from adwright.creative.response.models import (
    BetaPrior,
    CrossFitted,
    LinearConfig,
    LinearPart,
    RateCalibration,
    click_rate_loss,
    fit_linear,
    fit_prior,
    is_behind,
    order_measures,
)
from adwright.creative.response.outcomes import CreativeOutcomes, stories_of, story_folds
from adwright.training.loop.loop import train
from adwright.training.loop.run_folder import RunPosition
from adwright.training.loop.trainee import LoopConfig, Trainee
from adwright.training.model_artifacts import load_trained, load_weights, weights_of
from adwright.training.search import require_free, seeded

# --------------------------------------------------------------------------------------------------
# A trained click rate, ready to be asked: its artifact, kind "click_rate".
#
# manifest.json         what is read of an ad, sizes, level, interval, measures, training
# tensors.safetensors   weights of the linear part and of the network, vectors of training ads
# reference.json        ids and titles of those ads
# records.json          the validations
#
#     model = FittedClickRate.load("runs/clickrate/model")
#     model.judge(ads).value            # expected click rates, 0 to 1

KIND = "click_rate"

#: The networks that may be added to the linear part.
NetworkConfig: TypeAlias = AutoIntConfig
Vectors = Mapping[str, npt.NDArray[np.float32]]
Floats = npt.NDArray[np.float64]

_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class FittedClickRate:
    """A judge of ads by their click rate.

    features: what is read. linear: the linear part. network: of whose answer `share` is added;
    None where it has none. calibration: level and interval of log rates. prior: of rates in
    training. reference: training ads. texts: makes text vectors. config: of the training, plain
    values. measures: on the creatives for choices, of the model, its linear part and the simple
    rule. records, epoch: of the network's training. data_hash: of the training data.
    """

    features: AdFeatures
    linear: LinearPart
    network: nn.Module | None
    share: float
    calibration: RateCalibration
    prior: BetaPrior
    reference: PastAds
    texts: EncodedTexts
    config: dict[str, Any] = field(default_factory=dict, repr=False)
    measures: dict[str, dict[str, float]] = field(default_factory=dict, repr=False)
    records: Sequence[dict[str, Any]] = field(default=(), repr=False)
    epoch: int = 0
    data_hash: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.network is not None:
            self.network.eval()

    def __repr__(self) -> str:
        """What it is, in a line."""
        fields = ", ".join(one.name for one in self.features.vectors)
        return (
            f"<FittedClickRate: {len(self.linear.weight):,} linear weights, {self.share:g} of "
            f"its network, of {fields}, {self.calibration.interval.coverage:.0%} intervals>"
        )

    @property
    def name(self) -> str:
        """Of what is judged."""
        return KIND

    def judge(self, ads: Sequence[AdRecord], vectors: Vectors | None = None) -> Judgements:
        """Click rates of N ads, with intervals and whether an ad is unlike those of training.

        vectors: further ones that the model was trained with, name -> float32 [N, W]; missing where
        they are not given. Raises DataError for vectors of another width or number.
        """
        log_rates, unlike = [np.zeros(0)], [np.zeros(0, np.bool_)]
        for some, more in _batches(ads, vectors):
            found, flat = self._encoded(some, more)
            log_rates.append(found)
            unlike.append(self.reference.novelty.unlike(flat))
        rates = self.calibration.rates(np.concatenate(log_rates))
        value, low, high = (one.astype(np.float32) for one in rates)
        coverage = self.calibration.interval.coverage
        return Judgements(value, low, high, np.concatenate(unlike), coverage)

    def reads(self, name: str) -> bool:
        """Whether it was trained with vectors of this name."""
        return any(one.name == name for one in self.features.vectors)

    def nearest(
        self, ads: Sequence[AdRecord], count: int = 3, vectors: Vectors | None = None
    ) -> Sequence[tuple[PastAd, ...]]:
        """Of each of N ads the training ads that are most like it, with what became of them."""
        require_count("count", count)
        found: list[tuple[PastAd, ...]] = []
        for some, more in _batches(ads, vectors):
            found += self.reference.nearest(self._encoded(some, more)[1], count)
        return tuple(found)

    def _encoded(
        self, ads: Sequence[AdRecord], vectors: Vectors
    ) -> tuple[Floats, npt.NDArray[np.float32]]:
        """Log rates [B] and flat inputs [B, D]."""
        inputs = self.features.encode(ads, self.texts, vectors)
        flat: npt.NDArray[np.float32] = inputs.flat(self.features.sizes).numpy()
        found = self.linear.predict(flat)
        if self.network is not None:
            found = found + self.share * answers_of(self.network, inputs)
        return found, flat

    def save(
        self, folder: str | Path, *, overwrite: bool = False, clock: Clock | None = None
    ) -> str:
        """Write the artifact, whole or not at all; returns its id. Raises as `save_artifact`."""
        reference, novelty = self.reference, self.reference.novelty
        tensors: dict[str, npt.NDArray[Any]] = {
            "linear.weight": self.linear.weight,
            "reference.kept": novelty.kept,
            "reference.rows": novelty.rows,
            "reference.values": reference.values,
            "reference.weights": reference.weights,
        }
        if self.network is not None:
            tensors |= weights_of(self.network, "network.")
        names = {"ids": list(reference.ids), "titles": list(reference.titles)}
        return save_artifact(
            folder,
            kind=KIND,
            config={
                "network": None if self.network is None else to_jsonable(self.network.config),
                "share": self.share,
                "linear": {
                    "bias": self.linear.bias,
                    "penalty": self.linear.penalty,
                    "ratio": self.linear.ratio,
                },
                "calibration": to_jsonable(self.calibration),
                "prior": to_jsonable(self.prior),
                "novelty": {"k": novelty.k, "threshold": novelty.threshold},
                "fit": self.config,
                "measures": self.measures,
                "epoch": self.epoch,
            },
            tensors=tensors,
            files={
                "reference.json": json.dumps(names),
                "records.json": json.dumps(list(self.records), indent=1),
            },
            feature_spec=to_jsonable(self.features),
            data_hash=self.data_hash,
            seed=self.seed,
            overwrite=overwrite,
            clock=clock,
        )

    @classmethod
    def load(
        cls, source: str | Path | Artifact, *, texts: EncodedTexts | None = None
    ) -> FittedClickRate:
        """The model of an artifact, or of its folder.

        texts: makes text vectors as in training; None makes them anew each time, a maker with a
        folder keeps them. Raises as `load_trained`, and MissingExtraError where it was trained on
        vectors of sentences and their extra is missing.
        """

        def built(artifact: Artifact) -> FittedClickRate:
            return _built(artifact, texts)

        return load_trained(source, built, kind=KIND, name="click rate")


@torch.no_grad()
def answers_of(network: nn.Module, inputs: AdInputs) -> Floats:
    """What a network adds to the linear part, float64 [N]; leaves it in evaluation mode."""
    network.eval()
    found = [
        network(inputs.take(slice(start, start + _AT_ONCE))).double().numpy()
        for start in range(0, len(inputs), _AT_ONCE)
    ]
    return np.concatenate(found) if found else np.zeros(0)


def _batches(
    ads: Sequence[AdRecord], vectors: Vectors | None
) -> Iterator[tuple[Sequence[AdRecord], Vectors]]:
    """Some ads at a time, with their vectors."""
    for start in range(0, len(ads), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        given = (vectors or {}).items()
        yield ads[some], {name: x[some] if len(x) == len(ads) else x for name, x in given}


@dataclass(frozen=True)
class _SavedNetwork:
    network: NetworkConfig | None


def _built(artifact: Artifact, texts: EncodedTexts | None) -> FittedClickRate:
    values, tensors = artifact.config, artifact.tensors
    features = from_jsonable(AdFeatures, artifact.feature_spec or {})
    if texts is None:
        hashed = features.texts == encoded_texts("hashed").name
        texts = encoded_texts("hashed" if hashed else "minilm")
    net = from_jsonable(_SavedNetwork, {"network": values["network"]}).network
    network = None if net is None else net.network(features)
    if network is not None:
        load_weights(network, tensors, "network.")
    names = json.loads(artifact.text("reference.json"))
    novelty = Novelty(
        tensors["reference.kept"],
        tensors["reference.rows"],
        int(values["novelty"]["k"]),
        float(values["novelty"]["threshold"]),
    )
    return FittedClickRate(
        features,
        LinearPart(tensors["linear.weight"], **values["linear"]),
        network,
        float(values["share"]),
        from_jsonable(RateCalibration, values["calibration"]),
        from_jsonable(BetaPrior, values["prior"]),
        PastAds(
            novelty,
            tuple(names["ids"]),
            tuple(names["titles"]),
            tensors["reference.values"],
            tensors["reference.weights"],
        ),
        texts,
        config=values["fit"],
        measures=values["measures"],
        records=tuple(json.loads(artifact.text("records.json"))),
        epoch=int(values["epoch"]),
        data_hash=artifact.data_hash,
        seed=artifact.seed,
    )


#: Shares of the network's answer that are tried.
_SHARES = (0.0, 0.25, 0.5, 1.0)
_SIMPLE_PLACES = 1024


@settings
class ClickRateConfig:
    """A click rate and its training.

    network: beside the linear part; None trains that alone. linear: its penalties. folds: of
    stories, the first of which is for choices. min_count: values of categories and bags that fewer
    creatives have are unknown. epochs: at most so many; patience: stop after so many that are not
    better. batch: creatives a step, in whole tests. regression: g of the loss. coverage: of the
    interval.
    """

    network: NetworkConfig | None = field(default_factory=AutoIntConfig)
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
        network = seeded(config.seed, lambda: net.network(features))
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
    """The network in training; `fit_click_rate` is its only user."""

    kind = "click-rate-checkpoint"
    goal = "valid_loss"
    higher_is_better: ClassVar[bool] = False
    hint = "lower the learning rate or clip_norm"

    def __init__(
        self,
        network: nn.Module,
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
    identity = model.save(out / _MODEL, overwrite=overwrite)
    told = {"model": identity, "creatives": len(outcomes), "validation": model.measures}
    atomic_write_text(out / _REPORT, json.dumps(told, indent=1) + "\n")
    return ClickRun(model, identity, out / _MODEL)
