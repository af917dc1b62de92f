"""One adapter as a `LanguageModel`: its calls become rows of the batch that all adapters share."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from adwright.core.errors import ConfigError
from adwright.lm.engine.base import AnswerWriter, Pair, TokenEngine, Vectors, cancelled_score
from adwright.lm.engine.generation import (
    Cancellation,
    Chunk,
    GenerationConfig,
    Health,
    ModelInfo,
    Prompt,
)
from adwright.lm.engine.hf_tokens import HuggingFaceTokens
from adwright.lm.serving.adapter_ops import RowOps, Stretch
from adwright.lm.serving.paged_attention import (
    FusedDecoder,
    PagedAttention,
    Sequenced,
    paged_attention,
)
from adwright.lm.serving.prefixes import PagePool, PageShape
from adwright.lm.serving.scheduler import (
    AnswerRow,
    EmbeddingRow,
    Row,
    ScoreRow,
    Turn,
    failed_pass,
    sample,
    score,
)
from adwright.lm.torch_engine.decode import Grammars
from adwright.lm.torch_engine.model import TorchModel
from adwright.lm.torch_engine.network import Network, mapped, network_of, row_mapped, tuned_over
from adwright.tuning.modules import LINEAR, Sizes, Target, places
from adwright.tuning.tuned import read_tuned

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Batching(Protocol):
    """What an `AdapterModel` needs of the engine."""

    @property
    def tokens(self) -> HuggingFaceTokens:
        """Tokenizer of the base."""

    @property
    def grammars(self) -> Grammars:
        """Constraints over its vocabulary."""

    @property
    def vocabulary(self) -> int:
        """Size of the vocabulary."""

    def health(self) -> Health:
        """Whether it computes."""

    def run(self, rows: Sequence[Row]) -> None:
        """Compute until all are over; raise the error of the first that has one."""

    def streamed(self, row: AnswerRow, chunks: SimpleQueue[Chunk | None]) -> Iterator[Chunk]:
        """Yield what comes into `chunks` until the row is over; closing it cancels the row."""


class AdapterModel(TokenEngine):
    """The base with one adapter, or none (`adapter` None). Closing it calls
    `on_close`, which does nothing where it is one of several models: close the engine."""

    def __init__(self, engine: Batching, adapter: str | None, info: ModelInfo) -> None:
        self._engine, self._adapter, self._info = engine, adapter, info
        self._tokens, self._vocabulary = engine.tokens, engine.vocabulary
        self.on_close: Callable[[], object] | None = None

    def health(self) -> Health:
        """How the engine is."""
        return self._engine.health()

    def close(self) -> None:
        """See the class."""
        if self.on_close is not None:
            self.on_close()

    def row(
        self,
        ids: Sequence[int],
        config: GenerationConfig,
        index: int = 0,
        *,
        cancel: Cancellation | None = None,
        chunks: SimpleQueue[Chunk | None] | None = None,
        salt: str = "",
    ) -> AnswerRow:
        """A row that answers the prompt `ids`, for a caller that drives the engine itself.

        index: of its call, which its random numbers follow from. chunks: where its pieces go. salt:
        whom it shares its beginning with, see `block_keys`.
        """
        answer = AnswerWriter(self.tokens, ids, config, context=self._info.context)
        row = self._row(answer, config, index, cancel, chunks)
        row.salt = salt
        return row

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """The tokens of one prompt. Raises ValueInvalidError where it has no room in the context,
        with one token of an answer."""
        return self._ids([prompt], room=1)[0]

    def _row(
        self,
        answer: AnswerWriter,
        config: GenerationConfig,
        index: int,
        cancel: Cancellation | None,
        chunks: SimpleQueue[Chunk | None] | None = None,
    ) -> AnswerRow:
        most = len(answer.prompt) + config.max_tokens
        context = self._info.context
        return AnswerRow(
            self._adapter,
            answer,
            config,
            index,
            min(most, context) if context else most,
            vocabulary=self._engine.vocabulary,
            constraint=self._engine.grammars.constraint(config, 1, cancel=cancel),
            chunks=chunks,
            cancel=cancel,
        )

    def _write(
        self,
        answers: Sequence[AnswerWriter],
        config: GenerationConfig,
        cancel: Cancellation | None,
    ) -> Generator[None, None, None]:
        self._engine.run(
            [self._row(one, config, index, cancel) for index, one in enumerate(answers)]
        )
        yield

    def _pieces(
        self, answer: AnswerWriter, config: GenerationConfig, cancel: Cancellation | None
    ) -> Iterator[Chunk]:
        chunks: SimpleQueue[Chunk | None] = SimpleQueue()
        # Closing the iterator cancels the row, so that it always needs a cancellation.
        row = self._row(answer, config, 0, cancel or Cancellation(), chunks)
        return self._engine.streamed(row, chunks)

    def _score_pairs(
        self, pairs: Sequence[Pair], cancel: Cancellation | None
    ) -> list[npt.NDArray[np.float64]]:
        """Each pair is a row; what the prompts begin with is read once."""
        rows = [ScoreRow(self._adapter, before, after, cancel) for before, after in pairs]
        self._engine.run(rows)
        if cancel is not None and cancel.cancelled:
            raise cancelled_score()
        return [row.logprobs for row in rows]

    def _embed_ids(self, rows: Sequence[list[int]], cancel: Cancellation | None) -> Vectors:
        own = [EmbeddingRow(self._adapter, ids, cancel) for ids in rows]
        self._engine.run(own)
        return np.stack([row.vector for row in own])


# --------------------------------------------------------------------------------------------------
# Adapters that no batch holds: each is a network of its own over the weights of the one base.
#
# They compute in turns: one token of one of them at a time, beside the passes of the batch. A
# network is made when it is first asked for, and the least recently used ones are dropped when
# their own tensors (what the adapter adds, and copies of what it trained of the base) exceed a
# bound; the last one stays. The folder is then read again.


@dataclass(frozen=True)
class AloneState:
    """One adapter. bytes: of its own tensors, 0 where it is on disk alone. hits: calls that found
    it in memory. loads: times that it was read."""

    name: str
    method: str
    bytes: int
    hits: int
    loads: int


@dataclass
class _Entry:
    folder: Path
    method: str
    model: AloneModel
    bytes: int = 0
    hits: int = 0
    loads: int = 0


class AloneAdapters:
    """The adapters of one base that are served alone. base: plain, in eval mode; its weights are
    shared and never written to. most_bytes: see the module. All methods are safe from any thread.
    """

    def __init__(
        self, base: PreTrainedModel, tokens: HuggingFaceTokens, most_bytes: int, note: str = ""
    ) -> None:
        self._base, self._tokens, self._most, self._note = base, tokens, most_bytes, note
        self._known: dict[str, _Entry] = {}
        #: Least recently used first.
        self._made: OrderedDict[str, Network] = OrderedDict()
        self._loading = threading.Lock()
        self.turn = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """Registered adapters, in the order they came."""
        return tuple(self._known.copy())

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __getitem__(self, name: str) -> AloneModel:
        """The model with that adapter; KeyError where there is none of that name."""
        return self._known[name].model

    def check(self, folder: str | Path) -> None:
        """Load an adapter, and keep nothing of it; raises as `load_tuned` and `Network` do."""
        network_of(tuned_over(self._base, folder))

    def register(self, name: str, folder: str | Path) -> None:
        """Take a folder that was checked."""
        method = read_tuned(folder).method
        model = AloneModel(self, name, self._base, self._tokens, f"{self._note}; {method}")
        self._known[name] = _Entry(Path(folder), method, model)

    def remove(self, name: str) -> None:
        """Forget an adapter; answers that are being written go on. KeyError where there is none."""
        with self._loading:
            del self._known[name]
            self._made.pop(name, None)

    def network(self, name: str) -> Network:
        """The network of an adapter, made where it is not there.

        Raises ConfigError where it was removed, and as `check`.
        """
        with self._loading:
            entry = self._known.get(name)
            if entry is None:
                raise ConfigError("the adapter was removed", where=name, hint="ask another model")
            made = self._made.pop(name, None)
            if made is None:
                tuned = tuned_over(self._base, entry.folder)
                made = network_of(tuned)
                state = tuned.state().values()
                entry.bytes = sum(each.numel() * each.element_size() for each in state)
                entry.loads += 1
            else:
                entry.hits += 1
            self._made[name] = made
            self._drop()
            return made

    def states(self) -> Sequence[AloneState]:
        """Say where each adapter is."""
        return [
            AloneState(
                name, one.method, one.bytes if name in self._made else 0, one.hits, one.loads
            )
            for name, one in self._known.copy().items()
        ]

    def _drop(self) -> None:
        while len(self._made) > 1:
            if sum(self._known[name].bytes for name in self._made) <= self._most:
                return
            self._made.popitem(last=False)


class AloneModel(TorchModel):
    """The base with one of these adapters. Closing it calls `on_close`, which does nothing
    where it is one of several models: its owner forgets it."""

    def __init__(
        self,
        owner: AloneAdapters,
        name: str,
        base: PreTrainedModel,
        tokens: HuggingFaceTokens,
        note: str,
    ) -> None:
        super().__init__(base, tokens, name=name, note=note)
        self._owner = owner
        # One lock for all of them: that is what makes them take turns.
        self._lock = owner.turn
        self.on_close: Callable[[], object] | None = None

    def close(self) -> None:
        """See the class."""
        if self.on_close is not None:
            self.on_close()

    def _open(self) -> Network:
        return self._owner.network(self._info.name)


# --------------------------------------------------------------------------------------------------
# A causal network whose keys and values lie in pages, and whose rows have adapters of their own.
#
# One pass takes the tokens of all rows end to end [N]: of rows that are being written one token
# each, of prompts as many as there are. The base's maps see them as one matrix; attention and the
# small operations of the adapters look at the rows.
#
# Where the decoder has Llama's form, its layers are computed in fewer calls (`fused_decoder`).
#
# The module tree is a copy that shares all weights with the model it was made of, so that the model
# may be used, or tuned, elsewhere; nothing writes to the weights.


class _CurrentPass:
    """Holds the operations of the current pass for all maps."""

    ops: RowOps | None = None


class PagedLinear(nn.Module):
    """The base's map, and the operations of the rows at hand. merged: a weight [out, in] to
    compute with in the place of the base's, or None."""

    def __init__(self, base: nn.Linear, layer: int, target: Target, desk: _CurrentPass) -> None:
        super().__init__()
        self.base = base
        self.merged: Tensor | None = None
        # Not looked up as parameters are, which takes as long as some of the operations.
        self._own = base.weight, base.bias
        self._layer, self._target, self._desk = layer, target, desk

    def forward(self, x: Tensor) -> Tensor:
        """x [1, N, in] to [1, N, out]."""
        ops = self._desk.ops
        weight = self.base.weight if self.merged is None else self.merged
        if ops is None or ops.idle(self._target):
            return mapped(x, weight, self.base.bias)
        seen = ops.before(self._layer, self._target, x)
        y = mapped(seen, weight, self.base.bias)
        ops.after(self._layer, self._target, seen, y)
        return y

    def row(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """`forward` of one row x [1, 1, in] to [out]: `out`, where there is one."""
        ops = self._desk.ops
        weight, bias = self._own
        if self.merged is not None:
            weight = self.merged
        idle = ops is None or ops.idle(self._target)
        if ops is not None and not idle:
            x = ops.before(self._layer, self._target, x)
        y = row_mapped(x.view(-1), weight, bias, out)
        if ops is not None and not idle:
            ops.after(self._layer, self._target, x, y.view(1, 1, -1))
        return y


class PagedNetwork:
    """The network of a plain model, over a pool. fused: its decoder in fewer calls, where it has
    that form.

    Raises ConfigError where it is not a plain causal LM of full attention in every layer.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
        whole: Any = copy.deepcopy(model, shared)
        whole.eval()
        _require_full_attention(whole.config.get_text_config())
        self.network = Network(whole)
        whole.config._attn_implementation = paged_attention()
        self._desk = _CurrentPass()
        self.maps: dict[str, PagedLinear] = {}
        for place in places(whole, LINEAR):
            own = PagedLinear(place.linear, place.layer, place.target, self._desk)
            place.put(own)
            self.maps[place.name] = own
        self._decoder = whole.get_decoder()
        self.fused = FusedDecoder.of(self._decoder)
        if self.fused is not None and not self._agree(Sizes.of(model)):
            self.fused = None

    def hidden(
        self, tokens: Tensor, positions: Tensor, attention: PagedAttention, ops: RowOps | None
    ) -> Tensor:
        """Last hidden states [N, D] of tokens int64 [N] at positions int64 [N]; their keys and
        values are written to the pages that `attention` tells."""
        self._desk.ops = ops
        try:
            if self.fused is not None:
                found = self.fused.row_hidden(tokens, positions, attention)
                return self.fused.hidden(tokens, positions, attention) if found is None else found
            return self._plain(tokens, positions, attention)
        finally:
            self._desk.ops = None
            if ops is not None:
                ops.done()

    def _plain(self, tokens: Tensor, positions: Tensor, attention: PagedAttention) -> Tensor:
        """As transformers computes it."""
        state = self._decoder(
            input_ids=tokens[None],
            position_ids=positions[None],
            use_cache=False,
            paged=attention,
        )
        last: Tensor = state[0]
        return last[0]

    @torch.inference_mode()
    def _agree(self, sizes: Sizes) -> bool:
        """Whether all ways give the same, over two tokens; by row, the second of them."""
        fused = self.fused
        if fused is None:
            return False
        weight = next(self._decoder.parameters())
        tokens = torch.arange(2, device=weight.device)
        pool = PagePool(PageShape.of(sizes, 2), 2, weight.dtype, weight.device)
        found = []
        for way, past in ((self._plain, 0), (fused.hidden, 0), (fused.row_hidden, 1)):
            row, new = Sequenced([1], past, 2 - past), tokens[past:]
            pages = PagedAttention(pool, [row], past, sizes.heads // sizes.kv_heads)
            try:
                own = way(new, new, pages)
            except RuntimeError:  # other shapes than those of a Llama
                return False
            if own is not None:
                found.append(own.float())
        theirs, ours = found[0], found[1:]
        # In 16 bits the first tokens, which all others attend to, are far from each other: 4% here.
        near = 1e-4 if weight.dtype == torch.float32 else 0.1
        return all(
            bool((own - theirs[-len(own) :]).norm() <= near * theirs[-len(own) :].norm())
            for own in ours
        )


def _require_full_attention(config: Any) -> None:
    """Raise ConfigError for windows, caps and other attention than that of Llama."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    other = kinds != {"full_attention"} or getattr(config, "attn_logit_softcapping", None)
    # Qwen2 names a window that it does not use.
    window = getattr(config, "sliding_window", None) and not hasattr(config, "layer_types")
    if other or window:
        raise ConfigError(
            "the attention of this model cannot be paged",
            where=str(getattr(config, "model_type", "")),
            hint="serve its adapters one by one, with `load_tuned`",
        )


# --------------------------------------------------------------------------------------------------
# One pass of the network over rows of the batch: tokens in, keys and values kept, tokens out.


class Passes:
    """The network over a pool. grain: u, of `layout`."""

    def __init__(self, network: PagedNetwork, pool: PagePool, sizes: Sizes, grain: int) -> None:
        self.network, self._pool, self._sizes, self._grain = network, pool, sizes, grain
        self._folds = sizes.heads // sizes.kv_heads
        self._key: tuple[object, ...] = ()
        self._ops: RowOps | None = None
        #: The adapter whose weights stand in the maps, so that its rows need no operations.
        self.merged: str | None = None

    def run(self, turns: Sequence[Turn]) -> None:
        """Take these tokens through the network, and hand each row what came of them.

        What it raises, it raises before any row has changed: its turns can be run again. The keys
        and values that it wrote lie behind `done`, in pages of their own row, and are written
        over. An error in what is one row's own ends that row.
        """
        with torch.inference_mode():
            hidden = self._hidden(turns)
            ends, at = [], 0
            writing: list[AnswerRow] = []
            for row, new in turns:
                at += new
                if isinstance(row, AnswerRow) and row.left == new:
                    ends.append(at - 1)
                    writing.append(row)
            logits = None
            if writing:
                last = hidden.index_select(0, torch.tensor(ends, device=hidden.device))
                logits = self.network.network.logits(last).cpu()
            at = 0
            scored: list[tuple[ScoreRow, torch.Tensor, int]] = []
            for row, new in turns:
                first = row.done
                row.done += new
                own = hidden[at : at + new]
                at += new
                if isinstance(row, ScoreRow):
                    scored.append((row, own, first))
                    continue
                try:
                    row.take(own, first, self.network.network)
                except Exception as error:  # whatever is wrong with one row, the others go on
                    row.fail(failed_pass(error))
            if scored:
                self._score(scored)
            if logits is not None:
                sample(writing, logits)

    def _score(self, scored: Sequence[tuple[ScoreRow, torch.Tensor, int]]) -> None:
        try:
            score(scored, self.network.network)
        except Exception as error:  # whatever is wrong with the scores, the others go on
            for row, *_ in scored:
                row.fail(failed_pass(error))

    def _hidden(self, turns: Sequence[Turn]) -> torch.Tensor:
        device = self._pool.tensor.device
        tokens: list[int] = []
        positions: list[int] = []
        rows: list[Sequenced] = []
        for row, new in turns:
            tokens += row.tokens[row.done : row.done + new]
            first = row.ahead.moved + row.done
            positions += range(first, first + new)
            rows.append(Sequenced(row.pages, row.ahead.tokens + row.done, new))
        written = sum(turn.row.writes for turn in turns)
        attention = PagedAttention(self._pool, rows, written, self._folds)
        return self.network.hidden(
            torch.tensor(tokens, device=device),
            torch.tensor(positions, device=device),
            attention,
            self._row_ops(turns),
        )

    def _row_ops(self, turns: Sequence[Turn]) -> RowOps | None:
        """The operations of these rows; those of the last pass where the rows are the same."""
        stretches = [stretch for turn in turns for stretch in self._stretches(turn)]
        if all(stretch.hot is None for stretch in stretches):
            return None
        key = tuple(stretches)
        if key != self._key or self._ops is None:
            u = self._grain
            self._ops = RowOps(
                stretches, self._pool.grains(u), self._pool.shape.slice // u, self._sizes.shapes
            )
            self._key = key
        return self._ops

    def _stretches(self, turn: Turn) -> Iterator[Stretch]:
        """The tokens of one row before its adapter acts, and those from there on."""
        row, new = turn
        hot = None if row.adapter == self.merged else row.hot
        before = min(max(row.acts_from - row.done, 0), new)
        if before:
            yield Stretch(None, before, not row.writes)
        if new > before:
            yield Stretch(hot, new - before, not row.writes)
