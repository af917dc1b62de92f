from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="the extra lm is not installed")

from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.torch_engine.decode import LogitRules

V = 7


def literal(
    logits: list[float], written: list[int], prompt: list[int], config: GenerationConfig
) -> list[float]:
    """One row, as the formulas say it."""
    found = []
    for token, value in enumerate(logits):
        z = value + dict(config.logit_bias).get(token, 0.0)
        if len(written) < config.min_tokens and token == 6:
            z = -np.inf
        if token in prompt or token in written:
            penalty = config.repetition_penalty
            z = z / penalty if z > 0 else z * penalty
        c = written.count(token)
        found.append(z - c * config.frequency_penalty - (c > 0) * config.presence_penalty)
    return found


@pytest.mark.parametrize(
    "settings",
    [
        {"frequency_penalty": 0.7},
        {"presence_penalty": -1.5},
        {"frequency_penalty": 0.5, "presence_penalty": 0.25, "repetition_penalty": 1.3},
        {"logit_bias": ((2, 3.0), (5, -100.0))},
        {"min_tokens": 2},
        {"logit_bias": ((1, 1.0),), "min_tokens": 3, "repetition_penalty": 0.8},
    ],
)
def test_against_the_formulas(settings: dict[str, Any]) -> None:
    config = GenerationConfig(**settings)
    prompts, written = [[0, 3], [2]], [[1, 1, 4], [2, 5, 2]]
    rules = LogitRules.of(prompts, config, V, {6, 99})
    assert rules is not None
    random = torch.Generator().manual_seed(0)
    for step in range(4):
        logits = torch.randn(2, V, generator=random)
        kept = logits.clone()
        found = rules.apply(logits)
        wanted = [
            literal(row.tolist(), written[at][:step], prompts[at], config)
            for at, row in enumerate(kept)
        ]
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
        assert torch.equal(logits, kept)  # log-probabilities are told of them
        if step < 3:
            rules.add(torch.tensor([row[step] for row in written]))
    rules.keep(torch.tensor([1]))
    logits = torch.randn(1, V, generator=random)
    wanted = [literal(logits[0].tolist(), written[1], prompts[1], config)]
    np.testing.assert_allclose(rules.apply(logits), wanted, rtol=1e-5)


def test_without_rules_there_are_none() -> None:
    config = GenerationConfig(temperature=1.0, top_p=0.5, min_p=0.1, stop_token_ids=(3,))
    assert LogitRules.of([[1]], config, V) is None
