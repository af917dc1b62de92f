"""Approve ads by stated rules, where no person looks at each one.

    done = approve_by_rules(store, "acme", ApprovalRules(), author="rules:usual")
    done.approved, done.held            # creative_id -> which rules it passed, or did not and why

Each approval is a move as any other, of the author "rules:NAME", whose `why` says what was found.
What does not pass stays in review, for a person.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from adwright.authoring.checks.limits import CheckConfig, brands_of, errors_of
from adwright.authoring.checks.verdict import check
from adwright.authoring.tasks import AuthoringRequest, Product
from adwright.authoring.writer.config import slot_named
from adwright.campaigns.store.creatives import Scores
from adwright.campaigns.store.store import Store
from adwright.core.config import Ge, Le, settings
from adwright.data.creatives import MODEL, PERSON, SLOTS, Creative

#: Words of so few letters name no product.
_WORD, _SHORT = re.compile(r"\w+"), 2
#: Slot of an ad -> as which text it is checked.
_AS = {"headline": "headline", "description": "description", "body": "primary_text"}


@settings
class ApprovalRules:
    """What an ad needs to be approved without a person.

    name: of the rules, in the history. checks: names that its `checks_passed` has; where the
    product is known, its texts are checked anew instead. slots: parts that it has. named: where the
    product is known, the ad says a word of its title. maker: it says which model or person made
    it, so that the label is right. landing: a click leads somewhere. judge: whose prediction
    counts, where there is one. share: the lower bound of what the judge predicts is at least so
    much of that of the item's live ads, their mean, as far as the judge knows them; 0 does not
    ask.
    """

    name: str = "usual"
    checks: tuple[str, ...] = ("authoring",)
    slots: tuple[str, ...] = ("headline",)
    named: bool = True
    maker: bool = True
    landing: bool = True
    judge: str = "click_rate"
    share: Annotated[float, Ge(0), Le(10)] = 0.5

    @property
    def author(self) -> str:
        """Who approves by them."""
        return f"rules:{self.name}"


@dataclass(frozen=True)
class ByRules:
    """creative_id -> why, of ads that were approved, and of those that stay in review."""

    approved: Mapping[str, str]
    held: Mapping[str, str]


def approve_by_rules(
    store: Store,
    tenant: str,
    rules: ApprovalRules,
    *,
    author: str = "",
    item_ids: Sequence[str] | None = None,
    products: Mapping[str, Product] | None = None,
    check_config: CheckConfig | None = None,
    dry_run: bool = False,
) -> ByRules:
    """Approve what is in review and passes the rules.

    author: "rules:NAME" by default. products: by item_id, whose facts texts are checked against,
    as check_config says. Raises as `Store.move_creatives`.
    """
    waiting = store.creatives_full(tenant, states=["in review"], item_ids=item_ids)
    live = store.creatives_full(
        tenant, states=["live"], item_ids=sorted({one.item_id for one in waiting})
    )
    scores = store.creative_scores(tenant, [one.creative_id for one in (*waiting, *live)])
    bars = _bars(live, scores, rules.judge)
    config = check_config or CheckConfig()
    known = products or {}
    config = replace(config, brands=config.brands | brands_of(known.values()))
    approved, held = dict[str, str](), dict[str, str]()
    for ad in waiting:
        passed, missed = list[str](), list[str]()
        for ok, said in (
            _checked(ad, rules, known.get(ad.item_id), config),
            *_whole(ad, rules),
            *_named(ad, rules, known.get(ad.item_id)),
            *([_labelled(ad)] if rules.maker else []),
            *([_leads(ad)] if rules.landing else []),
            *_scored(ad, rules, scores, bars),
        ):
            (passed if ok else missed).append(said)
        if missed:
            held[ad.creative_id] = ", ".join(missed)
        else:
            approved[ad.creative_id] = f"rules {rules.name}: {', '.join(passed)}"
    for why in dict.fromkeys(approved.values()):
        ids = [one for one, mine in approved.items() if mine == why]
        told = author or rules.author
        store.move_creatives(tenant, ids, "approved", author=told, why=why, dry_run=dry_run)
    return ByRules(approved, held)


Found = tuple[bool, str]


def _checked(
    ad: Creative, rules: ApprovalRules, product: Product | None, config: CheckConfig
) -> Found:
    """Whether no check has an error: anew where there are facts, else by what it has passed."""
    if product is None:
        lacking = [one for one in rules.checks if one not in ad.checks_passed]
        if lacking:
            return False, f"has not passed {', '.join(lacking)}"
        return True, f"passed {', '.join(rules.checks)}" if rules.checks else "no check asked for"
    for slot in SLOTS:
        text = getattr(ad, slot)
        if not text or slot not in _AS:
            continue
        request = AuthoringRequest(slot_named(_AS[slot]).task, product)
        if errors := errors_of(check(text, request, config)):
            return False, f"{slot}: {errors[0].rule}, {errors[0].message}"
    return True, "no error against the facts"


def _whole(ad: Creative, rules: ApprovalRules) -> list[Found]:
    return [(False, f"no {slot}") for slot in rules.slots if not getattr(ad, slot, "")]


def _named(ad: Creative, rules: ApprovalRules, product: Product | None) -> list[Found]:
    if not rules.named or product is None:
        return []
    words = {word for word in _words(product.title) if len(word) > _SHORT}
    if not words or words & _words(ad.text):
        return []
    return [(False, f"says nothing of {product.title!r:.60}")]


def _words(text: str) -> set[str]:
    """In small letters, without the s of a plural."""
    return {word.removesuffix("s") for word in _WORD.findall(text.lower())}


def _labelled(ad: Creative) -> Found:
    if ad.label:
        return True, f"label {ad.label}"
    if ad.maker.startswith(PERSON):
        return True, "made by a person"
    said = (
        f"its maker {ad.maker!r:.60} is no {MODEL}NAME or {PERSON}NAME" if ad.maker else "no maker"
    )
    return False, f"{said}, so its label is not known"


def _leads(ad: Creative) -> Found:
    return bool(ad.landing), f"leads to {ad.landing:.200}" if ad.landing else "leads nowhere"


def _bars(live: Sequence[Creative], scores: Mapping[str, Scores], judge: str) -> dict[str, float]:
    """item_id -> the mean of the lower bounds of what the judge predicts of its live ads."""
    told: dict[str, list[float]] = {}
    for ad in live:
        if judge in scores.get(ad.creative_id, {}):
            told.setdefault(ad.item_id, []).append(scores[ad.creative_id][judge].low)
    return {item: sum(values) / len(values) for item, values in told.items()}


def _scored(
    ad: Creative, rules: ApprovalRules, scores: Mapping[str, Scores], bars: Mapping[str, float]
) -> list[Found]:
    mine, bar = scores.get(ad.creative_id, {}).get(rules.judge), bars.get(ad.item_id)
    if not rules.share or mine is None or bar is None:
        return []
    enough = mine.low >= rules.share * bar
    asked = f"{rules.share:g} of its live ads' {bar:.4g}"
    than = f"at least {asked}" if enough else f"less than {asked}"
    return [(enough, f"{rules.judge} from {mine.low:.4g} on, {than}")]
