"""A language model on llama.cpp, in a process of its own: GGUF files, their grammars, and LoRA.

The package xllamacpp brings llama.cpp's server as a wheel. It runs in a process of its own (see
`llamacpp_process`), so that a crash or a kill of it is an error here and nothing more, after which
it is started again, and closing the model gives all of its memory back. Requests of all callers are
computed together; beside others the order of sums differs from run to run, so equal seeds give
equal answers only where the model's choice is not a close one.

llama.cpp has no request for the score of a given text, so `score` makes it write that text: a
grammar that admits one row of tokens and no other. The log-probabilities that it tells are those
of the model as it is, before any grammar. The cost is a step per token, as in writing.

What it does not tell: a character that several tokens write arrives as one piece, with the last
of them. The others are then read off the text, and their log-probabilities asked for one by one.
Tokens of bytes that never become a character are missing in an answer, at its end too.

    with closing(XllamacppModel.open(XllamacppConfig(loras=(LoraFile("brand.gguf"),)))) as model:
        print(model.generate(["The best tea"]).texts)
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from adwright.core.errors import ConfigError, MissingExtraError, ResourceError
from adwright.lm.engine.answer import AnswerWriter
from adwright.lm.engine.base import Pair, Vectors
from adwright.lm.engine.generation import Cancellation, GenerationConfig, ModelInfo
from adwright.lm.engine.gguf_fields import gguf_fields
from adwright.lm.engine.grammar import check_bounds, check_constraint
from adwright.lm.engine.prompts import cancelled_embedding, cancelled_score, runs
from adwright.lm.engine.threads import fitting_threads
from adwright.lm.native_engines.llamacpp_config import (
    XllamacppConfig,
    check_scales,
    located,
    sampling_fields,
)
from adwright.lm.native_engines.llamacpp_process import CompletionRequest, Event, Process
from adwright.lm.native_engines.llamacpp_tokens import XllamacppTokens
from adwright.lm.native_engines.second import ProcessEngine, Second

__all__ = ["XllamacppModel"]

_LOOK_SECONDS = 0.05
#: What it has of the settings that not every engine has.
_FURTHER = frozenset(("min_p", "logit_bias", "lark", "ignore_eos"))
#: Stands in a text for bytes that are no character.
_BROKEN = "\ufffd"
#: Tokens of one forced text; a longer one is asked for in parts.
_FORCED = 256
#: Tokens of the texts that are embedded together, at least one of them. llama.cpp computes what it
#: has begun to the end, so that is what a cancelled call leaves behind.
_EMBEDDED = 512


class XllamacppModel(ProcessEngine[Process]):
    """llama.cpp as a LanguageModel; calls of many threads run together.

    `embed` runs in a second process, made when it is first asked for: llama.cpp's server has
    either answers or hidden states. Both map the same file.
    """

    def __init__(self, config: XllamacppConfig, path: Path, note: str) -> None:
        fields = gguf_fields(path, lambda key: not key.endswith(".merges"))
        trained = int(fields.get(f"{fields.get('general.architecture')}.context_length", 0))
        self._config, self._path = config, path
        self._process = self._start(embedding=False)
        self._tokens = XllamacppTokens(self._process.ask, fields)
        self._vocabulary = self._tokens.vocabulary
        context = min(trained or config.cache_tokens, config.cache_tokens)
        self._info = ModelInfo(config.model, "xllamacpp", context, note, _FURTHER)
        self._scales = tuple(one.scale for one in config.loras)
        self._second = Second(lambda: self._start(embedding=True))

    @classmethod
    def open(cls, config: XllamacppConfig) -> XllamacppModel:
        """Load the model, in about a second for the default one.

        Raises AssetError where there is no such model or adapter, ConfigError where llama.cpp
        cannot open them, MissingExtraError without xllamacpp.
        """
        if find_spec("xllamacpp") is None:
            raise MissingExtraError("language models on llama.cpp", "lm")
        path, note = located(config)
        return cls(config, path, note)

    @property
    def lora_scales(self) -> tuple[float, ...]:
        """The scale of each adapter, in the order of the config."""
        return self._scales

    def scale_loras(self, scales: Sequence[float]) -> None:
        """Give the adapters other scales, 0 for none, in requests that begin from now on.

        Raises ConfigError where their number is another one, or one is not finite.
        """
        if len(scales) != len(self._config.loras):
            raise ConfigError(
                f"{len(scales)} scales for {len(self._config.loras)} adapters",
                where="scales",
                hint="give one for each",
            )
        check_scales(scales)
        self._scales = tuple(float(one) for one in scales)

    def _start(self, *, embedding: bool) -> Process:
        config = self._config
        return Process(
            {
                "model": str(self._path),
                "threads": fitting_threads(config.threads),
                "context": config.cache_tokens,
                "running": config.max_running,
                "loras": [str(Path(one.path).expanduser()) for one in config.loras],
                "embedding": embedding,
            }
        )

    def _check(self, config: GenerationConfig, cancel: Cancellation | None) -> None:
        if config.json_schema is not None or config.lark is not None:
            check_constraint(config, cancel=cancel)
        # llama.cpp checks a grammar in GBNF itself, when it gets it.
        check_bounds(config)
        sampling_fields(config, 0)

    def _write(
        self,
        answers: Sequence[AnswerWriter],
        config: GenerationConfig,
        cancel: Cancellation | None,
    ) -> Generator[None, None, None]:
        requests = [self._submit(one.prompt, row, config) for row, one in enumerate(answers)]
        try:
            for answer, request in zip(answers, requests, strict=True):
                yield from self._written(answer, request, cancel, logprobs=config.logprobs)
        finally:
            for request in requests:
                request.drop()

    def _score_pairs(
        self, pairs: Sequence[Pair], cancel: Cancellation | None
    ) -> list[npt.NDArray[np.float64]]:
        """Each continuation is written by force, a step per token.

        The parts of one follow each other, so that each finds what is before it in the cache:
        llama.cpp reads a prompt that it has begun to its end, whoever waits for it.
        """
        found = [np.full(len(after), np.nan) for _, after in pairs]
        parts = [_parts(after, self._tokens.end_ids) for _, after in pairs]
        for wave in zip_longest(*parts):
            forced = []
            for row, part in enumerate(wave):
                if part is not None:
                    before, after = pairs[row]
                    body = self._forced(before + after[: part[0]], after[part[0] : part[1]])
                    forced.append((row, part[0], self._process.submit(body)))
            try:
                for row, start, request in forced:
                    for event in _until(request, cancel):
                        for one in event.get("completion_probabilities", ())[-1:]:
                            found[row][start + event["tokens_predicted"] - 1] = one["logprob"]
            finally:
                for *_, request in forced:
                    request.drop()
        for values, (before, after) in zip(found, pairs, strict=True):
            for at in np.flatnonzero(np.isnan(values)):
                values[at] = self._untold(before + after[:at], after[at], cancel)
        return found

    def _embed_ids(self, rows: Sequence[list[int]], cancel: Cancellation | None) -> Vectors:
        """Raise ConfigError for a text of more than 2,048 tokens."""
        process = self._second.get(cancel, cancelled_embedding)
        found: list[Any] = []
        for some in runs([len(row) for row in rows], _EMBEDDED):
            request = process.submit({"input": rows[some]}, "/v1/embeddings")
            try:
                (event,) = _until(request, cancel, cancelled_embedding)
            finally:
                request.drop()
            found += sorted(event["data"], key=lambda one: one["index"])
        return np.array([one["embedding"] for one in found], dtype=np.float32)

    def _submit(self, ids: list[int], row: int, config: GenerationConfig) -> CompletionRequest:
        most = min(config.max_tokens, self._info.context - len(ids))
        body = self._body(ids, most, logprobs=int(config.logprobs))
        return self._process.submit(body | sampling_fields(config, row))

    def _body(self, ids: Sequence[int], most: int, *, logprobs: int) -> dict[str, Any]:
        return {
            "prompt": list(ids),
            "n_predict": most,
            "n_probs": logprobs,
            "return_tokens": True,
            "repeat_last_n": self._info.context,
            "cache_prompt": self._config.prefix_caching,
            "lora": [{"id": at, "scale": scale} for at, scale in enumerate(self._scales)],
        }

    def _forced(self, before: Sequence[int], after: Sequence[int], told: int = 1) -> dict[str, Any]:
        """The request that writes the tokens `after` and no others."""
        grammar = "%llguidance {}\nstart: " + " ".join(f"<[{one}]>" for one in after)
        greedy = {"temperature": 0.0, "top_k": 1, "samplers": ["top_k"], "grammar": grammar}
        return self._body(before, len(after), logprobs=told) | greedy

    def _untold(self, before: Sequence[int], token: int, cancel: Cancellation | None) -> float:
        """Log-probability of a token that is not a whole character: it is in the list of all
        tokens, beside one that is."""
        whole = min(self._tokens.end_ids, default=0)
        body = self._forced(before, [whole], told=self._vocabulary)
        request = self._process.submit(body)
        try:
            for event in _until(request, cancel):
                for one in event.get("completion_probabilities", ()):
                    for other in one["top_logprobs"]:
                        if other["id"] == token:
                            return float(other["logprob"])
        finally:
            request.drop()
        raise ResourceError(
            f"llama.cpp does not tell how likely token {token} is",
            where="xllamacpp",
            hint="score on another engine",
        )

    def _written(
        self,
        answer: AnswerWriter,
        request: CompletionRequest,
        cancel: Cancellation | None,
        *,
        logprobs: bool,
    ) -> Iterator[None]:
        """Write the events of a request into its answer until that has ended."""
        ids = list(answer.prompt)
        while answer.finish_reason is None:
            event = request.next(_LOOK_SECONDS)
            if cancel is not None and cancel.cancelled:
                answer.end("cancelled")
            elif event is not None and event["stop"]:
                answer.end("length" if event["stop_type"] == "limit" else "stop")
            elif event is not None:
                new = self._new(event, len(ids) - len(answer.prompt))
                told = [one["logprob"] for one in event.get("completion_probabilities", ())]
                for at, token in enumerate(new, start=1):
                    if answer.finish_reason is None:
                        last = bool(told) and at == len(new)
                        logprob = told[-1] if last else None
                        if logprobs and not last:
                            logprob = self._untold(ids, token, cancel)
                        answer.add(token, logprob)
                    ids.append(token)
            if event is not None or answer.finish_reason is not None:
                yield

    def _new(self, event: Event, known: int) -> list[int]:
        """The tokens of an event: those before its own are read off its text."""
        told = [int(one) for one in event["tokens"]]
        behind = event["tokens_predicted"] - known
        if not told or behind <= len(told) or _BROKEN in event["content"]:
            return told
        read = self._tokens.encode(event["content"], special=False)
        return read[-behind:] if read[-1:] == told[-1:] else told


def _parts(after: Sequence[int], ends: frozenset[int]) -> Iterator[tuple[int, int]]:
    """Begin and end of the parts of a text that can be forced at once: a token that ends an answer
    is the last of its part."""
    start = 0
    for at, token in enumerate(after, start=1):
        if token in ends or at - start == _FORCED or at == len(after):
            yield start, at
            start = at


def _until(
    request: CompletionRequest,
    cancel: Cancellation | None,
    cancelled: Callable[[], ResourceError] = cancelled_score,
) -> Iterator[Event]:
    """The events of a request up to its last; ResourceError where it is cancelled before."""
    while True:
        event = request.next(_LOOK_SECONDS)
        if cancel is not None and cancel.cancelled:
            raise cancelled()
        if event is not None:
            yield event
            if event["stop"]:
                return
