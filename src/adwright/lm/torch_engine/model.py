"""A language model in this process, on PyTorch.

The loop is our own, so that it can be read, cancelled and constrained. What it does beside the
obvious: a beginning that all prompts of a batch share is computed once; rows that have ended leave
the batch; the vocabulary head sees only the positions that are asked for, as a contiguous matrix
[positions, D]. With frozen weights a strided slice of the hidden states would make torch copy the
whole head once per row.

    with closing(TorchModel.open(TorchConfig())) as model:
        print(model.generate(["The best tea"]).texts)

Where the processor has bfloat16 instructions the weights are computed with in bfloat16: faster than
float32, and different in the second or third digit of a log-probability.
"""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from adwright.core.errors import ConfigError
from adwright.lm.engine.base import (
    AnswerWriter,
    Pair,
    TokenEngine,
    Vectors,
    continuation_ids,
    require_known,
    require_room,
)
from adwright.lm.engine.generation import (
    FURTHER,
    Cancellation,
    GenerationConfig,
    ModelInfo,
    Prompt,
    TokenPrompt,
)
from adwright.lm.engine.hf_tokens import HuggingFaceTokens
from adwright.lm.engine.weights import fitting_threads, load_hf_model, locate, quiet
from adwright.lm.torch_engine.config import TorchConfig
from adwright.lm.torch_engine.decode import Grammars, decode
from adwright.lm.torch_engine.network import Network, network_of, tuned_over
from adwright.lm.torch_engine.score import Reading, branched_rows, embed_rows, read_rows, score_rows
from adwright.tuning.tuned import Tuned

if TYPE_CHECKING:
    from transformers import PreTrainedModel


# --------------------------------------------------------------------------------------------------
# Give freed memory back to the system.
#
# Weights that are let go return to the C library, which keeps what lies between pieces still in use
# for later requests: a program that closes a model stays about as large as it was. glibc can be
# asked to return all of it.


def give_back() -> None:
    """Collect garbage and return free memory to the system, in about a tenth of a second.
    Without glibc (macOS, musl) only the first."""
    gc.collect()
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, TypeError, AttributeError):
        return
    trim(0)


def fitting_dtype(device: str = "cpu") -> torch.dtype:
    """bfloat16 where `device` has instructions for it, otherwise float32."""
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    # Private in torch up to 2.9, where nothing public tells it.
    probe = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    has = any(getattr(torch.cpu, name, lambda: False)() for name in probe)
    return torch.bfloat16 if device == "cpu" and has else torch.float32


def quick_dtype(device: str = "cpu") -> torch.dtype:
    """The type in which products of hundreds of rows, as in training, are the quickest.

    Of a processor bfloat16 where it multiplies tiles (AMX), otherwise float32: with the
    instructions of AVX-512 for bfloat16 alone, torch's large products have half of its speed.
    """
    tiles = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    return torch.float32 if device == "cpu" and not tiles else fitting_dtype(device)


def require_device(device: str) -> torch.device:
    """Name the device; ConfigError where torch has no such device or cannot use it here."""
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, ValueError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"torch cannot compute there: {said}",
            where=f"--device {device}",
            hint="--device cpu, or cuda on a machine that has it, with a torch built for it",
        ) from error
    return found


def load_causal(config: TorchConfig) -> tuple[Any, HuggingFaceTokens, str]:
    """The model of transformers that `config` names, its tokens, and the note on its figures.

    Threads and type are set as `config` says. Raises as `TorchModel.open`.
    """
    torch.set_num_threads(fitting_threads(config.threads))
    where, note = locate(config.model, offline=config.offline)
    dtype = fitting_dtype(config.device) if config.dtype == "auto" else _DTYPES[config.dtype]
    with quiet():
        model = load_hf_model(where, dtype=dtype, local_files_only=config.offline)
    model = model.to(config.device).eval().requires_grad_(False)
    return model, HuggingFaceTokens.load(where, _end_ids(model)), note


