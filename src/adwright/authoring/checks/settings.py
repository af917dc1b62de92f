"""How strictly texts are checked, and against which brands, voice and limit.

config = CheckConfig(limit="google.headline", brands=brands_of(products))
config = load_toml("checks.toml", CheckConfig)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from adwright.authoring.checks.limits import limit_named
from adwright.authoring.checks.voice import BrandVoice
from adwright.authoring.tasks.product import Product
from adwright.authoring.tasks.task import AuthoringRequest
from adwright.core.config import Count, settings

#: What is looked at. label: that the answer is one of the closed list.
CheckName = Literal[
    "grounding", "policy", "limits", "voice", "language", "markup", "repetition", "label"
]
#: Facts beyond so many characters are not read: what only they say is unsupported.
_MOST_FACTS = 50_000


@settings
class CheckConfig:
    """checks: which; empty: those of the task. limit: name of the platform's limit, see `limits`;
    empty: none. voice: of the brand. brands: of the whole catalogue, so that another brand's name
    is found. competitors: marks that are never named. locale: of the texts; empty: that of the
    voice, else of the product. most_characters: a longer text is refused unread. fact_slots: values
    of a request that are facts; what a customer asks for is none.

    Raises ConfigError for an unknown check, limit or a length below 1.
    """

    checks: tuple[CheckName, ...] = ()
    limit: str = ""
    voice: BrandVoice | None = None
    brands: frozenset[str] = frozenset()
    competitors: frozenset[str] = frozenset()
    locale: str = ""
    most_characters: Count = 20_000
    fact_slots: tuple[str, ...] = ("occasion", "audience")

    def __post_init__(self) -> None:
        if self.limit:
            limit_named(self.limit)

    def locale_of(self, request: AuthoringRequest) -> str:
        """The locale in which a text for the request is to be."""
        asked = self.voice.locale if self.voice is not None else ""
        return self.locale or asked or request.product.locale


def brands_of(products: Iterable[Product]) -> frozenset[str]:
    """The brands of a catalogue, each once."""
    return frozenset(brand for one in products if (brand := one.brand.strip()))


def facts_of(request: AuthoringRequest, config: CheckConfig) -> tuple[str, ...]:
    """All that a text for the request may say: facts of the product, and the values of
    `fact_slots`; of them as much as is read."""
    values = (value for name, value in request.values if name in config.fact_slots)
    found, left = [], _MOST_FACTS
    for fact in (*request.product.facts(), *values):
        if fact.strip() and left > 0:
            found.append(fact[:left])
            left -= len(fact)
    return tuple(found)
