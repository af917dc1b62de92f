"""The simple rules that a sequence model has to beat, on the questions that it was asked.

Which rules there are, see `models.retrieval.rules`; their settings are chosen on validation, as the
model's are.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from adwright.data.sequences.next_log import NextLog, log_of_sequences, log_of_task
from adwright.metrics.ranks import Ranks
from adwright.training.retrieval.rules import fit_rules, rules_ranks
from adwright.training.sequential.runfile import SequenceData

__all__ = ["baseline_ranks", "next_log"]


def next_log(data: SequenceData) -> NextLog:
    """The data of a run as rules read it."""
    if data.task is not None:
        return log_of_task(data.task)
    return log_of_sequences(data.sequences, data.categories)


def baseline_ranks(
    data: SequenceData, asked: NDArray[np.int64], *, depth: int, seed: int = 0
) -> Mapping[str, Ranks]:
    """Ranks of the test's targets by each rule, by the rule's name in a table.

    asked: int64 [Q], rising, the users whose held event is asked; for a task, all of its test's
    visits are, and this is passed over. depth: of the lists; what is not in them has the rank
    `depth` + 1. seed: of the questions that settings are chosen on.
    """
    log = next_log(data)
    rules = fit_rules(log, repeats=data.allow_repeats, seed=seed)
    test = log.test
    if data.task is None:
        test = test.some(np.searchsorted(test.user, asked))
    return rules_ranks(rules, log, test, unseen=not data.allow_repeats, depth=depth)
