"""Kinds of tasks at the campaign store's admin pages, and at the shop's front, phone-sized."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.agent.tasks._end_state import Added, Changed, EndState, Gone
from benchmarks.agent.tasks._kinds import Draw, TaskKind

_Drawn = tuple[Mapping[str, Any], EndState]
_CAMPAIGN = "SELECT campaign_id, type FROM campaigns"
_CREATIVE = (
    "SELECT creative_id, item_id, campaign_id, text FROM creatives "
    "WHERE creative_id GLOB 'creative-1[0-9]' OR creative_id GLOB 'creative-[789]'"
)


def _campaign_type(draw: Draw) -> _Drawn:
    name, _ = draw.row(_CAMPAIGN)
    kind = draw.of("video", "sms", "push", "letter")
    goal = Changed("campaigns", {"campaign_id": name}, {"type": kind})
    return {"campaign": name, "type": kind}, EndState((goal,))


def _campaign_time(draw: Draw, column: str) -> _Drawn:
    name, _ = draw.row(_CAMPAIGN)
    time = draw.number(1_780_000_000, 1_790_000_000)
    goal = Changed("campaigns", {"campaign_id": name}, {column: time})
    return {"campaign": name, "time": time}, EndState((goal,))


def _campaign_start(draw: Draw) -> _Drawn:
    return _campaign_time(draw, "start")


def _campaign_end(draw: Draw) -> _Drawn:
    return _campaign_time(draw, "end")


def _campaign_new(draw: Draw) -> _Drawn:
    name, kind = draw.of("easter-week", "black-friday", "new-year"), draw.of("display", "email")
    start = draw.number(1_780_000_000, 1_790_000_000)
    values = {"tenant": "mill-lane", "campaign_id": name, "start": start, "type": kind}
    return {"name": name, "type": kind, "start": start}, EndState((Added("campaigns", values),))


def _creative_changed(draw: Draw, column: str, value: str) -> _Drawn:
    name, *_ = draw.row(_CREATIVE)
    goal = Changed("creatives", {"creative_id": name}, {column: value})
    return {"creative": name, "value": value}, EndState((goal,))


def _creative_text(draw: Draw) -> _Drawn:
    goods = draw.of("Oak lamp", "Olive oil", "Rye bread")
    return _creative_changed(draw, "text", f"{goods}: back in stock")


def _creative_item(draw: Draw) -> _Drawn:
    return _creative_changed(draw, "item_id", f"item-{draw.number(20, 90)}")


def _creative_campaign(draw: Draw) -> _Drawn:
    name, _, before, _ = draw.row(_CREATIVE)
    to = draw.of("spring-sale", "harvest", "winter-sale")
    to = "clearance" if to == before else to
    goal = Changed("creatives", {"creative_id": name}, {"campaign_id": to})
    return {"creative": name, "value": to}, EndState((goal,))


def _creative_gone(draw: Draw) -> _Drawn:
    name, *_ = draw.row(_CREATIVE)
    return {"creative": name}, EndState((Gone("creatives", {"creative_id": name}),))


def _creative_new(draw: Draw) -> _Drawn:
    name, item = f"creative-{draw.number(100, 900)}", f"item-{draw.number(0, 5)}"
    words = draw.of("Blue mug, half price", "New wool blankets", "Bread from today")
    values = {"tenant": "mill-lane", "creative_id": name, "item_id": item, "text": words}
    return {"name": name, "item": item, "words": words}, EndState((Added("creatives", values),))


def _tenant_new(draw: Draw) -> _Drawn:
    name, at = draw.of("river-dairy", "hill-farm"), draw.number(1_760_000_000, 1_770_000_000)
    goal = Added("tenants", {"tenant": name, "created": at})
    return {"name": name, "created": at}, EndState((goal,))


def _type_read(draw: Draw) -> _Drawn:
    name, kind = draw.row(_CAMPAIGN)
    return {"campaign": name}, EndState(answer=kind)


def _item_read(draw: Draw) -> _Drawn:
    name, item, *_ = draw.row(_CREATIVE)
    return {"creative": name}, EndState(answer=item)


def _text_read(draw: Draw) -> _Drawn:
    name, _, _, words = draw.row(_CREATIVE)
    return {"creative": name}, EndState(answer=words)


def _campaigns_read(draw: Draw) -> _Drawn:
    return {}, EndState(answer=str(draw.one("SELECT COUNT(*) FROM campaigns")))


def _tenants_read(draw: Draw) -> _Drawn:
    return {}, EndState(answer=str(draw.one("SELECT COUNT(*) FROM tenants")))


ADMIN: tuple[TaskKind, ...] = (
    TaskKind("campaign_type", _campaign_type, 3),
    TaskKind("campaign_start", _campaign_start),
    TaskKind("campaign_end", _campaign_end),
    TaskKind("campaign_new", _campaign_new, 3),
    TaskKind("creative_text", _creative_text, 3),
    TaskKind("creative_item", _creative_item, 3),
    TaskKind("creative_campaign", _creative_campaign),
    TaskKind("creative_gone", _creative_gone),
    TaskKind("creative_new", _creative_new, 3),
    TaskKind("tenant_new", _tenant_new),
    TaskKind("type_read", _type_read),
    TaskKind("item_read", _item_read),
    TaskKind("text_read", _text_read),
    TaskKind("campaigns_read", _campaigns_read, 1),
    TaskKind("tenants_read", _tenants_read, 1),
)

_GOODS = "SELECT p.id, p.title, s.price FROM catalogue_product p JOIN partner_stockrecord s ON "
_GOODS += "s.product_id = p.id WHERE p.id % 11 = 3 AND s.num_in_stock > 9"


def _basket(draw: Draw, quantity: int) -> _Drawn:
    key, title, _ = draw.row(_GOODS)
    goal = Added("basket_line", {"product_id": key, "quantity": quantity})
    slots = {"title": title, "quantity": quantity}
    return slots, EndState((Added("basket_basket", {}), goal), free=("analytics_usersearch",))


def _basket_one(draw: Draw) -> _Drawn:
    return _basket(draw, 1)


def _basket_some(draw: Draw) -> _Drawn:
    return _basket(draw, draw.number(2, 6))


def _price_read(draw: Draw) -> _Drawn:
    _, title, price = draw.row(_GOODS)
    return {"title": title}, EndState(answer=f"{price:.2f}", free=("analytics_usersearch",))


def _stranger(draw: Draw) -> _Drawn:
    mail = f"{draw.of('kim', 'lee', 'max')}{draw.number(10, 99)}@example.com"
    goal = Added("auth_user", {"email": mail, "is_staff": 0})
    kept = ("communication_email", "communication_notification", "django_session")
    return {"mail": mail}, EndState((goal,), free=kept)


def _written_review(draw: Draw) -> _Drawn:
    key, title, _ = draw.row(_GOODS)
    head, score = draw.of("Very tasty", "Too sweet", "A bargain"), 1
    words = draw.of("We had it twice this week.", "The children like it.")
    values = {"product_id": key, "title": head, "body": words}
    slots = {"title": title, "head": head, "words": words, "score": score}
    slots |= {"name": "Kim", "mail": "kim@example.com"}
    return slots, EndState((Added("reviews_productreview", values),), free=("catalogue_product",))


STOREFRONT: tuple[TaskKind, ...] = (
    TaskKind("basket_one", _basket_one),
    TaskKind("basket_some", _basket_some),
    TaskKind("price_read", _price_read),
    TaskKind("stranger", _stranger, 1),
    TaskKind("written_review", _written_review, 1),
)
