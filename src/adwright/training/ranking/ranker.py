"""A Ranker: a trained network with all that scoring needs, and its artifact.

The network's logits belong to the data it was trained on, where negatives may have been
sampled. A ranker turns them into probabilities of the full data in two steps: undo the
sampling, then apply the calibrator that was fitted on validation rows.

It is saved as an artifact of kind "ranker":

    manifest.json         the network's config, the feature spec, data hash, seed, parents
    tensors.safetensors   weights and buffers of the network, the catalogue's codes included
    items.parquet         the catalogue, so that ids can be read and items can be named
    calibrator.json       the calibrator
    report.json           what was measured on the test rows, where anything was
    ...                   further files of whoever saved it, for example comparison.json
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from adwright.core.artifacts import Artifact, load_artifact, save_artifact
from adwright.core.atomic import check_free
from adwright.core.clock import Clock
from adwright.core.config import from_jsonable, require_count, to_jsonable
from adwright.core.errors import ArtifactError, ConfigError, SchemaError, ValueInvalidError
from adwright.data.batches.batch import Batch
from adwright.data.batches.jagged import Jagged
from adwright.data.features import FeatureSpec, ItemTable, check_feature_types
from adwright.data.history_kinds import check_history, kinds_of, only_history
from adwright.data.schema import RESPONSE_KINDS, need_columns, validate_items
from adwright.data.tasks.own.next_item import with_made_columns
from adwright.data.tasks.split import Split
from adwright.data.tasks.task import Task
from adwright.metrics.reports.report import Report
from adwright.models.calibration import (
    Calibrator,
    IdentityCalibrator,
    ItemEmbedding,
    calibrator_from_jsonable,
    undo_negative_sampling,
)
from adwright.models.ranking.din import DIN
from adwright.models.ranking.union import (
    CalibratedScorer,
    RankerModel,
    dense_scorer,
    explaining,
    ranker_config,
    ranker_model,
)
from adwright.training.model_artifacts import (
    REPORT,
    OnnxProgram,
    load_trained,
    load_weights,
    onnx_bytes,
    parquet_bytes,
    read_catalogue,
    require_close,
    saved_report,
    weights_of,
)
from adwright.training.ranking.fit import predict
from adwright.training.ranking.frames import AnyTable, batches_of, item_names, table_of

KIND = "ranker"

_OWN_FILES = ("items.parquet", "calibrator.json", REPORT)


@dataclass(frozen=True, eq=False)
class Ranker:
    """A trained DIN, base model or HSTU that scores and recommends; DIN explains, too.

    model: the network, in evaluation mode. spec: its features. catalogue: the items by id and
    feature. calibrator: fitted after the sampling was undone. negative_rate: share of label-0
    rows that training kept. max_history: most recent events that a row sees, 0 for all.
    history_kinds: kinds of events that histories are made of; where events have a column `kind`,
    the others are passed over. popularity_kinds: kinds that the row feature `popularity` counts, of
    earlier days; None where nobody can count it from events. report: of the test rows. data_hash:
    of the task. seed: of the run. parents: ids of the artifacts it was made from. files: further
    files that are saved with it.
    """

    model: RankerModel
    spec: FeatureSpec
    catalogue: pl.DataFrame
    calibrator: Calibrator = field(default_factory=IdentityCalibrator)
    negative_rate: float = 1.0
    max_history: int = 0
    history_kinds: tuple[str, ...] = RESPONSE_KINDS
    popularity_kinds: tuple[str, ...] | None = None
    report: Report | None = None
    data_hash: str = ""
    seed: int = 0
    parents: tuple[str, ...] = ()
    items: ItemTable = field(init=False, repr=False)
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.model.eval()
        object.__setattr__(self, "items", self.spec.encode_items(self.catalogue))

    def __repr__(self) -> str:
        """What it is, in a line; printing a network would list its layers."""
        weights = sum(weight.numel() for weight in self.model.parameters())
        measured = "" if self.report is None else f", {self.report.brief()}"
        kinds = " and ".join(self.history_kinds)
        return (
            f"<Ranker {self.model.config.title}: {weights:,} parameters, "
            f"{self.catalogue.height:,} items, histories of {kinds}{measured}>"
        )

    def _repr_html_(self) -> str:
        """In a notebook: the same, and what was measured."""
        table = "" if self.report is None else self.report._repr_html_()
        return f"<p>{escape(repr(self)[1:-1])}</p>{table}"

    def save(
        self, folder: str | Path, *, overwrite: bool = False, clock: Clock | None = None
    ) -> str:
        """Write the ranker as an artifact, whole or not at all; returns its id.

        Raises ResourceError where the folder exists (without `overwrite`) or the disk is full.
        """
        files: dict[str, bytes | str] = dict(self.files)
        files["items.parquet"] = parquet_bytes(self.catalogue)
        files["calibrator.json"] = json.dumps(self.calibrator.to_jsonable(), indent=1)
        if self.report is not None:
            files[REPORT] = self.report.to_json()
        return save_artifact(
            folder,
            kind=KIND,
            config={
                "model": to_jsonable(self.model.config),
                "negative_rate": self.negative_rate,
                "max_history": self.max_history,
                "history": list(self.history_kinds),
                "popularity": None
                if self.popularity_kinds is None
                else list(self.popularity_kinds),
            },
            tensors=weights_of(self.model),
            files=files,
            feature_spec=to_jsonable(self.spec),
            data_hash=self.data_hash,
            seed=self.seed,
            parents=self.parents,
            overwrite=overwrite,
            clock=clock,
        )

    @classmethod
    def load(cls, source: str | Path | Artifact) -> Ranker:
        """The ranker of an artifact, or of its folder; raises as `load_trained`."""
        return load_trained(source, _built, kind=KIND, name="ranker")

    def with_items(self, items: pl.DataFrame) -> Ranker:
        """The ranker for its catalogue and new items, which it knows by their features.

        items: item_id and the columns of the item features; those of ids that the catalogue has are
        passed over. A new item shares the embedding of all unknown ids; what else is known of it
        counts as for any other. Raises SchemaError for a column that is not there or of another
        type, ValueInvalidError for an id that is empty or stands twice.
        """
        columns = [f.name for f in self.spec.features if f.of == "item" and f.name != "item_id"]
        items = with_made_columns(items, columns)
        need_columns(items.columns, ["item_id", *columns], "the items lack a column")
        check_feature_types(items.schema, [f for f in self.spec.features if f.of == "item"])
        given = validate_items(items)
        new = given.filter(~pl.col("item_id").is_in(self.catalogue["item_id"].implode()))
        catalogue = pl.concat([self.catalogue, new], how="diagonal_relaxed")
        catalogue = catalogue.select(self.catalogue.columns)
        with torch.random.fork_rng(devices=[]):
            model = ranker_model(self.model.config, self.spec, self.spec.encode_items(catalogue))
        # Whatever is of the catalogue's length stays as it was built; the rest is learned.
        own = {
            name
            for part, module in model.named_modules()
            if isinstance(module, ItemEmbedding)
            for name, _ in module.named_buffers(prefix=part)
        }
        learned = {k: v for k, v in self.model.state_dict().items() if k not in own}
        model.load_state_dict(model.state_dict() | learned)
        return replace(self, model=model, catalogue=catalogue)

    def calibrated(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Logits [N] of the network to probabilities [N] of the full data."""
        raw = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -500, 500)))
        return self.calibrator(undo_negative_sampling(raw, self.negative_rate))

    def score(self, task: Task, split: Split) -> NDArray[np.float64]:
        """Calibrated probabilities [N] of a split's rows, in file order.

        Raises SchemaError where the task was encoded with other features than the ranker's.
        """
        if task.spec != self.spec:
            raise SchemaError(
                "the task's features are not those that the ranker was trained on",
                file=str(task.folder),
                hint="score its rows as a table: score_rows(rows, events)",
            )
        found = predict(self.model, task, split, max_history=self.max_history)
        return self.calibrator(undo_negative_sampling(found.probability, self.negative_rate))

    def score_rows(self, rows: AnyTable, events: AnyTable) -> NDArray[np.float64]:
        """Calibrated probabilities [N] of rows in any order, in that order.

        Tables are of polars, pandas, Arrow or the like.
        rows: user_id, item_id, time and the columns of the row features; without a time all
        events of the person are history. events: user_id, item_id, time; with a column `kind`
        those of `history_kinds` count.
        An item that the catalogue lacks is scored as the unknown item, by its context alone;
        a user without events by an empty history.
        Raises SchemaError for a missing column, ValueInvalidError for an empty id or time.
        """
        table = table_of(rows, "rows")
        history = only_history(table_of(events, "events"), self.history_kinds)
        logits, items = np.zeros(table.height, np.float32), self.items
        asked = batches_of(
            table, history, spec=self.spec, items=items, max_history=self.max_history
        )
        with torch.inference_mode():
            for batch in asked:
                found = batch.of_rows(self.model(batch))
                logits[batch.row.numpy()] = found.float().numpy()
        return self.calibrated(logits)

    def recommend(self, events: AnyTable, candidates: AnyTable, *, k: int = 10) -> pl.DataFrame:
        """Choose the k candidates that each user most probably responds to.

        events: the users' histories (user_id, item_id, time). candidates: rows as in
        `score_rows`; without user_id they are for the one user of `events`.
        Returns user_id, rank (from 1), item_id, name, probability. An item that stands among
        the candidates several times is shown once, at its best.
        Raises as `score_rows`, and SchemaError where the user is not known.
        """
        require_count("k", k)
        events, candidates = table_of(events, "events"), table_of(candidates, "candidates")
        if "user_id" not in candidates.columns:
            candidates = candidates.with_columns(user_id=pl.lit(_only_person(events)))
        probability = self.score_rows(candidates, events)
        ids = pl.col("user_id", "item_id").cast(pl.String)
        scored = candidates.select(ids).with_columns(probability=pl.Series(probability))
        best = scored.sort(
            ["user_id", "probability", "item_id"], descending=[False, True, False]
        ).unique(["user_id", "item_id"], keep="first", maintain_order=True)
        rank = pl.int_range(1, pl.len() + 1).over("user_id")
        shown = best.with_columns(rank=rank).filter(pl.col("rank") <= k)
        return shown.select(
            "user_id", "rank", "item_id", self._named(shown["item_id"]), "probability"
        )

    def explain(self, events: AnyTable, item_id: str, *, k: int = 5) -> pl.DataFrame:
        """Show which past events activated an item: the local activation unit, made visible.

        events: one user's history (item_id, and time where there is one); all of it counts,
        but for other kinds than `history_kinds` where there is a column `kind`.
        Returns the k items of largest |weight|: item_id, name, count (how often it is in the
        history), activation (of one occurrence), weight (activation x count), last (time of
        the latest occurrence). The weights are those of the pooled sum, before a softmax
        where the config asks for one. They say what the network looked at and not why, by their
        size: the layers above may turn the sign round.
        Raises ConfigError for a ranker without such weights (a base model pools without looking
        at the item, HSTU weighs a history in each of its layers), ValueInvalidError for an item
        that the catalogue lacks, and where no event is of a kind that counts; past items that the
        catalogue lacks are passed over.
        """
        model, events = self._explained(), table_of(events, "events")
        require_count("k", k)
        (target,) = self._known([str(item_id)])
        if events.height and "kind" in events.columns:
            check_history(kinds_of(events), self.history_kinds)
        events = only_history(events, self.history_kinds)
        last = pl.col("time").max() if "time" in events.columns else pl.lit(None)
        seen = (
            events.group_by(pl.col("item_id").cast(pl.String), maintain_order=True)
            .agg(count=pl.len(), last=last)
            .filter(pl.col("item_id").is_in(self.catalogue["item_id"].implode()))
        )
        history = torch.from_numpy(self.items.rows(seen.to_arrow()["item_id"]))
        if len(history) == 0:
            activation = np.zeros(0, np.float32)
        else:
            with torch.inference_mode():
                activation = model.activations(torch.tensor([target]), history)[0].numpy()
        weighed = seen.with_columns(
            self._named(seen["item_id"]), activation=pl.Series(activation.astype(np.float64))
        ).with_columns(weight=pl.col("activation") * pl.col("count"))
        order = weighed.sort([pl.col("weight").abs(), "item_id"], descending=[True, False])
        return order.head(k).select("item_id", "name", "count", "activation", "weight", "last")

    @property
    def explains(self) -> bool:
        """Whether `explain` has something to say."""
        return explaining(self.model) is not None

    def _explained(self) -> DIN:
        found = explaining(self.model)
        if found is None:
            raise ConfigError(
                f"{self.model.config.title} has no single weight per past event to explain with",
                where="model",
                hint='train DIN with interest = "attention", and mix = false in the run file',
            )
        return found

    def names(self, item_ids: Iterable[str]) -> list[str]:
        """What the catalogue calls these items; the id itself where it says nothing."""
        return self._named(pl.Series("item_id", list(item_ids), pl.String)).to_list()

    def _named(self, item_ids: pl.Series) -> pl.Series:
        names = item_names(self.catalogue)
        asked = item_ids.cast(pl.String).alias("item_id").to_frame()
        found = asked.join(names, on="item_id", how="left", maintain_order="left")
        return found["name"].fill_null(asked["item_id"])

    def _known(self, item_ids: Sequence[str]) -> NDArray[np.int64]:
        codes = self.items.rows(pl.Series(item_ids, dtype=pl.String).to_arrow())
        if (codes == 0).any():
            unknown = item_ids[int(np.argmin(codes != 0))]
            raise ValueInvalidError(
                "the ranker's catalogue does not know this item",
                column="item_id",
                value=unknown,
                hint="use an item_id of its items.parquet",
            )
        return codes


