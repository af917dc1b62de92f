"""M-FALCON: many candidates against one history, which is read once.

Zhai et al., ICML 2024, arXiv 2402.17152, section 3.4 and appendix H. To score m items for one
user the ranker would read the history m times, O(m n^2 d). But no token of the history sees
a candidate, so K and V of the history are the same for all of them: they are computed once, and
candidates, in micro-batches, see the history and themselves and nothing else:

    a_c = [ sum_j SiLU(alpha q_c . k_j + rab(c, j)) v_j + SiLU(alpha q_c . k_c + rab(0)) v_c ] / N

at the place after the last event, O(m n d) once K and V are known. They are cached between
requests (`mfalcon_cache`), under the user's key: of a user who comes again with more events only
these are read. Without a key a history is cached under its content, so that a new event finds
nothing. The least recently used history is evicted. One object serves one model: when the weights
change, `clear()` it.

With the extra `fast` candidates go through compiled tiles (`mfalcon_fused`), else through torch
(`mfalcon_torch`). Both take as many operations: m candidates after n tokens 4 m n D per layer, and
10 m D^2 for the projections, with D = H Dqk = H Dv the width.

What a candidate gets is what it would get as the next event of a sequence of its own, up to
rounding: of float32, or of bfloat16 where asked for. Dropout is off; gradients are not kept.

What M-FALCON caches of a history: K and V of its tokens in each layer, and how they grow.

A token of the history sees nothing that comes after it, so new events leave K and V of the
tokens before them as they were. What a cached history and a new one have in common, from the first
event on, is therefore reused, and only the rest is read: after a new event two tokens instead of
all. An event whose action has become known costs one token and what follows it.

Nothing is reused where the first event or the context differs, so also where the events were cut at
the front, which moves all places. Layers behind a truncation that lets other tokens pass than
before are computed again from their input (`History.before`, cached for this).

M-FALCON in torch: runs everywhere, and is the reference for `mfalcon_fused`. The formula is in
`mfalcon`.

M-FALCON in compiled tiles, see `mfalcon_loops`.

K of a history is packed into the panels that the products read, V as it is; both in float32 or in
bfloat16. Sums, LN and SiLU's argument are float32 in either case, and so are the candidates
between two layers.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from adwright.core.errors import ConfigError, MissingExtraError, ValueInvalidError
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.models.kernels.attention_spec import AttentionSpec, Bounds, pairs, time_bucket
from adwright.models.sequential.hstu import HSTULayer
from adwright.models.sequential.hstu_ranker import HSTURanker
from adwright.models.sequential.sequence_model import SequenceModel, SequenceTokens

if TYPE_CHECKING:
    from adwright.models.kernels.mfalcon_loops import Columns, LayerSizes, Weights


class SeenTokens(Protocol):
    """What candidates see of a history in one layer, in whatever form it is kept: k [n, H, Dqk]
    and v [n, H, Dv] float32, time int64 [n] seconds or None; its length is n, which differs
    between layers after a truncation."""

    @property
    def k(self) -> Tensor: ...

    @property
    def v(self) -> Tensor: ...

    @property
    def time(self) -> Tensor | None: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class LayerHistory:
    """`SeenTokens` as plain tensors."""

    k: Tensor
    v: Tensor
    time: Tensor | None

    def __len__(self) -> int:
        return len(self.k)


@dataclass(frozen=True)
class History:
    """One user's history as the layers have read it.

    person: the batch of one that was read. layers: of the model. events: how many. contexts:
    tokens before them. before: [T, D], all tokens as they come to the truncation; None without.
    """

    person: SequenceBatch
    layers: tuple[SeenTokens, ...]
    events: int
    contexts: int
    before: Tensor | None

    @property
    def tokens(self) -> int:
        """T, before any truncation."""
        return self.contexts + 2 * self.events


def layers_of(model: HSTURanker) -> list[HSTULayer]:
    """The layers of the model, typed."""
    return [layer for layer in model.stack.layers if isinstance(layer, HSTULayer)]


def in_common(model: HSTURanker, kept: History, person: SequenceBatch) -> int:
    """Count the first tokens that a user's history shares with the cached one; 0 where the context
    or the first item differs."""
    config, old = model.config, kept.person
    if person.action is None or (config.time and person.time is None):
        return 0  # reading it says what is missing
    if config.context and not torch.equal(_known(old.context), _known(person.context)):
        return 0
    shorter = min(kept.events, len(person.items.values))
    same = old.items.values[:shorter] == person.items.values[:shorter]
    if config.time:
        same &= _known(old.time)[:shorter] == _known(person.time)[:shorter]
    acted = same & (_known(old.action)[:shorter] == _known(person.action)[:shorter])
    whole = int(acted.long().cumprod(0).sum())
    item = whole < shorter and bool(same[whole])
    tokens = 2 * whole + int(item)
    # The first event says when the context stands.
    moved = not tokens and max(kept.events, len(person.items.values)) > 0
    return 0 if moved else kept.contexts + tokens


def read_history(
    model: HSTURanker, person: SequenceBatch, onto: History | None = None, common: int = 0
) -> History:
    """Read the history of a batch of one; the model is in eval mode.

    onto, common: a cached history, and how many of its first tokens are reused.
    Raises ValueInvalidError for a history that leaves no place for a candidate.
    """
    config = model.config
    events = int(person.items.offsets[-1])
    model.require_place(events)
    with torch.no_grad():
        tokens = model.tokens(person)
        spec = model.stack.spec(tokens)
        onto = onto if common else None
        first, x, before = common, tokens.x[common:], None
        chain = layers_of(model)
        layers: list[SeenTokens] = []
        for number, layer in enumerate(chain):
            if number and number == config.truncate_after:
                before = x if onto is None else torch.cat([_required(onto.before)[:first], x])
                # A candidate is the last of the tokens that go on.
                tokens = SequenceModel.latest(replace(tokens, x=before), config.truncate_to - 1)
                cut = len(tokens.x) < len(before)
                if cut or (onto is not None and len(onto.layers[number]) < onto.tokens):
                    onto, first = None, 0
                x = tokens.x[first:]
            parts = layer.project(x)
            k, v = parts.k, parts.v
            if onto is not None:
                seen = onto.layers[number]
                k, v = torch.cat([seen.k[:first], k]), torch.cat([seen.v[:first], v])
            # Without an event, context has no time of its own but that of the request.
            layers.append(LayerHistory(k, v, tokens.time if events else None))
            if number + 1 == len(chain):
                break
            if onto is None:
                attended = layer.attend(parts, replace(tokens, x=x), spec)
            else:
                attended = _attend_late(layer, parts.q, layers[-1], first, tokens, spec)
            x = layer.merge(parts.u, attended, x)
    return History(person, tuple(layers), events, tokens.contexts, before)


def _attend_late(
    layer: HSTULayer,
    q: Tensor,
    seen: SeenTokens,
    first: int,
    tokens: SequenceTokens,
    spec: AttentionSpec,
) -> Tensor:
    """Attend from the L tokens from `first` on: A V [L, H, Dv], by the formula."""
    place = torch.arange(len(seen))
    bounds = Bounds(*(one[0] for one in Bounds.of(tokens.offsets, spec)))
    admitted, distance = pairs(place[first:], place, bounds, spec.window)
    bucket = None
    if tokens.time is not None and tokens.query_time is not None:
        bucket = time_bucket(tokens.query_time[first:, None] - tokens.time)
    scores = layer.alpha * torch.einsum("ihd,jhd->hij", q, seen.k)
    scores = layer.biased(scores, distance, bucket)
    weights = functional.silu(scores) * admitted
    return torch.einsum("hij,jhd->ihd", weights, seen.v) / layer.longest


def _known(values: Tensor | None) -> Tensor:
    return torch.zeros(0, dtype=torch.int64) if values is None else values


def _required(values: Tensor | None) -> Tensor:
    if values is None:
        raise ValueInvalidError("the history was read by a model without truncation")
    return values


@dataclass(frozen=True)
class LayerMask:
    """Which of the n tokens of a layer a candidate sees, and from how far: distance int64 [n];
    admitted bool [n]; bucket int64 [n] of the time between, 0 where the tokens have no times."""

    distance: Tensor
    admitted: Tensor
    bucket: Tensor

    @classmethod
    def of(cls, time: Tensor | None, tokens: int, now: int, window: int, always: int) -> LayerMask:
        """Mask n tokens at time int64 [n] or None, seen at time `now`; window: see `HSTUConfig`;
        always: first tokens that it never hides."""
        place = torch.arange(tokens)
        distance = tokens - place
        admitted = torch.ones(tokens, dtype=torch.bool)
        if window:
            admitted = (distance < window) | (place < always)
        bucket = torch.zeros_like(place) if time is None else time_bucket(now - time)
        return cls(distance, admitted, bucket)

    def bias(self, layer: HSTULayer) -> Tensor:
        """rab_p + rab_t [n]."""
        return layer.biased(torch.zeros(len(self.distance)), self.distance, self.bucket)


def layer_masks(model: HSTURanker, history: History, now: int) -> list[LayerMask]:
    """Masks and time buckets per layer for candidates at time `now`, in seconds."""
    config = model.config
    always = max(history.contexts, config.prefix)
    found: list[LayerMask] = []
    for seen in history.layers:
        # Only a truncation changes what there is to see.
        if found and len(found[-1].distance) == len(seen):
            found.append(found[-1])
        else:
            time = seen.time if config.time else None
            found.append(LayerMask.of(time, len(seen), now, config.window, always))
    return found


def score_candidates(
    model: HSTURanker, history: History, codes: Tensor, masks: list[LayerMask]
) -> Tensor:
    """Vectors [m, D] of candidates int64 [m] before the model's head; masks: of `layer_masks`."""
    x = model.candidates(codes, history.events)
    for layer, seen, mask in zip(layers_of(model), history.layers, masks, strict=True):
        parts = layer.project(x)
        q = parts.q.transpose(0, 1)  # [H, m, Dqk]
        scores = layer.alpha * (q @ seen.k.permute(1, 2, 0)) + mask.bias(layer)
        weights = functional.silu(scores, inplace=True).mul_(mask.admitted)
        attended = (weights @ seen.v.transpose(0, 1)).transpose(0, 1)
        own = layer.alpha * (parts.q * parts.k).sum(-1) + own_bias(layer)
        attended = attended + functional.silu(own)[..., None] * parts.v
        x = layer.merge(parts.u, attended / layer.longest, x)
    return x


