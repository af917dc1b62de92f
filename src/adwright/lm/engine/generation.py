r"""What a language model is asked for, and what it answers.

    config = GenerationConfig(max_tokens=40, stop=("\n",), seed=7, temperature=0.8)
    messages = (Message("user", "Name three teas."),)

Nothing here knows an engine, and nothing here imports torch: a program can be written, stored and
tested without a model.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from adwright.core.config import settings
from adwright.core.errors import (
    AdwrightError,
    ConfigError,
    DataError,
    ResourceError,
    ValueInvalidError,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Whole = NDArray[np.int64]
    Singles = NDArray[np.float32]

Role = Literal["system", "user", "assistant"]
#: "stop": the model ended it, or a stop string did. "length": max_tokens or the context was used
#: up. "cancelled": the caller wanted no more.
FinishReason = Literal["stop", "length", "cancelled"]

#: Engines count in 32 bits, and compute with as many.
_MOST = 2**31 - 1
_LEAST = 1e-6
_PENALTIES = (0.01, 1e6)
#: Each new token is compared with all beginnings of stop strings.
_LONGEST_STOP = 1000
#: Characters of a value that an error shows.
_SHOWN = 200
#: Alternatives to a token that are told, and what may be added to a logit, or taken away once a
#: token has occurred, as the protocol of OpenAI has them.
_MOST_TOP, _BIAS, _PENALTY = 20, 100.0, 2.0
#: Settings that not every engine has.
FURTHER = frozenset(
    (
        "top_logprobs",
        "min_p",
        "frequency_penalty",
        "presence_penalty",
        "logit_bias",
        "min_tokens",
        "ignore_eos",
        "regex",
        "lark",
    )
)

#: The likeliest tokens of one position and their log-probabilities, the likeliest first.
Top = tuple[tuple[int, float], ...]


@settings
class Message:
    """One turn of a chat."""

    role: Role
    content: str


@dataclass(frozen=True)
class Chat(Sequence[Message]):
    """The turns of a chat, and what its template is told beside them, such as
    {"enable_thinking": False}; see `templates`."""

    turns: tuple[Message, ...]
    settings: Mapping[str, bool | int | float | str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.turns)

    def __getitem__(self, at: Any) -> Any:
        return self.turns[at]


@dataclass(frozen=True)
class TokenPrompt:
    """A prompt or continuation given as tokens; nothing is added to them."""

    ids: tuple[int, ...]


#: Text is continued as it stands; messages pass through the chat template of the model first.
Prompt = str | Sequence[Message] | TokenPrompt


@dataclass(frozen=True)
class GenerationConfig:
    """How an answer is generated.

    max_tokens: the most tokens of an answer.
    temperature: 0 takes the likeliest token each time; above, tokens are drawn from the softmax
        of logits / temperature.
    top_p: draw only among the likeliest tokens that together reach this probability; 1: all.
    top_k: draw only among so many likeliest tokens; 0: all.
    seed: the same seed draws the same tokens. The prompt in row i of a call draws from
        `seed + i`, so that one prompt given twice has two answers.
    seeds: of each row, in the place of `seed + i`, so that what a row draws does not depend on
        those it is asked with.
    stop: an answer ends before the first of these strings, wherever the borders of tokens are.
    repetition_penalty: logits of tokens that occurred, in the prompt too, are divided by it where
        positive and multiplied where negative; 1: no penalty (Keskar et al. 2019, section 4.1).
    json_schema: the answer is JSON that this schema admits. grammar: the answer is a word of this
        grammar in GBNF, the notation of llama.cpp, whose first symbol is `root`. regex: the whole
        answer matches it. lark: a grammar as llguidance reads it, which may hold JSON schemas. At
        most one of the four; where max_tokens are used up first, the answer is a beginning of such
        a word.
    logprobs: also return the log-probability of each token. top_logprobs: and of so many of the
        likeliest tokens in its place, at most 20.
    min_p: draw only tokens that are at least this times as likely as the likeliest; 0: all.
    frequency_penalty, presence_penalty: taken from the logit of a token for each time that it
        occurred in the answer, and once if it did; from -2 to 2.
    logit_bias: pairs of a token and what is added to its logit, from -100 to 100.
    stop_token_ids: further tokens that end an answer, and are no part of it.
    min_tokens: no token that ends an answer is taken before so many; cannot be asked for beside a
        schema or grammar.
    ignore_eos: only max_tokens, the context and `stop` end an answer.

    Not every engine has the settings from top_logprobs on (`further`); one without them refuses.

    Below 1e-6, temperature and top_p are too near to 0 for numbers of 32 bits; a greedy answer has
    temperature 0.

    Raises ConfigError that names the setting.
    """

    max_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    stop: tuple[str, ...] = ()
    repetition_penalty: float = 1.0
    json_schema: Mapping[str, Any] | None = None
    grammar: str | None = None
    logprobs: bool = False
    top_logprobs: int = 0
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    min_tokens: int = 0
    ignore_eos: bool = False
    regex: str | None = None
    lark: str | None = None
    seeds: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        counts = 1 <= self.max_tokens <= _MOST
        self._require("max_tokens", counts, "must be between 1 and 2^31 - 1")
        warm = math.isfinite(self.temperature) and self.temperature >= _LEAST
        self._require(
            "temperature",
            self.temperature == 0 or warm,
            f"must be 0, or finite and from {_LEAST:g}",
        )
        self._require("top_p", _LEAST <= self.top_p <= 1, f"must be from {_LEAST:g} to 1")
        self._require("top_k", 0 <= self.top_k <= _MOST, "must be between 0 and 2^31 - 1")
        self._require("seed", 0 <= self.seed < 2**62, "must be between 0 and 2^62")
        fits = all(0 <= one < 2**62 for one in self.seeds)
        self._require("seeds", fits, "must be between 0 and 2^62")
        alone = isinstance(self.stop, str)
        self._require("stop", not alone, "must be a tuple of strings, not one string")
        self._require("stop", all(self.stop), "must hold no empty string")
        short = all(len(one) <= _LONGEST_STOP for one in self.stop)
        self._require("stop", short, f"must hold strings of at most {_LONGEST_STOP} characters")
        low, high = _PENALTIES
        self._require(
            "repetition_penalty",
            low <= self.repetition_penalty <= high,
            f"must be from {low:g} to {high:g}",
        )
        self._check_forms()
        self._check_further()

    def seed_of(self, row: int) -> int:
        """What the prompt in this row of a call draws from. Raises ConfigError where `seeds` has
        none for it."""
        if not self.seeds:
            return self.seed + row
        self._require("seeds", row < len(self.seeds), "must be as many as the prompts of the call")
        return self.seeds[row]

    @property
    def constrained(self) -> bool:
        """Whether only some texts are allowed."""
        return any(one is not None for one in self._forms)

    @property
    def further(self) -> frozenset[str]:
        """The settings that are asked for and that not every engine has."""
        return frozenset(name for name in FURTHER if getattr(self, name) != _default(name))

    @property
    def _forms(self) -> tuple[object, ...]:
        return self.json_schema, self.grammar, self.regex, self.lark

    def _check_forms(self) -> None:
        alone = sum(one is not None for one in self._forms) < 2
        name = "regex" if self.grammar is None else "grammar"
        self._require(name, alone, "cannot be asked for beside another form of the answer")
        empty = self.grammar is not None and not self.grammar.strip()
        self._require("grammar", not empty, "must have a rule: root ::= ...")
        if self.json_schema is not None:
            self._check_schema()

    def _check_further(self) -> None:
        top = 0 <= self.top_logprobs <= _MOST_TOP and (self.logprobs or not self.top_logprobs)
        self._require("top_logprobs", top, f"must be from 0 to {_MOST_TOP}, beside logprobs")
        self._require("min_p", 0 <= self.min_p <= 1, "must be from 0 to 1")
        for name in ("frequency_penalty", "presence_penalty"):
            fits = abs(getattr(self, name)) <= _PENALTY
            self._require(name, fits, f"must be from -{_PENALTY:g} to {_PENALTY:g}")
        fits = all(token >= 0 and abs(value) <= _BIAS for token, value in self.logit_bias)
        self._require("logit_bias", fits, f"must hold tokens and -{_BIAS:g} to {_BIAS:g}")
        known = all(token >= 0 for token in self.stop_token_ids)
        self._require("stop_token_ids", known, "must hold tokens, which begin at 0")
        fits = 0 <= self.min_tokens <= self.max_tokens
        self._require("min_tokens", fits, "must be between 0 and max_tokens")
        free = not (self.min_tokens and self.constrained)
        self._require("min_tokens", free, "cannot be asked for beside a schema or grammar")

    def _check_schema(self) -> None:
        try:
            json.dumps(self.json_schema, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError(
                f"json_schema is no JSON: {error}", where="json_schema", hint="correct it"
            ) from error

    def _require(self, name: str, holds: bool, what: str) -> None:
        if not holds:
            value = getattr(self, name)
            where = f"{name} {value!r}"[:_SHOWN]
            raise ConfigError(f"{name} {what}", where=where, hint="correct it")


def _default(name: str) -> object:
    return GenerationConfig.__dataclass_fields__[name].default


@dataclass(frozen=True)
class Usage:
    """Tokens of prompts and of answers; the end token of an answer counts.

    cached_tokens: those of the prompts that were not read anew, because their keys and values were
    there.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
        )


