"""Where the attacked tokens lie in the prompts, and whether tokens survive as text.

    place = SuffixPlace(goal, tokens, start=" *" * 20)
    prompt = place.prompt(order)        # its ids, where the suffix is, where the answer begins
    place.survives(ids)                 # do these tokens come back from their own text?

A model reads tokens, a shop stores text. Tokens that are found by gradient often become others once
their text is read again: "ab" + "c" may be one token. The released code of "Manipulating LLMs to
Increase Product Visibility" evaluates without this check; here a candidate counts only where the
whole record, written as text and read again, has exactly these tokens.

An attack that knows a defence looks through it: the record stands in the prompt as the defence
leaves it, so that only what gets through as it is survives, and by itself where the defence lets a
model read each record alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from adwright.audit.attacks.goal import AttackGoal
from adwright.audit.targets.defended import ListingCleaner
from adwright.audit.targets.likelihood import answer_ids, prompt_tokens
from adwright.audit.targets.prompts import ANSWER_START
from adwright.audit.targets.target import Ask
from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import Tokenizer


@dataclass(frozen=True)
class PlacedPrompt:
    """One order of the products, as tokens.

    ids: prompt and answer, "1. " and the name of the product. start: where the suffix begins.
    end: behind it. answer: where the answer begins.
    """

    ids: tuple[int, ...]
    start: int
    end: int
    answer: int

    def with_suffix(self, suffix: Sequence[int]) -> tuple[int, ...]:
        """The tokens with another suffix of the same length."""
        return (*self.ids[: self.start], *suffix, *self.ids[self.end :])


class SuffixPlace:
    """The suffix behind the text of a goal's field.

    start: the text that it begins as, with a space in front. form: of the prompt, as
    `LikelihoodConfig` has it. passes: added texts that it refuses do not survive either. cleaner: a
    defence, which the record has gone through. alone: the prompt holds no other record, whatever
    the order.

    Raises ConfigError where the text that it begins as does not lie in the prompt as its own
    tokens, such as where the defence takes it out.
    """

    def __init__(
        self,
        goal: AttackGoal,
        tokens: Tokenizer,
        start: str,
        form: Literal["chat", "plain"] = "chat",
        passes: Callable[[str], bool] | None = None,
        *,
        cleaner: ListingCleaner | None = None,
        alone: bool = False,
    ) -> None:
        self.goal, self.form = goal, form
        self._passes, self._cleaner, self._alone = passes, cleaner, alone
        self._tokens = tokens
        self.first = tuple(tokens.encode(start, special=False))
        own = (*tokens.encode(ANSWER_START, special=False), *answer_ids(tokens, goal.name))
        self._answer = own
        self._home = self.prompt(tuple(range(len(goal.catalogue))))

    def text(self, suffix: Sequence[int]) -> str:
        """The text of some tokens, to be added behind the field."""
        return self._tokens.decode(suffix)

    def prompt(self, order: Sequence[int], request: str = "") -> PlacedPrompt:
        """The prompt in which the products are shown in this order, with the suffix as it begins.

        request: instead of the one of the catalogue. Raises ConfigError where the suffix is not
        found in it exactly once.
        """
        ids = self._ids(self.text(self.first), order, request)
        starts = _places(ids, self.first)
        if len(starts) != 1:
            raise ConfigError(
                "the tokens that the attack begins with do not lie in the prompt exactly once",
                where=f"{self.goal.name}: {self.text(self.first)[:20]!r}, {len(starts)} places",
                hint="begin with other words",
            )
        answer = len(ids) - len(self._answer)
        end = starts[0] + len(self.first)
        return PlacedPrompt(ids, starts[0], end, answer)

    def survives(self, suffix: Sequence[int]) -> bool:
        """Whether text made of these tokens has them again where it is read in its record."""
        text, order = self.text(suffix), range(len(self.goal.catalogue))
        if self._ids(text, order, "") != self._home.with_suffix(suffix):
            return False
        return self._passes is None or self._passes(text)

    def _ids(self, extra: str, order: Sequence[int], request: str) -> tuple[int, ...]:
        own = self.goal.attacked(extra)
        own = own if self._cleaner is None else self._cleaner.clean(own)
        shop = self.goal.catalogue
        listings = (own,) if self._alone else shop.with_listing(self.goal.row, own).listings
        shown = (0,) if self._alone else tuple(order)
        ask = Ask(listings, request or shop.request, shown)
        asked = prompt_tokens(self._tokens, ask, self.form)
        start = len(self._tokens.encode(ANSWER_START, special=False))
        return (*asked[: len(asked) - start], *self._answer)


def _places(ids: Sequence[int], part: Sequence[int]) -> list[int]:
    """Where `part` lies in `ids`."""
    size, found = len(part), tuple(part)
    return [at for at in range(len(ids) - size + 1) if tuple(ids[at : at + size]) == found]
