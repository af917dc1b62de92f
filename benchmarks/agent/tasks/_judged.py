"""Words of the judged tasks: neither rules nor training may look at them."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.agent.tasks._apps import AppName

__all__ = ["JUDGED"]

_OSCAR: Mapping[str, tuple[str, ...]] = {
    "product_title": (
        'Please give the product "{title}" the new title "{value}".',
        'The product called "{title}" should have the title "{value}".',
    ),
    "product_upc": (
        'The UPC of the product "{title}" is wrong, it should be {value}.',
        'Update the product "{title}": its UPC is {value}.',
    ),
    "product_hidden": (
        'Hide the product "{title}": it must not be public.',
        'The product "{title}" should no longer be public.',
    ),
    "product_stock": (
        'We counted {value} of "{title}". Update the number in stock.',
        'Update the stock of "{title}": number in stock is now {value}.',
    ),
    "product_price": (
        '"{title}" should cost {value} from now on: update its price.',
        'Put the price of the product "{title}" at {value}.',
    ),
    "product_threshold": (
        'Raise the low stock threshold of "{title}" to {value}.',
        'I want a low stock threshold of {value} for the product "{title}".',
    ),
    "product_gone": (
        'Get rid of the product "{title}".',
        'We no longer sell "{title}", delete the product.',
    ),
    "product_new": (
        'We now sell "{title}" (UPC {upc}), category "{shelf}". Create the Grocery product.',
        'Make a new Grocery product: title "{title}", UPC {upc}, category "{shelf}".',
    ),
    "product_upc_read": (
        'Which UPC does the product "{title}" have?',
        'I need the UPC of "{title}".',
    ),
    "category_new": (
        'We need a new category called "{name}".',
        'Please create the category "{name}".',
    ),
    "category_named": (
        'The category "{old}" should be called "{name}".',
        'Give the category "{old}" the name "{name}".',
    ),
    "partner_new": (
        'Make "{name}" a new partner.',
        'We have a new partner, "{name}": create it.',
    ),
    "type_new": (
        'We need the product type "{name}": create it.',
        'Please make a new product type called "{name}".',
    ),
    "option_new": ('Customers want the option "{name}", please create it.',),
    "alerts_read": ("Count the stock alerts.",),
    "order_status": (
        'Order {number} is now "{status}": update its status.',
        'Mark order {number} as "{status}".',
    ),
    "order_note": (
        'Put a note on order {number} that says "{words}".',
        'Order {number}: please add a note, "{words}".',
    ),
    "order_total_read": (
        "How much did order {number} come to in total?",
        "Tell me the total of order {number}, tax included.",
    ),
    "order_status_read": (
        "In which status is order {number}?",
        "Look up the status of order {number} for me.",
    ),
    "offer_priority": (
        'The offer "{offer}" should have priority {value}.',
        'Give the offer "{offer}" a priority of {value}.',
    ),
    "offer_most_uses": (
        'Limit the offer "{offer}" to {value} max global applications.',
        'The offer "{offer}" may have at most {value} global applications.',
    ),
    "offer_not_exclusive": ('The offer "{offer}" should not be an exclusive offer any more.',),
    "offer_named": (
        'The offer "{offer}" is now called "{value}".',
        'Please change the name of the offer "{offer}", it should be "{value}".',
    ),
    "offer_suspended": ('Please suspend the "{offer}" offer for now.',),
    "offer_incentive": (
        'The incentive of the offer "{offer}" should have the value {value}.',
        'Give the offer "{offer}" an incentive with value {value}.',
    ),
    "offer_condition": ('The condition of the offer "{offer}" should have the value {value}.',),
    "offer_gone": ('We do not want the offer "{offer}" any more, delete it.',),
    "offers_read": ("Count our offers.",),
    "voucher_named": ('The voucher "{voucher}" should be named "{value}".',),
    "voucher_code": (
        'Give the voucher "{voucher}" the code {value}.',
        'The voucher "{voucher}" gets a new code: {value}.',
    ),
    "voucher_usage": ('Let the voucher "{voucher}" have the usage "{value}".',),
    "voucher_gone": ('The voucher "{voucher}" has to go, delete it.',),
    "vouchers_read": ("What is the number of vouchers that we have?",),
    "range_new": ('We need a range called "{name}".',),
    "range_named": ('Give the range "{range}" the new name "{value}".',),
    "range_hidden": ('The range "{range}" should not be public any more.',),
    "page_titled": ('The page "{page}" needs another title: "{title}".',),
    "page_new": ('Make a new page at the URL "{url}" with the title "{title}".',),
    "page_gone": ('Please remove the page "{page}" from the site.',),
    "mail_subject": ('The "{mail}" email should have "{words}" as its subject.',),
    "review_titled": ('Give the review "{review}" the title "{value}" instead.',),
    "review_rejected": ('The review "{review}" should get the status "{value}".',),
    "review_gone": ('Please delete the review with the title "{review}".',),
}
_STOREFRONT: Mapping[str, tuple[str, ...]] = {
    "basket_one": (
        'I would like to buy one "{title}": add it to my basket.',
        'Please put one "{title}" in my basket.',
    ),
    "basket_some": (
        'I want {quantity} of "{title}" in my basket.',
        'Put {quantity} pieces of "{title}" into the basket, please.',
    ),
    "price_read": ('How much is "{title}"?', 'What does "{title}" cost?'),
    "stranger": ('Create an account for "{mail}", with the password kept as the secret "shop".',),
    "written_review": (
        'Review the product "{title}" as {name} ({mail}): title "{head}", score 1, body "{words}".',
    ),
}
_ADMIN: Mapping[str, tuple[str, ...]] = {
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
#: By app and kind.
JUDGED: Mapping[AppName, Mapping[str, tuple[str, ...]]] = {
    "oscar": _OSCAR,
    "storefront": _STOREFRONT,
    "admin": _ADMIN,
}
