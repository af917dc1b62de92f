"""A trained click rate, ready to be asked: its artifact, kind "click_rate".

manifest.json         what is read of an ad, sizes, level, interval, measures, training
tensors.safetensors   weights of the linear part and of AutoInt, vectors of training ads
reference.json        ids and titles of those ads
records.json          the validations

    model = FittedClickRate.load("runs/clickrate/model")
    model.judge(ads).value            # expected click rates, 0 to 1
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from adwright.core.artifacts import Artifact, save_artifact
from adwright.core.clock import Clock
from adwright.core.config import from_jsonable, require_count, to_jsonable
from adwright.creative.judging import Judgements, Novelty, PastAd, PastAds
from adwright.creative.records.ad_record import AdRecord
from adwright.creative.response.inputs import AdFeatures, AdInputs, EncodedTexts, encoded_texts
from adwright.creative.response.models import AutoInt, AutoIntConfig, LinearPart
from adwright.creative.response.rates import BetaPrior, RateCalibration
from adwright.training.model_artifacts import load_trained, load_weights, weights_of

KIND = "click_rate"

Vectors = Mapping[str, npt.NDArray[np.float32]]
Floats = npt.NDArray[np.float64]

_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class FittedClickRate:
    """A judge of ads by their click rate.

    features: what is read. linear: the linear part. network: AutoInt, of whose answer `share` is
    added; None where it has none. calibration: level and interval of log rates. prior: of rates in
    training. reference: training ads. texts: makes text vectors. config: of the training, plain
    values. measures: on the creatives for choices, of the model, its linear part and the simple
    rule. records, epoch: of AutoInt's training. data_hash: of the training data.
    """

    features: AdFeatures
    linear: LinearPart
    network: AutoInt | None
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
            f"AutoInt, of {fields}, {self.calibration.interval.coverage:.0%} intervals>"
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
def answers_of(network: AutoInt, inputs: AdInputs) -> Floats:
    """What AutoInt adds to the linear part, float64 [N]; leaves it in evaluation mode."""
    network.eval()
    found = [
        network(inputs.take(slice(start, start + _AT_ONCE))).double().numpy()
        for start in range(0, len(inputs), _AT_ONCE)
    ]
    return np.concatenate(found) if found else np.zeros(0)


def _batches(
    ads: Sequence[AdRecord], vectors: Vectors | None
) -> list[tuple[Sequence[AdRecord], Vectors]]:
    """Some ads at a time, with their vectors."""
    given = vectors or {}
    return [
        (
            ads[start : start + _AT_ONCE],
            {
                name: one[start : start + _AT_ONCE] if len(one) == len(ads) else one
                for name, one in given.items()
            },
        )
        for start in range(0, len(ads), _AT_ONCE)
    ]


def _built(artifact: Artifact, texts: EncodedTexts | None) -> FittedClickRate:
    values, tensors = artifact.config, artifact.tensors
    features = from_jsonable(AdFeatures, artifact.feature_spec or {})
    if texts is None:
        hashed = features.texts == encoded_texts("hashed").name
        texts = encoded_texts("hashed" if hashed else "minilm")
    network = None
    if values["network"] is not None:
        network = AutoInt(from_jsonable(AutoIntConfig, values["network"]), features)
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