def own_bias(layer: HSTULayer) -> Tensor:
    """rab_p + rab_t [1] of a candidate and itself."""
    nothing = torch.zeros(1, dtype=torch.int64)
    return layer.biased(torch.zeros(1), nothing, nothing)


#: Vectors of 16 numbers, and blocks of 8 candidates: see `hstu_product`.
_LANES, _BLOCK = 16, 8


def fused_for(model: HSTURanker) -> bool:
    """Whether the loops can be compiled here, and the model computes in float32."""
    parameters = model.parameters()
    known = all(p.device.type == "cpu" and p.dtype == torch.float32 for p in parameters)
    return known and find_spec("numba") is not None


@dataclass(frozen=True)
class PackedHistory:
    """`SeenTokens`, packed. keys: float32 [n / 16, H, Dqk, 16], or of bfloat16 [n / 16, H, Dqk / 2,
    16, 2]; values: [n, H, Dv], or [n / 2, H, Dv, 2]; n and Dv rounded up to 16 by zeros, Dqk to
    2. length, size, width: n, Dqk and Dv as they are."""

    keys: Tensor
    values: Tensor
    time: Tensor | None
    length: int
    size: int
    width: int

    def __len__(self) -> int:
        return self.length

    @property
    def k(self) -> Tensor:
        """[n, H, Dqk], unpacked; of bfloat16 as it was rounded."""
        keys = self.keys if self.keys.dim() == 4 else self.keys.transpose(3, 4).flatten(2, 3)
        found = keys.permute(0, 3, 1, 2).flatten(0, 1)
        return found[: self.length, :, : self.size].float()

    @property
    def v(self) -> Tensor:
        """[n, H, Dv], unpacked."""
        values = self.values
        if values.dim() == 4:
            values = values.permute(0, 3, 1, 2).flatten(0, 1)
        return values[: self.length, :, : self.width].float()

    @classmethod
    def of(cls, seen: SeenTokens, dtype: torch.dtype) -> PackedHistory:
        """Pack what candidates see of a layer."""
        length, heads, size = seen.k.shape
        width, n = seen.v.shape[2], length + -length % _LANES
        words = size + size % 2 if dtype == torch.bfloat16 else size
        k = functional.pad(seen.k, (0, words - size, 0, 0, 0, n - length)).to(dtype)
        v = functional.pad(seen.v, (0, -width % _LANES, 0, 0, 0, n - length)).to(dtype)
        if dtype == torch.float32:
            keys = k.reshape(n // _LANES, _LANES, heads, words).permute(0, 2, 3, 1)
        else:
            keys = k.reshape(n // _LANES, _LANES, heads, words // 2, 2).permute(0, 2, 3, 1, 4)
            v = v.reshape(n // 2, 2, heads, v.shape[2]).permute(0, 2, 3, 1)
        return cls(keys.contiguous(), v.contiguous(), seen.time, length, size, width)


class FusedScorer:
    """Scores candidates with one model, whose weights are packed at construction.

    bfloat16: multiply in it where the processor can.
    """

    def __init__(self, model: HSTURanker, *, bfloat16: bool = False) -> None:
        from adwright.core.vector_code import has_pairs

        self.model = model
        self.dtype = torch.bfloat16 if bfloat16 and has_pairs() else torch.float32
        self._layers = [self._packed(layer) for layer in layers_of(model)]

    def pack(self, history: History) -> History:
        """The history as `score` reads it."""
        packed = (PackedHistory.of(seen, self.dtype) for seen in history.layers)
        return replace(history, layers=tuple(packed))

    def score(self, history: History, codes: Tensor, masks: list[LayerMask]) -> Tensor:
        """Vectors [m, D] of candidates int64 [m] before the model's head, of a packed history;
        masks: of `mfalcon_torch.layer_masks`."""
        from adwright.models.kernels.mfalcon_loops import through_layer

        width = self.model.config.width
        with torch.no_grad():
            rows = functional.pad(codes, (0, -len(codes) % _BLOCK))
            x = self.model.candidates(rows, history.events)
            x = functional.pad(x, (0, -width % _LANES)).contiguous()
            chain = zip(self._layers, history.layers, masks, strict=True)
            for (layer, sizes, weights), seen, mask in chain:
                columns = _columns(layer, seen, mask, history.contexts)
                through_layer(x.numpy(), sizes, weights, columns)
            return x[: len(codes), :width]

    def _packed(self, layer: HSTULayer) -> tuple[HSTULayer, LayerSizes, Weights]:
        from adwright.models.kernels.mfalcon_loops import LayerSizes, Weights

        config = layer.config
        sizes = LayerSizes(
            heads=config.heads,
            q_size=config.qk_width,
            v_size=config.v_width,
            width=config.width,
            group=config.norm == "group",
            concat=config.concat,
            alpha=np.float32(layer.alpha),
            scale=np.float32(1 / layer.longest),
            pairs=self.dtype == torch.bfloat16,
        )
        with torch.no_grad():
            own = np.float32(own_bias(layer)[0])
            w1, w2 = (_panels(weight, self.dtype) for weight in (layer.w1, layer.w2.weight))
        return layer, sizes, Weights(w1, w2, own)


def _columns(layer: HSTULayer, seen: SeenTokens, of_layer: LayerMask, contexts: int) -> Columns:
    from adwright.models.kernels.mfalcon_loops import Columns

    if not isinstance(seen, PackedHistory):
        raise ValueInvalidError("a history is packed before it is asked", hint="call `pack`")
    config, n = layer.config, len(seen)
    filled = -n % _LANES
    stretches = [[0, n + filled]] if n else []
    mask = torch.zeros(0)
    if config.window and n:
        mask = functional.pad(of_layer.admitted.float(), (0, filled))
        always = max(contexts, config.prefix)
        early = always + -always % _LANES
        late = max(0, n - config.window + 1) // _LANES * _LANES
        if early < late:
            stretches = [[0, early], [late, n + filled]]
    return Columns(
        k=_words(seen.keys),
        v=_words(seen.values),
        bias=functional.pad(of_layer.bias(layer), (0, filled)).numpy(),
        mask=mask.numpy(),
        masked=config.window > 0,
        stretches=np.array(stretches, np.int64).reshape(-1, 2),
    )


def _panels(weight: Tensor, dtype: torch.dtype) -> Any:
    """[outputs, inputs] as int32 [outputs / 16, words, 16]: as the keys of one head."""
    rows = weight[:, None]
    return _words(PackedHistory.of(LayerHistory(rows, rows, None), dtype).keys)[:, 0]


def _words(x: Tensor) -> Any:
    """float32, or bfloat16 [.., 2], as int32 words."""
    words = x.contiguous().view(torch.int32)
    return (words if x.dtype == torch.float32 else words.squeeze(-1)).numpy()


Precision = Literal["float32", "bfloat16"]
Kernel = Literal["auto", "fused", "plain"]


class Falcon:
    """Score candidates with a ranker whose weights do not change; thread-safe.

    micro_batch: candidates at once in torch; the compiled tiles have a size of their own.
    capacity: histories in the cache, 0 for none; one of n tokens takes 4 H (Dqk + Dv) n bytes
    per layer, half of that in bfloat16. precision: of the products with candidates; bfloat16 only
    with the compiled tiles, on a processor that multiplies it, else float32. kernel: "auto" is
    fused where that is possible.
    hits, extended, misses: histories that the cache held as they are, held without their latest
    events, and did not hold.
    Raises ConfigError for sizes out of range.

    >>> falcon = Falcon(model)  # doctest: +SKIP
    >>> falcon.score(batch, codes, request_time=now, key=person).shape  # doctest: +SKIP
    torch.Size([1000, 2])
    """

    def __init__(
        self,
        model: HSTURanker,
        *,
        micro_batch: int = 256,
        capacity: int = 1024,
        precision: Precision = "float32",
        kernel: Kernel = "auto",
    ) -> None:
        if micro_batch < 1 or capacity < 0:
            raise ConfigError(
                "micro_batch is at least 1, capacity not negative",
                where=f"micro_batch {micro_batch}, capacity {capacity}",
            )
        for name, given, kinds in (
            ("precision", precision, get_args(Precision)),
            ("kernel", kernel, get_args(Kernel)),
        ):
            if given not in kinds:
                raise ConfigError(
                    f"{name} cannot be {given!r}", where=name, hint=f"use {', '.join(kinds)}"
                )
        if kernel == "fused" and not fused_for(model):
            raise MissingExtraError("fused scoring of candidates", "fast")
        self.model, self.micro_batch, self.capacity = model, micro_batch, capacity
        self.precision: Precision = precision
        self._fused = kernel != "plain" and fused_for(model)
        self._scorer: FusedScorer | None = None
        self.hits = self.extended = self.misses = 0
        self._kept: OrderedDict[Hashable, History] = OrderedDict()
        self._lock = threading.Lock()

    def score(
        self,
        person: SequenceBatch,
        candidates: Tensor,
        *,
        request_time: int | None = None,
        key: Hashable | None = None,
    ) -> Tensor:
        """Logits [m, K] of the model's tasks.

        person: a batch of one, the history with its actions. candidates: int64 [m] item codes.
        request_time: seconds; needed where the model reads times. key: whose history it is.
        Raises ValueInvalidError for more than one person, a history that leaves no place for a
        candidate, or a missing time.
        """
        config = self.model.config
        if len(person) != 1:
            raise ValueInvalidError("candidates are scored for one person", value=len(person))
        if config.time and request_time is None:
            raise ValueInvalidError(
                "the model reads times", column="request_time", hint="pass when the person asks"
            )
        self.model.eval()
        with torch.no_grad():
            scorer = self._fused_scorer()
            history = self._find(person, key, scorer)
            masks = layer_masks(self.model, history, request_time or 0)
            if scorer is not None:
                vectors = scorer.score(history, candidates, masks)
            else:
                parts = torch.split(candidates, self.micro_batch)
                vectors = torch.cat(
                    [score_candidates(self.model, history, part, masks) for part in parts]
                )
            logits: Tensor = self.model.head(vectors)
        return logits

    def clear(self) -> None:
        """Empty the cache, and forget the packed weights."""
        with self._lock:
            self._kept.clear()
            self._scorer = None

    def __len__(self) -> int:
        """Histories in the cache."""
        return len(self._kept)

    def _fused_scorer(self) -> FusedScorer | None:
        with self._lock:
            if self._fused and self._scorer is None:
                self._scorer = FusedScorer(self.model, bfloat16=self.precision == "bfloat16")
            return self._scorer

    def _find(
        self, person: SequenceBatch, key: Hashable | None, scorer: FusedScorer | None
    ) -> History:
        place = ("content", _content(person)) if key is None else ("person", key)
        with self._lock:
            kept = self._kept.get(place)
        common = 0 if kept is None else in_common(self.model, kept, person)
        if kept is not None and common == kept.tokens == kept.contexts + 2 * len(
            person.items.values
        ):
            history = kept
        else:
            history = read_history(self.model, person, kept, common)
            history = history if scorer is None else scorer.pack(history)
        with self._lock:
            self.hits += history is kept
            self.extended += history is not kept and common > 0
            self.misses += history is not kept and not common
            if self.capacity:
                self._kept[place] = history
                self._kept.move_to_end(place)
                if len(self._kept) > self.capacity:
                    self._kept.popitem(last=False)
        return history


def _content(person: SequenceBatch) -> bytes:
    """Hash all that the model reads of a history."""
    digest = hashlib.sha256()
    for values in (person.items.values, person.time, person.action, person.context):
        data = b"" if values is None else values.numpy().tobytes()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.digest()
