"""The pairs of one review, and what a rater sees and says of them."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from adwright.authoring.describe.review import Choice, JudgementFile, PairJudgement
from adwright.authoring.tasks import Product
from adwright.authoring.writer.drafts import Drafts, Key
from adwright.console.review import facts_of, shop_text
from adwright.core.clock import Clock
from adwright.core.errors import DataError
from adwright.web.errors import ApiError

# --------------------------------------------------------------------------------------------------
# What is compared: two texts for the same slot of the same product, from two sources.
#
#     pairs = pairs_of_shop(drafts, sample=200, seed=7)         # what the shop has, what was
# written
#     pairs = pairs_of_jobs(drafts, others, ("small", "large"), sample=200, seed=7)
#
# The texts are those that a model wrote, not what a person made of them, and rejected ones are
# among
# them: a comparison of what was left after a review would be about the reviewers.


@dataclass(frozen=True)
class PairText:
    """A text and where it comes from, which a rater is not shown."""

    source: str
    text: str


@dataclass(frozen=True)
class ReviewPair:
    """Two texts to be compared. id: of product, slot and both texts, so that a judgement is about
    these very words. facts: of the product, but what is one of the texts, which would tell which
    one the shop has."""

    id: str
    product: str
    slot: str
    first: PairText
    second: PairText
    facts: tuple[str, ...] = ()


def pairs_of_shop(drafts: Drafts, *, sample: int, seed: int) -> list[ReviewPair]:
    """Pairs of what the shop has ("shop") and what was written ("draft"), where these differ.

    sample: pairs at most, drawn by `seed`. Raises DataError where there is none.
    """

    def pair(key: Key) -> ReviewPair | None:
        product = drafts.product(key[0])
        shop = PairText("shop", shop_text(key[1], product))
        return _pair(key, shop, PairText("draft", drafts.draft(key).text), product)

    return _drawn(drafts.states(), pair, sample, seed)


def pairs_of_jobs(
    drafts: Drafts, others: Drafts, names: tuple[str, str], *, sample: int, seed: int
) -> list[ReviewPair]:
    """Pairs of what two jobs wrote for the same slot, where these differ. names: of the two, as
    sources. sample, seed, errors: as `pairs_of_shop`."""
    theirs = others.states()

    def pair(key: Key) -> ReviewPair | None:
        if key not in theirs:
            return None
        one = PairText(names[0], drafts.draft(key).text)
        other = PairText(names[1], others.draft(key).text)
        return _pair(key, one, other, drafts.product(key[0]))

    return _drawn(drafts.states(), pair, sample, seed)


def _drawn(
    keys: Iterable[Key], pair: Callable[[Key], ReviewPair | None], sample: int, seed: int
) -> list[ReviewPair]:
    order = list(keys)
    random.Random(seed).shuffle(order)
    found: dict[str, ReviewPair] = {}
    for key in order:
        made = pair(key)
        if made is not None:
            found[made.id] = made
        if len(found) == sample:
            break
    if not found:
        raise DataError(
            "there are no two different texts for one slot of a product",
            hint="compare with another job: --against FOLDER",
        )
    return list(found.values())


def _pair(
    key: Key, first: PairText, second: PairText, product: Product | None
) -> ReviewPair | None:
    texts = _plain(first.text), _plain(second.text)
    if not all(texts) or texts[0] == texts[1]:
        return None
    shown = tuple(fact for fact in facts_of(product) if _plain(fact) not in texts)
    parts = (key[0], key[1], str(key[2]), first.text, second.text)
    data = "\0".join(parts).encode("utf-8", "surrogatepass")
    pair_id = hashlib.sha256(data).hexdigest()[:20]
    return ReviewPair(pair_id, key[0], key[1], first, second, shown)


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


# --------------------------------------------------------------------------------------------------
# The order in which a rater meets pairs, and the two texts of each.
#
# Both follow from a seed, the rater's name and the pair, so that they are the same when the rater
# comes back, and another one's are independent of them. Nobody can tell sources by them.


def pair_order(pairs: Sequence[ReviewPair], rater: str, *, seed: int) -> list[int]:
    """The places of the pairs, as a rater meets them."""
    return sorted(range(len(pairs)), key=lambda at: _draw("order", rater, pairs[at].id, seed))


def sides(pair: ReviewPair, rater: str, *, seed: int) -> tuple[PairText, PairText]:
    """The texts that a rater sees on the left and on the right."""
    turned = _draw("side", rater, pair.id, seed)[0] & 1
    return (pair.second, pair.first) if turned else (pair.first, pair.second)


def _draw(what: str, rater: str, pair: str, seed: int) -> bytes:
    parts = "\0".join((what, str(seed), rater, pair))
    return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).digest()


_GONE = "go back to the pairs"


@dataclass(frozen=True)
class PairView:
    """A pair as a rater sees it. number: in the order of this rater, from 0. left, right: texts,
    without their sources. given: what this rater said of it. judged: pairs that the rater has done,
    of `total`."""

    number: int
    pair: ReviewPair
    left: str
    right: str
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
            left, right = (one.text for one in sides(pair, rater, seed=self._seed))
            given, judged = self._file.of(pair.id, rater), self._judged(rater)
            return PairView(number, pair, left, right, given, judged, len(self._pairs))

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
