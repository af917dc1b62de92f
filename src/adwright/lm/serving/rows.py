"""One row of the batch: an answer that is written, a continuation that is scored, or a text.

The first `done` tokens of a row have their keys and values in pages. A pass takes the next few; an
answer has one left each time, and gets one more from the pass. So a preempted row needs nothing
special: it begins again, with what it has written behind its prompt. It begins at 0, or behind the
tokens whose keys and values are there already (`prefix_pages`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from queue import SimpleQueue

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from adwright.core.errors import AdwrightError, ResourceError
from adwright.lm.engine.answer import AnswerWriter
from adwright.lm.engine.generation import (
    Cancellation,
    Chunk,
    FinishReason,
    GenerationConfig,
    Top,
)
from adwright.lm.engine.prompts import cancelled_embedding, cancelled_score
from adwright.lm.serving.adapter_cache import PooledAdapter
from adwright.lm.serving.kinds.ahead import NOTHING_AHEAD
from adwright.lm.serving.paging.block_keys import BlockKeys
from adwright.lm.torch_engine.constraint import Constraint
from adwright.lm.torch_engine.logit_rules import LogitRules
from adwright.lm.torch_engine.network import Network
from adwright.lm.torch_engine.sampling import (
    generator,
    likeliest,
    log_probability,
    next_tokens,
)

__all__ = [
    "AnswerRow",
    "EmbeddingRow",
    "PrefixRow",
    "Row",
    "ScoreRow",
    "failed_pass",
    "sample",
    "score",
]

_log = logging.getLogger("adwright.lm")

#: Rows of logits that exist at a time.
_HEAD_ROWS = 512


class Row:
    """One row of the batch.

    adapter: its name, or None for the base. max_tokens: an upper bound of its tokens, which must
    fit into the empty pool; pages are not reserved.
    """

    def __init__(
        self, adapter: str | None, tokens: list[int], max_tokens: int, cancel: Cancellation | None
    ) -> None:
        self.adapter, self.tokens, self.max_tokens, self.cancel = (
            adapter,
            tokens,
            max_tokens,
            cancel,
        )
        self.done = 0
        #: Whom it may share what it begins with with; "": with all that have no salt either.
        self.salt = ""
        #: Whether it takes what others have read at all.
        self.shares = True
        self.pages: list[int] = []
        #: The keys of its blocks, and how many of its own are told to the others.
        self.chain: BlockKeys | None = None
        self.told = 0
        self.hot: PooledAdapter | None = None
        #: What its adapter puts before it: in the pages, and in positions.
        self.ahead = NOTHING_AHEAD
        #: The first token at which its adapter acts.
        self.acts_from = 0
        self.order = -1
        self.over = False
        self.error: AdwrightError | None = None

    @property
    def prompt(self) -> list[int]:
        """The tokens that may call its adapter."""
        return self.tokens

    @property
    def left(self) -> int:
        """Tokens without keys and values."""
        return len(self.tokens) - self.done

    @property
    def writes(self) -> bool:
        """Whether it is writing: one token per pass."""
        return False

    @property
    def shareable(self) -> int:
        """How many of its first tokens it need not pass itself, where their keys and values are
        there."""
        return len(self.tokens) - 1

    def begin(self, done: int) -> None:
        """Begin, or begin again, behind so many tokens whose keys and values are there."""
        self.done = done

    @property
    def cancelled(self) -> bool:
        """Whether its caller has cancelled it."""
        return self.cancel is not None and self.cancel.cancelled

    def end(self, reason: FinishReason) -> None:
        """End the row: no pass takes it any more."""
        self.over = True

    def fail(self, error: AdwrightError) -> None:
        """End the row with an error, which the call that waits for it raises."""
        self.error = error
        self.over = True

    def take(self, hidden: Tensor, first: int, network: Network) -> None:
        """Use the last hidden states [n, D] of its tokens from `first` on; `done` counts them."""


class AnswerRow(Row):
    """An answer. answer: it, empty so far. index: of its call, for the random numbers. constraint:
    on one row. chunks: where what is written goes, piece by piece; None for a whole answer."""

    def __init__(
        self,
        adapter: str | None,
        answer: AnswerWriter,
        config: GenerationConfig,
        index: int,
        max_tokens: int,
        *,
        vocabulary: int,
        constraint: Constraint | None = None,
        chunks: SimpleQueue[Chunk | None] | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        super().__init__(adapter, list(answer.prompt), max_tokens, cancel)
        self.answer, self.config, self.constraint, self.chunks = answer, config, constraint, chunks
        self.random = generator(config.seed_of(index))
        self.rules = LogitRules.of([answer.prompt], config, vocabulary, answer.end_ids)

    @property
    def prompt(self) -> list[int]:
        """What is answered; what is written calls nothing."""
        return self.answer.prompt

    @property
    def writes(self) -> bool:
        """Whether the answer has begun, and its last token alone is to be passed."""
        return self.left == 1 and len(self.tokens) > len(self.answer.prompt)

    def begin(self, done: int) -> None:
        """As `Row.begin`; what was there the first time is told in the usage."""
        super().begin(done)
        if self.answer.cached is None:
            self.answer.cached = done

    def end(self, reason: FinishReason) -> None:
        """The answer ends with that reason, unless it has one."""
        self.answer.end(reason)
        super().end(reason)
        self._tell()
        if self.chunks is not None:
            self.chunks.put(None)

    def fail(self, error: AdwrightError) -> None:
        """As `Row.fail`; a stream raises it too."""
        super().fail(error)
        if self.chunks is not None:
            self.chunks.put(None)

    def add(self, token: int, logprob: float | None, top: Top | None = None) -> None:
        """Add the token that was chosen; top: the likeliest in its place."""
        self.tokens.append(token)
        self.answer.add(token, logprob, top)
        if self.rules is not None:
            self.rules.add(torch.tensor([token]))
        if self.constraint is not None and all(self.constraint.take([token])):
            self.answer.end("stop")
        if self.answer.finish_reason is not None:
            self.end(self.answer.finish_reason)
        else:
            self._tell()

    def _tell(self) -> None:
        if self.chunks is not None:
            self.chunks.put(self.answer.chunk())


class ScoreRow(Row):
    """Log-probabilities of a continuation. before, after: tokens of prompt and continuation."""

    def __init__(
        self,
        adapter: str | None,
        before: list[int],
        after: list[int],
        cancel: Cancellation | None = None,
    ) -> None:
        # The last token is only a target.
        super().__init__(adapter, [*before, *after][:-1], len(before) + len(after) - 1, cancel)
        self._from, self._after = len(before) - 1, after
        self._found: dict[int, npt.NDArray[np.float64]] = {}

    @property
    def prompt(self) -> list[int]:
        """What is continued."""
        return self.tokens[: self._from + 1]

    @property
    def shareable(self) -> int:
        """The hidden state of the last token before the continuation is needed."""
        return max(0, self._from)

    def begin(self, done: int) -> None:
        """As `Row.begin`, perhaps a second time."""
        super().begin(done)
        self._found.clear()

    @property
    def logprobs(self) -> npt.NDArray[np.float64]:
        """Of each token of the continuation, in nats: float64 [tokens]."""
        return np.concatenate([self._found[at] for at in sorted(self._found)])

    def end(self, reason: FinishReason) -> None:
        """As `Row.end`; where it is cancelled, with the error of a cancelled score."""
        if reason == "cancelled":
            self.error = cancelled_score()
        super().end(reason)

    def targets(self, first: int, new: int) -> tuple[int, list[int]]:
        """From which one of its `new` tokens behind `first` on the next token is of the
        continuation, and these next tokens."""
        start = max(0, self._from - first)
        at = first + start - self._from
        return start, self._after[at : at + max(0, new - start)]

    def tell(self, first: int, logprobs: npt.NDArray[np.float64]) -> None:
        """Keep the log-probabilities of `targets`."""
        if len(logprobs):
            self._found[max(0, first - self._from)] = logprobs
        if not self.left:
            self.end("stop")

    def take(self, hidden: Tensor, first: int, network: Network) -> None:
        """Keep the log-probabilities of what follows these tokens."""
        score([(self, hidden, first)], network)


class PrefixRow(Row):
    """A beginning that is read for rows that come later. cached: how many of its tokens were there
    when it began; None before."""

    def __init__(
        self, adapter: str | None, tokens: list[int], cancel: Cancellation | None = None
    ) -> None:
        super().__init__(adapter, tokens, len(tokens), cancel)
        self.cached: int | None = None

    def begin(self, done: int) -> None:
        """As `Row.begin`; what was there the first time is told."""
        super().begin(done)
        if self.cached is None:
            self.cached = done

    def take(self, hidden: Tensor, first: int, network: Network) -> None:
        """Nothing is needed of them but their keys and values."""
        if not self.left:
            self.end("stop")


class EmbeddingRow(Row):
    """The mean of a text's last hidden states, of length 1."""

    def __init__(
        self, adapter: str | None, tokens: list[int], cancel: Cancellation | None = None
    ) -> None:
        super().__init__(adapter, tokens, len(tokens), cancel)
        self._parts: dict[int, Tensor] = {}

    @property
    def shareable(self) -> int:
        """None: the hidden states of all are needed."""
        return 0

    def begin(self, done: int) -> None:
        """As `Row.begin`, perhaps a second time."""
        super().begin(done)
        self._parts.clear()

    @property
    def vector(self) -> npt.NDArray[np.float32]:
        """float32 [D]."""
        mean = torch.stack([self._parts[at] for at in sorted(self._parts)]).sum(0)
        mean = mean / len(self.tokens)
        found: npt.NDArray[np.float32] = (mean / mean.norm().clamp_min(1e-12)).cpu().numpy()
        return found

    def end(self, reason: FinishReason) -> None:
        """As `Row.end`; where it is cancelled, with an error: half a mean is none."""
        if reason == "cancelled":
            self.error = cancelled_embedding()
        super().end(reason)

    def take(self, hidden: Tensor, first: int, network: Network) -> None:
        """Keep the sum of the hidden states."""
        self._parts[first] = hidden.float().sum(0)
        if not self.left:
            self.end("stop")


