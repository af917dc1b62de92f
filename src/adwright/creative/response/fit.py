"""fit_click_rate(): train on creatives that were shown, and say how sure the answers are.

1. What each says is read once (`AdReader`): texts, form, fields, vectors.
2. Candidates are fitted on folds that imitate use (`metrics.choosing`): later creatives where there
   are dates, else brands or pages that are new, else stories; stories are never parted. They are
   a constant, the length of the text, a ridge on TF-IDF, one on fields, one on vectors of
   sentences, one on all of it, and boosting; and their mixture.
3. What was kept is fitted on all creatives. The level of the latest fold and the interval come
   from answers on folds that had not seen the creative.

A score without impressions (points, claps, views) is learned alike, on a log scale where none is
below 0. A further candidate is a line of `_fits`.

    run = train_clicks(read_outcomes("creatives.parquet"), Path("runs/clicks"))
    print("\\n".join(run.sentences()))

RUN/model is the artifact, kind "click_rate", RUN/report.json what the validation says.

manifest.json         what is read of an ad, level, interval, measures, what was chosen
tensors.safetensors   weights, nodes of trees, IDF, vectors of training ads
terms.json            of each text the grams, of each category the values
reference.json        ids and titles of training ads

    model = FittedClickRate.load("runs/clicks/model")
    model.judge(ads).value            # expected click rates, 0 to 1
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from adwright.core.artifacts import Artifact, save_artifact
from adwright.core.atomic import atomic_write_text
from adwright.core.clock import Clock
from adwright.core.config import (
    Count,
    Natural,
    Positive,
    from_jsonable,
    require_count,
    settings,
    to_jsonable,
)
from adwright.core.errors import ArtifactError, DataError
from adwright.core.hashing import content_hash, sha256_bytes
from adwright.creative.judging import Judgements, Novelty, PastAd, PastAds
from adwright.creative.records.ad_record import AdRecord
from adwright.creative.records.encoders import HashedText
from adwright.creative.response.inputs import (
    BAGS,
    AdEncoding,
    AdReader,
    Block,
    EncodedTexts,
    Floats,
    Grams,
    Rows,
    Scale,
    Vectors,
    encoded_texts,
)
from adwright.creative.response.learners import (
    ConstantPart,
    Part,
    RidgePart,
    Taught,
    TreesPart,
    components_of,
    fit_ridge,
    fit_trees,
    joined,
)
from adwright.creative.response.models import (
    APART,
    BetaPrior,
    Calibration,
    RateCalibration,
    ScoreCalibration,
    fit_prior,
)
from adwright.creative.response.outcomes import CreativeOutcomes, stories_of
from adwright.metrics.choosing import (
    Candidate,
    Folds,
    HonestChoice,
    Measure,
    choose,
    imitating_folds,
    pairs_of,
    spearman_of,
)
from adwright.training.model_artifacts import load_trained
from adwright.training.search import require_free

KIND, _FORMAT = "click_rate", 3
_AT_ONCE = 4096
#: Pairs within tests are what counts from so many tests on that can tell.
_LEAST_TESTS = 20
_PLACES = 256


@settings
class ClickRateConfig:
    """A click rate and its training.

    folds: of the validation. most: creatives from which on boosting is not tried, which would take
    minutes. coverage: of the interval.
    """

    folds: Count = 5
    most: Count = 200_000
    coverage: Positive = 0.9
    seed: Natural = 0


@dataclass(frozen=True, eq=False)
class FittedClickRate:
    """A judge of ads by their click rate, or by a score.

    encoding: how ads become blocks. parts: what is served, by name; weights, offset: of their sum.
    calibration: level and interval. prior: of rates in training; None of scores. reference:
    training ads. texts: makes text vectors. fields: names of what is read beside the ad. told: what
    the validation says, plain values.
    """

    encoding: AdEncoding
    parts: Mapping[str, Part]
    weights: Mapping[str, float]
    offset: float
    calibration: Calibration
    prior: BetaPrior | None
    reference: PastAds
    texts: EncodedTexts
    fields: tuple[str, ...] = ()
    told: dict[str, Any] = field(default_factory=dict, repr=False)
    data_hash: str = ""
    seed: int = 0

    def __repr__(self) -> str:
        """What it is, in a line."""
        coverage = self.calibration.interval.coverage
        return f"<FittedClickRate: {', '.join(self.parts)}, {coverage:.0%} intervals>"

    @property
    def name(self) -> str:
        """Of what is judged."""
        return KIND

    def judge(self, ads: Sequence[AdRecord], vectors: Vectors | None = None) -> Judgements:
        """Click rates of N ads, with intervals and whether an ad is unlike those of training.

        vectors: further ones and fields that the model was trained with, name -> [N, W]; missing
        where they are not given. Raises DataError for vectors of another width or number.
        """
        values, unlike = [np.zeros(0)], [np.zeros(0, np.bool_)]
        for some, more in _batches(ads, vectors):
            read = self._read(some, more)
            values.append(self._value(self.encoding.blocks(read), read.rows))
            unlike.append(self.reference.novelty.unlike(_reference_of(read, self.encoding)))
        rates = self.calibration.rates(np.concatenate(values))
        value, low, high = (one.astype(np.float32) for one in rates)
        coverage = self.calibration.interval.coverage
        return Judgements(value, low, high, np.concatenate(unlike), coverage)

    def reads(self, name: str) -> bool:
        """Whether it was trained with vectors of this name."""
        return f"vector {name}" in self.encoding.scales

    @property
    def marks(self) -> frozenset[str]:
        """What it reads of what scenes show: names of `BAGS`."""
        terms = {term for gram in self.encoding.grams.values() for term in gram.terms}
        return frozenset(bag for bag in BAGS if any(one.startswith(f"{bag}_") for one in terms))

    def nearest(
        self, ads: Sequence[AdRecord], count: int = 3, vectors: Vectors | None = None
    ) -> Sequence[tuple[PastAd, ...]]:
        """Of each of N ads the training ads that are most like it, with what became of them."""
        require_count("count", count)
        found: list[tuple[PastAd, ...]] = []
        for some, more in _batches(ads, vectors):
            found += self.reference.nearest(
                _reference_of(self._read(some, more), self.encoding), count
            )
        return tuple(found)

    def _read(self, ads: Sequence[AdRecord], vectors: Vectors) -> AdReader:
        known = {name: one for name, one in vectors.items() if self.reads(name)}
        known |= {name: vectors[name] for name in self.fields if name in vectors}
        return AdReader.of(ads, self.texts, known)

    def _value(self, blocks: Mapping[str, Block], rows: int) -> Floats:
        if not blocks:
            return np.full(rows, self.offset)
        parts = (weight * self.parts[name].predict(blocks) for name, weight in self.weights.items())
        return np.asarray(self.offset + sum(parts, np.zeros(rows)))

    def save(
        self, folder: str | Path, *, overwrite: bool = False, clock: Clock | None = None
    ) -> str:
        """Write the artifact, whole or not at all; returns its id. Raises as `save_artifact`."""
        reference, novelty, own = self.reference, self.reference.novelty, self.encoding
        tensors: dict[str, npt.NDArray[Any]] = {
            "reference.kept": novelty.kept,
            "reference.rows": novelty.rows,
            "reference.values": reference.values,
            "reference.weights": reference.weights,
        }
        for name, gram in own.grams.items():
            tensors[f"idf.{name}"] = gram.idf
        for name, scale in own.scales.items():
            tensors[f"mean.{name}"], tensors[f"spread.{name}"] = scale.mean, scale.spread
        parts = {}
        for name, part in self.parts.items():
            parts[name], more = _part_values(part)
            tensors |= {f"part.{name}.{key}": one for key, one in more.items()}
        terms = {
            "grams": {name: gram.terms for name, gram in own.grams.items()},
            "levels": dict(own.levels),
        }
        names = {"ids": list(reference.ids), "titles": list(reference.titles)}
        return save_artifact(
            folder,
            kind=KIND,
            config={
                "format": _FORMAT,
                "texts": own.texts,
                "sizes": {name: scale.size for name, scale in own.scales.items()},
                "parts": parts,
                "weights": dict(self.weights),
                "offset": self.offset,
                "outcome": "rate" if isinstance(self.calibration, RateCalibration) else "score",
                "calibration": to_jsonable(self.calibration),
                "prior": None if self.prior is None else to_jsonable(self.prior),
                "novelty": {"k": novelty.k, "threshold": novelty.threshold},
                "fields": list(self.fields),
                "told": self.told,
            },
            tensors=tensors,
            files={"reference.json": json.dumps(names), "terms.json": json.dumps(terms)},
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
        folder keeps them. Raises as `load_trained`, ArtifactError for one of an older adwright, and
        MissingExtraError where it was trained on vectors of sentences and their extra is missing.
        """

        def built(artifact: Artifact) -> FittedClickRate:
            return _built(artifact, texts)

        return load_trained(source, built, kind=KIND, name="click rate")