class TorchModel(TokenEngine):
    """A causal language model of transformers as a LanguageModel.

    model: in eval mode; its weights are not changed. It may be a `Tuned`, wrapped by adapters, or
    made by hand. tokens: its tokeniser. Calls of several threads take turns, token by token, each
    with a cache of its own.

    Raises ConfigError for the `model` of a `Tuned` whose method lies around it: give the `Tuned`.
    """

    def __init__(
        self,
        model: PreTrainedModel | Tuned,
        tokens: HuggingFaceTokens,
        *,
        name: str,
        note: str = "",
        batch_size: int = 32,
    ) -> None:
        self._network: Network | None = network_of(model)
        self._tokens = tokens
        self._batch_size = batch_size
        self._vocabulary = self._network.vocabulary
        self._grammars = Grammars(tokens.tokenizer, self._vocabulary, tokens.end_ids)
        self._lock = threading.Lock()
        self._info = ModelInfo(name, "torch", self._network.context, note, FURTHER)

    @classmethod
    def open(cls, config: TorchConfig) -> TorchModel:
        """Load the model; the default one takes three seconds, and 20 the first time.

        Raises AssetError where there is no such model, MissingExtraError without transformers;
        ArtifactError where the adapter does not fit it.
        """
        model, tokens, note = load_causal(config)
        if config.adapter:
            model = tuned_over(model, config.adapter)
            note = f"{note}; tuned by {type(model.method).__name__}"
        return cls(model, tokens, name=config.model, note=note, batch_size=config.batch_size)

    def close(self) -> None:
        """Free the weights, as soon as the answers that are being written are done."""
        with self._lock:
            self._network = None
        give_back()

    def branches(
        self,
        prompts: Sequence[Prompt],
        first: Sequence[int],
        second: Sequence[int],
        *,
        cancel: Cancellation | None = None,
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Log-probabilities of tokens `first` after each of B prompts [B, F], and of tokens
        `second` after each of those [B, F, S]; each prompt is read once, see `branching`.

        Raises ConfigError without a token, or where the model is closed; otherwise as `score`.
        """
        self._require_open()
        if not first or not second:
            raise ConfigError("there is no token to branch to", where="first, second")
        require_known([*first, *second], self._vocabulary)
        rows = self._ids(prompts, room=1)
        with self._lock, torch.inference_mode():
            return branched_rows(self._open(), rows, first, second, self._batch_size, cancel)

    def read(self, texts: Sequence[str], *, before: str = "", layer: int = 0) -> list[Reading]:
        """What the network makes of each of B texts: see `reading`. before: stands before each, and
        counts for nothing itself.

        Raises ValueInvalidError where a text has no tokens or no room in the context, with its row;
        ConfigError for a layer that there is not.
        """
        self._require_open()
        head = before or TokenPrompt((self._begin(),))
        heads = [head] * len(texts)
        pairs = continuation_ids(self._tokens, heads, list(texts), vocabulary=self._vocabulary)
        require_room([one + other for one, other in pairs], self.info.context, room=0)
        rows = [text for _, text in pairs]
        with self._lock, torch.inference_mode():
            return read_rows(self._open(), pairs[0][0], rows, layer) if rows else []

    def _begin(self) -> int:
        begin = self._tokens.begin_id
        if begin is None:
            raise ConfigError(
                "this model has no token to begin a text with", where="before", hint="give a text"
            )
        return begin

    def _write(
        self,
        answers: Sequence[AnswerWriter],
        config: GenerationConfig,
        cancel: Cancellation | None,
    ) -> Generator[None, None, None]:
        # Longest first: each batch then holds prompts of like length, and little padding.
        order = sorted(range(len(answers)), key=lambda row: -len(answers[row].prompt))
        for start in range(0, len(order), self._batch_size):
            rows = order[start : start + self._batch_size]
            yield from self._steps([answers[row] for row in rows], rows, config, cancel)

    def _score_pairs(
        self, pairs: Sequence[Pair], cancel: Cancellation | None
    ) -> list[npt.NDArray[np.float64]]:
        # Pairs with the same prompt are computed together, their prompt once.
        with self._lock, torch.inference_mode():
            return score_rows(self._open(), pairs, self._batch_size, cancel)

    def _embed_ids(self, rows: Sequence[list[int]], cancel: Cancellation | None) -> Vectors:
        with self._lock, torch.inference_mode():
            return embed_rows(self._open(), rows, self._batch_size, cancel)

    def _require_open(self) -> None:
        self._open()

    def _steps(
        self,
        batch: Sequence[AnswerWriter],
        rows: Sequence[int],
        config: GenerationConfig,
        cancel: Cancellation | None,
    ) -> Generator[None, None, None]:
        network = self._open()
        constraint = self._grammars.constraint(config, len(batch), cancel=cancel)
        steps = decode(network, batch, rows, config, constraint=constraint, cancel=cancel)
        while True:
            # Never held across a yield: who reads a stream slowly, or asks something else in
            # between, must not wait for himself.
            with self._lock:
                if next(steps, _OVER) is _OVER:
                    return
            yield

    def _open(self) -> Network:
        if self._network is None:
            raise ConfigError("the model is closed", where=self._info.name, hint="open it again")
        return self._network


_OVER = object()
_DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


def _end_ids(model: Any) -> frozenset[int]:
    """Tokens that end an answer, in the settings that came with the weights."""
    found = getattr(model.generation_config, "eos_token_id", None)
    many = found if isinstance(found, list) else [found]
    return frozenset(int(one) for one in many if one is not None)
