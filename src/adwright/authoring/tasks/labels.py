"""Labels from a closed list: grammars in which no other answer can be written, and scores of all.

    config = constrained(GenerationConfig(), request)    # an engine can then write only labels
    chosen = choose_labels(model, requests, rule="pmi")  # or the likelihoods of all are compared

The log-likelihood of label y after the prompt x is L(y | x), in nats, over t tokens. Rules:

    sum   L(y | x)
    mean  L(y | x) / t                 longer labels are not the worse for it
    pmi   L(y | x) - L(y | x0)         x0: the prompt without the product (Holtzman et al., "Surface
                                       form competition", EMNLP 2021); labels that are likely
                                       anyway are not the better for it

Which is best differs from data to data: choose it on validation data. Engines that share prefixes
read the prompt of a request once for all of its labels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from adwright.authoring.tasks.prompts import (
    LABELS_LINE,
    PromptBounds,
    input_of,
    messages_of,
    shown_labels,
)
from adwright.authoring.tasks.task import AuthoringRequest
from adwright.core.config import choices_of
from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig, LanguageModel, Message

__all__ = [
    "LabelChoice",
    "LabelForm",
    "LabelRule",
    "choose_labels",
    "constrained",
    "label_grammar",
    "label_schema",
]

Floats = npt.NDArray[np.float64]
LabelRule = Literal["sum", "mean", "pmi"]
#: grammar: the label as it is, in GBNF. schema: a JSON text, which more servers understand.
LabelForm = Literal["grammar", "schema"]

_BOUNDS = PromptBounds()
#: Tokens beside those of the label: quotes, and the one that ends the answer.
_SPARE = 8


def label_grammar(labels: Sequence[str]) -> str:
    """A grammar in GBNF whose words are the labels and nothing else.

    Raises ConfigError where there is none.
    """
    if not labels:
        raise ConfigError("a grammar of labels needs one", where="labels", hint="give the list")
    return "root ::= " + " | ".join(_literal(label) for label in labels)


def label_schema(labels: Sequence[str]) -> dict[str, object]:
    """A JSON schema whose values are the labels, as texts. Raises as `label_grammar`."""
    if not labels:
        raise ConfigError("a schema of labels needs one", where="labels", hint="give the list")
    return {"type": "string", "enum": list(labels)}


def constrained(
    config: GenerationConfig,
    request: AuthoringRequest,
    *,
    form: LabelForm = "grammar",
    bounds: PromptBounds = _BOUNDS,
) -> GenerationConfig:
    """`config` under which a request for a label can be answered by one of its labels alone.

    max_tokens is raised to what the longest label may need, a token per byte: cut short, an answer
    would be none. Raises ConfigError for a task of another form, and for an unknown `form`.
    """
    _require_choice("form", form, LabelForm)
    if request.task.form != "label":
        raise ConfigError(
            f"the answer to {request.task.name} is no label", where="task", hint="leave it free"
        )
    labels = shown_labels(request, bounds=bounds)
    longest = max(len(json.dumps(label, ensure_ascii=False).encode()) for label in labels)
    room = max(config.max_tokens, longest + _SPARE)
    if form == "schema":
        schema = label_schema(labels)
        return replace(
            config, json_schema=schema, grammar=None, regex=None, lark=None, max_tokens=room
        )
    grammar = label_grammar(labels)
    return replace(
        config, grammar=grammar, json_schema=None, regex=None, lark=None, max_tokens=room
    )


@dataclass(frozen=True, eq=False)
class LabelChoice:
    """The label of one request. label: as in the request, None where it abstains. probability: of
    the best label, softmax over the scores. scores: float64 [labels], by the rule, in nats."""

    label: str | None
    probability: float
    scores: Floats


def choose_labels(
    model: LanguageModel,
    requests: Sequence[AuthoringRequest],
    *,
    rule: LabelRule = "mean",
    abstain: float = 0.0,
    instruction: str | None = None,
    voice: str = "",
    bounds: PromptBounds = _BOUNDS,
) -> list[LabelChoice]:
    """Score every label of every request, and take the best; of equal ones the first.

    abstain: below this probability of the best label there is no label. instruction, voice, bounds:
    as in `messages_of`. Prompts are scored in one call, B requests by their labels in order.
    Raises ConfigError for a task whose answer is no label, an unknown rule, and an engine that
    cannot score.
    """
    _require_choice("rule", rule, LabelRule)
    if not 0 <= abstain <= 1:
        raise ConfigError("abstain is a probability", where=f"abstain {abstain}", hint="0 to 1")
    prompts: list[Sequence[Message]] = []
    continuations: list[str] = []
    sizes = []
    for request in requests:
        labels = shown_labels(request, bounds=bounds)
        if not labels:
            raise ConfigError(f"the answer to {request.task.name} is no label", where="task")
        prompt = messages_of(request, instruction=instruction, voice=voice, bounds=bounds)
        prompts += [prompt] * len(labels)
        continuations += labels
        sizes.append(len(labels))
        if rule == "pmi":
            prompts += [_without_data(request, prompt, bounds)] * len(labels)
            continuations += labels
    if not prompts:
        return []
    scores = model.score(prompts, continuations)
    found = scores.mean if rule == "mean" else scores.log_likelihood
    chosen, at = [], 0
    for request, size in zip(requests, sizes, strict=True):
        own = found[at : at + size]
        at += size
        if rule == "pmi":
            own = own - found[at : at + size]
            at += size
        chosen.append(_chosen(request, own, abstain))
    return chosen


def _chosen(request: AuthoringRequest, scores: Floats, abstain: float) -> LabelChoice:
    best = int(np.argmax(scores))
    probability = float(1 / np.exp(scores - scores[best]).sum())
    label = request.labels[best] if probability >= abstain else None
    return LabelChoice(label, probability, scores)


def _without_data(
    request: AuthoringRequest, prompt: Sequence[Message], bounds: PromptBounds
) -> tuple[Message, ...]:
    """The same prompt, with its data taken out of the last turn: the instruction, and the labels
    to choose from."""
    data = input_of(request, bounds=bounds)
    *before, last = prompt
    head = last.content.removesuffix(data)
    labels = data[data.index(f"\n{LABELS_LINE}\n") + 1 :] if f"\n{LABELS_LINE}\n" in data else ""
    return (*before, Message(last.role, f"{head}{labels}"))


def _require_choice(name: str, value: str, choices: object) -> None:
    allowed = choices_of(choices)
    if value not in allowed:
        raise ConfigError(
            f"{value!r} is no {name}", where=name, hint=f"use {', '.join(map(str, allowed))}"
        )


def _literal(text: str) -> str:
    # JSON escapes quotes, backslashes and control characters as GBNF does.
    return json.dumps(text, ensure_ascii=False)
