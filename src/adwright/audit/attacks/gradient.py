"""Attacks that see the weights of the model: gradients choose which tokens to try."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from adwright.audit.attacks.attack import (
    AttackGoal,
    AttackStep,
    AttackTier,
    SpendingMeter,
    generator_of,
    kept_generator,
)
from adwright.audit.attacks.gradient_reading import (
    PlacedPrompt,
    ReadPrompt,
    SuffixPlace,
    SuffixReader,
    allowed_tokens,
)
from adwright.audit.attacks.search import halved
from adwright.audit.catalogue import draw_orders
from adwright.audit.targets.target import ListingCleaner
from adwright.core.config import Count, Ge, Gt, Le, settings
from adwright.core.errors import ConfigError, ResumeError
from adwright.lm.engine.generation import Tokenizer

# --------------------------------------------------------------------------------------------------
# The settings of the attack by gradient, and what others take ("Manipulating LLMs to Increase
# Product Visibility" is 2404.07981).
#
# | | steps | candidates | top-k | start | orders |
# |---|---|---|---|---|---|
# | 2404.07981 | 2,000 | 512 | 256 | thirty stars | shuffled after each step |
# | nanoGCG 0.3.0 | 250 | 512 | 256 | twenty "x" | - |
# | default here, for a processor | 60 | 64 | 256 | twenty stars | three, fixed |

#: Nats of the suffix against nats of the answer. At .1 an attack of 120 readings of the prompt won
#: nothing on ten coffee machines; at .03 it won -20 and 100 percent on two books (with a pool of
#: 4,096 tokens 60 and 10).
FLUENCY = 0.03

_WORDS = (
    *("and", "it", "is", "made", "of", "good", "parts", "and", "works", "well"),
    *("every", "day", "for", "all", "who", "use", "it", "at"),
)


@settings
class GradientConfig:
    """tokens: of the suffix. start: what it begins as: stars, letters x, or plain words, which a
        fluent attack needs, since stars that repeat are what a model expects most.
    steps: at most; a budget may end it before. candidates: that are tried in a step. top_k: tokens
        of a position among which they are drawn.
    swaps: positions that a candidate changes.
    orders: "fixed" takes the mean loss over `order_count` orders and keeps what is best; "shuffled"
        draws a new order for each step and takes the best of the step even if it is worse, as in
        the paper.
    reading: "look" tries candidates by an approximation first and reads the best exactly; "exact"
        reads all of them.
    abandon: the share that goes on from one order to the next; 1 tries all in all orders.
    fluency: weight of the mean cross-entropy of the suffix itself, in nats; 0 for none.
    pool: with fluency, tokens are drawn from so many that the model itself expects there.

    Raises ConfigError that names the setting.
    """

    tokens: Count = 20
    start: Literal["stars", "x", "words"] = "stars"
    steps: Count = 60
    candidates: Count = 64
    top_k: Count = 256
    swaps: Count = 1
    orders: Literal["fixed", "shuffled"] = "fixed"
    order_count: Count = 3
    reading: Literal["look", "exact"] = "look"
    abandon: Annotated[float, Gt(0), Le(1)] = 0.25
    fluency: Annotated[float, Ge(0)] = 0.0
    pool: Count = 512

    def __post_init__(self) -> None:
        if self.swaps > self.tokens:
            raise ConfigError(
                "a candidate cannot change more tokens than there are",
                where=f"swaps {self.swaps}",
                hint=f"use at most {self.tokens}",
            )

    @property
    def start_text(self) -> str:
        """The text that the suffix begins as, about a token a word."""
        if self.start == "words":
            return "".join(f" {_WORDS[at % len(_WORDS)]}" for at in range(self.tokens))
        return (" *" if self.start == "stars" else " x") * self.tokens

    @property
    def fixed(self) -> bool:
        """Whether the orders stay the same."""
        return self.orders == "fixed"


def fluent_config(config: GradientConfig) -> GradientConfig:
    """The same for text that reads less odd: begins as plain words, and is weighed by FLUENCY."""
    return replace(config, start="words", fluency=FLUENCY)


# --------------------------------------------------------------------------------------------------
# Which suffixes to try next: swaps of tokens that the gradient speaks for.
#
#     best = best_tokens(gradient, allowed, 256)                    # int64 [L, k]
#     suffixes = draw_candidates(current, best, 64, rng, keeps=place.survives)     # int64 [<= 64,
# L]
#
# Greedy coordinate gradient (Zou et al. 2023, algorithm 1): the loss after token l becomes v is
# about loss + gradient[l, v] - gradient[l, current], so that the k tokens of the lowest gradient
# are the promising ones of a position. A candidate takes one of them, at random, in one random
# position.

#: Times that candidates are drawn again for those that did not survive.
_ROUNDS = 4

Ids = NDArray[np.int64]


def best_tokens(gradient: NDArray[np.float32], allowed: NDArray[np.bool_], k: int) -> Ids:
    """The k tokens of the lowest gradient in each position, the lowest first: int64 [L, k].

    gradient: [L, V]. allowed: [V], or [L, V]; fewer than k are returned where a position has fewer.
    """
    masked = np.where(allowed, gradient, np.inf)
    k = max(min(k, int(np.broadcast_to(allowed, gradient.shape).sum(1).min())), 1)
    found = np.sort(np.argpartition(masked, k - 1, axis=1)[:, :k], axis=1)
    order = np.argsort(np.take_along_axis(masked, found, 1), axis=1, kind="stable")
    return np.take_along_axis(found, order, 1).astype(np.int64)


def draw_candidates(
    current: Sequence[int],
    best: Ids,
    count: int,
    rng: np.random.Generator,
    *,
    swaps: int = 1,
    keeps: Callable[[Sequence[int]], bool],
) -> Ids:
    """At most `count` different suffixes int64 [C, L], none the current one.

    best: [L, k] by position. swaps: positions that each changes. keeps: whether tokens survive as
    text; those that do not are drawn again, a few times.
    """
    L, k = best.shape
    seen: set[tuple[int, ...]] = {tuple(current)}
    found: list[Ids] = []
    for _ in range(_ROUNDS):
        for _ in range(count):
            if len(found) == count:
                break
            one = np.array(current, dtype=np.int64)
            places = rng.permutation(L)[:swaps]
            one[places] = best[places, rng.integers(k, size=swaps)]
            key = tuple(one.tolist())
            if key not in seen:
                seen.add(key)
                if keeps(key):
                    found.append(one)
    return np.stack(found) if found else np.empty((0, L), dtype=np.int64)


# --------------------------------------------------------------------------------------------------
# One step of greedy coordinate gradient over some orders: propose, give up early, read exactly.
#
#     searcher = SuffixSearch(place, reader, config, allowed)
#     bases = searcher.read(prompts, suffix)
#     chosen = searcher.step(bases, 0, rng)
#     chosen.suffix, chosen.value
#
# With `reading="exact"`, one order and no abandoning it is the step of Zou et al. (2023, algorithm
# 1)
# with the filter for retokenisation that nanoGCG has.


@dataclass(frozen=True, eq=False)
class ChosenSuffix:
    """suffix: the best candidate. value: its objective, the mean over the orders. bases: the
    prompts read with it. trials: candidates that were tried for it, each in one order."""

    suffix: tuple[int, ...]
    value: float
    bases: list[ReadPrompt]
    trials: int


class SuffixSearch:
    """Steps from one suffix to the next.

    The objective is  loss of the answer + fluency x cross-entropy of the suffix  as `reading` has
    them. allowed: bool [V], see `vocabulary`.
    """

    def __init__(
        self,
        place: SuffixPlace,
        reader: SuffixReader,
        config: GradientConfig,
        allowed: NDArray[np.bool_],
    ) -> None:
        self._place, self._reader = place, reader
        self._config, self._allowed = config, allowed

    def read(
        self,
        prompts: Sequence[PlacedPrompt],
        suffix: Sequence[int],
        like: Sequence[ReadPrompt] | None = None,
    ) -> list[ReadPrompt]:
        """Read the prompts with a suffix. like: the same prompts with another one."""
        before = [None] * len(prompts) if like is None else like
        return [
            self._reader.read(one, suffix, known)
            for one, known in zip(prompts, before, strict=True)
        ]

    def value(self, bases: Sequence[ReadPrompt]) -> float:
        """The mean objective of what was read."""
        weight = self._config.fluency
        return float(np.mean([base.loss + weight * base.own for base in bases]))

    def step(
        self, bases: Sequence[ReadPrompt], lead: int, rng: np.random.Generator
    ) -> ChosenSuffix | None:
        """The best candidate from the suffix of `bases`, better than it or not; None where no
        candidate survives as text.

        lead: the order whose gradient speaks, and in which candidates are tried first.
        """
        config, current = self._config, bases[0].suffix
        ordered = [*bases[lead:], *bases[:lead]]
        gradient = self._reader.gradient(ordered[0])
        best = best_tokens(gradient, self._usable(ordered[0]), config.top_k)
        suffixes = draw_candidates(
            current, best, config.candidates, rng, swaps=config.swaps, keeps=self._place.survives
        )
        if not len(suffixes):
            return None
        ranked, trials = self._tried(ordered, suffixes)
        best_one = tuple(int(token) for token in suffixes[ranked[0]])
        read = self.read([base.prompt for base in bases], best_one, bases)
        return ChosenSuffix(best_one, self.value(read), read, trials)

    def _usable(self, base: ReadPrompt) -> NDArray[np.bool_]:
        """The tokens among which a position's are drawn: [V], or with fluency [L, V]."""
        if base.expected is None or not self._config.fluency:
            return self._allowed
        expected = base.expected.float().numpy()
        masked = np.where(self._allowed, expected, -np.inf)
        pool = min(self._config.pool, int(self._allowed.sum()))
        top = np.argpartition(-masked, pool - 1, axis=1)[:, :pool]
        usable = np.zeros(masked.shape, dtype=np.bool_)
        np.put_along_axis(usable, top, values=True, axis=1)
        return usable & self._allowed

    def _tried(self, bases: Sequence[ReadPrompt], suffixes: Ids) -> tuple[Ids, int]:
        """Rows of suffixes that were tried in all orders, the best first; how many trials."""
        config = self._config
        quick = config.reading == "look"

        def look(order: int, rows: Ids) -> NDArray[np.float64]:
            found = self._reader.losses(bases[order], suffixes[rows], quick=quick)
            return found.answer + config.fluency * found.own

        trials = halved(len(suffixes), len(bases), look, share=config.abandon)
        return trials.rows, trials.tried


