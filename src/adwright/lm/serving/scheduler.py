"""Choose the rows of the next pass, and who gets pages and gives them back.

Requests are served first come, first served. The first one waiting is admitted when there is a
place in the batch and room for its adapter and all of its tokens so far, evicting adapters without
a user; later requests wait behind it, so that a large one does not starve. A row that writes takes
a page each time a block is full. Where none is free, the row that came last is preempted: it gives
all of its pages back, waits at the head of the queue, and its keys and values are computed again
later (recomputation, as in vLLM, Kwon et al., 2023, arXiv 2309.06180). So the first row always
goes on; and since requests that could never fit are rejected on arrival, every row ends.

Where an adapter waits for an invocation, the tokens before it are of the base: for whoever has read
them, whatever the adapter, they are the same.

A row begins behind the blocks of tokens whose keys and values are there (`prefix_pages`). Where
its next block is one that a live row is just reading, it waits for that, a few passes at most, and
those behind it may go first.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from adwright.core.errors import AdwrightError, ConfigError, ResourceError, ValueInvalidError
from adwright.lm.engine.base import AnswerWriter, cancelled_embedding, cancelled_score
from adwright.lm.engine.generation import Cancellation, Chunk, FinishReason, GenerationConfig, Top
from adwright.lm.serving.adapter_cache import AdapterCache, PooledAdapter
from adwright.lm.serving.kinds import NOTHING_AHEAD
from adwright.lm.serving.prefixes import BlockKeys, PagePool, common
from adwright.lm.torch_engine.decode import (
    Constraint,
    LogitRules,
    generator,
    likeliest,
    log_probability,
    next_tokens,
)
from adwright.lm.torch_engine.network import Network

# --------------------------------------------------------------------------------------------------
# One row of the batch: an answer that is written, a continuation that is scored, or a text.
#
# The first `done` tokens of a row have their keys and values in pages. A pass takes the next few;
# an answer has one left each time, and gets one more from the pass. So a preempted row needs
# nothing special: it begins again, with what it has written behind its prompt. It begins at 0, or
# behind the tokens whose keys and values are there already (`prefix_pages`).

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


class Turn(NamedTuple):
    """A row in the next pass, and how many of its tokens it takes."""

    row: Row
    new: int


class Scheduler:
    """The queue and the rows of one pool. rows: the most at a time."""

    def __init__(self, pool: PagePool, cache: AdapterCache, rows: int) -> None:
        self._pool, self._cache, self._rows = pool, cache, rows
        self._prefixes = cache.prefixes
        self.waiting: deque[Row] = deque()
        self.live: list[Row] = []
        self.preemptions = 0
        #: Beginnings of prompts that rows of all salts share.
        self.public: list[tuple[int, ...]] = []
        self._arrived = 0
        #: Adapters that a prompt did not call, which is said once for each.
        self._lacking: set[str] = set()

    def check(self, row: Row, index: int | None = None) -> None:
        """Raises ValueInvalidError, with its index in the call, where the row cannot fit into the
        empty pool; ConfigError where its adapter is not registered."""
        own = 0 if row.adapter is None else self._cache.pages_of(row.adapter)
        if row.adapter is not None:
            row.ahead = self._cache.ahead(row.adapter)
            self._activate(row, row.adapter)
        needed = own + self._pool.shape.blocks(row.ahead.tokens + row.max_tokens)
        if needed > self._pool.capacity:
            raise ValueInvalidError(
                f"the request needs {needed} pages, and the pool has {self._pool.capacity}",
                row=index,
                hint="ask for fewer tokens, or give the pool more pages",
            )

    def _activate(self, row: Row, adapter: str) -> None:
        """Find where the adapter begins to act; a prompt that does not call it is of the base."""
        start = self._cache.first_acted(adapter, row.prompt)
        if start is not None:
            row.acts_from = start
            return
        row.adapter = None
        if adapter not in self._lacking:
            self._lacking.add(adapter)
            _log.warning(
                "a prompt lacks the invocation of the adapter %s: the base answers such prompts",
                adapter,
            )

    def add(self, row: Row) -> None:
        """Put a row behind the others."""
        row.order = self._arrived
        self._arrived += 1
        self.waiting.append(row)

    def uses(self, name: str) -> bool:
        """Whether a row waits for, or uses, the adapter."""
        return any(row.adapter == name for row in (*self.waiting, *self.live))

    def turns(self, tokens: int, allowed: Callable[[Row], bool] | None = None) -> list[Turn]:
        """Choose the next pass: rows that write, sorted by kind of adapter, then prompts of at most
        `tokens` together. allowed: whether a row may take part now."""
        self._sweep()
        self._grow(allowed)
        chosen = [row for row in self.live if allowed is None or allowed(row)]
        writing = sorted((row for row in chosen if row.writes), key=_like)
        turns = [Turn(row, 1) for row in writing]
        for row in chosen:
            if not row.writes and tokens:
                turns.append(Turn(row, min(row.left, tokens)))
                tokens -= turns[-1].new
        read = self._being_read() if self.waiting else set()
        for row in list(self.waiting):
            if not tokens or (allowed is not None and not allowed(row)):
                break
            if self._next_block(row) in read:
                continue
            if not self._admit(row):
                break
            if not row.over:
                turns.append(Turn(row, min(row.left, tokens)))
                tokens -= turns[-1].new
                read.update(self._unread(row))
        return turns

    def settle(self) -> None:
        """Remove the rows that are over, and free what they hold; what the others have read by now
        may be shared."""
        for row in list(self.live):
            if row.over:
                self._leave(row)
            else:
                self._keep(row)
        if any(row.over for row in self.waiting):
            self.waiting = deque(row for row in self.waiting if not row.over)

    def fail(self, rows: Iterable[Row], error: AdwrightError) -> None:
        """End these with an error, but for those that are over."""
        for row in rows:
            if not row.over:
                row.fail(error)
        self.settle()

    def _sweep(self) -> None:
        for row in (*self.live, *self.waiting):
            if not row.over and row.cancelled:
                row.end("cancelled")
        self.settle()

    def _grow(self, allowed: Callable[[Row], bool] | None) -> None:
        """Give a page to each row whose last block is full."""
        for row in sorted(self.live, key=lambda row: row.order):
            if row not in self.live or (allowed is not None and not allowed(row)):
                continue
            while len(row.pages) < self._blocks(row):
                if self._cache.room(1):
                    row.pages.extend(self._new_pages(1))
                    continue
                last = max(self.live, key=lambda row: row.order)
                self._preempt(last)
                if last is row:
                    break

    def _admit(self, row: Row) -> bool:
        """Admit a row of the queue; False where it has to wait."""
        if len(self.live) >= self._rows:
            return False
        shared: list[int] = []
        try:
            chain = self.chain(row)
            shared = self._prefixes.find(chain, _shareable(row))
            self._prefixes.hold(shared)  # so that making room does not take them
            needed = self._blocks(row) - len(shared)
            hot = self._hot(row, needed)
        except Exception as error:  # whatever is wrong with one adapter, the others go on
            self._prefixes.give_up(shared)
            self.waiting.remove(row)
            row.fail(error if isinstance(error, AdwrightError) else _not_loaded(row, error))
            return True
        if hot is not None and self._cache.root(hot.name) != chain.root:
            # Its folder holds other weights than when it was read last: look again.
            self._cache.release(hot.name)
            self._prefixes.give_up(shared)
            return self._admit(row)
        if hot is None and (row.adapter is not None or not self._cache.room(needed)):
            self._prefixes.give_up(shared)
            if not self.live:
                # All rows are done, so the pages that are missing are pinned from outside.
                self.waiting.remove(row)
                row.fail(
                    ResourceError(
                        "the pool is held by others", where="pages", hint="release their pins"
                    )
                )
                return True
            return False
        self._cache.room(needed)
        row.hot = hot
        self.waiting.remove(row)
        self.live.append(row)
        self._begin(row, chain, shared, needed)
        return True

    def _begin(self, row: Row, chain: BlockKeys, shared: list[int], needed: int) -> None:
        """Give a row its pages, those that others read and so many of its own."""
        row.pages = [*shared, *self._new_pages(needed)]
        if row.hot is not None and row.hot.ahead:
            # The last of them is not full, so that each row needs its own.
            self._pool.copy(row.hot.ahead, row.pages[: len(row.hot.ahead)])
        row.told = len(shared)
        at = len(shared)
        if needed:
            at += self._prefixes.restore(chain, at, _shareable(row), row.pages[at:])
        done = at * self._pool.shape.block
        if at < len(row.pages):
            done += self._prefixes.copy(chain, at, _shareable(row), row.pages[at])
        self._prefixes.shared_tokens += done
        row.begin(done)

    def _new_pages(self, number: int) -> list[int]:
        pages = self._pool.allocate(number, "keys") or []
        self._prefixes.hold(pages)
        return pages

    def chain(self, row: Row) -> BlockKeys:
        """The keys of the row's blocks under its adapter as it is now."""
        root = self._cache.root(row.adapter)
        if row.chain is None or row.chain.root != root:
            base, T = self._cache.root(None), self._pool.shape.block
            public = max((common(row.tokens, one) for one in self.public), default=0) // T
            told = row.acts_from, base, row.salt, public
            row.chain = BlockKeys(root, row.tokens, T, *told)
        return row.chain

    def chain_of(self, tokens: Sequence[int], adapter: str | None, salt: str) -> BlockKeys:
        """The keys of the blocks of these tokens under an adapter. Raises ConfigError where it is
        not registered, or its rows share nothing."""
        row = Row(adapter, list(tokens), len(tokens), None)
        row.salt = salt
        self.check(row)
        if row.ahead.tokens:
            raise ConfigError(
                "what is read under this adapter is not shared",
                where=str(adapter),
                hint="it puts keys and values of its own before each text",
            )
        return self.chain(row)

    def _keep(self, row: Row, *, last: bool = False) -> None:
        if row.chain is not None and row.shares and not row.ahead.tokens:
            given = row.chain, row.pages, row.told, row.done
            row.told = self._prefixes.keep(*given, last=last)

    def _being_read(self) -> set[bytes]:
        """Keys of the blocks that live rows are reading, and have not read yet."""
        return {key for row in self.live if not row.writes for key in self._unread(row)}

    def _unread(self, row: Row) -> Iterable[bytes]:
        if not row.shares:
            return ()
        T = self._pool.shape.block
        chain = self.chain(row)
        return map(chain.key, range(row.done // T + 1, len(row.tokens) // T + 1))

    def _next_block(self, row: Row) -> bytes | None:
        """The key of the first block that the row has to read, where others could have read it."""
        if row.adapter is not None and row.adapter not in self._cache:
            return None
        chain = self.chain(row)
        at = len(self._prefixes.find(chain, _shareable(row))) + 1
        return chain.key(at) if at * self._pool.shape.block <= _shareable(row) else None

    def _blocks(self, row: Row) -> int:
        """Pages for what stands before its text, and all of its tokens so far."""
        return self._pool.shape.blocks(row.ahead.tokens + len(row.tokens))

    def _hot(self, row: Row, needed: int) -> PooledAdapter | None:
        return None if row.adapter is None else self._cache.acquire(row.adapter, keep=needed)

    def _preempt(self, row: Row) -> None:
        self._leave(row)
        row.done = 0
        self.waiting.appendleft(row)
        self.preemptions += 1

    def _leave(self, row: Row) -> None:
        self.live.remove(row)
        self._keep(row, last=True)
        self._prefixes.give_up(row.pages)
        row.pages = []
        if row.hot is not None:
            self._cache.release(row.hot.name)
            row.hot = None


def _shareable(row: Row) -> int:
    """As `Row.shareable`; none where it shares nothing, or its pages begin with what its adapter
    puts before the text."""
    return row.shareable if row.shares and not row.ahead.tokens else 0


def _not_loaded(row: Row, error: Exception) -> ResourceError:
    _log.error("the adapter %s cannot be loaded", row.adapter, exc_info=error)
    return ResourceError(
        f"the adapter cannot be loaded: {error}",
        where=str(row.adapter),
        hint="ask again, or look at its folder",
    )


def _like(row: Row) -> tuple[tuple[int, int, str], str]:
    """Sort key: rows with adapters of one kind together, those of one adapter side by side."""
    return ((-1, 0, ""), "") if row.hot is None else (row.hot.layout.order, row.hot.name)
