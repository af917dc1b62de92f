"""The face that all engines share; an engine adds the small core behind it.

    class Reversed(TokenEngine):
        def _write(self, answers, config, cancel):
            for answer in answers:
                for token in reversed(answer.prompt):
                    answer.add(token)
                    yield

`Engine` checks the arguments of `generate`, `stream` and `score`. `TokenEngine` also tokenizes,
checks that prompts fit into the context and collects the answers; all engines but those behind
HTTP, which see no tokens, derive from it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing

import numpy as np
import numpy.typing as npt

from adwright.core.errors import ConfigError, ResourceError, ValueInvalidError
from adwright.lm.engine.generation import (
    Cancellation,
    Chat,
    Chunk,
    Completion,
    Completions,
    FinishReason,
    GenerationConfig,
    Health,
    Message,
    ModelInfo,
    Prompt,
    Scores,
    TemplateTokenizer,
    Tokenizer,
    TokenPrompt,
    Top,
    Usage,
)

# --------------------------------------------------------------------------------------------------
# The text of an answer while its tokens arrive: whole characters, and stop strings.
#
# A token is not a piece of text: a character may be spread over several tokens, and a stop string
# may begin inside one token and end inside another. So the text is rebuilt from the tokens, and
# what could still become a stop string is held back.

_UNFINISHED = "\ufffd"
#: A character has at most four bytes, so after so many tokens it is really not one.
_PATIENCE = 4
#: Tokens that are decoded again with each new one: those in front decide about its leading space.
_CONTEXT = 4
_WINDOW = 16


class AnswerText:
    """Turns the tokens of one answer into text as soon as it is certain.

    decode: tokens to text; called with a few of the last tokens, so that an answer costs time in
    proportion to its length. stop: the text ends before the first of these strings.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: tuple[str, ...] = ()) -> None:
        self._decode = decode
        self._stop = stop
        self._longest = max(map(len, stop), default=0)
        self._ids: list[int] = []
        self._ends: list[int] = []  # length of the text after each token
        self._first = 0  # where the window begins
        self._known = ""  # text of the window, as far as it is in the whole text
        self._text = ""
        self._shown = 0
        self._waiting = 0  # tokens at the end that are not a whole character yet
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """Whether a stop string was met."""
        return self._stopped

    @property
    def text(self) -> str:
        """The whole text so far, without a stop string."""
        return self._text

    @property
    def kept(self) -> int:
        """How many of the tokens, from the first, it takes to write `text`."""
        if not self._stopped:
            return len(self._ids)
        whole = len(self._text)
        if not whole:
            return 0
        reached = (row for row, end in enumerate(self._ends, start=1) if end >= whole)
        return next(reached, len(self._ids))

    def add(self, token: int) -> str:
        """Add a token; return the text that became certain, empty once a stop string was met."""
        if self._stopped:
            return ""
        self._ids.append(token)
        window = self._decode(self._ids[self._first :])
        if window.endswith(_UNFINISHED) and self._waiting + 1 < _PATIENCE:
            self._waiting += 1
            self._ends.append(len(self._text))
            return ""
        self._waiting = 0
        return self._take(window)

    def finish(self) -> str:
        """End the answer; return the rest of the text."""
        if not self._stopped:
            window = self._decode(self._ids[self._first :]) if self._ids else ""
            if len(window) > len(self._known):
                self._extend(window)
        rest = self._text[self._shown :]
        self._shown = len(self._text)
        return rest

    def _take(self, window: str) -> str:
        self._extend(window)
        self._ends.append(len(self._text))
        if not self._stopped and len(self._ids) - self._first > _WINDOW:
            self._first = len(self._ids) - _CONTEXT
            self._known = self._decode(self._ids[self._first :])
        certain = len(self._text) - (0 if self._stopped else self._held_back())
        piece = self._text[self._shown : certain]
        self._shown = max(self._shown, certain)
        return piece

    def _extend(self, window: str) -> None:
        before = len(self._text)
        self._text += window[len(self._known) :]
        self._known = window
        start = max(0, before - self._longest + 1)
        found = [at for at in (self._text.find(stop, start) for stop in self._stop) if at >= 0]
        if found:
            self._text = self._text[: min(found)]
            self._stopped = True

    def _held_back(self) -> int:
        """Length of the longest end of the text with which a stop string begins."""
        for length in range(min(self._longest - 1, len(self._text)), 0, -1):
            if any(stop.startswith(self._text[-length:]) for stop in self._stop):
                return length
        return 0


