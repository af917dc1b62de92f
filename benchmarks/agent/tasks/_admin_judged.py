"""Words of the judged tasks at the campaign store: neither rules nor training may look at them."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["JUDGED_ADMIN"]

JUDGED_ADMIN: Mapping[str, tuple[str, ...]] = {
    "campaign_type": (
        'The campaign "{campaign}" should be of type "{type}".',
        'Make "{type}" the type of the campaign "{campaign}".',
        'Please switch the campaign "{campaign}" to the type "{type}".',
    ),
    "campaign_start": (
        'Let the campaign "{campaign}" have the start {time}.',
        'The start of the campaign "{campaign}" has moved to {time}.',
    ),
    "campaign_end": (
        'The campaign "{campaign}" should have its end at {time}.',
        'Extend the campaign "{campaign}": the end is now {time}.',
    ),
    "campaign_new": (
        'Set up the campaign "{name}" for the tenant "mill-lane": start {start}, type "{type}".',
        'We need a new campaign of type "{type}" with campaign id "{name}" and start {start}; the '
        'tenant is "mill-lane".',
        'For tenant "mill-lane", create a campaign with the campaign id "{name}", type "{type}" '
        "and start {start}.",
    ),
    "creative_text": (
        'The creative "{creative}" should say "{value}" as its text.',
        'Rewrite the creative "{creative}": text "{value}".',
        'Put the text "{value}" into the creative "{creative}".',
    ),
    "creative_item": (
        'The creative "{creative}" belongs to item id "{value}".',
        'Let the creative "{creative}" have the item id "{value}".',
        'Correct the item id of the creative "{creative}": it is "{value}".',
    ),
    "creative_campaign": (
        'Move the creative "{creative}" to the campaign id "{value}".',
        'The creative "{creative}" should be in the campaign "{value}".',
    ),
    "creative_gone": (
        'We do not need the creative "{creative}" any more, delete it.',
        'Please get rid of the creative "{creative}".',
    ),
    "creative_new": (
        'Make a creative "{name}" of tenant "mill-lane" for the item id "{item}" that has the text '
        '"{words}".',
        'New creative, please: creative id "{name}", tenant "mill-lane", text "{words}", item id '
        '"{item}".',
        'For tenant "mill-lane", add the creative id "{name}" with text "{words}" and item id '
        '"{item}".',
    ),
    "tenant_new": (
        'A new tenant joins us: "{name}", created {created}.',
        'Set up the tenant "{name}" with created at {created}.',
    ),
    "type_read": (
        'Which type does the campaign "{campaign}" have?',
        'Of what type is the campaign "{campaign}"?',
    ),
    "item_read": (
        'Which item id does the creative "{creative}" have?',
        'Look up the item id of creative "{creative}".',
    ),
    "text_read": (
        'Which text does the creative "{creative}" have?',
        'Read me the text of the creative "{creative}".',
    ),
    "campaigns_read": ("Count the campaigns.",),
    "tenants_read": ("What is the number of tenants?",),
}
