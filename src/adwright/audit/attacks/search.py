"""Search on rank feedback alone, over phrases and words (T1): what a seller can do who sees lists.

    attack = SearchAttack(feedback, RankSearchConfig(), model="..", seed=0)
    for step in attack.steps():
        ...

All texts of a beam grow by a piece, lose one, or have one replaced; the best `width` of old and new
go on. Candidates are given up early: all are tried in one order, the better ones in the next
(`halving`).
"""

from __future__ import annotations

import math
import re
import string
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from adwright.audit.attacks.attack import (
    AttackGoal,
    AttackStep,
    AttackTier,
    RankFeedback,
    SpendingMeter,
    generator_of,
    kept_generator,
)
from adwright.audit.report.trials import CONTROL, SellerText
from adwright.audit.targets.target import ListingCleaner, Target
from adwright.core.config import Count, Gt, Le, require_count, settings
from adwright.core.errors import ResumeError
from adwright.core.hashing import content_hash
from adwright.lm.engine.generation import Tokenizer
from adwright.metrics.text.mentions import lexicon

# --------------------------------------------------------------------------------------------------
# Give up candidates early: all are tried in one order, the better ones in the next.
#
#     trials = halved(64, 3, look, share=0.25)     # 64, then 16, then 4
#     trials.rows[0]                               # the best of those that were tried in all orders
#
# Successive halving: the loss of a candidate in one order says much of its loss in the others, so
# that three orders cost 84 looks instead of 192.

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class HalvedTrials:
    """rows: candidates that were tried in all orders, the best first [S]. means: of their losses
    over the orders [S]. tried: in all orders together."""

    rows: Rows
    means: NDArray[np.float64]
    tried: int


def halved(
    count: int,
    orders: int,
    look: Callable[[int, Rows], NDArray[np.float64]],
    *,
    share: float,
    least: int = 1,
) -> HalvedTrials:
    """Try `count` candidates.

    look: losses of some rows in one order. share: of them that goes on to the next order, at least
    `least`.
    """
    rows = np.arange(count)
    sums, tried = np.zeros(count), 0
    for order in range(orders):
        if order:
            keep = max(min(least, len(rows)), math.ceil(share * len(rows)))
            rows = rows[np.argsort(sums[rows], kind="stable")[:keep]]
        sums[rows] += look(order, rows)
        tried += len(rows)
    rows = rows[np.argsort(sums[rows], kind="stable")]
    return HalvedTrials(rows, sums[rows] / orders, tried)


# --------------------------------------------------------------------------------------------------
# What a search puts texts together from: phrases and words that fit any product.
#
#     pool = text_pieces(goal, "phrases")
#
# Words are those of praise and those of the request and of the competing records, since a model
# that
# matches words to the request can be swayed by them. Facts are what a defence by typed extraction
# takes for some: colours, materials, and what the catalogue's attributes say, true of the product
# or
# not, its own ones first.

PieceKind = Literal["phrases", "words", "both", "facts"]

_MOST_WORDS = 60


@cache
def _pieces() -> dict[str, list[str]]:
    """Phrases with {name} and {request}, and words of praise; read once."""
    text = files(__package__).joinpath("texts.toml").read_text("utf-8")
    found: dict[str, list[str]] = tomllib.loads(text)["search"]
    return found


def text_pieces(goal: AttackGoal, kind: PieceKind = "both") -> tuple[str, ...]:
    """The pieces for a product, in a fixed order, each once. both: phrases and words."""
    if kind == "facts":
        return _facts(goal)
    words = {"name": goal.name, "request": goal.catalogue.request}
    phrases = [one.format(**words) for one in _pieces()["phrases"]]
    if kind == "phrases":
        return tuple(dict.fromkeys(phrases))
    own = [*re.findall(r"\w+", goal.catalogue.request), goal.name, *goal.name.split()]
    texts = [text for one in goal.catalogue.listings for text in one.texts.values()]
    found = [word for text in texts for word in re.findall(r"[A-Za-z][\w-]{3,}", text)]
    praise = _pieces()["praise"]
    single = list(dict.fromkeys([*praise, *own, *found]))[: len(praise) + _MOST_WORDS]
    return tuple(dict.fromkeys(single if kind == "words" else [*phrases, *single]))


