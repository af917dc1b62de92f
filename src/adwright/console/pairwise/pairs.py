"""What is compared: two texts for the same slot of the same product, from two sources.

    pairs = pairs_of_shop(drafts, sample=200, seed=7)         # what the shop has, what was written
    pairs = pairs_of_jobs(drafts, others, ("small", "large"), sample=200, seed=7)

The texts are those that a model wrote, not what a person made of them, and rejected ones are among
them: a comparison of what was left after a review would be about the reviewers.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from adwright.authoring.tasks import Product
from adwright.authoring.writer.drafts import Drafts, Key
from adwright.console.review.views import facts_of, shop_text
from adwright.core.errors import DataError


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
