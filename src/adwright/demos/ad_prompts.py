"""What the demonstration asks a model to write of a product, and how it is asked and checked.

    for slot in AD_SLOTS:
        slot.turns(product)         # system and user turn, as `authoring` shows a product
        slot.check                  # limits of the platform, grounding, policy

Its adapter was tuned on these prompts, so that they are in one place. The text of an ad is asked
for with the headline that stands above it, which is shown as one more fact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from adwright.authoring.checks.limits import CheckConfig
from adwright.authoring.tasks import AuthoringRequest, Product, messages_of
from adwright.authoring.writer.slots import WriterSlot, slot_named
from adwright.lm.engine.generation import GenerationConfig, Message

#: Name of the fact that the headline above a text is.
HEADLINE = "Headline"


@dataclass(frozen=True)
class AdSlot:
    """name: headline, text or description. slot: of a writing job, whose instruction it has. limit:
    characters. check: how it is judged. tokens: of an answer at most."""

    name: str
    slot: WriterSlot
    limit: int
    check: CheckConfig
    tokens: int

    def request(self, product: Product) -> AuthoringRequest:
        """The product as the task of the slot has it."""
        return AuthoringRequest(self.slot.task, product)

    def turns(self, product: Product) -> tuple[Message, ...]:
        """What a model is told."""
        instruction = self.slot.instruction(self.limit)
        return messages_of(self.request(product), instruction=instruction)

    def settings(self, seed: int = 0) -> GenerationConfig:
        """How an answer is drawn, up to the end of the line: not the likeliest words, which are
        nearly the same for all products."""
        return GenerationConfig(
            max_tokens=self.tokens, temperature=0.7, top_p=0.9, seed=seed, stop=("\n",)
        )


AD_SLOTS = (
    AdSlot(
        "headline",
        slot_named("headline", "google-rsa"),
        30,
        CheckConfig(limit="google.headline"),
        16,
    ),
    AdSlot(
        "text",
        slot_named("description", "google-rsa"),
        90,
        CheckConfig(limit="google.description"),
        32,
    ),
    AdSlot("description", slot_named("description"), 300, CheckConfig(), 80),
)


def with_headline(product: Product, headline: str) -> Product:
    """The product with one more fact: the headline of its ad."""
    return replace(product, attributes=(*product.attributes, (HEADLINE, headline)))
