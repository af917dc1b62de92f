"""Words of the judged tasks: neither rules nor training may look at them.

They were written by somebody who knew neither the rules of the agent nor which words they miss.
Those that were judged before are the seen ones now. When somebody has looked at what became of
these, they are seen too.
"""

from __future__ import annotations

from collections.abc import Mapping

_OSCAR: Mapping[str, tuple[str, ...]] = {
    "product_title": (
        'Change the title of "{title}" to "{value}".',
        'Can you retitle the product "{title}"? The supplier now calls it "{value}".',
    ),
    "product_upc": (
        'Enter {value} as the UPC of the product "{title}".',
        'Please replace the UPC of "{title}" with {value}.',
    ),
    "product_hidden": (
        'Turn off "Is public" for the product "{title}".',
        'We are not ready to show "{title}" in the shop yet. Please make that product non-public.',
    ),
    "product_stock": (
        'Update the number in stock for "{title}" to {value}.',
        'Please set the stock level of the product "{title}" to {value}.',
    ),
    "product_price": (
        'Update the price of "{title}" to {value}.',
        'Could you change the price to {value} on the product "{title}"?',
    ),
    "product_threshold": (
        'Change the low stock threshold of the product "{title}" to {value}.',
        'The low stock threshold on "{title}" should be {value}, please update it.',
    ),
    "product_gone": (
        'Please delete "{title}" from our products.',
        'We entered the product "{title}" by mistake. Can you remove it?',
    ),
    "product_new": (
        'Add a Grocery product called "{title}" with UPC {upc} to the category "{shelf}".',
        'Please create a product of the type Grocery. The title is "{title}", the UPC is {upc}, and'
        ' it goes in the category "{shelf}".',
    ),
    "product_upc_read": (
        'Can you look up the UPC of "{title}"?',
        'Find the product "{title}" and tell me its UPC.',
    ),
    "category_new": (
        'Add a category named "{name}" to the catalogue.',
        'Could you create a new product category, "{name}"?',
    ),
    "category_named": (
        'Change the name of the category "{old}" to "{name}".',
        'Please rename our "{old}" category, it should be "{name}" instead.',
    ),
    "partner_new": (
        'Add "{name}" to our partners.',
        'Please create a new partner called "{name}".',
    ),
    "type_new": (
        'Create a new product type named "{name}".',
        'Our product types do not include "{name}" yet. Please add it.',
    ),
    "option_new": ('Please add a new option called "{name}".',),
    "alerts_read": ("What is the number of stock alerts on the dashboard?",),
    "order_status": (
        'Update the status of order {number} to "{status}".',
        'Could you change order {number} to "{status}", please?',
    ),
    "order_note": (
        'Please add a note saying "{words}" to order {number}.',
        'Save this as a note on order {number}: "{words}".',
    ),
    "order_total_read": (
        "What is the order total for {number}, including tax?",
        "Please look up order {number} and tell me its total including tax.",
    ),
    "order_status_read": (
        "Tell me the current status of order {number}.",
        "A customer is asking about order {number}. What is its status?",
    ),
    "offer_priority": (
        'Update the priority of the offer "{offer}" to {value}.',
        'Please make {value} the priority of the "{offer}" offer.',
    ),
    "offer_most_uses": (
        'Change the max global applications of the offer "{offer}" to {value}.',
        'We want the offer "{offer}" to be applied {value} times at most across all customers. '
        "Please set its max global applications.",
    ),
    "offer_not_exclusive": ('Turn off "Exclusive offer" for the offer "{offer}".',),
    "offer_named": (
        'Change the name of the offer "{offer}" to "{value}".',
        'Could you rename our "{offer}" offer to "{value}", please?',
    ),
    "offer_suspended": ('Can you suspend the offer "{offer}" until further notice?',),
    "offer_incentive": (
        'Change the incentive value of the offer "{offer}" to {value}.',
        'Please edit the offer "{offer}" so that its incentive has a value of {value}.',
    ),
    "offer_condition": ('Update the condition of the offer "{offer}" to a value of {value}.',),
    "offer_gone": ('Please delete the "{offer}" offer.',),
    "offers_read": ("How many offers do we have in total?",),
    "voucher_named": ('Change the name of the voucher "{voucher}" to "{value}".',),
    "voucher_code": (
        'Update the code of the voucher "{voucher}" to {value}.',
        'Please use {value} as the new code for our "{voucher}" voucher.',
    ),
    "voucher_usage": ('Change the usage of the voucher "{voucher}" to "{value}".',),
    "voucher_gone": ('Please remove the voucher "{voucher}", we no longer use it.',),
    "vouchers_read": ("Can you check how many vouchers we have?",),
    "range_new": ('Please add a new range named "{name}".',),
    "range_named": ('Change the name of the range "{range}" to "{value}".',),
    "range_hidden": ('Please set the range "{range}" to not public.',),
    "page_titled": ('Change the title of the page "{page}" to "{title}".',),
    "page_new": ('Add a new page titled "{title}" with the URL "{url}".',),
    "page_gone": ('Delete the "{page}" page, please.',),
    "mail_subject": ('Change the email subject of "{mail}" to "{words}".',),
    "review_titled": ('Please edit the review "{review}" and change its title to "{value}".',),
    "review_rejected": ('Change the status of the review "{review}" to "{value}".',),
    "review_gone": ('Remove the customer review "{review}".',),
}
_STOREFRONT: Mapping[str, tuple[str, ...]] = {
    "basket_one": (
        'Add one "{title}" to my basket.',
        'Could you put the product "{title}" in the basket for me? Just one.',
    ),
    "basket_some": (
        'Please add {quantity} of "{title}" to my basket.',
        'I need {quantity} of the product "{title}", put them in my basket.',
    ),
    "price_read": (
        'Check the price of "{title}" for me.',
        'Can you tell me what the product "{title}" sells for?',
    ),
    "stranger": (
        'Register a new account with the email "{mail}" and the secret "shop" as password.',
    ),
    "written_review": (
        'Please post a review for "{title}" with a score of 1. Title: "{head}". Body: "{words}". '
        "Name: {name}. Email: {mail}.",
    ),
}
_ADMIN: Mapping[str, tuple[str, ...]] = {
    "campaign_type": (
        'Update the type of the campaign "{campaign}" to "{type}".',
        'Please change the campaign "{campaign}" so that its type is "{type}".',
        'The campaign "{campaign}" is going to be "{type}" instead. Can you change the type?',
    ),
    "campaign_start": (
        'Update the start of the campaign "{campaign}" to {time}.',
        'Please change when the campaign "{campaign}" starts: it should be {time}.',
    ),
    "campaign_end": (
        'Change the end of the campaign "{campaign}" to {time}.',
        'The campaign "{campaign}" should end at {time}, please update it.',
    ),
    "campaign_new": (
        'Please add a campaign "{name}" for tenant "mill-lane" with type "{type}" and start '
        "{start}.",
        'Create a new "{type}" campaign for the tenant "mill-lane". The campaign id is "{name}" '
        "and the start is {start}.",
        'Could you add a new campaign? Campaign id "{name}", tenant "mill-lane", type "{type}", '
        "starting at {start}.",
    ),
    "creative_text": (
        'Update the text of the creative "{creative}" to "{value}".',
        'Please replace the text of creative "{creative}" with "{value}".',
        'The client sent new copy for the creative "{creative}". The text should be "{value}".',
    ),
    "creative_item": (
        'Update the item id of the creative "{creative}" to "{value}".',
        'Please enter "{value}" as the item id of creative "{creative}".',
        'The creative "{creative}" should use the item id "{value}", can you change that?',
    ),
    "creative_campaign": (
        'Change the campaign id of the creative "{creative}" to "{value}".',
        'Could you move creative "{creative}" over to the campaign "{value}"?',
    ),
    "creative_gone": (
        'Please delete creative "{creative}".',
        'The creative "{creative}" is no longer in use and should be removed.',
    ),
    "creative_new": (
        'Add a creative "{name}" for the tenant "mill-lane" with item id "{item}" and the text '
        '"{words}".',
        'Please create a new creative for tenant "mill-lane". Creative id: "{name}". Item id: '
        '"{item}". Text: "{words}".',
        'We need a new creative for the item id "{item}". The tenant is "mill-lane", the creative '
        'id is "{name}" and the text is "{words}".',
    ),
    "tenant_new": (
        'Please add the tenant "{name}" with {created} as the created time.',
        'Create a new tenant called "{name}". Created should be {created}.',
    ),
    "type_read": (
        'Can you look up the type of the campaign "{campaign}"?',
        'What type of campaign is "{campaign}"?',
    ),
    "item_read": (
        'Tell me the item id of the creative "{creative}".',
        'Which item id is creative "{creative}" for?',
    ),
    "text_read": (
        'Please tell me the text of the creative "{creative}".',
        'What text is in creative "{creative}"?',
    ),
    "campaigns_read": ("Tell me how many campaigns there are.",),
    "tenants_read": ("How many tenants do we have?",),
}
#: By app and kind.
JUDGED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "oscar": _OSCAR,
    "storefront": _STOREFRONT,
    "admin": _ADMIN,
}
