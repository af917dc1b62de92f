"""Closed lists: every label is scored by its log-likelihood, so that no answer is invalid.

The rule by which labels are compared (sum, mean a token, or less how likely the label is without
the product: Holtzman et al., "Surface form competition", EMNLP 2021) is chosen on validation rows.
What the model writes when nothing constrains it is read, too: how often that is no label at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from adwright.authoring.instructions.rows import AuthoringExample
from adwright.authoring.tasks import read_answer
from adwright.lm.engine.generation import GenerationConfig, LanguageModel, TokenPrompt
from benchmarks.authoring._prompts import Asking, label_ids, prior_ids, prompt_ids

Floats = npt.NDArray[np.float64]
Ids = tuple[int, ...]
RULES = ("sum", "mean", "pmi")
#: Prompts that are scored in one call.
_CHUNK = 32


def judged_labels(
    model: LanguageModel,
    asking: Asking,
    valid: Sequence[AuthoringExample],
    test: Sequence[AuthoringExample],
) -> dict[str, Any]:
    """right, chosen, gold, nll of each test row, by the rule that is best on the valid rows."""
    by_rule = {
        rule: float(np.mean(_right(scores, valid)))
        for rule, scores in label_scores(model, asking, valid).items()
    }
    rule = max(RULES, key=lambda name: by_rule[name])
    scores = label_scores(model, asking, test)
    chosen = chosen_by(scores[rule])
    return {
        "style": asking.style,
        "rule": rule,
        "valid": {name: round(value, 4) for name, value in by_rule.items()},
        "chosen": chosen,
        "gold": _gold(test),
        "right": [int(at) for at in _right(scores[rule], test)],
        "nll": [
            round(-float(row[at]), 3) for row, at in zip(scores["sum"], _gold(test), strict=True)
        ],
    }


def label_scores(
    model: LanguageModel, asking: Asking, rows: Sequence[AuthoringExample]
) -> Mapping[str, list[Floats]]:
    """Rule to the scores [labels] of each row, in nats."""
    found: dict[str, list[Floats]] = {rule: [] for rule in RULES}
    prior: dict[tuple[Ids, Ids], float] = {}
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK]
        prompts, labels = [], []
        for one in part:
            own = label_ids(one.request)
            prompts += [prompt_ids(one.request, asking)] * len(own)
            labels += own
        sums, sizes = _scored(model, prompts, labels)
        # Without the product a label is as likely in one row as in the next.
        new = [
            (before, label)
            for one in part
            for before in [prior_ids(one.request, asking)]
            for label in label_ids(one.request)
            if (before, label) not in prior
        ]
        new = list(dict.fromkeys(new))
        if new:
            likely, _ = _scored(model, [one for one, _ in new], [label for _, label in new])
            prior |= dict(zip(new, likely.tolist(), strict=True))
        at = 0
        for one in part:
            own = label_ids(one.request)
            here = slice(at, at + len(own))
            at += len(own)
            before = prior_ids(one.request, asking)
            found["sum"].append(sums[here])
            found["mean"].append(sums[here] / sizes[here])
            found["pmi"].append(sums[here] - np.array([prior[before, label] for label in own]))
    return found


def free_answers(
    model: LanguageModel, asking: Asking, rows: Sequence[AuthoringExample]
) -> dict[str, Any]:
    """Of what is written without constraint: whether it is the right label, and whether any."""
    config = GenerationConfig(max_tokens=24)
    prompts = [TokenPrompt(prompt_ids(one.request, asking)) for one in rows]
    answers = [
        read_answer(one.request, answer.text)
        for one, answer in zip(rows, model.generate(prompts, config), strict=True)
    ]
    return {
        "right": [
            int(answer.label == one.answer) for one, answer in zip(rows, answers, strict=True)
        ],
        "invalid": [int(not answer.valid) for answer in answers],
    }


def chosen_by(scores: Sequence[Floats]) -> list[int]:
    """The place of the best label of each row."""
    return [int(np.argmax(row)) for row in scores]


def _scored(
    model: LanguageModel, prompts: Sequence[Ids], labels: Sequence[Ids]
) -> tuple[Floats, Floats]:
    scores = model.score([TokenPrompt(one) for one in prompts], [TokenPrompt(o) for o in labels])
    return scores.log_likelihood, scores.tokens.astype(np.float64)


def _gold(rows: Sequence[AuthoringExample]) -> list[int]:
    return [one.request.labels.index(one.answer) for one in rows]


def _right(scores: Sequence[Floats], rows: Sequence[AuthoringExample]) -> list[bool]:
    return [at == gold for at, gold in zip(chosen_by(scores), _gold(rows), strict=True)]