# --------------------------------------------------------------------------------------------------
# Build one answer from its tokens, in the same way for every engine.


class AnswerWriter:
    """Collects the tokens of one answer, and knows when it ends.

    tokens: of the model. ids: the prompt. context: the most tokens of prompt and answer; 0 where it
    is not known.
    """

    def __init__(
        self,
        tokens: Tokenizer,
        ids: Sequence[int],
        config: GenerationConfig,
        *,
        context: int = 0,
    ) -> None:
        self.prompt = list(ids)
        self.finish_reason: FinishReason | None = None
        #: Tokens of the prompt that were not read anew; None before it is known.
        self.cached: int | None = None
        own: frozenset[int] = frozenset() if config.ignore_eos else tokens.end_ids
        #: Tokens that end it.
        self.end_ids: frozenset[int] = own | frozenset(config.stop_token_ids)
        self._text = AnswerText(tokens.decode, config.stop)
        self._most = config.max_tokens
        if context:
            self._most = min(self._most, context - len(self.prompt))
        self._ids: list[int] = []
        self._logprobs: list[float] | None = [] if config.logprobs else None
        self._tops: list[Top] | None = [] if config.top_logprobs else None
        self._generated = 0
        self._pieces: list[str] = []
        self._given = 0

    def add(self, token: int, logprob: float | None = None, top: Top | None = None) -> None:
        """Add the next token; top: the likeliest in its place. Sets `finish_reason` where it was
        the last."""
        self._generated += 1
        if token in self.end_ids:
            self.end("stop")
            return
        self._ids.append(token)
        if self._logprobs is not None and logprob is not None:
            self._logprobs.append(logprob)
        if self._tops is not None and top is not None:
            self._tops.append(top)
        self._pieces.append(self._text.add(token))
        if self._text.stopped:
            self.end("stop")
        elif self._generated >= self._most:
            self.end("length")

    def end(self, reason: FinishReason) -> None:
        """End the answer; called again, it changes nothing."""
        if self.finish_reason is None:
            self._pieces.append(self._text.finish())
            # The rest of the text may hold a stop string, for example after half a character.
            self.finish_reason = "stop" if self._text.stopped else reason

    def chunk(self) -> Chunk:
        """Return what came since the last chunk."""
        text, self._pieces = "".join(self._pieces), []
        last = self._text.kept if self.finish_reason else len(self._ids)
        new = slice(self._given, max(self._given, last))
        self._given = new.stop
        return Chunk(
            text,
            tuple(self._ids[new]),
            None if self._logprobs is None else tuple(self._logprobs[new]),
            self.finish_reason,
            self.usage if self.finish_reason else None,
            None if self._tops is None else tuple(self._tops[new]),
        )

    def completion(self) -> Completion:
        """Return the whole answer, once it has ended."""
        kept = self._text.kept
        return Completion(
            self._text.text,
            tuple(self._ids[:kept]),
            None if self._logprobs is None else tuple(self._logprobs[:kept]),
            self.finish_reason or "cancelled",
            self.usage,
            None if self._tops is None else tuple(self._tops[:kept]),
        )

    @property
    def usage(self) -> Usage:
        """Tokens of the prompt, tokens that were generated, and those of the prompt that were
        there."""
        return Usage(len(self.prompt), self._generated, self.cached or 0)


# --------------------------------------------------------------------------------------------------
# Prompts and continuations as tokens, checked, for every engine that has a tokeniser.

_MOST_TOKENS = 2**31


def prompt_ids(
    tokens: Tokenizer, prompt: Prompt, *, vocabulary: int, row: int | None = None
) -> list[int]:
    """The tokens of one prompt, never none: an empty one begins as a text does.

    vocabulary: tokens that the network knows, 0 where nothing tells. row: of the prompt among
    others, for errors.
    Raises ConfigError where messages do not fit the model's template; ValueInvalidError where the
    prompt is empty and the model has no token to begin with, a token is none of the network's, or
    a text has half a character.
    """
    match prompt:
        case TokenPrompt():
            ids = list(prompt.ids)
        case str():
            require_text(prompt, row=row)
            ids = tokens.encode(prompt)
        case _:
            for turn in prompt:
                require_text(turn.content, row=row)
            ids = _chat_ids(tokens, prompt)
    if not ids:
        if tokens.begin_id is None:
            raise ValueInvalidError(
                "the prompt is empty",
                row=row,
                hint="this model has no token to begin with: add text",
            )
        ids = [tokens.begin_id]
    require_known(ids, vocabulary, row=row)
    return ids


