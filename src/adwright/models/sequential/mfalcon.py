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
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Literal, get_args

import torch
from torch import Tensor

from adwright.core.errors import ConfigError, MissingExtraError, ValueInvalidError
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.models.sequential.hstu_ranker import HSTURanker
from adwright.models.sequential.mfalcon_cache import History, in_common, read_history
from adwright.models.sequential.mfalcon_fused import FusedScorer, fused_for
from adwright.models.sequential.mfalcon_torch import layer_masks, score_candidates

__all__ = ["Falcon", "Kernel", "Precision"]

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
