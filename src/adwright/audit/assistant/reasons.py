"""Why a product is recommended, in the words of a local model, within what the shop vouches for.

    reasons = write_reasons(model, listings, "I want a kettle.")      # one sentence each

The model fills in a form, a JSON object with the names as keys, so that it can name nothing but
what was ranked. What it writes there is then checked sentence by sentence: one that claims a
figure, a colour, a material or a brand that no attribute of the product supports
(`metrics.text.grounding`), or that names another product, is left out. Where nothing is left, the
attributes are the reason. What sellers wrote is no support: it is what the audit is about.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adwright.audit.catalogue.listing import ShopListing
from adwright.audit.targets.matching import NameFinder, plain_text
from adwright.audit.targets.target import RankingCost
from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig, LanguageModel, Message
from adwright.metrics.text.grounding import grounded

_LONGEST, _SHORTEST = 160, 12
#: Tokens of a reason with its quotes, and of the form around all; a token has a letter at least.
_TOKENS, _AROUND = 60, 40
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_INSTRUCTION = (
    "You are a shopping assistant. For each product say in one short sentence why it suits the "
    "request. Use the given facts alone. Answer with a JSON object from names to sentences."
)


@dataclass(frozen=True)
class Reason:
    """text: what is told. written: whether the model's words are told, else the facts are. dropped:
    sentences that were left out."""

    text: str
    written: bool
    dropped: tuple[str, ...] = ()


def facts_of(listing: ShopListing) -> tuple[str, ...]:
    """Name and attributes, as `name: value`."""
    pairs = listing.attributes.items()
    return (listing.name, *(f"{name}: {value}" for name, value in pairs if value is not None))


def reason_schema(names: Sequence[str]) -> dict[str, Any]:
    """The form: every name once, in this order, with a sentence."""
    sentence = {"type": "string", "minLength": _SHORTEST, "maxLength": _LONGEST}
    return {
        "type": "object",
        "properties": dict.fromkeys(names, sentence),
        "required": list(names),
        "additionalProperties": False,
    }


def write_reasons(
    model: LanguageModel,
    listings: Sequence[ShopListing],
    request: str,
    *,
    others: Sequence[str] = (),
    seed: int = 0,
) -> tuple[list[Reason], RankingCost]:
    """A reason for each listing, and what they cost. others: further names of the shop, which no
    reason may mention. Raises as `LanguageModel.generate`."""
    if not listings:
        return [], RankingCost()
    names = [one.name for one in listings]
    lines = "\n".join(json.dumps(facts_of(one), ensure_ascii=False) for one in listings)
    chat = (Message("system", _INSTRUCTION), Message("user", f"{lines}\n\n{request}"))
    room = sum(_TOKENS + len(name) for name in names) + _AROUND
    config = GenerationConfig(max_tokens=room, seed=seed, json_schema=reason_schema(names))
    (answer,) = model.generate([chat], config)
    told = _object(answer.text)
    finder = NameFinder(list(dict.fromkeys([*names, *others])))
    reasons = [_reason(one, told.get(one.name, ""), finder) for one in listings]
    usage = answer.usage
    return reasons, RankingCost(1, usage.prompt_tokens, usage.completion_tokens)


def supported(sentence: str, listing: ShopListing, finder: NameFinder) -> bool:
    """Whether a sentence says something, claims nothing beyond the attributes, and names no other
    product."""
    if finder.exactly(sentence) is not None:
        return False  # a name alone is no reason
    named = {finder.names[place.row] for place in finder.find(plain_text(sentence))}
    return named <= {listing.name} and grounded(sentence, facts_of(listing))


def _reason(listing: ShopListing, text: str, finder: NameFinder) -> Reason:
    sentences = [one.strip() for one in _SENTENCE.split(" ".join(text.split())) if one.strip()]
    kept = [one for one in sentences if supported(one, listing, finder)]
    dropped = tuple(one for one in sentences if one not in kept)
    if kept:
        return Reason(" ".join(kept), True, dropped)
    facts = ", ".join(facts_of(listing)[1:]) or "no further facts"
    return Reason(facts, False, dropped)


def _object(text: str) -> dict[str, str]:
    """The object of an answer; empty where it was cut off. Raises ConfigError where the engine did
    not keep to the form."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(
            "the model did not keep to the form of the answer",
            where=text[:80],
            hint="use an engine with constrained output",
        )
    return {str(key): one for key, one in value.items() if isinstance(one, str)}