def _batches(
    ads: Sequence[AdRecord], vectors: Vectors | None
) -> Iterator[tuple[Sequence[AdRecord], Vectors]]:
    """Some ads at a time, with their vectors."""
    for start in range(0, len(ads), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        given = (vectors or {}).items()
        yield ads[some], {name: x[some] if len(x) == len(ads) else x for name, x in given}


def _reference_of(read: AdReader, encoding: AdEncoding) -> npt.NDArray[np.float32]:
    """float32 [N, D], by which ads are near: vectors of texts and pictures, grams of categories."""
    made = []
    for name, scale in sorted(encoding.scales.items()):
        if name.startswith("vector "):
            none = np.zeros((read.rows, len(scale.mean)))
            made.append(np.nan_to_num(read.vectors.get(name.removeprefix("vector "), none)))
    said = [
        " ".join(
            f"{name}={read.levels[name][row]}"
            for name in sorted(encoding.levels)
            if name in read.levels
        )
        for row in range(read.rows)
    ]
    return np.hstack([*made, HashedText(_PLACES).encode(said)]).astype(np.float32)


def _part_values(part: Part) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Plain values and arrays of a part."""
    told: dict[str, Any] = {"blocks": list(part.blocks)}
    if isinstance(part, ConstantPart):
        return told | {"kind": "constant", "level": part.level}, {}
    if isinstance(part, RidgePart):
        return told | {"kind": "ridge", "bias": part.bias}, {"weight": part.weight}
    told |= {"kind": "trees", "grams": list(part.grams), "base": part.base}
    told |= {"levels": list(part.levels), "nodes": list(part.nodes)}
    arrays: dict[str, npt.NDArray[Any]] = {"components": part.components.astype(np.float32)}
    arrays["roots"] = part.roots
    arrays |= {f"level.{name}": one for name, one in part.levels.items()}
    return told, arrays | {f"node.{name}": one for name, one in part.nodes.items()}


def _part_of(told: Mapping[str, Any], array: Callable[[str], npt.NDArray[Any]]) -> Part:
    blocks = tuple(told["blocks"])
    if told["kind"] == "constant":
        return ConstantPart(float(told["level"]), blocks)
    if told["kind"] == "ridge":
        return RidgePart(blocks, array("weight"), float(told["bias"]))
    return TreesPart(
        blocks,
        tuple(told["grams"]),
        array("components").astype(np.float64),
        {name: array(f"level.{name}") for name in told["levels"]},
        {name: array(f"node.{name}") for name in told["nodes"]},
        array("roots"),
        float(told["base"]),
    )


def _tensor_of(tensors: Mapping[str, npt.NDArray[Any]], part: str, name: str) -> npt.NDArray[Any]:
    return tensors[f"part.{part}.{name}"]


def _built(artifact: Artifact, texts: EncodedTexts | None) -> FittedClickRate:
    values, tensors = artifact.config, artifact.tensors
    if values.get("format") != _FORMAT:
        raise ArtifactError(
            "an older adwright wrote this judge of click rates",
            where=str(artifact.folder),
            hint="train it anew: adwright creative train clicks",
        )
    if texts is None:
        hashed = values["texts"] == encoded_texts("hashed").name
        texts = encoded_texts("hashed" if hashed else "minilm")
    terms, names = (json.loads(artifact.text(f"{one}.json")) for one in ("terms", "reference"))
    grams = {
        name: Grams(tuple(known), tensors[f"idf.{name}"]) for name, known in terms["grams"].items()
    }
    scales = {
        name: Scale(tensors[f"mean.{name}"], tensors[f"spread.{name}"], float(size))
        for name, size in values["sizes"].items()
    }
    levels = {name: tuple(known) for name, known in terms["levels"].items()}
    parts = {
        name: _part_of(told, partial(_tensor_of, tensors, name))
        for name, told in values["parts"].items()
    }
    rated = values["outcome"] == "rate"
    calibration: Calibration = (
        from_jsonable(RateCalibration, values["calibration"])
        if rated
        else from_jsonable(ScoreCalibration, values["calibration"])
    )
    novelty = Novelty(
        tensors["reference.kept"],
        tensors["reference.rows"],
        int(values["novelty"]["k"]),
        float(values["novelty"]["threshold"]),
    )
    return FittedClickRate(
        AdEncoding(values["texts"], grams, scales, levels),
        parts,
        values["weights"],
        float(values["offset"]),
        calibration,
        None if values["prior"] is None else from_jsonable(BetaPrior, values["prior"]),
        PastAds(
            novelty,
            tuple(names["ids"]),
            tuple(names["titles"]),
            tensors["reference.values"],
            tensors["reference.weights"],
        ),
        texts,
        tuple(values["fields"]),
        values["told"],
        artifact.data_hash,
        artifact.seed,
    )


# --------------------------------------------------------------------------------------------------
# Training.


def fit_click_rate(
    outcomes: CreativeOutcomes,
    config: ClickRateConfig | None = None,
    *,
    texts: EncodedTexts | None = None,
    vectors: Vectors | None = None,
) -> FittedClickRate:
    """Train on creatives and how they did.

    texts: makes vectors of texts, by default MiniLM where it is installed. vectors: further ones,
    name -> float32 [N, W], NaN where missing, of images for example. Raises DataError for too few
    stories or creatives, or none that were clicked.
    """
    config, texts = config or ClickRateConfig(), texts or encoded_texts()
    stories = stories_of(outcomes)
    if (count := len(np.unique(stories))) < 2 * config.folds or config.folds < 2:
        raise DataError(
            f"{config.folds} folds take {2 * config.folds} stories or more, and 2 folds at least",
            value=f"{count} stories",
            hint="creatives that share a test, a title, a text or an image are one story; others "
            "are needed, of which nothing is shared",
        )
    prior = None
    if outcomes.scores is None:
        prior = fit_prior(outcomes.clicks, outcomes.impressions)
        y = np.log(prior.smoothed(outcomes.clicks, outcomes.impressions))
        weights = prior.weights(outcomes.impressions)
    else:
        y, weights = ScoreCalibration.scale_of(outcomes.scores), np.ones(len(outcomes))
    read = AdReader.of(outcomes.records, texts, {**(vectors or {}), **outcomes.fields})
    folds, units = _folds(outcomes, stories, config)
    taught = Taught(y, weights, outcomes.tests, stories, outcomes.times)
    if outcomes.scores is not None:
        taught = taught._replace(tests=np.full(len(outcomes), -1))
    # Terms, their IDF and scales are of all rows: they tell nothing of what came of them.
    every = np.arange(len(outcomes))
    encoding = read.fitted(every)
    blocks = encoding.blocks(read)
    fits = _fits(blocks, taught, config, hashed=texts.name.startswith("hash"))

    unseen: dict[tuple[str, bytes], Floats] = {}
    for train, held in zip(folds.train, folds.held, strict=True):
        asked = {key: block[held] for key, block in blocks.items()}
        for name, fit in fits.items():
            unseen[name, train.tobytes()] = fit(train).predict(asked)

    def candidate(name: str) -> Candidate:
        return Candidate(name, lambda rows: lambda _: unseen[name, rows.tobytes()], name in _SIMPLE)

    measure, pairs = _measure(outcomes)
    found = choose(
        [candidate(name) for name in fits], y, folds, measure,
        units=units, chance=0.5 if pairs else 0.0, seed=config.seed,
    )  # fmt: skip
    wanted = found.parts or {"constant": 1.0}
    parts = {name: fits[name](every) for name in wanted}
    answer = np.concatenate([unseen["constant", train.tobytes()] for train in folds.train])
    if found.kept:
        answer = found.unseen[np.concatenate(folds.held)]
    calibration = _calibrated(answer, y, outcomes, folds, config)
    novelty = Novelty.fit(_reference_of(read, encoding), stories, seed=config.seed)
    some = outcomes.take(novelty.rows)
    titles = tuple(one.title or one.text.partition("\n")[0] for one in some.records)
    further = {name: sha256_bytes(array.tobytes()) for name, array in (vectors or {}).items()}
    return FittedClickRate(
        encoding,
        parts,
        wanted,
        float(found.offset) if found.kept == "mixture" else 0.0,
        calibration,
        prior,
        PastAds(novelty, some.ids, titles, some.rate, some.impressions.astype(np.float64)),
        texts,
        tuple(outcomes.fields),
        _told(found, pairs=pairs, how=folds.how),
        content_hash([outcomes.data_hash, further, texts.name]),
        config.seed,
    )


def _measure(outcomes: CreativeOutcomes) -> tuple[Measure, bool]:
    """What is measured: pairs within tests (True) where enough of them can tell, else rho."""
    varied = outcomes.varied if outcomes.scores is None else outcomes.tests >= 0
    pairs = len(np.unique(outcomes.tests[varied])) >= _LEAST_TESTS
    pairs |= outcomes.scores is not None and bool(varied.any())
    within = np.where(varied, outcomes.tests, -1)
    apart = APART if outcomes.scores is None else 0.0
    if pairs:
        return pairs_of(outcomes.rate, within, apart=apart), True
    return spearman_of(outcomes.rate), False


def _calibrated(
    answer: Floats, y: Floats, outcomes: CreativeOutcomes, folds: Folds, config: ClickRateConfig
) -> Calibration:
    """Level of the latest fold and interval, of answers for the held rows of all folds."""
    held, steps = np.concatenate(folds.held), None
    if folds.how == "time":
        steps = np.repeat(np.arange(len(folds)), [len(rows) for rows in folds.held])
    if outcomes.scores is None:
        counts = outcomes.clicks[held], outcomes.impressions[held]
        return RateCalibration.fit(answer, *counts, steps=steps, coverage=config.coverage)
    logged = ScoreCalibration.is_logged(outcomes.rate)
    return ScoreCalibration.fit(
        answer, y[held], logged=logged, steps=steps, coverage=config.coverage
    )


#: Blocks of form, of fields, of vectors, and of grams.
_KINDS = tuple(map(re.compile, ("^form ", "^(level|number) ", "^vector ", " (words|letters)$")))
#: Candidates that are rules.
_SIMPLE = ("constant", "length", "fields", "tf-idf")


def _fits(
    blocks: Mapping[str, Block], taught: Taught, config: ClickRateConfig, *, hashed: bool
) -> dict[str, Callable[[Rows], Part]]:
    """The candidates from the simplest on, each of the blocks that there are, fitted on rows."""
    if hashed:
        # Hashed grams say nothing that TF-IDF does not.
        blocks = {n: b for n, b in blocks.items() if n not in ("vector title", "vector rest")}
    form, fields, vectors, grams = (
        [name for name in blocks if pattern.search(name)] for pattern in _KINDS
    )

    def constant(rows: Rows) -> Part:
        return ConstantPart(float(np.average(taught.y[rows], weights=taught.weights[rows])))

    made: dict[str, Callable[[Rows], Part]] = {"constant": constant}
    for name, read in (
        ("length", ["length"] if "length" in blocks else []),
        ("fields", fields),
        ("tf-idf", grams),
        ("vectors", vectors + form if vectors else []),
        ("linear", grams + form + fields + vectors),
    ):
        if read and not (name == "linear" and len(made) < 3):
            made[name] = partial(fit_ridge, joined(blocks, read), read, taught)
    if len(taught.y) <= config.most and blocks:
        alike = components_of(blocks, seed=config.seed)
        made["boosting"] = lambda rows: fit_trees(blocks, taught, rows, alike, seed=config.seed)
    return made


def _folds(
    outcomes: CreativeOutcomes, stories: Rows, config: ClickRateConfig
) -> tuple[Folds, npt.NDArray[Any]]:
    """Folds that imitate use, and what is drawn anew elsewhere."""
    brands = np.array([one.brand.strip().casefold() for one in outcomes.records])
    called = "brand"
    if not (brands != "").any():
        called = next((one for one in ("page", "campaign") if one in outcomes.fields), "")
        brands = outcomes.fields[called][:, 0] if called else brands
    owned = (brands != "").any() and len(np.unique(brands)) >= 2 * config.folds
    alone = np.array([f"{one}" or f" {row}" for row, one in enumerate(brands.tolist())])
    folds = imitating_folds(
        len(outcomes),
        times=outcomes.times,
        groups=alone if owned else None,
        together=stories,
        called=called or "story",
        folds=config.folds,
        seed=config.seed,
    )
    return folds, alone if owned else stories


def _told(found: HonestChoice, *, pairs: bool, how: str) -> dict[str, Any]:
    measure = "share of pairs of a test in the right order" if pairs else "rho"
    return {
        "kept": found.kept,
        "measure": "pairs" if pairs else "spearman",
        "told": [found.told.value, found.told.low, found.told.high],
        "values": {name: [one.value, one.low, one.high] for name, one in found.values.items()},
        "weights": {name: one for name, one in found.weights.items() if one},
        "folds": how,
        "chance": found.chance,
        "sentences": found.sentences(measure),
    }


_MODEL, _REPORT = "model", "report.json"


@dataclass(frozen=True, eq=False)
class ClickRun:
    """model: trained. id: of its artifact. folder: the artifact's."""

    model: FittedClickRate
    id: str
    folder: Path

    def sentences(self) -> list[str]:
        """What the validation says: which candidate won, and what to expect of new creatives."""
        coverage = self.model.calibration.interval.coverage
        return [
            *self.model.told["sentences"],
            f"intervals are made to cover {coverage:.0%} of new creatives",
        ]


def train_clicks(
    outcomes: CreativeOutcomes,
    out: Path,
    config: ClickRateConfig | None = None,
    *,
    texts: EncodedTexts | None = None,
    vectors: Vectors | None = None,
    overwrite: bool = False,
) -> ClickRun:
    """Train and save. texts, vectors: as of `fit_click_rate`. overwrite: replace a model. Raises
    ResourceError where there is a model (without `overwrite`), and as `fit_click_rate`."""
    if not overwrite:
        require_free(out / _MODEL, "a model")
    model = fit_click_rate(outcomes, config, texts=texts, vectors=vectors)
    identity = model.save(out / _MODEL, overwrite=overwrite)
    told = {"model": identity, "creatives": len(outcomes), **model.told}
    atomic_write_text(out / _REPORT, json.dumps(told, indent=1) + "\n")
    return ClickRun(model, identity, out / _MODEL)
