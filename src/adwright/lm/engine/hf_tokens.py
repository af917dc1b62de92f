"""Tokenisers of Hugging Face behind the Protocol `Tokenizer`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adwright.core.errors import ConfigError, MissingExtraError
from adwright.lm.compiling.bounds import ConstraintBounds, check_gbnf, check_schema, require_at_most
from adwright.lm.compiling.compiler import refused, shared_compiler
from adwright.lm.compiling.rehearsal import Kind
from adwright.lm.engine.base import unfit_messages
from adwright.lm.engine.generation import Cancellation, GenerationConfig, Message
from adwright.lm.engine.weights import load_hf_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


# --------------------------------------------------------------------------------------------------
# JSON schemas and GBNF grammars: bounded, translated and checked, before an engine sees them.
#
# Sizes are looked at first, see `ConstraintBounds`. Then a process that may die compiles them with
# llguidance, see `lm.compiling.compiler`. JSON is written without free white space, since a small
# model that may put blanks between two braces often does nothing else.

_BOUNDS = ConstraintBounds()


def check_bounds(config: GenerationConfig, bounds: ConstraintBounds = _BOUNDS) -> None:
    """Check the size of the schema or grammar, for an engine that compiles it by itself.

    Raises ConfigError that names the bound and the value found.
    """
    if not config.constrained:
        return
    kind, text = _text(config)
    try:
        length = len(text.encode())
    except UnicodeEncodeError as error:
        raise refused("it has half a character, a surrogate") from error
    require_at_most("bytes", length, bounds.text_bytes)
    match kind:
        case "schema":
            check_schema(config.json_schema or {}, bounds)
        case "gbnf":
            check_gbnf(text, bounds)
        case "regex":
            check_schema({"pattern": text}, bounds)
        case _:  # its parts are for whoever put it together to check
            pass


def compiled(
    config: GenerationConfig,
    *,
    cancel: Cancellation | None = None,
    bounds: ConstraintBounds = _BOUNDS,
) -> str:
    """Translate the schema or grammar of `config` into the form that llguidance reads.

    Raises ConfigError where it is none, is above a bound or takes too much to compile;
    ResourceError where the machine has no time for it, or it is cancelled; MissingExtraError
    without llguidance.
    """
    if find_spec("llguidance") is None:
        raise MissingExtraError("constrained output", "lm")
    check_bounds(config, bounds)
    kind, text = _text(config)
    never = Cancellation() if cancel is None else cancel
    return shared_compiler().compile(kind, text, cancelled=lambda: never.cancelled)


def check_constraint(
    config: GenerationConfig,
    *,
    cancel: Cancellation | None = None,
    bounds: ConstraintBounds = _BOUNDS,
) -> None:
    """Check the constraint at once, for engines that would notice only while they compute.

    Raises as `compiled`.
    """
    if config.constrained:
        compiled(config, cancel=cancel, bounds=bounds)


def check_template(template: str) -> None:
    """Render a short and a long chat in a process that may die, the first time that this template
    is met.

    Raises ConfigError where it takes too long or makes far too much of them.
    """
    shared_compiler().compile("template", template)


def _text(config: GenerationConfig) -> tuple[Kind, str]:
    if config.json_schema is not None:
        return "schema", json.dumps(dict(config.json_schema))
    if config.regex is not None:
        return "regex", config.regex
    return ("gbnf", config.grammar or "") if config.lark is None else ("lark", config.lark)


# --------------------------------------------------------------------------------------------------
# What a caller may tell a chat template beside the messages, such as `enable_thinking`.
#
# The template itself names it: what it does not read would change nothing, and what transformers
# gives it (messages, tools, special tokens, functions) is not for a caller to set.

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


class HuggingFaceTokens:
    """The tokeniser of a transformers model.

    tokenizer: as transformers loads it. end_ids: further tokens that end an answer, beside the
    tokeniser's own; a model's generation settings may name some.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, end_ids: frozenset[int] = frozenset()
    ) -> None:
        self.tokenizer = tokenizer
        own = tokenizer.eos_token_id
        self._end_ids = end_ids | ({int(own)} if isinstance(own, int) else set())

    @classmethod
    def load(cls, folder: str | Path, end_ids: frozenset[int] = frozenset()) -> HuggingFaceTokens:
        """Load from a folder in the layout of Hugging Face, or a hub name; no code in it is run.

        Raises AssetError where there is no tokeniser, MissingExtraError without transformers.
        """
        return cls(load_hf_tokenizer(folder), end_ids)

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end an answer."""
        return self._end_ids

    @property
    def begin_id(self) -> int | None:
        """The token in front of a text that has nothing before it; None where there is none."""
        for found in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            if isinstance(found, int):
                return found
        return None

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """The tokens of `text`; special: with those that the model wants around it."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=special)["input_ids"]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, without special tokens."""
        return str(
            self.tokenizer.decode(
                list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )

    def count(self, text: str) -> int:
        """How many tokens `text` has by itself."""
        return len(self.encode(text, special=False))

    def chat(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of a chat in the model's template, up to where its answer begins.

        Raises ConfigError where there is no template, it refuses the messages, or it takes too
        long or writes far too much for others.
        """
        return self.chat_with(messages, {})

    def chat_with(self, messages: Sequence[Message], settings: Mapping[str, object]) -> list[int]:
        """As `chat`, and the template reads these settings too. Raises as `chat` and
        `check_settings` do."""
        return self.encode(self.chat_text(messages, settings), special=False)

    def chat_text(self, messages: Sequence[Message], settings: Mapping[str, object]) -> str:
        """The text that those are the tokens of. Raises as `chat_with`."""
        from jinja2 import TemplateError

        turns = [{"role": turn.role, "content": turn.content} for turn in messages]
        try:
            template = str(self.tokenizer.get_chat_template())
            check_template(template)
            check_settings(template, settings)
            told: dict[str, Any] = dict(settings)
            text = self.tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True, **told
            )
        except (ValueError, TypeError, TemplateError, ArithmeticError, MemoryError) as error:
            raise unfit_messages(str(error).strip().split("\n", 1)[0]) from error
        return str(text)