def _only_person(events: pl.DataFrame) -> str:
    people = events["user_id"].unique() if "user_id" in events.columns else pl.Series()
    if len(people) != 1:
        raise SchemaError(
            "the candidates name no user, and the events are not of exactly one",
            column="user_id",
            hint="add user_id to the candidates, or pass one user's events",
        )
    return str(people[0])


def _built(artifact: Artifact) -> Ranker:
    spec = from_jsonable(FeatureSpec, artifact.feature_spec or {})
    catalogue = read_catalogue(artifact)
    config = ranker_config(artifact.config["model"])
    model = ranker_model(config, spec, spec.encode_items(catalogue))
    load_weights(model, artifact.tensors)
    popularity = artifact.config.get("popularity")
    return Ranker(
        model=model,
        spec=spec,
        catalogue=catalogue,
        calibrator=calibrator_from_jsonable(json.loads(artifact.text("calibrator.json"))),
        negative_rate=float(artifact.config["negative_rate"]),
        max_history=int(artifact.config["max_history"]),
        # Artifacts of older versions do not say.
        history_kinds=tuple(artifact.config.get("history", RESPONSE_KINDS)),
        popularity_kinds=None if popularity is None else tuple(popularity),
        report=saved_report(artifact),
        data_hash=artifact.data_hash,
        seed=artifact.seed,
        parents=artifact.parents,
        files={name: data for name, data in artifact.files.items() if name not in _OWN_FILES},
    )


