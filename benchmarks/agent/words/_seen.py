"""Words that were judged once, and have been looked at since: they are for development now."""

from __future__ import annotations

from collections.abc import Mapping

_OSCAR: Mapping[str, tuple[str, ...]] = {
    "product_title": (
        'On "{title}", swap the title for "{value}".',
        '"{title}" is listed under the wrong title. It ought to read "{value}".',
    ),
    "product_upc": (
        'The scanner shows {value} for "{title}", so that is what belongs in its UPC.',
        'Please correct the product "{title}" so that UPC {value} is stored for it.',
    ),
    "product_hidden": (
        'Take "{title}" out of public view, but keep the product.',
        'Shoppers must not see "{title}" for the moment, so untick "Is public" on that product.',
    ),
    "product_stock": (
        'A delivery came in, and there are now {value} of "{title}" in stock.',
        'Stocktake for "{title}": {value} in stock. Please enter that.',
    ),
    "product_price": (
        'From today we charge {value} for "{title}".',
        'The price tag of "{title}" has to say {value}, can you fix that?',
    ),
    "product_threshold": (
        'For "{title}" the low stock threshold is too small, make that {value}.',
        'Warn us about "{title}" at {value} pieces: that goes into its low stock threshold.',
    ),
    "product_gone": (
        '"{title}" is discontinued. Take the product out of the catalogue for good.',
        'Erase the product "{title}", please.',
    ),
    "product_new": (
        'A new line has arrived: "{title}". List it as a Grocery product in the category "{shelf}" '
        "with {upc} as its UPC.",
        'Enter a Grocery product for me. UPC: {upc}. Title: "{title}". Category: "{shelf}".',
    ),
    "product_upc_read": (
        'I am after the UPC that we have on file for "{title}".',
        'Under what UPC do we sell "{title}"?',
    ),
    "category_new": (
        'Open up a category by the name of "{name}".',
        '"{name}" is missing from our categories, so put it in.',
    ),
    "category_named": (
        'Change what the category "{old}" is called: "{name}" from now on.',
        'In the list of categories, "{old}" goes by "{name}" as of today.',
    ),
    "partner_new": (
        'We will be buying from "{name}", so enter them as a partner.',
        'Partner "{name}" is not in the system yet. Please put them in.',
    ),
    "type_new": (
        'Could you set up "{name}" as a product type?',
        'There should be a product type for "{name}".',
    ),
    "option_new": ('Let people choose "{name}" as an option; we do not have it yet.',),
    "alerts_read": ("Tell me how many stock alerts we have right now.",),
    "order_status": (
        'We have begun to pack order {number}, so move it on to "{status}".',
        'Please take order {number} to the status "{status}".',
    ),
    "order_note": (
        'Leave the remark "{words}" in the notes of order {number}.',
        'For whoever handles order {number}, note down: "{words}".',
    ),
    "order_total_read": (
        "What does the customer pay for order {number} altogether?",
        "Give me the total that is shown for order {number}, with tax.",
    ),
    "order_status_read": (
        "How far along is order {number}? I need its status.",
        "Order {number}: what status is it in right now?",
    ),
    "offer_priority": (
        'Among the offers, bump "{offer}" to priority {value}.',
        '{value} is the priority that we want on the offer "{offer}".',
    ),
    "offer_most_uses": (
        'The offer "{offer}" is too popular. Cap its max global applications at {value}.',
        'After {value} global applications the offer "{offer}" has to stop, so enter that maximum.',
    ),
    "offer_not_exclusive": (
        'Customers may combine the offer "{offer}" with others again: untick exclusive offer.',
    ),
    "offer_named": (
        'Marketing wants the offer "{offer}" to run under the name "{value}".',
        'Name of the offer "{offer}": please replace it by "{value}".',
    ),
    "offer_suspended": ('Stop the offer "{offer}" for a while by suspending it.',),
    "offer_incentive": (
        'Under incentive, the offer "{offer}" has the wrong value. {value} is right.',
        'Let us be more generous with the offer "{offer}": {value} as the value of its incentive.',
    ),
    "offer_condition": (
        'To get the offer "{offer}", one has to meet a value of {value} in its condition from now '
        "on.",
    ),
    "offer_gone": ('The offer "{offer}" has run its course. Take it off our list for good.',),
    "offers_read": ("Tell me how many offers are on our list.",),
    "voucher_named": ('Instead of "{voucher}", that voucher should carry the name "{value}".',),
    "voucher_code": (
        'Customers will type {value} for the voucher "{voucher}", so make that its code.',
        'The code of the voucher "{voucher}" has leaked. Exchange it for {value}.',
    ),
    "voucher_usage": ('Under usage, the voucher "{voucher}" needs "{value}".',),
    "voucher_gone": ('Nobody may redeem "{voucher}" any longer: wipe that voucher.',),
    "vouchers_read": ("Tell me how many vouchers exist.",),
    "range_new": ('Start a range that goes by "{name}".',),
    "range_named": ('What we call "{range}" among the ranges shall be "{value}".',),
    "range_hidden": ('Keep the range "{range}" from the public.',),
    "page_titled": ('"{page}" is a dull title for a page, use "{title}" for it instead.',),
    "page_new": ('Put up a page "{title}" that people reach at the URL "{url}".',),
    "page_gone": ('The page "{page}" is outdated, so take it down for good.',),
    "mail_subject": ('When we send the email "{mail}", its subject line must read "{words}".',),
    "review_titled": ('Somebody headed a review "{review}". Make its title "{value}".',),
    "review_rejected": (
        'We will not show the review "{review}" to anybody: turn its status to "{value}".',
    ),
    "review_gone": ('Take the review "{review}" out of the system altogether.',),
}
_STOREFRONT: Mapping[str, tuple[str, ...]] = {
    "basket_one": (
        'One "{title}" for my basket, please.',
        'I will take a single "{title}". It goes in the basket.',
    ),
    "basket_some": (
        'Get me {quantity} packs of "{title}" in the basket.',
        'My basket should hold {quantity} times "{title}".',
    ),
    "price_read": (
        'How much would I pay for one "{title}"?',
        'I want to know the price that you ask for "{title}".',
    ),
    "stranger": ('Sign me up as a customer under "{mail}"; my password is the secret "shop".',),
    "written_review": (
        '{name} ({mail}) has tried "{title}" and leaves a review: score 1, headed "{head}", and in '
        'the body "{words}".',
    ),
}
_ADMIN: Mapping[str, tuple[str, ...]] = {
    "campaign_type": (
        'For the campaign "{campaign}" we noted the wrong type. "{type}" is right.',
        'From now on we run the campaign "{campaign}" as "{type}"; enter that as its type.',
        'Type of the campaign "{campaign}", please: "{type}" in place of what it says now.',
    ),
    "campaign_start": (
        'The campaign "{campaign}" begins at {time}, so enter that as its start.',
        'We push the campaign "{campaign}" back. Its start becomes {time}.',
    ),
    "campaign_end": (
        'Close the campaign "{campaign}" at {time}: that is its end.',
        'For "{campaign}", {time} is when the campaign comes to an end.',
    ),
    "campaign_new": (
        'Book a campaign for the tenant "mill-lane". Its campaign id is "{name}", it starts at '
        '{start}, and the type is "{type}".',
        'A campaign of the "{type}" type is coming up for the tenant "mill-lane": campaign id '
        '"{name}", start at {start}. Enter it.',
        'Campaign "{name}" does not exist yet. Enter it with tenant "mill-lane", start {start} and '
        'type "{type}".',
    ),
    "creative_text": (
        'What the creative "{creative}" says is out of date; its text has to read "{value}".',
        'Use "{value}" as the text in the creative "{creative}" from today.',
        'Text of creative "{creative}": strike what is there and write "{value}".',
    ),
    "creative_item": (
        'We tied the creative "{creative}" to the wrong goods, its item id has to be "{value}".',
        'The creative "{creative}" is about "{value}", so that belongs under item id.',
        'Exchange the item id in "{creative}" for "{value}".',
    ),
    "creative_campaign": (
        'The creative "{creative}" now runs under the campaign id "{value}".',
        'Take the creative "{creative}" out of its campaign and assign it to "{value}".',
    ),
    "creative_gone": (
        'Throw out the creative "{creative}".',
        'The creative "{creative}" was a mistake. Wipe it.',
    ),
    "creative_new": (
        'We want one more creative at the tenant "mill-lane", namely "{name}" for the item id '
        '"{item}", reading "{words}" as its text.',
        'Enter this creative: tenant "mill-lane", item id "{item}", creative id "{name}", and as '
        'text "{words}".',
        'There is to be a creative "{name}" for the tenant "mill-lane". Item id: "{item}". Text: '
        '"{words}".',
    ),
    "tenant_new": (
        'The tenant "{name}" has signed with us, enter it; created is {created}.',
        'Put one more tenant on the list, "{name}", with {created} under created.',
    ),
    "type_read": (
        'I forgot what type we gave the campaign "{campaign}". What is it?',
        'Say what type "{campaign}" is, the campaign.',
    ),
    "item_read": (
        'To which item id does the creative "{creative}" point?',
        'What stands under item id for the creative "{creative}"?',
    ),
    "text_read": (
        'What does the creative "{creative}" say in its text?',
        'I would like to see the text that we show in the creative "{creative}".',
    ),
    "campaigns_read": ("How many campaigns do we have on file?",),
    "tenants_read": ("Tell me how many tenants are registered.",),
}
#: By app and kind.
SEEN: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "oscar": _OSCAR,
    "storefront": _STOREFRONT,
    "admin": _ADMIN,
}