@settings
class Completion:
    """One answer.

    token_ids: the tokens of `text`, without the end token or those of a stop string alone; empty
        where the engine does not tell.
    logprobs: their log-probabilities under the model as it is, before temperature, truncation,
        penalty and constraint, in nats; None where they were not asked for. As long as token_ids
        where there are any.
    top_logprobs: the likeliest tokens in the place of each; None where they were not asked for.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...] | None
    finish_reason: FinishReason
    usage: Usage
    top_logprobs: tuple[Top, ...] | None = None


@dataclass(frozen=True)
class Completions(Sequence[Completion]):
    """The answers of one call, in the order of its prompts."""

    rows: tuple[Completion, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: Any) -> Any:
        return self.rows[row]

    @property
    def texts(self) -> list[str]:
        """The texts alone."""
        return [row.text for row in self.rows]

    @property
    def usage(self) -> Usage:
        """Tokens of all of them together."""
        return sum((row.usage for row in self.rows), Usage())


@settings
class Chunk:
    """A piece of an answer that is being written.

    text: what is certain by now; text that may yet become a stop string is held back.
    token_ids, logprobs, top_logprobs: what came since the last chunk; they may run ahead of the
        text.
    finish_reason, usage: set in the last chunk only.
    """

    text: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] | None = None
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    top_logprobs: tuple[Top, ...] | None = None


@dataclass(frozen=True)
class Scores:
    """Log-probabilities of continuations.

    token_logprobs: for each of B pairs the log-probability of each token of its continuation, in
        nats, given the prompt and the tokens before it: float64 [tokens].
    """

    token_logprobs: tuple[Floats, ...]

    @property
    def log_likelihood(self) -> Floats:
        """Sum over the tokens, in nats: float64 [B]."""
        import numpy as np

        return np.array([row.sum() for row in self.token_logprobs], dtype=np.float64)

    @property
    def tokens(self) -> Whole:
        """Tokens of each continuation: int64 [B]."""
        import numpy as np

        return np.array([len(row) for row in self.token_logprobs], dtype=np.int64)

    @property
    def mean(self) -> Floats:
        """Log-likelihood per token: float64 [B]. Sum and mean rank labels of different length
        differently: choose the rule on validation data."""
        found: Floats = self.log_likelihood / self.tokens.clip(1)
        return found


@dataclass(frozen=True)
class ModelInfo:
    """Which model answers.

    name: as it is asked for. engine: what runs it. context: the most tokens of prompt and answer
    together; 0 where it is not known. note: what a reader of its figures has to know. further:
    settings that it has of those that not every engine has, see `GenerationConfig`.
    """

    name: str
    engine: str
    context: int = 0
    note: str = ""
    further: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Cancellation:
    """Cancels a call from another thread.

    Engines look at it between two steps; what they have by then is returned with the finish
    reason "cancelled".
    """

    _cancelled: threading.Event = field(default_factory=threading.Event, repr=False)

    def cancel(self) -> None:
        """Cancel; from any thread, any number of times."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled.is_set()


