"""adwright's own click rate in the benchmark: trained on the rows of a cell, asked for the rest."""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.creative._clickrate_cells import SCRATCH, Answer, Cell, Task

_ROOM = "adwright.creative.response"


def ours_key() -> str:
    """Of its settings; those of another program are another cell."""
    try:
        return repr(import_module(f"{_ROOM}.fit").ClickRateConfig())
    except ImportError:
        return "absent"


def ours(task: Task, cell: Cell) -> Answer | None:
    """Train with the defaults; None where this checkout cannot. Vectors of texts are kept between
    cells, so making them is not in the seconds."""
    try:
        fit: Any = import_module(f"{_ROOM}.fit")
        slots = import_module(f"{_ROOM}.inputs")
        texts = slots.encoded_texts("minilm", SCRATCH / "vectors")
    except ImportError:
        return None
    every = [slots.texts_of(record) for record in task.outcomes.records]
    for slot in slots.SLOTS:
        texts.vectors([one[slot] for one in every])
    train, held = task.split(cell.seed, cell.part)
    start = time.process_time()
    some = task.outcomes.take(train)
    fitted = fit.fit_click_rate(some, fit.ClickRateConfig(seed=cell.seed), texts=texts)
    trained = time.process_time()
    found = fitted.judge([task.outcomes.records[row] for row in held])
    scored = time.process_time()
    value, low, high = (np.asarray(one, np.float64) for one in (found.value, found.low, found.high))
    return Answer(value, trained - start, scored - trained, low, high)
