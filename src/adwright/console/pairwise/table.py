"""The pairs of one review, and what a rater sees and says of them."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adwright.authoring.describe.review import Choice, JudgementFile, PairJudgement
from adwright.console.pairwise.blind import pair_order, sides
from adwright.console.pairwise.pairs import ReviewPair
from adwright.core.clock import Clock
from adwright.web.errors import ApiError

_GONE = "go back to the pairs"


@dataclass(frozen=True)
class PairView:
    """A pair as a rater sees it. number: in the order of this rater, from 0. left, right: texts,
    without their sources. given: what this rater said of it. judged: pairs that the rater has done,
    of `total`."""

    number: int
    pair: str
    product: str
    slot: str
    left: str
    right: str
    facts: tuple[str, ...]
    given: PairJudgement | None
    judged: int
    total: int

    def score(self, criterion: str, side: str) -> int:
        """What this rater gave the text on a side, "left" or "right"; 0 for nothing."""
        if self.given is None:
            return 0
        given = self.given.left_scores if side == "left" else self.given.right_scores
        return int(dict(given).get(criterion, 0))


class PairTable:
    """Pairs, judgements and the seed of all orders, for several threads."""

    def __init__(
        self, pairs: Sequence[ReviewPair], judgements: JudgementFile, clock: Clock, *, seed: int = 0
    ) -> None:
        self._pairs, self._file, self._seed = tuple(pairs), judgements, seed
        self._clock = clock
        self._lock = threading.Lock()
        self._orders: dict[str, list[int]] = {}

    def view(self, rater: str, number: int) -> PairView:
        """The pair of that number in the order of a rater. Raises ApiError 404 without one."""
        with self._lock:
            self._file.refresh()
            pair = self._pair(rater, number)
            left, right = sides(pair, rater, seed=self._seed)
            return PairView(
                number,
                pair.id,
                pair.product,
                pair.slot,
                left.text,
                right.text,
                pair.facts,
                self._file.of(pair.id, rater),
                self._judged(rater),
                len(self._pairs),
            )

    def next_open(self, rater: str, *, behind: int = -1) -> int | None:
        """The number of the first pair that a rater has not judged, behind a number where there is
        one, else of all; None when all are done."""
        with self._lock:
            self._file.refresh()
            order = self._order(rater)
            rest = [n for n, at in enumerate(order) if not self._file.of(self._pairs[at].id, rater)]
        return next((n for n in rest if n > behind), rest[0] if rest else None)

    def progress(self, rater: str) -> tuple[int, int]:
        """How many pairs a rater has done, and how many there are."""
        with self._lock:
            self._file.refresh()
            return self._judged(rater), len(self._pairs)

    def judge(
        self,
        rater: str,
        number: int,
        pair: str,
        choice: Choice,
        rubric: Mapping[str, tuple[int, int]],
    ) -> None:
        """Write what a rater says. pair: the id that the rater saw.

        Raises ApiError 409 where the number is of another pair by now, as after another name was
        taken.
        """
        with self._lock:
            found = self._pair(rater, number)
            if found.id != pair:
                what = "these are not the texts that you saw: you have another name by now"
                raise ApiError(409, what, hint=_GONE)
            left, right = sides(found, rater, seed=self._seed)
            now = self._clock.now().isoformat(timespec="milliseconds")
            scores = [
                tuple((name, float(both[at])) for name, both in rubric.items()) for at in (0, 1)
            ]
            said = PairJudgement(pair, rater, left.source, right.source, choice, *scores)
            self._file.add(said, product=found.product, slot=found.slot, time=now)

    def _pair(self, rater: str, number: int) -> ReviewPair:
        order = self._order(rater)
        if not 0 <= number < len(order):
            raise ApiError(404, "there is no pair of this number", hint=_GONE)
        return self._pairs[order[number]]

    def _order(self, rater: str) -> list[int]:
        if rater not in self._orders:
            # Names are cheap to make up: old orders are worked out again where they are needed.
            if len(self._orders) >= 64:
                self._orders.clear()
            self._orders[rater] = pair_order(self._pairs, rater, seed=self._seed)
        return self._orders[rater]

    def _judged(self, rater: str) -> int:
        return sum(self._file.of(one.id, rater) is not None for one in self._pairs)