# --------------------------------------------------------------------------------------------------
# Export a ranker for other runtimes: torch.export and ONNX.
#
# The exported network takes tensors, not tables. `scorer_inputs` makes them from the same tables
# and feature spec as a ranker does, and the artifact carries what a server in another language
# needs to do the same: the spec with its vocabularies, the catalogue, the names and shapes of
# the inputs.
#
#     scorer.onnx      inputs as in signature.json; outputs logit [T] and probability [T]
#     signature.json   each input's name, type and dimensions
#     items.parquet    the catalogue; the code of an item is its row, counted from 1
#     ...              report.json and comparison.json of the ranker
#
# A history is given as distinct items with counts, in any order; padding is item 0, count 0.

SCORER_KIND = "scorer"
NAMES = ("item", "history", "count", "codes", "lists", "numeric")
OUTPUTS = ("logit", "probability")
#: Names of the open dimensions of the inputs.
_DIMENSIONS = {
    name: ("past",) if name in ("history", "count") else ("ads", "", "longest") for name in NAMES
}


def scorer_inputs(
    ranker: Ranker, rows: pl.DataFrame, events: pl.DataFrame
) -> dict[str, NDArray[Any]]:
    """Make the tensors for one user at one moment, by the names of the inputs.

    rows: the ads, as in `Ranker.score_rows`, all of one user and with one time (or without).
    Returns item [T], history [L], count [L], codes [T, F], lists [T, G, M], numeric [T, N], in
    the order of `rows`. L may be 0.
    Raises as `Ranker.score_rows`, and ValueInvalidError for several users or times.
    """
    for name in {"user_id", "time"} & set(rows.columns):
        if rows[name].n_unique() != 1:
            raise ValueInvalidError(
                "the inputs of a scorer are of one user at one moment",
                column=name,
                value=rows[name].unique().to_list()[:3],
                hint="call it once for each",
            )
    found = batches_of(
        rows, events, spec=ranker.spec, items=ranker.items, max_history=ranker.max_history
    )
    batches = list(found)
    order = np.argsort(torch.cat([batch.row for batch in batches]).numpy())
    first = batches[0]
    low, high = int(first.begin[0]), int(first.end[0])
    items, count = torch.unique(first.history.values[low:high], return_counts=True)
    spec = ranker.spec
    codes = [
        torch.cat([batch.categorical[feature.name] for batch in batches])
        for feature in spec.coded_rows
    ]
    lists = [
        [batch.multi[feature.name].to_lists() for batch in batches] for feature in spec.multi_rows
    ]
    flat = [[one for batch in feature for one in batch] for feature in lists]
    n = len(order)
    longest = max([1, *(len(one) for feature in flat for one in feature)])
    padded = np.zeros((n, len(flat), longest), np.int64)
    for g, feature in enumerate(flat):
        for t, one in enumerate(feature):
            padded[t, g, : len(one)] = one
    return {
        "item": torch.cat([batch.item for batch in batches]).numpy()[order],
        "history": items.numpy(),
        "count": count.numpy().astype(np.float32),
        "codes": (torch.stack(codes, 1).numpy() if codes else np.zeros((n, 0), np.int64))[order],
        "lists": padded[order],
        "numeric": torch.cat([batch.numeric for batch in batches]).numpy()[order],
    }


