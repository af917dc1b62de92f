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

import http.client
import json
import socket
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt

from adwright.core.child_process import WorkerProcess
from adwright.core.errors import AdwrightError, ConfigError, MissingExtraError, ResourceError
from adwright.lm.engine.base import (
    AnswerWriter,
    Pair,
    Vectors,
    cancelled_embedding,
    cancelled_score,
    runs,
    unfit_messages,
)
from adwright.lm.engine.generation import Cancellation, GenerationConfig, Message, ModelInfo
from adwright.lm.engine.hf_tokens import check_bounds, check_constraint
from adwright.lm.engine.weights import fitting_threads, gguf_fields
from adwright.lm.native_engines.llamacpp_config import (
    XllamacppConfig,
    check_scales,
    located,
    sampling_fields,
)
from adwright.lm.native_engines.supervisor import (
    EngineProcess,
    EngineRequest,
    ProcessEngine,
    RestartBounds,
    Second,
    Supervisor,
)

# --------------------------------------------------------------------------------------------------
# Send llama.cpp's process requests, and start it again when it dies.
#
# The events of a `CompletionRequest` are read by threads, so that its caller can look at a
# cancellation in between; dropping it closes its connection, and llama.cpp then ends it within a
# step.

#: What llama.cpp tells of one step of an answer, or the whole answer of another kind.
Event = dict[str, Any]

_WORKER = "adwright.lm.native_engines.llamacpp_worker"
#: What is asked in passing, such as the tokens of a text, is answered within so many seconds.
_ASK_SECONDS = 15.0
_PING_SECONDS = 1.0
_WHERE = "xllamacpp"
_DEFAULT = RestartBounds()
_COMPLETION = "/completion"


class CompletionRequest(EngineRequest[Event]):
    """A request that is being computed. Iterate over its events; `drop` cancels it."""

    def __init__(self, body: Mapping[str, Any], path: str = _COMPLETION) -> None:
        super().__init__()
        self.body, self.path, self.dropped = body, path, False
        self.connection: _Connection | None = None
        self.lock = threading.Lock()

    def __iter__(self) -> Iterator[Event]:
        return self.up_to(lambda event: bool(event["stop"]))

    def drop(self) -> None:
        """Cancel the request."""
        with self.lock:
            self.dropped = True
            if self.connection is not None:
                self.connection.cut()