@dataclass
class _GradientCourse:
    """Where an attack is: its best suffix, and the value of that."""

    step: int
    value: float
    suffix: tuple[int, ...]
    rng: np.random.Generator

    def state(self) -> dict[str, Any]:
        kept = [[self.value, list(self.suffix)]]
        return {"step": self.step, "buffer": kept, "rng": kept_generator(self.rng)}


class GradientAttack:
    """One run of it.

    reader: of the model that is attacked, `fluent` where the config has a weight for that. orders:
    that it is tried in, with fixed ones; by default drawn from the seed to choose on, and such that
    the product stands in places that are spread evenly, the last of them. model: its name. cleaner:
    a defence that the record goes through before the model reads it. alone: the defence lets the
    model read each record by itself, and so the loss is that of the name in a prompt of this record
    alone; there is then one order. With one of the two the attack knows the defence, and the tier
    is T4.

    Raises ConfigError as `SuffixPlace` and `allowed_tokens` do.
    """

    def __init__(
        self,
        goal: AttackGoal,
        reader: SuffixReader,
        tokens: Tokenizer,
        meter: SpendingMeter,
        *,
        model: str,
        config: GradientConfig | None = None,
        orders: Sequence[Sequence[int]] = (),
        cleaner: ListingCleaner | None = None,
        alone: bool = False,
        seed: int = 0,
    ) -> None:
        self.goal, self.model = goal, model
        self.config = config = GradientConfig() if config is None else config
        self._reader, self._meter, self._seed = reader, meter, seed
        self._adaptive = alone or cleaner is not None
        self._place = SuffixPlace(goal, tokens, config.start_text, cleaner=cleaner, alone=alone)
        allowed = allowed_tokens(tokens, reader.vocabulary)
        self._search = SuffixSearch(self._place, reader, config, allowed)
        n = len(goal.catalogue)
        self._orders = [tuple(one) for one in orders]
        if alone:
            self._orders = [tuple(range(n))]
        elif not orders:
            self._orders = spread_orders(n, goal.row, config.order_count, seed)

    @property
    def tier(self) -> AttackTier:
        """T3 where the text is to be fluent, T4 where a defence is minded."""
        if self._adaptive:
            return "T4"
        return "T3" if self.config.fluency else "T2"

    @property
    def orders(self) -> tuple[tuple[int, ...], ...]:
        """The fixed orders; none where each step draws its own."""
        return tuple(self._orders) if self.config.fixed else ()

    def steps(self, state: Mapping[str, Any] | None = None) -> Iterator[AttackStep]:
        """Begin, or go on behind the step with this state. Raises ResumeError for another state."""
        course = self._begun(state)
        known: list[ReadPrompt] | None = None
        if not state:
            known = self._read_all(course)
            course.value = self._search.value(known)
            yield self._told(course, "as it begins")
        while course.step < self.config.steps and self._meter.allows():
            if not self.config.fixed:
                known = self._read_all(course)
            elif known is None:
                # What a job that goes on had read when it was stopped, in the same parts, so that
                # it is the same to the last bit; it was paid then.
                prompts = [self._place.prompt(order) for order in self._orders]
                first = self._search.read(prompts, self._place.first)
                known = self._search.read(prompts, course.suffix, first)
            before = self._reader.tokens_read
            chosen = self._search.step(known, course.step % len(known), course.rng)
            self._add(before, len(known[0].prompt.ids), 0 if chosen is None else chosen.trials)
            course.step += 1
            if chosen is None:
                yield self._told(course, "no candidate survives as text")
                continue
            # Where the orders change, values of two of them cannot be compared.
            if not self.config.fixed or chosen.value < course.value:
                course.value, course.suffix = chosen.value, chosen.suffix
                known = chosen.bases
            yield self._told(course, f"loss {chosen.value:.3f}")

    def _begun(self, state: Mapping[str, Any] | None) -> _GradientCourse:
        if not state:
            rng = np.random.default_rng(self._seed)
            return _GradientCourse(0, np.inf, self._place.first, rng)
        try:
            value, suffix = state["buffer"][0]
            step, rng = int(state["step"]), generator_of(state["rng"])
            course = _GradientCourse(step, float(value), tuple(suffix), rng)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise _unreadable(str(error)) from error
        if len(course.suffix) != len(self._place.first):
            raise _unreadable("its suffixes have another length")
        return course

    def _read_all(self, course: _GradientCourse) -> list[ReadPrompt]:
        """The prompts with the best suffix: of the fixed orders, or of a new one."""
        before = self._reader.tokens_read
        if self.config.fixed:
            prompts = [self._place.prompt(order) for order in self._orders]
        else:
            order = course.rng.permutation(len(self.goal.catalogue))
            prompts = [self._place.prompt([int(row) for row in order])]
        read = self._search.read(prompts, course.suffix)
        self._add(before, len(read[0].prompt.ids), len(read))
        return read

    def _add(self, before: int, length: int, trials: int) -> None:
        self._meter.add(calls=(self._reader.tokens_read - before) / length, trials=trials)

    def _told(self, course: _GradientCourse, note: str) -> AttackStep:
        return AttackStep(self._place.text(course.suffix), course.value, course.state(), note)


def spread_orders(n: int, row: int, count: int, seed: int) -> list[tuple[int, ...]]:
    """Orders to choose in: of a balanced draw, in which the product of `row` stands once in each of
    n places, those where it stands last and in places evenly before."""
    drawn = draw_orders(n, -(-count // n) * n, seed=seed, purpose="choose", balanced=True)
    placed = sorted(drawn, key=lambda order: -order.index(row))
    return [placed[at * len(placed) // count] for at in range(count)]


def _unreadable(why: str) -> ResumeError:
    return ResumeError(
        f"the state of the attack cannot be read: {why}",
        where="attack by gradient",
        hint="begin anew in another folder",
    )
