"""DIN's defaults, counted from the task: rows, positives, users and lengths of histories.

negatives    all of them up to ten for a positive; else three for a positive, or as many as half
             a million rows an epoch hold. One response in sixty among millions keeps .05.
epochs       so many that training sees 3 million rows, 20 at most; one validation that is no
             better stops it, or two in a row where an epoch is short
rate         .006, and .002 where an epoch has less than a quarter of a million rows: what is
             learned by heart in many small epochs is not unlearned
batch        about a thousand rows, however few a user has
history      all of it, unless the longest is a freak: then the length that 99 of 100 rows
             stay below
attention    sums up what it weighs, as in the paper; where positives are few beside the events of a
             history, it takes the mean (softmax): what a sum of thousands says takes many positives
             to learn, and is learned by heart of few people
embeddings   32 numbers an item, 8 for each other feature of it, 4 for those of a request; a user
             has 8 where the log knows 20 responses of each on average, else 4
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import polars as pl

from adwright.data.batches.stream import StreamConfig
from adwright.data.features import FeatureSpec
from adwright.data.tasks.task import Task
from adwright.models.embeddings import EmbeddingConfig
from adwright.models.ranking.din import DINConfig
from adwright.models.ranking.union import RankerConfig, ranker_model
from adwright.training.ranking.fit import FitConfig, PartialFit
from adwright.training.ranking.fit import fit as fit_ranker
from adwright.training.run_settings import seeded
from adwright.training.search import Defaults, SearchResult, Settings, search_defaults, within

#: Negatives of a positive up to which all are kept, and those that are kept beyond.
MOST_NEGATIVES, KEPT_NEGATIVES = 10, 3
#: Rows of an epoch that are kept in any case, and rows that all epochs together see.
EPOCH_ROWS, TRAINING_ROWS = 500_000, 3_000_000
MOST_EPOCHS = 20
BATCH_ROWS, GROUP_ROWS = 1_024, 64
#: Positives for each event of a usual history from which on attention sums up. Validation group AUC
#: on shares of Complete Journey, seed 0, by the mean, the sum and the base model: 2% of the
#: households .913, .885, .904; 5% .918, .892, .910; 10%, which have 10 for each event, .917, .922.
SUMMED = 8
#: Adam's learning rate, and that of epochs with fewer rows than FEW_ROWS.
RATE, SMALL_RATE, FEW_ROWS = 6e-3, 2e-3, 250_000

#: What `ranker_search` tries: factors of the rates and of an item's width, and the decay.
RANKER_SPACE = {
    "learning_rate": (0.2, 0.5, 1.0, 2.0),
    "embedding_learning_rate": (0.2, 0.5, 1.0, 2.0),
    "item_width": (0.5, 1.0, 2.0),
    "decay": (0.0, 0.01, 0.1, 1.0),
}


class _Counts(NamedTuple):
    """Of the training rows: rows, positives, users; history that 99 of 100 rows stay below, and
    the longest."""

    rows: int
    positives: int
    users: int
    usual: int
    longest: int


def ranker_defaults(
    task: Task, fit: PartialFit | None = None, model: RankerConfig | None = None
) -> Defaults[RankerConfig, FitConfig]:
    """Model and training for `task`; what `fit` and `model` say wins.

    An embedding that is left as `EmbeddingConfig` has it follows from the data, and so do the
    weights of a DIN of which nothing else is said.
    """
    asked, found = fit or PartialFit(), _counted(task)
    negatives = found.rows - found.positives
    rate, of_rate = _negative_rate(found.positives, negatives)
    rate = asked.stream.negative_rate or rate
    kept = max(found.positives + rate * negatives, 1)
    epochs = within(TRAINING_ROWS / kept, 1, MOST_EPOCHS)
    each = min(kept / max(found.users, 1), GROUP_ROWS)
    groups = within(BATCH_ROWS / max(each, 1), 16, 512)
    cut = found.longest > 2 * max(found.usual, 50)
    history = found.usual if cut else 0
    decided = asked.over(
        FitConfig(
            epochs=epochs,
            learning_rate=RATE if kept >= FEW_ROWS else SMALL_RATE,
            patience=1 if kept >= FEW_ROWS else 2,
            stream=StreamConfig(groups_per_batch=groups, negative_rate=rate, max_history=history),
        )
    )
    network, of_weights = _attention(model or DINConfig(), found)
    embedding, of_embedding = _embedding(task.spec, found)
    if network.embedding == EmbeddingConfig():
        network = replace(network, embedding=embedding)
    else:
        of_embedding = "embeddings as asked"
    stream = decided.stream
    seen = f"the latest {stream.max_history:,} events" if stream.max_history else "all events"
    return Defaults(
        network,
        decided,
        (
            f"keep {stream.negative_rate:.2g} of the negatives: {found.positives:,} of "
            f"{found.rows:,} rows are positive{of_rate}",
            f"at most {decided.epochs} epochs of {kept:,.0f} rows, fewer after {decided.patience} "
            "validations that are no better",
            f"batches of {stream.groups_per_batch} users' stretches, some "
            f"{stream.groups_per_batch * each:,.0f} rows; learning rates "
            f"{decided.learning_rate:g} and {decided.embedding_learning_rate:g}, decay "
            f"{decided.decay:g}",
            f"histories: {seen}; 99 of 100 rows have at most {found.usual:,}, the longest has "
            f"{found.longest:,}",
            of_embedding,
            *of_weights,
        ),
    )


def with_settings(
    defaults: Defaults[RankerConfig, FitConfig], settings: Settings, epochs: int
) -> Defaults[RankerConfig, FitConfig]:
    """The defaults changed by a point of RANKER_SPACE, trained for at most `epochs`."""
    fit, embedding = defaults.fit, defaults.model.embedding
    widths = dict(embedding.widths)
    wider = widths.get("item_id", embedding.width) * settings.get("item_width", 1.0)
    widths["item_id"] = max(4, round(wider))
    return Defaults(
        replace(defaults.model, embedding=replace(embedding, widths=tuple(widths.items()))),
        replace(
            fit,
            epochs=epochs,
            learning_rate=fit.learning_rate * settings.get("learning_rate", 1.0),
            embedding_learning_rate=fit.embedding_learning_rate
            * settings.get("embedding_learning_rate", 1.0),
            decay=float(settings.get("decay", fit.decay)),
        ),
        defaults.why,
    )


def ranker_search(
    task: Task,
    defaults: Defaults[RankerConfig, FitConfig],
    *,
    trials: int,
    folder: Path,
    seed: int = 0,
) -> tuple[Defaults[RankerConfig, FitConfig], SearchResult]:
    """Look for better settings by the group AUC of validation rows; see `search`.

    folder: of the trials, which are taken up there. Returns the defaults changed by the best trial,
    with a sentence that says so.
    """

    def measure(tried: Defaults[RankerConfig, FitConfig]) -> float:
        network = seeded(seed, lambda: ranker_model(tried.model, task.spec, task.item_table))
        with TemporaryDirectory(prefix="adwright-search-") as run:
            return fit_ranker(network, task, replace(tried.fit, seed=seed), Path(run) / "run").gauc

    return search_defaults(
        defaults,
        with_settings,
        measure,
        RANKER_SPACE,
        trials=trials,
        folder=folder,
        about={"task": task.meta["id"]},
        goal="group AUC",
        seed=seed,
    )


def _counted(task: Task) -> _Counts:
    split = task.meta["splits"]["train"]
    visible = pl.col("visible")
    usual, longest = (
        task.rows("train")
        .select(usual=visible.quantile(0.99, "higher"), longest=visible.max())
        .collect(engine="streaming")
        .row(0)
    )
    return _Counts(
        int(split["rows"]),
        int(split["positives"]),
        int(split["users"]),
        int(usual or 0),
        int(longest or 0),
    )


def _negative_rate(positives: int, negatives: int) -> tuple[float, str]:
    """The share of the negatives to keep, and why it is not all of them."""
    each = negatives / max(positives, 1)
    if each <= MOST_NEGATIVES:
        return 1.0, ""
    rate = max(KEPT_NEGATIVES / each, (EPOCH_ROWS - positives) / negatives)
    if rate >= 1:
        return 1.0, f", 1 in {each + 1:.0f}, but the rows are few"
    return float(f"{rate:.2g}"), f", 1 in {each + 1:.0f}; the rest is undone afterwards"


def _attention(model: RankerConfig, found: _Counts) -> tuple[RankerConfig, tuple[str, ...]]:
    """The model, and why its weights are not the paper's, where they are not."""
    untouched = replace(model, embedding=EmbeddingConfig()) == DINConfig()
    if not (isinstance(model, DINConfig) and untouched and found.positives < SUMMED * found.usual):
        return model, ()
    each = found.positives / found.usual
    return replace(model, weight="softmax"), (
        f"attention takes the mean of a history (softmax): {found.positives:,} positives are "
        f"{each:.2g} for each of {found.usual:,} events, from {SUMMED} on it would sum up",
    )


def _embedding(spec: FeatureSpec, found: _Counts) -> tuple[EmbeddingConfig, str]:
    users = 8 if found.positives >= 20 * max(found.users, 1) else 4
    widths = {"item_id": 32, "user_id": users}
    for feature in spec.features:
        if feature.name not in widths and feature.of == "item" and feature.cardinality:
            widths[feature.name] = 8
    told = ", ".join(f"{name} {width}" for name, width in widths.items())
    return EmbeddingConfig(widths=tuple(widths.items())), f"embeddings: {told}, all else 4 wide"