class Process(EngineProcess):
    """llama.cpp on one model, in a process of its own.

    settings: those of the worker but `socket` and `parent`. At most `running` requests are
    computed at a time, more wait. Where the process dies, every request in it raises a
    ResourceError that says how it died, and the process is started again within `bounds`; what is
    asked meanwhile waits for it.

    Raises ConfigError where llama.cpp cannot open the model, ResourceError where the process
    cannot be started.
    """

    def __init__(self, settings: Mapping[str, Any], bounds: RestartBounds = _DEFAULT) -> None:
        self._closed = False
        self._lives = Supervisor(
            "llama.cpp",
            lambda: WorkerProcess(_WORKER, settings),
            refusal=lambda told, log: _refused(str(settings["model"]), told, log),
            ping=_answers,
            bounds=bounds,
        )
        self._queue: SimpleQueue[CompletionRequest | None] = SimpleQueue()
        self._live: set[CompletionRequest] = set()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, name="adwright-xllamacpp", daemon=True)
            for _ in range(settings["running"])
        ]
        for thread in self._threads:
            thread.start()

    @property
    def folder(self) -> Path:
        """The folder of its socket and its log, removed at its end."""
        return self._lives.current.folder

    @property
    def running(self) -> int:
        """Requests that are computed or wait."""
        return len(self._live)

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON at `path`, with `body` a POST. Raises as a request does."""
        life = self._lives.life()
        connection = _Connection(life.socket, _ASK_SECONDS)
        try:
            connection.send_json(path, body)
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._lives.broken(life) from error
        finally:
            connection.close()
        return _content(response.status, text)

    def submit(self, body: Mapping[str, Any], path: str = _COMPLETION) -> CompletionRequest:
        """Ask for the events of a completion, or for the one of another path. Raises
        ResourceError once it is closed.

        Its request raises ConfigError where llama.cpp refuses the request, ResourceError where it
        fails at it, or the process is gone.
        """
        streamed = {"stream": True} if path == _COMPLETION else {}
        request = CompletionRequest(dict(body) | streamed, path)
        with self._lock:
            if self._closed:
                raise _closed()
            if not self._live:
                self._lives.moved()
            self._live.add(request)
            self._queue.put(request)
        return request

    def close(self) -> None:
        """End the process, at once and whatever it computes; any number of times."""
        with self._lock:
            first, self._closed = not self._closed, True
        if not first:
            return
        self._lives.close()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        for request in list(self._live):
            request.arrived.put(_closed())

    def _run(self) -> None:
        while (request := self._queue.get()) is not None:
            try:
                self._read(request)
            except AdwrightError as error:
                request.arrived.put(_closed() if self._closed else error)
            finally:
                with self._lock:
                    self._live.discard(request)
                if request.connection is not None:
                    request.connection.close()

    def _read(self, request: CompletionRequest) -> None:
        """Pass on the events of a request until its last."""
        if request.dropped:
            return
        life = self._lives.life()
        try:
            with request.lock:
                if request.dropped:
                    return
                connection = request.connection = _Connection(life.socket)
                connection.connect()
            connection.send_json(request.path, request.body)
            self._pass_on(request, connection.getresponse())
        except (OSError, http.client.HTTPException, ValueError) as error:
            if not request.dropped:  # then nobody waits for why
                raise self._lives.broken(life) from error

    def _pass_on(self, request: CompletionRequest, response: http.client.HTTPResponse) -> None:
        if request.path != _COMPLETION or response.status != http.HTTPStatus.OK:
            found = _content(response.status, response.read())
            self._lives.worked()
            request.arrived.put({"stop": True, **found})
            return
        while line := response.readline():
            name, _, text = line.partition(b": ")
            if name == b"data":
                event = json.loads(text)
                _check(event)
                self._lives.worked()
                request.arrived.put(event)
                if event["stop"]:
                    return
            elif name == b"error":
                _check({"error": json.loads(text)})
        raise http.client.IncompleteRead(b"")


class _Connection(http.client.HTTPConnection):
    """HTTP over a socket file. seconds: that an answer may take, None for no bound."""

    def __init__(self, path: str, seconds: float | None = None) -> None:
        super().__init__("localhost")
        self._path = path
        self._raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._raw.settimeout(seconds)

    def connect(self) -> None:
        self.sock = self._raw
        self._raw.connect(self._path)

    def send_json(self, path: str, body: Mapping[str, Any] | None) -> None:
        headers = {"Content-Type": "application/json"}
        if body is None:
            self.request("GET", path, headers=headers)
        else:
            self.request("POST", path, json.dumps(body).encode(), headers)

    def cut(self) -> None:
        """Shut the connection down, which wakes the thread that reads it."""
        with suppress(OSError):  # it has ended by itself
            self._raw.shutdown(socket.SHUT_RDWR)


def _closed() -> ResourceError:
    return ResourceError("the model was closed", where=_WHERE, hint="open it again")


def _answers(life: WorkerProcess) -> bool:
    """Whether its server answers at all; it does so while it computes, too."""
    connection = _Connection(life.socket, _PING_SECONDS)
    try:
        connection.send_json("/health", None)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _refused(model: str, told: str, log: Path) -> ConfigError:
    return ConfigError(
        f"llama.cpp cannot open the model: {_logged(log) or told}",
        where=model,
        hint="name a GGUF file that llama.cpp knows, and adapters of the same base",
    )


def _logged(log: Path) -> str:
    """What llama.cpp said went wrong: of an adapter, or else the first thing."""
    lines = [
        line.split(" E ", 1)[1]
        for line in log.read_text("utf-8", "replace").splitlines()
        if " E " in line
    ]
    found = next((line for line in lines if " lora " in line), next(iter(lines), ""))
    return found.partition(": ")[2].strip() or found.strip()


def _content(status: int, text: bytes) -> Any:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ResourceError(
            f"llama.cpp answered {status} without JSON", where=_WHERE, hint="ask again"
        ) from error
    if status != http.HTTPStatus.OK:
        _check(found)
        raise ResourceError(f"llama.cpp answered {status}", where=_WHERE, hint="ask again")
    return found


def _check(found: Any) -> None:
    """Raise what llama.cpp says went wrong."""
    error = found.get("error") if isinstance(found, dict) else None
    if error is None:
        return
    code, message = int(error.get("code", 500)), str(error.get("message", "")).strip()
    if code < http.HTTPStatus.INTERNAL_SERVER_ERROR:
        raise ConfigError(f"llama.cpp refuses it: {message}", where=_WHERE, hint="correct it")
    raise ResourceError(
        f"llama.cpp failed: {message}",
        where=_WHERE,
        hint="send less at once, or raise cache_tokens",
    )


# --------------------------------------------------------------------------------------------------
# The tokeniser of a GGUF file as llama.cpp runs it, behind the Protocol `Tokenizer`.

#: Asks llama.cpp's server at a path.
Ask = Callable[[str, Mapping[str, Any]], Any]

_CONTROL = 3
#: llama.cpp ends an answer at any of these, whatever the file calls its end.
_ENDS = frozenset(
    (
        *("<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<end_of_turn>"),
        *("<|endoftext|>", "<|eom_id|>", "<EOT>", "_<EOT>", "<｜end▁of▁sentence｜>"),
        *("<end_of_utterance>", "<eos>", "<|end_of_text|>", "</s>"),
    )
)


class XllamacppTokens:
    """Text to tokens and back as llama.cpp does it.

    ask: of the process. fields: of the file, those of `tokenizer.ggml`. It may be used from
    several threads.
    """

    def __init__(self, ask: Ask, fields: Mapping[str, Any]) -> None:
        self._ask = ask
        texts = fields.get("tokenizer.ggml.tokens", [])
        kinds = fields.get("tokenizer.ggml.token_type", [])
        self._control = frozenset(at for at, kind in enumerate(kinds) if kind == _CONTROL)
        named = (fields.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom"))
        ends = {int(one) for one in named if one is not None}
        self._ends = frozenset(
            ends | {one for one in self._control if one < len(texts) and texts[one] in _ENDS}
        )
        bos = fields.get("tokenizer.ggml.bos_token_id")
        self._begin = int(bos) if bos is not None else min(ends, default=None)
        self.vocabulary = len(texts)

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end an answer: those of the file, and those that llama.cpp knows by name."""
        return self._ends

    @property
    def begin_id(self) -> int | None:
        """The token in front of a text that has nothing before it; None where there is none."""
        return self._begin

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """The tokens of `text`; special: with those that the model wants around it."""
        if not text:
            return []
        body = {"content": text, "add_special": special, "parse_special": True}
        return [int(one) for one in self._ask("/tokenize", body)["tokens"]]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, without special tokens."""
        shown = [one for one in ids if one not in self._control]
        return str(self._ask("/detokenize", {"tokens": shown})["content"]) if shown else ""

    def count(self, text: str) -> int:
        """How many tokens `text` has by itself."""
        return len(self.encode(text, special=False))

    def chat(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of a chat in the model's template, up to where its answer begins.

        Raises ConfigError where the template refuses the messages. A file without a template gets
        llama.cpp's own, ChatML.
        """
        turns = [{"role": turn.role, "content": turn.content} for turn in messages]
        try:
            text = self._ask("/apply-template", {"messages": turns})["prompt"]
        except ConfigError as error:
            raise unfit_messages(error.what) from error
        return self.encode(str(text), special=False)


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
