"""Labels from a closed list: grammars in which no other answer can be written.

config = constrained(GenerationConfig(), request)    # an engine can then write only labels
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from adwright.authoring.tasks.prompts import (
    PromptBounds,
    shown_labels,
)
from adwright.authoring.tasks.task import AuthoringRequest
from adwright.core.config import choices_of
from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig

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


def _require_choice(name: str, value: str, choices: object) -> None:
    allowed = choices_of(choices)
    if value not in allowed:
        raise ConfigError(
            f"{value!r} is no {name}", where=name, hint=f"use {', '.join(map(str, allowed))}"
        )


def _literal(text: str) -> str:
    # JSON escapes quotes, backslashes and control characters as GBNF does.
    return json.dumps(text, ensure_ascii=False)