def _chat_ids(tokens: Tokenizer, prompt: Sequence[Message]) -> list[int]:
    if not isinstance(prompt, Chat) or not prompt.settings:
        return tokens.chat(prompt)
    if not isinstance(tokens, TemplateTokenizer):
        raise ConfigError(
            "this engine tells the chat template nothing but the messages",
            where="chat_template_kwargs",
            hint="leave them out, or open the model on torch",
        )
    return tokens.chat_with(prompt.turns, prompt.settings)


def prompts_ids(
    tokens: Tokenizer, prompts: Sequence[Prompt], context: int, *, vocabulary: int, room: int = 1
) -> list[list[int]]:
    """The tokens of B prompts, all of them below `vocabulary`, with room for so many more in the
    context; 0 is no known vocabulary and no known context.

    Raises ValueInvalidError that names the row.
    """
    rows = [
        prompt_ids(tokens, prompt, vocabulary=vocabulary, row=row)
        for row, prompt in enumerate(prompts)
    ]
    require_room(rows, context, room=room)
    return rows


def continuation_ids(
    tokens: Tokenizer,
    prompts: Sequence[Prompt],
    continuations: Sequence[str | TokenPrompt],
    *,
    vocabulary: int,
) -> list[tuple[list[int], list[int]]]:
    """The tokens of B prompts and of their continuations, all of them below `vocabulary`, where
    that is not 0.

    Raises ValueInvalidError where a continuation has no tokens, or a token is none of the
    network's.
    """
    rows = []
    for row, (prompt, after) in enumerate(zip(prompts, continuations, strict=True)):
        if isinstance(after, TokenPrompt):
            ids = list(after.ids)
        else:
            require_text(after, row=row)
            ids = tokens.encode(after, special=False)
        if not ids:
            raise ValueInvalidError("the continuation is empty", row=row, hint="give it a text")
        require_known(ids, vocabulary, row=row)
        rows.append((prompt_ids(tokens, prompt, vocabulary=vocabulary, row=row), ids))
    return rows


def paired(prompts: Sequence[Prompt], continuations: Sequence[str | TokenPrompt]) -> None:
    """Raise ValueInvalidError unless there is one continuation for each prompt."""
    if len(prompts) != len(continuations):
        raise ValueInvalidError(
            f"{len(prompts)} prompts cannot be paired with {len(continuations)} continuations",
            hint="give one continuation for each prompt",
        )


def require_room(rows: Sequence[Sequence[int]], context: int, *, room: int) -> None:
    """Raise ValueInvalidError, with its row, for one that the context has no room for."""
    for row, ids in enumerate(rows):
        if context and len(ids) + room > context:
            raise ValueInvalidError(
                f"{len(ids)} tokens leave no room in a context of {context}",
                row=row,
                hint="shorten the prompt, or take a model with a longer context",
            )


def require_known(ids: Sequence[int], vocabulary: int, *, row: int | None = None) -> None:
    """Raises ValueInvalidError for a token outside a vocabulary of so many; 0 is no known one, and
    then tokens have 31 bits."""
    most = vocabulary or _MOST_TOKENS
    wrong = next((one for one in ids if not 0 <= one < most), None)
    if wrong is not None:
        raise ValueInvalidError(
            "the model has no such token",
            row=row,
            value=wrong,
            hint=f"its tokens are 0 to {vocabulary - 1}" if vocabulary else "tokens begin at 0",
        )


