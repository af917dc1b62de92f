"""Defaults of the sequence models, counted from the sequences.

history      what 95 of 100 users have, from 20 to 1,024 events (or as many as are asked for), in
             steps of a power of two
width        64 numbers; 32 below 20,000 training events
batch        so that an epoch has a hundred steps, from 16 to 128 sequences
epochs       so many that training sees ten million events, from 3 to 200; three validations in
             a row that are no better stop it
dropout      .2; .4 where an item has fewer than 20 training events on average
loss         over the whole catalogue; of more than 50,000 items for 512 positions a step
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from adwright.data.sequences.item_sequences import ItemSequences
from adwright.models.sequential.losses import EXACT_BELOW, LossConfig
from adwright.models.sequential.union import (
    RetrieverConfig,
    SequenceRetriever,
    default_config,
    sequence_retriever,
)
from adwright.training.run_settings import seeded
from adwright.training.search import (
    Defaults,
    SearchResult,
    Settings,
    near_power_of_two,
    search_defaults,
    within,
)
from adwright.training.sequential.fit import SequentialConfig, Validate, fit_sequential

EVENTS = 10_000_000
#: The settings that `sequence_defaults` chooses, by table and key of a run file.
FROM_DATA = (
    *("fit.epochs", "fit.batch", "fit.all_windows", "fit.patience"),
    *("model.max_length", "model.width", "model.dropout", "model.loss"),
)
#: What `sequence_search` tries: factors of the rate and of the width, dropout and decay.
SEQUENCE_SPACE = {
    "learning_rate": (0.3, 1.0, 3.0),
    "width": (0.5, 1.0, 2.0),
    "dropout": (0.1, 0.2, 0.4, 0.6),
    "weight_decay": (0.0, 0.01, 0.1),
}


def sequence_defaults(
    sequences: ItemSequences,
    kind: str = "hstu",
    *,
    repeats: bool = True,
    model: RetrieverConfig | None = None,
    fit: SequentialConfig | None = None,
    chosen: Collection[str] = FROM_DATA,
    longest: int = 1_024,
) -> Defaults[RetrieverConfig, SequentialConfig]:
    """Model and training for these sequences.

    kind: "hstu" or "sasrec". repeats: whether users take items again, which gets a score of its
    own. model, fit: what the settings that are not `chosen` are taken from, by default those of
    the kind. longest: events that are read at most. Raises ConfigError for an unknown kind.
    """
    lengths = sequences.training_end() - sequences.offsets[:-1]
    lengths = lengths[lengths > 1]
    events, usual = int(lengths.sum()), int(np.quantile(lengths, 0.95)) if len(lengths) else 1
    each = events / max(sequences.items, 1)
    large = sequences.items >= EXACT_BELOW
    plain = model or default_config(kind)
    # A multiple of the heads.
    width = -(-(64 if events >= 20_000 else 32) // plain.heads) * plain.heads
    most = near_power_of_two(usual, min(20, longest), longest)
    network = plain.resized(
        max_length=most if "model.max_length" in chosen else None,
        width=width if "model.width" in chosen else None,
    )
    of_model: dict[str, Any] = {
        "dropout": 0.2 if each >= 20 else 0.4,
        "loss": LossConfig("exact", positions=512) if large else LossConfig(draw="popular"),
    }
    network = replace(
        network,
        repeats=network.repeats and repeats,
        **{name: value for name, value in of_model.items() if f"model.{name}" in chosen},
    )
    # Longer sequences are read in windows: each is a sample.
    samples = int(np.ceil(lengths / network.max_length).sum())
    of_fit: dict[str, Any] = {
        "epochs": within(EVENTS / max(events, 1), 3, 200),
        "batch": near_power_of_two(samples / 100, 16, 128),
        "all_windows": True,
        "patience": 3,
    }
    plan = replace(
        fit or SequentialConfig(),
        exclude_seen=not repeats,
        **{name: value for name, value in of_fit.items() if f"fit.{name}" in chosen},
    )
    positions = network.loss.positions
    return Defaults(
        network if sequences.time is not None else network.without_time(),
        plan,
        (
            f"histories: the latest {network.max_length:,} events; 95 of 100 users have at most "
            f"{usual:,}",
            f"width {network.width}, dropout {network.dropout:g}: {events:,} training events, "
            f"{each:.0f} an item",
            f"batches of {plan.batch} of {samples:,} sequences, at most {plan.epochs} epochs, "
            f"fewer when {plan.patience} validations are no better",
            f"the loss is over all {sequences.items:,} items"
            + (f", for {positions:,} positions a step" if positions else ""),
        ),
    )


def sequence_search(
    sequences: ItemSequences,
    defaults: Defaults[RetrieverConfig, SequentialConfig],
    *,
    trials: int,
    folder: Path,
    seed: int = 0,
    validate: Callable[[SequenceRetriever], Validate] | None = None,
) -> tuple[Defaults[RetrieverConfig, SequentialConfig], SearchResult]:
    """Look for better settings by the validation; see `search`.

    folder: of the trials. validate: what measures a model, as `visit_validation`; needed where the
    sequences are split by time. Returns the defaults changed by the best trial, with a sentence
    that says so.
    """
    count, context = sequences.count, sequences.context_sizes

    def measure(tried: Defaults[RetrieverConfig, SequentialConfig]) -> float:
        model = seeded(
            seed,
            lambda: sequence_retriever(
                tried.model, sequences.items, count=count, context_sizes=context
            ),
        )
        measured = None if validate is None else validate(model)
        asked = replace(tried.fit, seed=seed)
        return fit_sequential(model, sequences, asked, validate=measured).best

    return search_defaults(
        defaults,
        _changed,
        measure,
        SEQUENCE_SPACE,
        trials=trials,
        folder=folder,
        about={"data": sequences.data_hash, "model": defaults.model.kind},
        goal=f"ndcg@{defaults.fit.k}",
        seed=seed,
    )


def _changed(
    defaults: Defaults[RetrieverConfig, SequentialConfig], settings: Settings, epochs: int
) -> Defaults[RetrieverConfig, SequentialConfig]:
    fit, model = defaults.fit, defaults.model
    # A multiple of the heads.
    width = round(model.width * settings.get("width", 1.0) / model.heads) * model.heads
    return Defaults(
        replace(model.resized(width=width), dropout=float(settings.get("dropout", model.dropout))),
        replace(
            fit,
            epochs=epochs,
            learning_rate=fit.learning_rate * settings.get("learning_rate", 1.0),
            weight_decay=float(settings.get("weight_decay", fit.weight_decay)),
        ),
        defaults.why,
    )