def export_program(ranker: Ranker) -> torch.export.ExportedProgram:
    """The scorer as a torch.export program with T and L (and M) left open.

    Call it as `program.module()(item, history, count, codes, lists, numeric)`; it returns
    (logits [T], probabilities [T]). `torch.export.save` writes it to a .pt2 file; that is an
    archive which an artifact does not hold, so its loader has to trust it.
    Raises ConfigError as `dense_scorer`.
    """
    dense = dense_scorer(ranker.model, ranker.spec)
    model = CalibratedScorer(dense, ranker.negative_rate, ranker.calibrator)
    ads = torch.export.Dim("ads", min=1)
    past = torch.export.Dim("past", min=0)
    shapes: dict[str, dict[int, Any]] = {
        name: {0: past if name in ("history", "count") else ads} for name in NAMES
    }
    if ranker.spec.multi_rows:
        shapes["lists"][2] = torch.export.Dim("longest", min=1)
    with torch.no_grad():
        return torch.export.export(
            model, tuple(_example(ranker).values()), dynamic_shapes=shapes, strict=False
        )


def export_onnx(ranker: Ranker, folder: str | Path, *, overwrite: bool = False) -> float:
    """Write the scorer as an artifact of kind "scorer", and check it against the ranker.

    Returns the largest difference of probabilities between the ONNX file and the ranker over a
    few lengths of history, at most 1e-5.
    Raises MissingExtraError without the extra `export`, ArtifactError where the runtime gives
    other numbers than the ranker (nothing is written), ResourceError where the folder exists
    (without `overwrite`) or the disk is full.
    """
    check_free(Path(folder), overwrite=overwrite)
    data = onnx_bytes(export_program(ranker), NAMES, OUTPUTS)
    scorer = OnnxScorer(data)
    difference = _largest_difference(ranker, scorer)
    require_close(difference, folder)
    files: dict[str, bytes | str] = {
        **ranker.files,
        "scorer.onnx": data,
        "signature.json": json.dumps({"inputs": scorer.signature}, indent=1),
        "items.parquet": parquet_bytes(ranker.catalogue),
    }
    if ranker.report is not None:
        files["report.json"] = ranker.report.to_json()
    save_artifact(
        folder,
        kind=SCORER_KIND,
        config={"model": to_jsonable(ranker.model.config), "max_history": ranker.max_history},
        files=files,
        feature_spec=to_jsonable(ranker.spec),
        data_hash=ranker.data_hash,
        seed=ranker.seed,
        parents=ranker.parents,
        overwrite=overwrite,
    )
    return difference


