"""Schemas, grammars and templates that strangers send, against the compiler and the server."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from importlib.util import find_spec

from tests.attacks.attack import Area, Attack
from tests.attacks.lm.forms import FORMS
from tests.attacks.lm.lm_door import REFUSED, LmDoor, lm_door

#: Run at each change.
_QUICK = {
    "a chain of 10,000 definitions",
    "a chain of 240 elsewhere",
    "500 levels of items",
    "a chain of 20,000 rules",
    "R doubled 60 times",
    "a schema: refers to itself",
    "a schema: a literal of 900,000",
    "a schema: half a character",
    "a pattern: (a+)+",
    "a grammar: 30,000 escapes and no end",
    "a grammar: 2,000 times 2,000 times 2,000",
    "a grammar: empty",
}
_TEMPLATES = {
    "loops for ever": "{% for i in range(99999) %}" * 3 + "{% endfor %}" * 3,
    "makes 10 GB": "{{ 'a' * 10**10 }}",
    "makes 10 GB piece by piece": "{% for i in range(99999) %}" + "a" * 99_999 + "{% endfor %}",
    "counts each turn with each": "{% for m in messages %}" * 3 + "{% endfor %}" * 3,
    "a number of a million digits": "{{ 10**10**7 }}",
    "reads the process": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "is itself 20,000 deep": "{% if 1 %}" * 20_000 + "{% endif %}" * 20_000,
    "calls itself": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
}


def _form(name: str, door: LmDoor) -> Mapping[str, float]:
    """In the process first, where an error shows whole, then over HTTP."""
    from adwright.core.errors import ConfigError
    from adwright.lm.engine.generation import GenerationConfig

    form = FORMS[name]()
    began = time.monotonic()
    with suppress(ConfigError):
        config = GenerationConfig(
            max_tokens=2, json_schema=form.get("json"), grammar=form.get("grammar")
        )
        door.model.generate(["tea"], config)
    alone = time.monotonic() - began
    status = door.complete({"structured_outputs": form})
    return {"ms": round(1000 * alone, 1), **door.expect(status, REFUSED | {200})}


def _template(name: str, door: LmDoor) -> Mapping[str, float]:
    """A model folder's template: refused, or rendered in a moment."""
    from adwright.core.errors import ConfigError
    from adwright.lm.engine.generation import Message
    from adwright.lm.engine.hf_tokens import HuggingFaceTokens
    from tests.support.lm.tiny_llama import tiny_tokenizer

    tokenizer = tiny_tokenizer()
    before = tokenizer.chat_template
    tokenizer.chat_template = _TEMPLATES[name]
    began = time.monotonic()
    try:
        with suppress(ConfigError):
            HuggingFaceTokens(tokenizer).chat([Message("user", "tea")])
    finally:
        tokenizer.chat_template = before
    took = time.monotonic() - began
    assert took < 20
    return {"ms": round(1000 * took, 1), **door.expect(200, {200})}


def _gone(door: LmDoor) -> None:
    """Callers that hang up: the compiler is free for others at once."""
    import httpx

    for name in ("R doubled 60 times", "a chain of 240 elsewhere"):
        body = {"model": "base", "prompt": "tea", "structured_outputs": FORMS[name]()}
        for _ in range(5):
            try:
                door.client.post("/v1/completions", json=body, timeout=0.05)
            except httpx.TimeoutException:
                continue
    door.expect(200, {200})


AREAS = []
if find_spec("llguidance") is not None and find_spec("transformers") is not None:
    AREAS = [
        Area(
            "lm-compile",
            [
                *(Attack(name, partial(_form, name), quick=name in _QUICK) for name in FORMS),
                *(
                    Attack(f"a chat template that {name}", partial(_template, name))
                    for name in _TEMPLATES
                ),
                Attack("callers that hang up while theirs is compiled", _gone),
            ],
            shared=partial(lm_door, "torch"),
            memory=0,
        )
    ]
