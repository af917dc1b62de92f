"""The task behind benchmarks/lm/peft.py: the category of a product offer, told from its title.

PriceRunner's offers, one of each product: no product is in two of the splits. A prompt is
"Product: TITLE\\nCategory:" and the answer the category's name. A model's choice is greedy along
the names: first tokens tell all categories apart but two, for which the second token does.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adwright.core.hashing import content_hash
from adwright.training.tuning.texts import Texts
from adwright.tuning.packing.texts import Packed, pack

TRAIN, VALID, TEST = 288, 100, 300
#: Logits float32 [A, V] at the positions before the answers' tokens, in order.
Asked = Callable[[Packed], Tensor]


@dataclass(frozen=True)
class Task:
    """Texts of the three splits, and the tokens of each category's name."""

    train: Texts
    valid: Texts
    test: Texts
    names: dict[str, tuple[int, ...]]

    @property
    def data_hash(self) -> str:
        """Hash of all splits."""
        return content_hash([self.train.data_hash, self.valid.data_hash, self.test.data_hash])


@dataclass(frozen=True)
class Judged:
    """right: bool [N], whether the category chosen is the offer's. nll: float64 [N], nats of its
    name."""

    right: np.ndarray[Any, Any]
    nll: np.ndarray[Any, Any]


def offers() -> list[tuple[str, str]]:
    """Title and category, one offer of each product, in an order drawn once."""
    path = Path(os.environ["ADWRIGHT_DATA"]) / "pricerunner" / "offers.csv"
    with path.open(encoding="utf-8") as file:
        rows = [(row[3], row[1], row[6]) for row in csv.reader(file)]
    random = np.random.default_rng(0)
    seen: dict[str, tuple[str, str]] = {}
    for row in random.permutation(len(rows)).tolist():
        product, title, category = rows[row]
        seen.setdefault(product, (title, category))
    return list(seen.values())


def task(tokenizer: Any) -> Task:
    """Tokenise the three splits."""
    rows = offers()[: TRAIN + VALID + TEST]

    def tokens(text: str) -> tuple[int, ...]:
        return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

    names = {category: tokens(f" {category}") for category in sorted({row[1] for row in rows})}
    texts = Texts(
        tuple(tokens(f"Product: {title}\nCategory:") for title, _ in rows),
        tuple(names[category] for _, category in rows),
    )
    ends = np.cumsum([0, TRAIN, VALID, TEST])
    train, valid, test = (texts.some(range(start, end)) for start, end in pairwise(ends.tolist()))
    return Task(train, valid, test, names)


def judged(asked: Asked, texts: Texts, names: dict[str, tuple[int, ...]], batch: int) -> Judged:
    """Compare the category that a model chooses with the true one. batch: texts per pass."""
    chosen, nll = [], []
    with torch.inference_mode():
        for rows in np.array_split(np.arange(len(texts)), -(-len(texts) // batch)):
            pairs = [(texts.prompts[row], texts.answers[row]) for row in rows.tolist()]
            logits = asked(pack(pairs))
            lengths = [len(answer) for _, answer in pairs]
            known = logits.log_softmax(1).gather(
                1, torch.tensor([t for _, answer in pairs for t in answer])[:, None]
            )[:, 0]
            nll += [float(-each.sum()) for each in torch.split(known, lengths)]
            first = np.cumsum([0, *lengths[:-1]])
            chosen += _choices(asked, logits[first], [prompt for prompt, _ in pairs], names)
    truth = [answer for answer in texts.answers]
    right = [one == other for one, other in zip(chosen, truth, strict=True)]
    return Judged(np.array(right), np.array(nll))


def _choices(
    asked: Asked,
    first: Tensor,
    prompts: Sequence[tuple[int, ...]],
    names: dict[str, tuple[int, ...]],
) -> list[tuple[int, ...]]:
    """The name of each prompt's category. first: logits [S, V] behind the prompts."""
    heads = sorted({name[0] for name in names.values()})
    best = first[:, heads].argmax(1).tolist()
    found: list[tuple[int, ...] | None] = []
    open_rows = []
    for row, at in enumerate(best):
        left = [name for name in names.values() if name[0] == heads[at]]
        found.append(left[0] if len(left) == 1 else None)
        if len(left) > 1:
            open_rows.append(row)
    if open_rows:
        # All names that share their first token differ in the second.
        shared = [[n for n in names.values() if n[0] == heads[best[row]]] for row in open_rows]
        texts = [(prompts[r], s[0][:2]) for r, s in zip(open_rows, shared, strict=True)]
        logits = asked(pack(texts))[1::2]
        for row, left, line in zip(open_rows, shared, logits, strict=True):
            found[row] = left[int(line[[name[1] for name in left]].argmax())]
    return [name for name in found if name is not None]