def require_text(text: str, *, row: int | None = None) -> None:
    """Raises ValueInvalidError for a text with half a character, which has no bytes in UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueInvalidError(
            "the text has half a character",
            row=row,
            value=text[error.start],
            hint=f"leave out the surrogate at character {error.start}",
        ) from error


def runs(lengths: Sequence[int], most: int) -> Iterator[slice]:
    """Cut rows of these many tokens into runs of at most `most` together, or of a single row."""
    first, tokens = 0, 0
    for at, length in enumerate(lengths):
        if at > first and tokens + length > most:
            yield slice(first, at)
            first, tokens = at, 0
        tokens += length
    yield slice(first, len(lengths))


def unfit_messages(why: str) -> ConfigError:
    """Make the error of a tokeniser whose chat template refuses the messages."""
    return ConfigError(
        f"the messages do not fit the chat template of the model: {why}",
        where="messages",
        hint="take an instruction-tuned model, or pass the prompt as text",
    )


def cancelled_score() -> ResourceError:
    """Make the error that `score` raises when it is cancelled."""
    return ResourceError("the score was cancelled", hint="half a score is none; ask again")


def cancelled_embedding() -> ResourceError:
    """Make the error that `embed` raises when it is cancelled."""
    return ResourceError("the embedding was cancelled", hint="ask again")


#: Tokens of a prompt and of its continuation.
Pair = tuple[list[int], list[int]]
#: float32 [B, D].
Vectors = npt.NDArray[np.float32]
_DEFAULT = GenerationConfig()


class Engine(ABC):
    """A `LanguageModel` whose arguments are checked in one place.

    An engine gives `_complete`, `_chunks`, `_log_probabilities` and `_vectors`, and where they
    have something to refuse, `_check` and `_require_open`. Its `__init__` sets `_info`.
    """

    _info: ModelInfo

    @property
    def info(self) -> ModelInfo:
        """Which model this is."""
        return self._info

    @property
    @abstractmethod
    def tokens(self) -> Tokenizer:
        """Its tokenizer."""

    @property
    def vocabulary(self) -> int:
        """It knows the tokens below this; 0 where nothing tells."""
        return 0

    @abstractmethod
    def close(self) -> None:
        """Free what the model holds. Any number of times."""

    def generate(
        self,
        prompts: Sequence[Prompt],
        config: GenerationConfig = _DEFAULT,
        *,
        cancel: Cancellation | None = None,
    ) -> Completions:
        """Answer each of B prompts, as one batch. Errors as `LanguageModel`."""
        if isinstance(prompts, str):
            raise ConfigError(
                "prompts is one string", where="prompts", hint="pass a list with the string in it"
            )
        self._require_open()
        self._require_settings(config)
        self._check(config, cancel)
        return Completions(tuple(self._complete(prompts, config, cancel)))

    def stream(
        self,
        prompt: Prompt,
        config: GenerationConfig = _DEFAULT,
        *,
        cancel: Cancellation | None = None,
    ) -> Iterator[Chunk]:
        """Answer one prompt piece by piece; closing the iterator ends the computation."""
        self._require_open()
        self._require_settings(config)
        self._check(config, cancel)
        return self._chunks(prompt, config, cancel)

    def score(
        self,
        prompts: Sequence[Prompt],
        continuations: Sequence[str | TokenPrompt],
        *,
        cancel: Cancellation | None = None,
    ) -> Scores:
        """Return the log-likelihood of continuation i after prompt i, for B pairs."""
        self._require_open()
        paired(prompts, continuations)
        if cancel is not None and cancel.cancelled:
            raise cancelled_score()
        return Scores(tuple(self._log_probabilities(prompts, continuations, cancel)))

    def embed(
        self, texts: Sequence[str | TokenPrompt], *, cancel: Cancellation | None = None
    ) -> Vectors:
        """Return vectors of length 1, float32 [B, D]; [0, 0] for no text."""
        self._require_open()
        if cancel is not None and cancel.cancelled:
            raise cancelled_embedding()
        return self._vectors(list(texts), cancel) if texts else np.empty((0, 0), dtype=np.float32)

    def health(self) -> Health:
        """What computes in the threads of its callers is ready for as long as it is open."""
        try:
            self._require_open()
        except ConfigError:
            return "dead"
        return "ready"

    def _require_settings(self, config: GenerationConfig) -> None:
        """Raise ConfigError for a setting that this engine would ignore."""
        missing = sorted(config.further - self.info.further)
        if missing:
            raise ConfigError(
                f"this engine has no {', '.join(missing)}",
                where=f"{missing[0]} {getattr(config, missing[0])!r}"[:80],
                hint="leave it out, or open the model on torch",
            )

    def _check(  # noqa: B027 - most refuse nothing
        self, config: GenerationConfig, cancel: Cancellation | None
    ) -> None:
        """Raise ConfigError where the engine cannot do what `config` asks for."""

    def _require_open(self) -> None:  # noqa: B027 - the core of most tells by itself
        """Raise ConfigError where the model is closed."""

    @abstractmethod
    def _complete(
        self, prompts: Sequence[Prompt], config: GenerationConfig, cancel: Cancellation | None
    ) -> Iterable[Completion]:
        """One answer per prompt."""

    @abstractmethod
    def _chunks(
        self, prompt: Prompt, config: GenerationConfig, cancel: Cancellation | None
    ) -> Iterator[Chunk]:
        """The pieces of one answer. What is wrong with the prompt is raised at once."""

    @abstractmethod
    def _log_probabilities(
        self,
        prompts: Sequence[Prompt],
        continuations: Sequence[str | TokenPrompt],
        cancel: Cancellation | None,
    ) -> Iterable[npt.NDArray[np.float64]]:
        """Log-probability of each token of each continuation: B times float64 [tokens]."""

    @abstractmethod
    def _vectors(self, texts: list[str | TokenPrompt], cancel: Cancellation | None) -> Vectors:
        """Vectors of length 1 of at least one text: float32 [B, D]."""


class TokenEngine(Engine):
    """An engine that computes on token ids.

    It gives `_write`, `_score_pairs` and `_embed_ids`; what it does not give, it refuses. Its
    `__init__` sets `_tokens` as well.
    """

    _tokens: Tokenizer
    #: Tokens that the network knows; others are refused. 0 where nothing tells.
    _vocabulary: int = 0

    @property
    def tokens(self) -> Tokenizer:
        """Its tokeniser."""
        return self._tokens

    @property
    def vocabulary(self) -> int:
        """It knows the tokens below this; 0 where nothing tells."""
        return self._vocabulary

    @abstractmethod
    def _write(
        self,
        answers: Sequence[AnswerWriter],
        config: GenerationConfig,
        cancel: Cancellation | None,
    ) -> Generator[None, None, None]:
        """Add tokens to all answers until each has ended; yield after each step.

        Answer i draws from `seed + i`. Closing the generator ends the computation.
        """

    def _score_pairs(
        self, pairs: Sequence[Pair], cancel: Cancellation | None
    ) -> Iterable[npt.NDArray[np.float64]]:
        """Log-probability of each token of B continuations, each after its prompt."""
        raise self._cannot("scores")

    def _embed_ids(self, rows: Sequence[list[int]], cancel: Cancellation | None) -> Vectors:
        """Mean of the last hidden states over the tokens of each row, of length 1: [B, D].

        Raises `cancelled_embedding` between two pieces of work.
        """
        raise self._cannot("embeddings")

    def _cannot(self, what: str) -> ConfigError:
        return ConfigError(
            f"this engine has no {what}", where=self.info.engine, hint="open the model on torch"
        )

    def _writers(self, prompts: Sequence[Prompt], config: GenerationConfig) -> list[AnswerWriter]:
        """An empty answer per prompt."""
        context = self.info.context
        rows = self._ids(prompts, room=1)
        named = [*config.stop_token_ids, *(token for token, _ in config.logit_bias)]
        require_known(named, self._vocabulary)
        return [AnswerWriter(self.tokens, ids, config, context=context) for ids in rows]

    def _complete(
        self, prompts: Sequence[Prompt], config: GenerationConfig, cancel: Cancellation | None
    ) -> Iterable[Completion]:
        answers = self._writers(prompts, config)
        with closing(self._write(answers, config, cancel)) as steps:
            for _ in steps:
                pass
        return (answer.completion() for answer in answers)

    def _chunks(
        self, prompt: Prompt, config: GenerationConfig, cancel: Cancellation | None
    ) -> Iterator[Chunk]:
        (answer,) = self._writers([prompt], config)
        return self._pieces(answer, config, cancel)

    def _pieces(
        self, answer: AnswerWriter, config: GenerationConfig, cancel: Cancellation | None
    ) -> Iterator[Chunk]:
        with closing(self._write([answer], config, cancel)) as steps:
            for _ in steps:
                yield answer.chunk()

    def _log_probabilities(
        self,
        prompts: Sequence[Prompt],
        continuations: Sequence[str | TokenPrompt],
        cancel: Cancellation | None,
    ) -> Iterable[npt.NDArray[np.float64]]:
        pairs = continuation_ids(self.tokens, prompts, continuations, vocabulary=self._vocabulary)
        require_room([before + after for before, after in pairs], self.info.context, room=0)
        return self._score_pairs(pairs, cancel)

    def _vectors(self, texts: list[str | TokenPrompt], cancel: Cancellation | None) -> Vectors:
        return self._embed_ids(self._ids(texts, room=0), cancel)

    def _ids(self, prompts: Sequence[Prompt], *, room: int) -> list[list[int]]:
        context, vocabulary = self.info.context, self._vocabulary
        return prompts_ids(self.tokens, prompts, context, vocabulary=vocabulary, room=room)