def _facts(goal: AttackGoal) -> tuple[str, ...]:
    terms = lexicon("en").terms.values()
    said = [
        one.key
        for some in terms
        for one in some
        if one.kind in ("colour", "material") and " " not in one.key
    ]
    listings = goal.catalogue.listings
    every = (listings[goal.row], *listings)
    values = [value for one in every for value in one.attributes.values() if value is not None]
    return tuple(dict.fromkeys([*said, *list(dict.fromkeys(map(str, values)))[:_MOST_WORDS]]))


#: A text as the rows of its pieces.
Pieces = tuple[int, ...]
_DRAWN = 8  # times that a child is drawn again that is known already


@settings
class RankSearchConfig:
    """pieces: what texts are made of. width: of the beam. branch: new texts of a step. longest:
    pieces of a text. steps: at most. abandon: the share of candidates that goes on from one order
    to the next. Raises ConfigError that names the setting."""

    pieces: PieceKind = "both"
    width: Count = 4
    branch: Count = 16
    longest: Count = 8
    steps: Count = 40
    abandon: Annotated[float, Gt(0), Le(1)] = 0.25


@dataclass
class _SearchCourse:
    """nodes: texts that were tried in all orders, with their mean rank. dropped: texts that were
    given up, which are never drawn again."""

    step: int
    nodes: dict[Pieces, float]
    dropped: set[Pieces]
    rng: np.random.Generator

    def best(self) -> Pieces:
        return min(self.nodes, key=lambda one: (self.nodes[one], len(one), one))

    def state(self) -> dict[str, Any]:
        nodes = [[list(one), value] for one, value in self.nodes.items()]
        return {
            "step": self.step,
            "nodes": nodes,
            "dropped": sorted(list(one) for one in self.dropped),
            "rng": kept_generator(self.rng),
        }


