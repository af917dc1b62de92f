"""Words of tasks that rules may be developed on, and training on tasks may use."""

from __future__ import annotations

from collections.abc import Mapping

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
# Words that were kept for judging at first, and were seen while the planner was made.
_OSCAR_MORE: dict[str, tuple[str, ...]] = {
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
_STOREFRONT_MORE: dict[str, tuple[str, ...]] = {
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
_ADMIN_MORE: dict[str, tuple[str, ...]] = {
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
_ALL: Mapping[str, tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]] = {
    "oscar": (_OSCAR, _OSCAR_MORE),
    "admin": (_ADMIN, _ADMIN_MORE),
    "storefront": (_STOREFRONT, _STOREFRONT_MORE),
}
#: By app and kind, those of the first before those that came later.
OPEN: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    app: {kind: (*words, *more[kind]) for kind, words in first.items()}
    for app, (first, more) in _ALL.items()
}
