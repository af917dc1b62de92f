"""What a job would do, without asking a model: rows, prompts, and about how many tokens.

Tokens are guessed from characters (four of ASCII, or one and a half of other scripts, to a token,
our choice): what a vendor counts differs by a third or so.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from adwright.authoring.checks.settings import brands_of
from adwright.authoring.writer.config import WriteConfig
from adwright.authoring.writer.drafts import JOURNAL, Drafts
from adwright.authoring.writer.engine.opened import OpenedWriter
from adwright.authoring.writer.plan import make_plan
from adwright.authoring.writer.recipe import recipe_of, require_same_recipe
from adwright.authoring.writer.shop.products import ProductTable
from adwright.core.errors import DataError, ResourceError
from adwright.lm.engine.generation import Message
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from adwright.lm.open_model import LmSpec, adapter_hash

_ASCII, _OTHER = 4.0, 1.5
#: Tokens that a chat template puts around a turn.
_TURN = 5
#: Share of the room of an answer that is used.
_USED = 0.6


@dataclass(frozen=True)
class Rehearsal:
    """texts: that would be written. same, human: that are kept. unasked: rows that make no prompt,
    such as a title without a query; first: the reason of the first. prompt_tokens, answer_tokens:
    about. cost: of these."""

    products: int
    texts: int
    same: int
    human: int
    unasked: int
    first: str
    prompt_tokens: int
    answer_tokens: int
    cost: float
    currency: str

    def facts(self) -> dict[str, str]:
        """In words, by name."""
        facts = {
            "would write": f"{self.texts:,} texts for {self.products:,} products",
            "would keep": f"{self.same:,} that are there, {self.human:,} by a person's word",
            "tokens, about": f"{self.prompt_tokens:,} to read, {self.answer_tokens:,} to write",
        }
        if self.cost:
            facts["cost, about"] = f"{self.cost:,.4f} {self.currency}"
        if self.unasked:
            facts["would fail"] = f"{self.unasked:,} texts, the first: {self.first}"
        return facts


def rehearse(
    table: ProductTable, folder: str | Path, config: WriteConfig, writer: LmSpec
) -> Rehearsal:
    """Check a job as `run_job` does, and say what it would do. Nothing is written.

    Raises as `run_job`, and AssetError where there is no such adapter.
    """
    place = Path(folder)
    if place.exists() and not place.is_dir():
        raise ResourceError("this is not a folder", where=str(folder), hint="name another")
    silent = ScriptedModel(ScriptedConfig())
    opened = OpenedWriter(
        silent, writer.model, "none", writer.adapter, adapter_hash(writer.adapter)
    )
    recipe = recipe_of(config, opened, brands=brands_of(table.products))
    with ExitStack() as stack:
        drafts: Drafts | None = None
        if (place / JOURNAL).is_file():
            drafts = stack.enter_context(closing(Drafts.open(folder, reading_only=True)))
            require_same_recipe(drafts, recipe, rewrite=config.rewrite)
        plan = make_plan(table, config, recipe.digests, drafts)
    asked = answered = unasked = 0
    first = ""
    for row in plan.rows:
        try:
            messages = recipe.prompts[row.slot.name].messages(row.request(config.labels))
        except DataError as error:
            unasked, first = unasked + 1, first or str(error)
            continue
        asked += guessed_tokens(messages)
        answered += round(row.slot.tokens * _USED)
    cost = config.prices.of(asked, 0, answered)
    return Rehearsal(
        plan.products,
        len(plan.rows) - unasked,
        plan.same,
        plan.human,
        unasked,
        first,
        asked,
        answered,
        cost,
        config.prices.currency,
    )


def guessed_tokens(messages: tuple[Message, ...]) -> int:
    """About how many tokens a prompt has."""
    total = 0.0
    for one in messages:
        plain = sum(map(str.isascii, one.content))
        total += plain / _ASCII + (len(one.content) - plain) / _OTHER + _TURN
    return round(total)
