"""Validate a ranker of choices on visits that it was not trained on.

Each visit is scored as in serving, with negatives drawn as in training; the draws depend on the
seed alone, so the same weights give the same loss.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import numpy as np
import torch
from numpy.typing import NDArray

from adwright.core.errors import ConfigError, DataError
from adwright.data.ranges import ranges
from adwright.data.tasks.next_basket import NextBasket
from adwright.metrics.classification import auc, log_loss
from adwright.models.sequential.choice_ranker import (
    ChoiceRanker,
    Choices,
    choice_logits,
    with_negatives,
)
from adwright.training.sequential.visit_ranks import visit_batch

__all__ = ["choice_validation", "some_visits", "visit_choices"]

Ints = NDArray[np.int64]


def visit_choices(
    model: ChoiceRanker, task: NextBasket, visits: Ints, rng: np.random.Generator
) -> Choices:
    """Candidates at `visits` (int64 [B], each with a history): what was taken and drawn negatives,
    after the latest events that the ranker reads."""
    start = task.target_offsets[visits]
    place, bounds = ranges(start, task.target_offsets[visits + 1] - start)
    past = visit_batch(task, visits, model.config.max_length - 1)
    return with_negatives(past, task.targets[place], bounds, model.draws, model.share, rng)


def choice_validation(
    model: ChoiceRanker, task: NextBasket, visits: Ints, *, seed: int = 0, chunk: int = 64
) -> Callable[[], tuple[float, dict[str, float]]]:
    """Make a validation for `fit_sequential`: minus the log loss of the candidates of `visits`
    (int64 [V]), with their AUC; visits without a history are left out.

    seed: of the negatives. chunk: visits per pass. Raises ConfigError where no visit has a history.
    """
    asked = visits[task.visit_end[visits] > task.user_offsets[task.visit_user[visits]]]
    if not len(asked):
        raise ConfigError(
            "no visit has a history",
            where=f"{len(visits)} visits",
            hint="validate on other visits, or train with train_on_validation=True",
        )

    def measure() -> tuple[float, dict[str, float]]:
        rng = np.random.default_rng(seed)
        logits, labels = [], []
        with torch.no_grad():
            for start in range(0, len(asked), chunk):
                choices = visit_choices(model, task, asked[start : start + chunk], rng)
                logits.append(choice_logits(model, choices)[:, 0])
                labels.append(choices.label)
        probability = torch.sigmoid(torch.cat(logits).double()).numpy()
        label = torch.cat(labels).numpy().astype(np.int64)
        loss = log_loss(label, probability)
        line = {"valid_log_loss": loss}
        # With one class only there is no AUC.
        with suppress(DataError):
            line["valid_auc"] = auc(label, probability)
        return -loss, line

    return measure


def some_visits(task: NextBasket, people: int, seed: int) -> Ints:
    """Draw the validation visits of so many users; of all of them for 0."""
    visits = task.visits("valid")
    known = np.unique(task.visit_user[visits])
    if not 0 < people < len(known):
        return visits
    chosen = np.random.default_rng(seed).choice(known, people, replace=False)
    return visits[np.isin(task.visit_user[visits], chosen)]
