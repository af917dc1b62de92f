"""The attack by gradient: tokens that make the model begin its list with one product (T2, T3).

    reader = SuffixReader(model)
    attack = GradientAttack(goal, reader, tokens, meter, model="smollm2-135m-instruct", seed=0)
    for step in attack.steps():
        print(step.value, step.text)

Greedy coordinate gradient (Zou et al. 2023) on a record in the middle of a list, as in
"Manipulating LLMs to Increase Product Visibility" (Kumar and Lakkaraju 2024). There the products
are shuffled after each step and the best of the step is taken even if it is worse
(`orders="shuffled"`). The default takes the mean over a few fixed orders, whose prompts are read
once for the whole attack up to the suffix, and keeps what is better. With `fluency` above 0 it is
the fluent attack (T3): text that reads less odd, of tokens that the model itself expects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from adwright.audit.attacks.attack import AttackStep, AttackTier, generator_of, kept_generator
from adwright.audit.attacks.budget import SpendingMeter
from adwright.audit.attacks.goal import AttackGoal
from adwright.audit.attacks.gradient.config import GradientConfig
from adwright.audit.attacks.gradient.place import SuffixPlace
from adwright.audit.attacks.gradient.reading import ReadPrompt, SuffixReader
from adwright.audit.attacks.gradient.step import ChosenSuffix, SuffixSearch
from adwright.audit.attacks.gradient.vocabulary import allowed_tokens
from adwright.audit.catalogue.orders import draw_orders
from adwright.audit.targets.defended import ListingCleaner
from adwright.core.errors import ResumeError
from adwright.lm.engine.generation import Tokenizer

Kept = tuple[float, tuple[int, ...]]


@dataclass
class _GradientCourse:
    """Where an attack is. buffer: the best suffixes with their values, the best first."""

    step: int
    buffer: list[Kept]
    rng: np.random.Generator

    def state(self) -> dict[str, Any]:
        kept = [[value, list(suffix)] for value, suffix in self.buffer]
        return {"step": self.step, "buffer": kept, "rng": kept_generator(self.rng)}


class GradientAttack:
    """One run of it.

    reader: of the model that is attacked, `fluent` where the config has a weight for that. orders:
    that it is tried in, with fixed ones; by default drawn from the seed to choose on, and such that
    the product stands in places that are spread evenly, the last of them. form: of the prompt, as
    `LikelihoodConfig` has it. model: its name. passes: added texts that it refuses are no
    candidates. cleaner: a defence that the record goes through before the model reads it. alone:
    the defence lets the model read each record by itself, and so the loss is that of the name in a
    prompt of this record alone; there is then one order. With any of the three the attack knows the
    defence, and the tier is T4.

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
        form: Literal["chat", "plain"] = "chat",
        passes: Callable[[str], bool] | None = None,
        cleaner: ListingCleaner | None = None,
        alone: bool = False,
        seed: int = 0,
    ) -> None:
        self.goal, self.model = goal, model
        self.config = config = GradientConfig() if config is None else config
        self._reader, self._meter, self._seed = reader, meter, seed
        self._adaptive = alone or not (passes is None and cleaner is None)
        self._place = SuffixPlace(
            goal, tokens, config.start_text, form, passes, cleaner=cleaner, alone=alone
        )
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
            known = self._read_all(course, None)
            value = self._search.value(known)
            course.buffer = [(value, known[0].suffix)]
            yield self._told(course, "as it begins")
        while course.step < self.config.steps and self._meter.allows():
            suffix = course.buffer[0][1]
            if not self.config.fixed:
                known = self._read_all(course, None)
            elif known is None:
                known = self._read_again(course)
            elif known[0].suffix != suffix:
                known = self._read_all(course, known)
            chosen = self._counted(known, course)
            course.step += 1
            if chosen is None:
                yield self._told(course, "no candidate survives as text")
                continue
            if self._accepted(course, chosen) and course.buffer[0][1] == chosen.suffix:
                known = chosen.bases
            yield self._told(course, f"loss {chosen.value:.3f}")

    def _begun(self, state: Mapping[str, Any] | None) -> _GradientCourse:
        if not state:
            return _GradientCourse(
                0, [(np.inf, self._place.first)], np.random.default_rng(self._seed)
            )
        try:
            buffer = [(float(value), tuple(suffix)) for value, suffix in state["buffer"]]
            course = _GradientCourse(int(state["step"]), buffer, generator_of(state["rng"]))
            fits = all(len(suffix) == len(self._place.first) for _, suffix in buffer)
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable(str(error)) from error
        if not fits or not buffer:
            raise _unreadable("its suffixes have another length")
        return course

    def _read_all(
        self, course: _GradientCourse, known: list[ReadPrompt] | None
    ) -> list[ReadPrompt]:
        """The prompts with the best suffix: of the fixed orders, or of a new one."""
        suffix, before = course.buffer[0][1], self._reader.tokens_read
        if known is not None:
            prompts = [base.prompt for base in known]
        elif self.config.fixed:
            prompts = [self._place.prompt(order) for order in self._orders]
        else:
            order = course.rng.permutation(len(self.goal.catalogue))
            prompts = [self._place.prompt([int(row) for row in order])]
        read = self._search.read(prompts, suffix, known)
        self._add(before, len(read[0].prompt.ids), len(read))
        return read

    def _read_again(self, course: _GradientCourse) -> list[ReadPrompt]:
        """What a job that goes on had read when it was stopped, in the same parts, so that it is
        the same to the last bit; it was paid then."""
        prompts = [self._place.prompt(order) for order in self._orders]
        first = self._search.read(prompts, self._place.first)
        return self._search.read(prompts, course.buffer[0][1], first)

    def _counted(self, known: list[ReadPrompt], course: _GradientCourse) -> ChosenSuffix | None:
        before = self._reader.tokens_read
        chosen = self._search.step(known, course.step % len(known), course.rng)
        self._add(before, len(known[0].prompt.ids), 0 if chosen is None else chosen.trials)
        return chosen

    def _add(self, before: int, length: int, trials: int) -> None:
        self._meter.add(calls=(self._reader.tokens_read - before) / length, trials=trials)

    def _accepted(self, course: _GradientCourse, chosen: ChosenSuffix) -> bool:
        """Take what was chosen into the buffer, if it is good enough; always where the orders
        change, since values of two orders cannot be compared."""
        new = (chosen.value, chosen.suffix)
        if not self.config.fixed:
            course.buffer = [new]
            return True
        held = [one for one in course.buffer if one[1] != chosen.suffix]
        better = len(held) < self.config.buffer or chosen.value < held[-1][0]
        if better:
            kept = sorted([*held, new], key=lambda one: one[0])
            course.buffer = kept[: self.config.buffer]
        return better

    def _told(self, course: _GradientCourse, note: str) -> AttackStep:
        value, suffix = course.buffer[0]
        return AttackStep(self._place.text(suffix), value, course.state(), note)


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
