"""One pass of the network over rows of the batch: tokens in, keys and values kept, tokens out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from adwright.lm.serving.adapter_ops import RowOps, Stretch
from adwright.lm.serving.page_pool import PagePool
from adwright.lm.serving.paged_network import PagedNetwork
from adwright.lm.serving.paging.paged_attention import PagedAttention, Sequenced
from adwright.lm.serving.rows import AnswerRow, ScoreRow, failed_pass, sample, score
from adwright.lm.serving.scheduler import Turn
from adwright.tuning.modules import Sizes

__all__ = ["Passes"]


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