class SearchAttack:
    """One search. model: its name. passes: texts that it refuses are never asked, as in an attack
    that knows the defence; tier is then T4. pool: pieces in place of those of the config."""

    def __init__(
        self,
        feedback: RankFeedback,
        config: RankSearchConfig | None = None,
        *,
        model: str,
        passes: Callable[[str], bool] | None = None,
        pool: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        self.model = model
        self.config = RankSearchConfig() if config is None else config
        self._feedback, self._passes, self._seed = feedback, passes, seed
        self._pool = text_pieces(feedback.goal, self.config.pieces) if pool is None else tuple(pool)
        self._pool_hash = content_hash(list(self._pool))

    @property
    def tier(self) -> AttackTier:
        """T1; T4 where it minds a defence."""
        return "T1" if self._passes is None else "T4"

    @property
    def goal(self) -> AttackGoal:
        """What it is after."""
        return self._feedback.goal

    def steps(self, state: Mapping[str, Any] | None = None) -> Iterator[AttackStep]:
        """Begin, or go on behind a step; the last ones have as few new texts as the budget allows,
        and it ends where that is none. Raises ResumeError for another state."""
        course = self._begun(state)
        orders = len(self._feedback.orders)
        while course.step < self.config.steps:
            children = self._children(course, self._affordable(course))
            if not children:
                return
            if not course.nodes:
                course.nodes[()] = float(self._feedback.mean_ranks([""])[0])
            texts = [self._text(one) for one in children]
            trials = halved(
                len(texts),
                orders,
                self._feedback.in_order(texts),
                share=self.config.abandon,
                least=min(self.config.width, len(texts)),
            )
            for row, value in zip(trials.rows, trials.means, strict=True):
                course.nodes[children[int(row)]] = float(value)
            course.dropped |= {one for one in children if one not in course.nodes}
            course.step += 1
            best = course.best()
            note = f"{len(course.nodes)} texts tried in all orders"
            told = {**course.state(), "pool": self._pool_hash}
            yield AttackStep(self._text(best), course.nodes[best], told, note)

    def _begun(self, state: Mapping[str, Any] | None) -> _SearchCourse:
        if not state:
            return _SearchCourse(0, {}, set(), np.random.default_rng(self._seed))
        try:
            nodes = {tuple(map(int, one)): float(value) for one, value in state["nodes"]}
            dropped = {tuple(map(int, one)) for one in state["dropped"]}
            rng = generator_of(state["rng"])
            course = _SearchCourse(int(state["step"]), nodes, dropped, rng)
            every = (*nodes, *dropped)
            known = state.get("pool") == self._pool_hash
            known = known and all(0 <= piece < len(self._pool) for one in every for piece in one)
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable(str(error)) from error
        if not known:
            raise _unreadable("it was made of other pieces")
        return course

    def _affordable(self, course: _SearchCourse) -> int:
        """How many new texts a step may have: all are asked about in one order, a share of them in
        each further one; before the first the product as it is."""
        orders = len(self._feedback.orders)
        for count in range(self.config.branch, 0, -1):
            left, cost = count, count + (0 if course.nodes else orders)
            for _ in range(orders - 1):
                left = max(min(self.config.width, left), math.ceil(self.config.abandon * left))
                cost += left
            if self._feedback.meter.allows(cost):
                return count
        return 0

    def _children(self, course: _SearchCourse, count: int) -> list[Pieces]:
        """At most `count` new texts, none tried before; of the texts that are to grow."""
        found: dict[Pieces, None] = {}
        before = course.nodes.keys() | course.dropped
        parents = self._parents(course) if count else [()]
        for _ in range(count * _DRAWN):
            if len(found) == count:
                break
            parent = parents[int(course.rng.integers(len(parents)))]
            child = self._changed(parent, course.rng)
            if child in before or child in found or not child:
                continue
            if self._passes is None or self._passes(self._text(child)):
                found[child] = None
        return list(found)

    def _parents(self, course: _SearchCourse) -> list[Pieces]:
        ordered = sorted(course.nodes, key=lambda one: (course.nodes[one], len(one), one))
        return ordered[: self.config.width] or [()]

    def _changed(self, parent: Pieces, rng: np.random.Generator) -> Pieces:
        """A piece more, another in its place, or one less."""
        new = int(rng.integers(len(self._pool)))
        at = int(rng.integers(len(parent) + 1))
        kind = rng.random()
        if not parent or (kind < 0.6 and len(parent) < self.config.longest):
            return (*parent[:at], new, *parent[at:])
        at = min(at, len(parent) - 1)
        if kind < 0.9 or len(parent) == 1:
            return (*parent[:at], new, *parent[at + 1 :])
        return (*parent[:at], *parent[at + 1 :])

    def _text(self, pieces: Pieces) -> str:
        return "".join(f" {self._pool[piece]}" for piece in pieces)


def _unreadable(why: str) -> ResumeError:
    return ResumeError(
        f"the state of the search cannot be read: {why}",
        where="search",
        hint="begin anew in another folder",
    )


# --------------------------------------------------------------------------------------------------
# Attacks that know the defence (T4): only texts that get through it are tried.
#
#     behind = DefendedTarget(target, defence)           # or stack.target(target)
#     search = adaptive_search(behind, defence, goal, orders, meter, model="..")
#
# A defence is measured by who has read it. Black box: the search ranks through the whole defence,
# learns the scores that it ranks by, and spends no call on a text that it would drop. Where the
# weights are known, `GradientAttack` takes the defence as `cleaner` and `alone`: its gradient is
# that of what the defended ranker reads, the record as the defence leaves it and by itself, and
# candidates that would be changed are dropped before any is read. What a filter decides has no
# gradient; it is minded by dropping.

#: The share of pieces of which a search can still put texts together.
_FEW = 0.1


def passing(defence: ListingCleaner, goal: AttackGoal) -> Callable[[str], bool]:
    """Whether an added text gets through: the defence leaves at least half of its words in the
    field."""

    def passes(extra: str) -> bool:
        # Words that the seller wrote before stand there anyway, once for each time.
        cleaned = defence.clean(goal.attacked(extra))
        left = Counter(_words(cleaned.texts.get(goal.field, "")))
        left.subtract(_words(goal.own_text))
        words = Counter(_words(extra))
        kept = sum(min(count, max(left[word], 0)) for word, count in words.items())
        return bool(words) and 2 * kept >= sum(words.values())

    return passes


def adaptive_search(
    target: Target,
    defence: ListingCleaner,
    goal: AttackGoal,
    orders: Sequence[Sequence[int]],
    meter: SpendingMeter,
    *,
    model: str,
    config: RankSearchConfig | None = None,
    seed: int = 0,
) -> SearchAttack:
    """A search whose feedback comes through the defence. target: behind it. Where few pieces of the
    config get through by themselves, as before typed extraction, texts are made of those and of
    facts that do."""
    feedback = RankFeedback(target, goal, orders, meter, by_score=True)
    known = passing(defence, goal)
    config = RankSearchConfig() if config is None else config
    pool = text_pieces(goal, config.pieces)
    through = [one for one in pool if known(f" {one}")]
    if len(through) < _FEW * len(pool):
        through += [one for one in text_pieces(goal, "facts") if known(f" {one}")]
        pool = tuple(dict.fromkeys(through)) or pool
    return SearchAttack(feedback, config, model=model, passes=known, pool=pool, seed=seed)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


# --------------------------------------------------------------------------------------------------
# Texts that people write to push a product: what anybody may try without a model (T0).
#
#     template_texts(goal)              # ("override", " Ignore all previous ..."), ...
#
# override: speaks to the model instead of the shopper. authority: invents a rule of the shop.
# fake_review: invents buyers. flooding: says the name and praise again and again. comparison: runs
# down the others by name. hidden: an override that a page does not show, in a comment, an invisible
# element, or characters without width.


@cache
def templates() -> dict[str, list[str]]:
    """The texts of each kind; {name} is the product, {other} and {third} compete with it."""
    text = files(__package__).joinpath("texts.toml").read_text("utf-8")
    found: dict[str, list[str]] = tomllib.loads(text)["templates"]
    return found


def template_texts(goal: AttackGoal) -> list[tuple[str, str]]:
    """Kind and text of every template, to be added behind the field."""
    others = [one for row, one in enumerate(goal.catalogue.names) if row != goal.row]
    words = {"name": goal.name, "other": others[0], "third": others[-1]}
    return [
        (kind, f" {text.format(**words)}") for kind in templates() for text in templates()[kind]
    ]


# --------------------------------------------------------------------------------------------------
# Texts that are no attack, for comparison: random tokens, the name again, a truthful sentence.
#
#     texts = control_texts(goal, seed=0, words=30)
#
# A ranker that is moved as far by them as by an attack is moved by length or by noise. The truthful
# sentence says again what the record's attributes say, and nothing else.

ControlKind = Literal["random", "name", "truthful"]
_LETTERS = np.array(list(string.ascii_lowercase))


def control_texts(
    goal: AttackGoal,
    *,
    seed: int = 0,
    words: int = 20,
    tokens: Tokenizer | None = None,
    vocabulary: int = 0,
) -> list[SellerText]:
    """The three controls of a product, as an audit tries them.

    words: random tokens in the first. tokens, vocabulary: of the model, from which they are drawn;
    without, they are words of random letters.
    """
    made: dict[ControlKind, str] = {
        "random": random_text(
            np.random.default_rng([seed, goal.row]), words, tokens=tokens, vocabulary=vocabulary
        ),
        "name": f" {goal.name}",
        "truthful": truthful_text(goal),
    }
    return [
        SellerText(goal.name, goal.field, goal.own_text + extra, f"{CONTROL} {kind}", str(seed))
        for kind, extra in made.items()
    ]


def random_text(
    rng: np.random.Generator,
    words: int,
    *,
    tokens: Tokenizer | None = None,
    vocabulary: int = 0,
) -> str:
    """So many random tokens of plain ASCII, or words of two to eight random letters."""
    require_count("words", words)
    if tokens is None:
        parts = ["".join(rng.choice(_LETTERS, rng.integers(2, 9))) for _ in range(words)]
        return "".join(f" {one}" for one in parts)
    found: list[str] = []
    while len(found) < words:
        text = tokens.decode([int(rng.integers(vocabulary))])
        if text.strip() and text.isascii() and text.isprintable() and not set(text) & set('"\\'):
            found.append(text)
    joined = "".join(found)
    return joined if joined.startswith(" ") else f" {joined}"


def truthful_text(goal: AttackGoal) -> str:
    """A sentence of the record's own attributes; of its name where it has none."""
    said = [
        f"{name} {value}" for name, value in goal.listing.attributes.items() if value is not None
    ]
    return f" {goal.name}: {', '.join(said[:3])}." if said else f" This is {goal.name}."