def score(parts: Sequence[tuple[ScoreRow, Tensor, int]], network: Network) -> None:
    """Hand each row the log-probabilities of what follows its tokens, all by one product with the
    head as far as its bound allows. parts: rows, the hidden states [n, D] of their tokens, and
    behind how many those stand."""
    asked = [row.targets(first, len(hidden)) for row, hidden, first in parts]
    hidden = torch.cat(
        [each[start:] for (_, each, _), (start, _) in zip(parts, asked, strict=True)]
    )
    targets = torch.tensor([token for _, own in asked for token in own], device=hidden.device)
    found = [
        log_probability(network.logits(hidden[at : at + _HEAD_ROWS]), targets[at : at + _HEAD_ROWS])
        .double()
        .cpu()
        .numpy()
        for at in range(0, len(targets), _HEAD_ROWS)
    ]
    each = np.split(
        np.concatenate([np.empty(0), *found]), np.cumsum([len(own) for _, own in asked])
    )
    for (row, _, first), logprobs in zip(parts, each[:-1], strict=True):
        row.tell(first, logprobs)


def sample(rows: list[AnswerRow], logits: Tensor) -> None:
    """Choose the next token of each row and add it. logits: float32 [B, V], one per row.

    A row whose grammar refuses, or whose adapter makes logits that are no numbers, ends with that
    error; the others go on.
    """
    most, bests = logits.max(-1)
    # Where the largest logit is finite, none is NaN: max would return that.
    usable = most.isfinite().tolist()
    for at, (row, best) in enumerate(zip(rows, bests.tolist(), strict=True)):
        own = logits[at : at + 1]
        try:
            if not usable[at]:
                raise _not_finite(row)
            token = best if _is_plain(row) else _drawn(row, own)
            asked, top = row.config.logprobs, row.config.top_logprobs
            row.add(
                token,
                float(log_probability(own, torch.tensor([token]))) if asked else None,
                likeliest(own, top)[0] if top else None,
            )
        except AdwrightError as error:
            row.fail(error)
        except RuntimeError as error:  # torch's, where nothing can be drawn
            told = f"no token can be drawn: {error}"
            row.fail(ResourceError(told, hint="ask again with a higher temperature"))
        except Exception as error:  # whatever is wrong with one row, the others go on
            row.fail(failed_pass(error))


def failed_pass(error: Exception) -> AdwrightError:
    """What a row ends with whose pass raised `error`; one that is not ours is logged."""
    if isinstance(error, AdwrightError):
        return error
    _log.error("a pass failed", exc_info=error)
    return ResourceError(f"the pass failed: {error}", hint="ask again")


def _not_finite(row: AnswerRow) -> ResourceError:
    return ResourceError(
        "the model's logits are not finite",
        where=row.adapter or "the base",
        hint="tune the adapter again with a lower rate, or ask another model",
    )


def _is_plain(row: AnswerRow) -> bool:
    return row.config.temperature == 0 and row.rules is None and row.constraint is None


def _drawn(row: AnswerRow, logits: Tensor) -> int:
    if row.rules is not None:
        logits = row.rules.apply(logits)
    if row.constraint is not None:
        logits = row.constraint.apply(logits)
    return int(next_tokens(logits, row.config, [row.random]))
