"""Words of tasks that rules may be developed on, and training on tasks may use."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.agent.tasks._apps import AppName

__all__ = ["OPEN"]

_OSCAR: dict[str, tuple[str, ...]] = {
    "product_title": (
        'Rename the product "{title}" to "{value}"',
        'Set the title of the product "{title}" to "{value}"',
    ),
    "product_upc": (
        'Set the UPC of the product "{title}" to {value}',
        'Change the UPC of "{title}" to {value}',
    ),
    "product_hidden": (
        'Make the product "{title}" not public',
        'Set "Is public" of the product "{title}" to off',
    ),
    "product_stock": (
        'Set the number in stock of the product "{title}" to {value}',
        'Change num in stock to {value} for the product "{title}"',
    ),
    "product_price": (
        'Set the price of the product "{title}" to {value}',
        'Change the price of "{title}" to {value}',
    ),
    "product_threshold": (
        'Set the low stock threshold of the product "{title}" to {value}',
        'Change the low stock threshold to {value} for "{title}"',
    ),
    "product_gone": ('Delete the product "{title}"', 'Remove the product "{title}"'),
    "product_new": (
        'Create a new product of type Grocery with title "{title}", UPC {upc} and category '
        '"{shelf}"',
        'Add a product with the title "{title}", the UPC {upc} and the category "{shelf}"',
    ),
    "product_upc_read": (
        'What is the UPC of the product "{title}"?',
        'Tell me the UPC of "{title}"',
    ),
    "category_new": ('Create a category with name "{name}"', 'Add a new category "{name}"'),
    "category_named": (
        'Rename the category "{old}" to "{name}"',
        'Set the name of the category "{old}" to "{name}"',
    ),
    "partner_new": ('Create a partner with name "{name}"', 'Add a new partner "{name}"'),
    "type_new": ('Create a product type with name "{name}"', 'Add a new product type "{name}"'),
    "option_new": ('Create an option with name "{name}"',),
    "alerts_read": ("How many stock alerts are there?",),
    "order_status": (
        'Set the status of order {number} to "{status}"',
        'Change the order status of order {number} to "{status}"',
    ),
    "order_note": (
        'Add the note "{words}" to order {number}',
        'Write a note for order {number}: "{words}"',
    ),
    "order_total_read": (
        "What is the total of order {number}?",
        "How much is the total inc tax of order {number}?",
    ),
    "order_status_read": (
        "What is the status of order {number}?",
        "Read the status of the order {number}",
    ),
    "offer_priority": (
        'Set the priority of the offer "{offer}" to {value}',
        'Change the priority to {value} for the offer "{offer}"',
    ),
    "offer_most_uses": (
        'Set max global applications of the offer "{offer}" to {value}',
        'For the offer "{offer}", set the max global applications to {value}',
    ),
    "offer_not_exclusive": ('Make the offer "{offer}" not exclusive',),
    "offer_named": (
        'Rename the offer "{offer}" to "{value}"',
        'Set the name of the offer "{offer}" to "{value}"',
    ),
    "offer_suspended": ('Suspend the offer "{offer}"',),
    "offer_incentive": (
        'Set the value of the incentive of the offer "{offer}" to {value}',
        'In the incentive of the offer "{offer}", change the value to {value}',
    ),
    "offer_condition": ('Set the value of the condition of the offer "{offer}" to {value}',),
    "offer_gone": ('Delete the offer "{offer}"',),
    "offers_read": ("How many offers are there?",),
    "voucher_named": ('Rename the voucher "{voucher}" to "{value}"',),
    "voucher_code": (
        'Set the code of the voucher "{voucher}" to {value}',
        'Change the code of the voucher "{voucher}" to "{value}"',
    ),
    "voucher_usage": ('Set the usage of the voucher "{voucher}" to "{value}"',),
    "voucher_gone": ('Delete the voucher "{voucher}"',),
    "vouchers_read": ("How many vouchers are there?",),
    "range_new": ('Create a range with name "{name}"',),
    "range_named": ('Rename the range "{range}" to "{value}"',),
    "range_hidden": ('Make the range "{range}" not public',),
    "page_titled": ('Set the title of the page "{page}" to "{title}"',),
    "page_new": ('Create a page with title "{title}" and URL "{url}"',),
    "page_gone": ('Delete the page "{page}"',),
    "mail_subject": ('Set the subject of the email "{mail}" to "{words}"',),
    "review_titled": ('Set the title of the review "{review}" to "{value}"',),
    "review_rejected": ('Set the status of the review "{review}" to "{value}"',),
    "review_gone": ('Delete the review "{review}"',),
}
_ADMIN: dict[str, tuple[str, ...]] = {
    "campaign_type": (
        'Set the type of the campaign "{campaign}" to "{type}"',
        'Change the type of campaign "{campaign}" to {type}',
    ),
    "campaign_start": (
        'Set the start of the campaign "{campaign}" to {time}',
        'Change the start of "{campaign}" to {time}',
    ),
    "campaign_end": ('Set the end of the campaign "{campaign}" to {time}',),
    "campaign_new": (
        'Create a campaign with tenant "mill-lane", campaign id "{name}", start {start} and type '
        '"{type}"',
        'Add a new campaign: tenant "mill-lane", campaign id "{name}", start {start}, '
        'type "{type}"',
    ),
    "creative_text": (
        'Set the text of the creative "{creative}" to "{value}"',
        'Change the text of "{creative}" to "{value}"',
    ),
    "creative_item": (
        'Set the item id of the creative "{creative}" to "{value}"',
        'Change the item id of creative "{creative}" to {value}',
    ),
    "creative_campaign": ('Set the campaign id of the creative "{creative}" to "{value}"',),
    "creative_gone": ('Delete the creative "{creative}"', 'Remove the creative "{creative}"'),
    "creative_new": (
        'Create a creative with tenant "mill-lane", creative id "{name}", item id "{item}" and '
        'text "{words}"',
        'Add a new creative: tenant "mill-lane", creative id "{name}", item id "{item}", text '
        '"{words}"',
    ),
    "tenant_new": (
        'Create a tenant with tenant "{name}" and created {created}',
        'Add a new tenant "{name}", created {created}',
    ),
    "type_read": (
        'What is the type of the campaign "{campaign}"?',
        'Tell me the type of campaign "{campaign}"',
    ),
    "item_read": ('What is the item id of the creative "{creative}"?',),
    "text_read": ('What is the text of the creative "{creative}"?',),
    "campaigns_read": ("How many campaigns are there?",),
    "tenants_read": ("How many tenants are there?",),
}
_STOREFRONT: dict[str, tuple[str, ...]] = {
    "basket_one": (
        'Add the product "{title}" to the basket',
        'Put "{title}" into the basket',
    ),
    "basket_some": (
        'Add "{title}" to the basket, quantity {quantity}',
        'Add {quantity} of the product "{title}" to the basket',
    ),
    "price_read": ('What is the price of "{title}"?', 'Tell me the price of the product "{title}"'),
    "stranger": ('Register with the email address "{mail}" and the password secret "shop"',),
    "written_review": (
        'Write a review of the product "{title}" with title "{head}", body "{words}", score 1, '
        'name "{name}" and email "{mail}"',
    ),
}
#: By app and kind.
OPEN: Mapping[AppName, Mapping[str, tuple[str, ...]]] = {
    "oscar": _OSCAR,
    "admin": _ADMIN,
    "storefront": _STOREFRONT,
}