# --------------------------------------------------------------------------------------------------
# What every language model can do, whatever runs it.
#
# A program is written against these two Protocols and never against an engine; `open_model` opens
# one.

#: Whether a model answers now. starting: again, after its process died. stuck: it has work, and
#: nothing comes of it. dead: it is closed, or its process cannot be started.
Health = Literal["ready", "starting", "stuck", "dead"]


@runtime_checkable
class Tokenizer(Protocol):
    """Text to token ids and back."""

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end an answer."""

    @property
    def begin_id(self) -> int | None:
        """The token in front of a text that has nothing before it; None where there is none."""

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """The tokens of `text`.

        special: with the tokens that the model wants around a text, such as one that begins it.
        Words such as <|im_end|> in the text become the special tokens of that name in any case:
        never put text of strangers into a prompt without `Message`s and a check.
        """

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids` without special tokens; an incomplete character is U+FFFD."""

    def count(self, text: str) -> int:
        """How many tokens `text` has, without special ones around it."""

    def chat(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of a chat in the template of the model, up to where its answer begins.

        Raises ConfigError where the model has no template, or it refuses these messages.
        """


@runtime_checkable
class TemplateTokenizer(Tokenizer, Protocol):
    """One that tells the chat template more than the turns."""

    def chat_with(self, messages: Sequence[Message], settings: Mapping[str, object]) -> list[int]:
        """As `chat`, and the template reads these settings too.

        Raises ConfigError for a setting that it does not read, or that is not for a caller to set.
        """


@runtime_checkable
class LanguageModel(Protocol):
    """A model that continues text and says how likely text is.

    Calls from several threads are allowed; the engine decides whether they run together or in turn.
    Raises, beside what each method says: ValueInvalidError where a prompt has no
    room in the context, with its row; ConfigError where the engine cannot do what is asked.
    """

    @property
    def info(self) -> ModelInfo:
        """Which model this is."""

    @property
    def tokens(self) -> Tokenizer:
        """Its tokeniser. Raises ConfigError where the engine has none at hand."""

    @property
    def vocabulary(self) -> int:
        """It knows the tokens below this; 0 where nothing tells."""

    def generate(
        self,
        prompts: Sequence[Prompt],
        config: GenerationConfig = ...,
        *,
        cancel: Cancellation | None = None,
    ) -> Completions:
        """An answer to each of B prompts, as one batch."""

    def stream(
        self,
        prompt: Prompt,
        config: GenerationConfig = ...,
        *,
        cancel: Cancellation | None = None,
    ) -> Iterator[Chunk]:
        """The answer to one prompt, piece by piece.

        Closing the iterator, or losing it, ends the computation and frees its memory.
        """

    def score(
        self,
        prompts: Sequence[Prompt],
        continuations: Sequence[str | TokenPrompt],
        *,
        cancel: Cancellation | None = None,
    ) -> Scores:
        """Log-likelihood of continuation i after prompt i, for B pairs.

        Prompt and continuation are turned into tokens each by itself, so that the prompt has the
        same tokens before every continuation; where a space separates the two, it belongs to the
        continuation.

        Raises ValueInvalidError where the numbers differ or a continuation has no tokens;
        ResourceError where it was cancelled, since half a score is none.
        """

    def embed(
        self, texts: Sequence[str | TokenPrompt], *, cancel: Cancellation | None = None
    ) -> Singles:
        """Vectors of length 1, float32 [B, D]: the mean of the last hidden states over the tokens
        of each text.

        Raises ResourceError where it was cancelled.
        """

    def health(self) -> Health:
        """Whether it would answer now, as far as this can be told at once, without asking it."""

    def close(self) -> None:
        """Free what the model holds; it cannot be used afterwards. Any number of times."""


# --------------------------------------------------------------------------------------------------
# What the settings of engines have in common: a column of the documentation, least values.


@dataclass(frozen=True)
class Capabilities:
    """One column of the table of engines in docs/language-models.md.

    title: name of the engine for readers. models: what it opens. batching: how requests of
    several callers run. prefix: when a shared beginning of prompts is computed. score, embed,
    constraint: whether it has them, and how.
    """

    title: str
    models: str
    batching: str = ""
    prefix: str = ""
    score: str = "no"
    embed: str = "no"
    constraint: str = "no"


def check_least(config: object, leasts: dict[str, float]) -> None:
    """Raise ConfigError for a setting, by name, below its least value."""
    for name, least in leasts.items():
        value = getattr(config, name)
        if value < least:
            raise ConfigError(
                f"{name} must be at least {least}", where=f"{name} {value!r}", hint="correct it"
            )


# --------------------------------------------------------------------------------------------------
# What can go wrong with an engine, by what there is to do about it.
#
#     EngineGoneError     a ResourceError: it is not there any more. Ask another, start it again
#     EngineFailedError   a ConnectionError: it failed at this request and answers others. Ask again
#     EngineSilentError   the same: nothing came of it in time, as a TimeoutError
#     EngineBusyError     the same: it takes no more for now. Ask again after `retry_after` seconds
#     EngineRefusesError  the same: it refuses whoever asks, for a key, an address or a model that
# it
#                         does not have. Ask another
#
# A request that is wrong in itself is a ConfigError or a ValueInvalidError, wherever it is sent.
# What is no AdwrightError is for whoever carries requests to engines: nothing is final there.

# --------------------------------------------------------------------------------------------------
# What a generation is asked with, from what the caller of an `ExecutionEngine` says, and who may
# ask.


def generation_settings(
    max_tokens: int, schema: str | None = None, settings: GenerationConfig | None = None
) -> GenerationConfig:
    """All settings of an answer. settings: those beside its length and its schema, such as
    temperature, seed and stop strings; without them the likeliest token is taken each time.

    Raises ConfigError where the schema is no JSON object, or stands beside another form.
    """
    config = GenerationConfig(max_tokens=max_tokens)
    if settings is not None:
        config = replace(settings, max_tokens=max_tokens)
    if schema is None:
        return config
    try:
        found = json.loads(schema)
    except ValueError as error:
        raise ConfigError(
            f"the schema is no JSON: {error}", where="schema", hint="correct it"
        ) from error
    if not isinstance(found, dict):
        raise ConfigError("the schema is no JSON object", where="schema", hint='{"type": ...}')
    return replace(config, json_schema=found)


class OneDomain:
    """Whose a cache is that knows no salts: by its speed it tells what others have asked.

    named: the salt of its domain; "": that of the first who asks.
    """

    def __init__(self, named: str = "") -> None:
        self._named = named
        self._salt: str | None = named or None

    def require(self, salt: str, where: str) -> None:
        """Raise ConfigError for the salt of another domain."""
        if self._salt is None:
            self._salt = salt
        if salt != self._salt:
            raise ConfigError(
                "the prefix cache of this engine is another domain's",
                where=where,
                hint="run an engine for each domain, or one that takes salts or caches nothing",
            )

    def begin_again(self) -> None:
        """The cache is empty: whoever asks next may have it, unless it is named whose it is."""
        self._salt = self._named or None


class EngineGoneError(ResourceError):
    """The engine is not there any more, and with it all that it held and was at work on."""


class EngineFailedError(ConnectionError):
    """The engine failed at this request; it is there, and answers others."""


class EngineSilentError(EngineFailedError, TimeoutError):
    """Nothing came of the request within its bound; whether the engine is there has to be seen."""


class EngineBusyError(EngineFailedError):
    """The engine takes no more for now. retry_after: seconds, None where it does not tell."""

    def __init__(self, what: str, retry_after: float | None = None) -> None:
        super().__init__(what)
        self.retry_after = retry_after


class EngineRefusesError(EngineFailedError):
    """The engine refuses us, whatever is asked; another one may take the same."""


def error_to_wire(error: Exception) -> dict[str, str]:
    """An error as plain texts: which of the three it is, and what it says."""
    if not isinstance(error, AdwrightError):
        return {
            "kind": "failed",
            "what": f"{type(error).__name__}: {error}",
            "where": "",
            "hint": "",
        }
    kind = "failed"
    if isinstance(error, DataError):
        kind = "value"
    elif not isinstance(error, ResourceError):
        kind = "config"
    return {"kind": kind, "what": error.what, "where": error.where, "hint": error.hint}


def error_from_wire(told: Mapping[str, Any]) -> AdwrightError | EngineFailedError:
    """The error that `error_to_wire` told."""
    what, where, hint = (str(told.get(name, "")) for name in ("what", "where", "hint"))
    match told.get("kind"):
        case "value":
            return ValueInvalidError(what, file=where, hint=hint)
        case "config":
            return ConfigError(what, where=where, hint=hint)
        case _:
            return EngineFailedError(f"{what} [{where}]" if where else what)
