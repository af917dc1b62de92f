"""What a caller may tell a chat template beside the messages, such as `enable_thinking`.

The template itself names it: what it does not read would change nothing, and what transformers
gives it (messages, tools, special tokens, functions) is not for a caller to set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

from adwright.core.errors import ConfigError

__all__ = ["check_settings", "template_names"]

#: What a template is given, or may call.
_RESERVED = frozenset(
    (
        *("messages", "conversation", "tools", "documents", "add_generation_prompt", "loop"),
        *("continue_final_message", "chat_template", "tokenize", "padding", "truncation"),
        *("max_length", "return_tensors", "return_dict", "return_assistant_tokens_mask"),
        *("tokenizer_kwargs", "raise_exception", "strftime_now", "range", "dict", "lipsum"),
        *("cycler", "joiner", "namespace", "self", "caller", "kwargs", "varargs"),
    )
)
_MOST_TEXT, _MOST_NUMBER = 1000, 1e6


@lru_cache(maxsize=32)
def template_names(template: str) -> frozenset[str]:
    """What a caller may set of what a template in Jinja reads. It is parsed, not rendered; none
    where it cannot be."""
    from jinja2 import Environment, TemplateError, meta

    try:
        parsed = Environment(extensions=["jinja2.ext.loopcontrols"]).parse(template)
    except (TemplateError, RecursionError):
        return frozenset()
    read = meta.find_undeclared_variables(parsed)
    # bos_token and its like are the tokeniser's.
    return frozenset(one for one in read - _RESERVED if not one.endswith("_token"))


def check_settings(template: str, settings: Mapping[str, object]) -> None:
    """Raises ConfigError for a setting that the template does not read, or that is not for a caller
    to set; or for a value that is no flag, number or short text."""
    known = template_names(template)
    for name, value in settings.items():
        if name not in known:
            told = ", ".join(sorted(known)) or "none"
            raise ConfigError(
                "the chat template of the model has no such setting",
                where=f"chat_template_kwargs {name}"[:80],
                hint=f"it has: {told}",
            )
        match value:
            case bool():
                fits = True
            case int() | float():
                fits = math.isfinite(value) and abs(value) <= _MOST_NUMBER
            case _:
                fits = isinstance(value, str) and len(value) <= _MOST_TEXT
        if not fits:
            raise ConfigError(
                "a setting of the chat template is a flag, a number up to 10^6 or a short text",
                where=f"chat_template_kwargs {name}"[:80],
                hint="correct it",
            )
