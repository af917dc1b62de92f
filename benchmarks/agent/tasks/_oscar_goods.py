"""Kinds of tasks at the shop's dashboard, about goods: products, stock, categories, partners."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.agent.tasks._end_state import Added, Changed, EndState, Gone
from benchmarks.agent.tasks._kinds import Draw, TaskKind

_Drawn = tuple[Mapping[str, Any], EndState]
_PRODUCT = "SELECT id, title, upc FROM catalogue_product WHERE id % 9 = 2"
#: What the editor of texts and empty fields of the form make of the same words.
_FORM = ("description", "meta_title", "meta_description", "code")
#: Saved with a product: attributes, categories and alerts of its stock.
_BESIDE = ("catalogue_productattributevalue", "partner_stockalert")
_KEPT_OF_PRODUCT = (
    *("catalogue_productattributevalue", "catalogue_productcategory", "partner_stockrecord"),
    *("partner_stockalert", "offer_rangeproduct", "reviews_productreview", "basket_line"),
    *("order_line", "analytics_userproductview"),
)


def _changed(draw: Draw, column: str, value: Any, **slots: Any) -> _Drawn:
    key, title, upc = draw.row(_PRODUCT)
    goal = Changed("catalogue_product", {"id": key}, {column: value}, _FORM)
    return {"title": title, "upc": upc, "value": value, **slots}, EndState((goal,), free=_BESIDE)


def _stock(draw: Draw, column: str, value: Any) -> _Drawn:
    key, title, upc = draw.row(_PRODUCT)
    goal = Changed("partner_stockrecord", {"product_id": key}, {column: value})
    same = Changed("catalogue_product", {"id": key}, {"title": title, "upc": upc}, _FORM)
    ends = EndState((goal,), free=_BESIDE, besides=(same,))
    return {"title": title, "upc": upc, "value": value}, ends


def _title(draw: Draw) -> _Drawn:
    return _changed(draw, "title", f"{draw.of('Oat', 'Rye', 'Plum')} {draw.of('Bites', 'Crisps')}")


def _upc(draw: Draw) -> _Drawn:
    return _changed(draw, "upc", str(draw.number(500_000, 999_999)))


def _hidden(draw: Draw) -> _Drawn:
    return _changed(draw, "is_public", 0)


def _in_stock(draw: Draw) -> _Drawn:
    return _stock(draw, "num_in_stock", draw.number(100, 900))


def _price(draw: Draw) -> _Drawn:
    return _stock(draw, "price", f"{draw.number(1, 30)}.{draw.of('25', '49', '95')}")


def _threshold(draw: Draw) -> _Drawn:
    return _stock(draw, "low_stock_threshold", draw.number(20, 60))


def _product_gone(draw: Draw) -> _Drawn:
    key, title, upc = draw.row(_PRODUCT)
    goal = EndState((Gone("catalogue_product", {"id": key}),), free=_KEPT_OF_PRODUCT)
    return {"title": title, "upc": upc}, goal


def _product_upc(draw: Draw) -> _Drawn:
    _, title, upc = draw.row(_PRODUCT)
    return {"title": title}, EndState(answer=upc)


def _product_new(draw: Draw) -> _Drawn:
    title = f"{draw.of('Fig', 'Date', 'Pear')} {draw.of('Jam', 'Chutney')}, {draw.number(2, 9)}00 g"
    upc = str(draw.number(500_000, 999_999))
    shelf = draw.of("Hispanic", "Bag Snacks", "Frozen Pizza")
    goal = Added("catalogue_product", {"title": title, "upc": upc})
    kept = (*_BESIDE, "partner_stockrecord", "catalogue_productcategory")
    return {"title": title, "upc": upc, "shelf": shelf}, EndState((goal,), free=kept)


def _category_new(draw: Draw) -> _Drawn:
    name = draw.of("Cheese", "Fresh Fish", "Garden Tools", "Tea")
    return {"name": name}, EndState((Added("catalogue_category", {"name": name, "depth": 1}),))


def _category_named(draw: Draw) -> _Drawn:
    key, old = draw.row("SELECT id, name FROM catalogue_category WHERE id IN (3, 4, 6, 8)")
    name = draw.of("World Food", "Deep Frozen", "Nibbles")
    goal = Changed("catalogue_category", {"id": key}, {"name": name}, (*_FORM, "slug"))
    return {"old": old, "name": name}, EndState((goal,))


def _partner_new(draw: Draw) -> _Drawn:
    name = draw.of("Hill Farm", "River Dairy", "North Mill")
    return {"name": name}, EndState((Added("partner_partner", {"name": name}),))


def _type_new(draw: Draw) -> _Drawn:
    name = draw.of("Wine", "Hardware", "Newspaper")
    return {"name": name}, EndState((Added("catalogue_productclass", {"name": name}),))


def _option_new(draw: Draw) -> _Drawn:
    name = draw.of("Gift wrap", "Engraving", "Ribbon")
    return {"name": name}, EndState((Added("catalogue_option", {"name": name}),))


def _alerts(draw: Draw) -> _Drawn:
    return {}, EndState(answer=str(draw.one("SELECT COUNT(*) FROM partner_stockalert")))


GOODS: tuple[TaskKind, ...] = (
    TaskKind("product_title", _title),
    TaskKind("product_upc", _upc),
    TaskKind("product_hidden", _hidden),
    TaskKind("product_stock", _in_stock),
    TaskKind("product_price", _price),
    TaskKind("product_threshold", _threshold),
    TaskKind("product_gone", _product_gone),
    TaskKind("product_new", _product_new),
    TaskKind("product_upc_read", _product_upc),
    TaskKind("category_new", _category_new),
    TaskKind("category_named", _category_named),
    TaskKind("partner_new", _partner_new),
    TaskKind("type_new", _type_new),
    TaskKind("option_new", _option_new, 1),
    TaskKind("alerts_read", _alerts, 1),
)