class OnnxScorer:
    """An ONNX scorer in memory, run by onnxruntime; needs the extra `export`."""

    def __init__(self, data: bytes) -> None:
        self._program = OnnxProgram(data, _DIMENSIONS)
        self.signature = self._program.signature

    @classmethod
    def load(cls, folder: str | Path) -> OnnxScorer:
        """The scorer of an artifact that `export_onnx` wrote, after checking its bytes."""
        artifact = load_artifact(folder, kind=SCORER_KIND)
        if "scorer.onnx" not in artifact.files:
            raise ArtifactError(
                "the artifact holds no scorer.onnx", where=str(folder), hint="export it again"
            )
        return cls(artifact.files["scorer.onnx"])

    def __call__(
        self, inputs: Mapping[str, NDArray[Any]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(logits [T], probabilities [T]) of inputs as `scorer_inputs` makes them."""
        logits, probability = self._program(inputs)
        return logits, probability


def _example(ranker: Ranker, *, ads: int = 3, past: int = 4) -> dict[str, Tensor]:
    """Inputs of the right types; a trace does not depend on their values."""
    spec = ranker.spec
    return {
        "item": torch.arange(ads) % len(ranker.items),
        "history": torch.arange(past) % len(ranker.items),
        "count": torch.arange(1, past + 1, dtype=torch.float32),
        "codes": torch.zeros(ads, len(spec.coded_rows), dtype=torch.int64),
        # Without such features the third dimension is closed, at the 1 that scorer_inputs gives.
        "lists": torch.zeros(
            ads, len(spec.multi_rows), 2 if spec.multi_rows else 1, dtype=torch.int64
        ),
        "numeric": torch.zeros(ads, len(spec.numeric_rows)),
    }


def _largest_difference(ranker: Ranker, scorer: OnnxScorer) -> float:
    """Largest difference of the probabilities, for histories of several lengths."""
    largest = 0.0
    for ads, past in ((1, 0), (1, 1), (3, 2), (5, 64)):
        inputs = _example(ranker, ads=ads, past=past)
        with torch.inference_mode():
            expected = ranker.calibrated(ranker.model(_as_batch(ranker, inputs)).numpy())
        _, found = scorer({name: part.numpy() for name, part in inputs.items()})
        largest = max(largest, float(np.abs(found - expected).max()))
    return largest


def _as_batch(ranker: Ranker, inputs: Mapping[str, Tensor]) -> Batch:
    """Turn the inputs of `_example` into a batch for the ranker's own network."""
    events = torch.repeat_interleave(inputs["history"], inputs["count"].long())
    ads, zero = len(inputs["item"]), torch.zeros(0, dtype=torch.int64)
    empty = Jagged(zero, torch.zeros(ads + 1, dtype=torch.int64))
    codes = zip(ranker.spec.coded_rows, inputs["codes"].T, strict=True)
    return Batch(
        history=Jagged(events, torch.tensor([0, len(events)])),
        offsets=torch.tensor([0, ads]),
        item=inputs["item"],
        begin=torch.zeros(ads, dtype=torch.int64),
        end=torch.full((ads,), len(events)),
        categorical={feature.name: column for feature, column in codes},
        multi={feature.name: empty for feature in ranker.spec.multi_rows},
        numeric=inputs["numeric"],
        label=torch.zeros(ads),
        row=torch.arange(ads),
    )
