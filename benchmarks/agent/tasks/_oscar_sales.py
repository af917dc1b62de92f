"""Kinds of tasks at the shop's dashboard, about selling: orders, offers, vouchers, ranges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.agent.tasks._end_state import Added, Changed, EndState, Gone
from benchmarks.agent.tasks._kinds import Draw, TaskKind

_Drawn = tuple[Mapping[str, Any], EndState]
_OFFER = "SELECT id, name FROM offer_conditionaloffer WHERE id < 3"
_ALIKE = ("slug", "description", "code", "start_datetime", "end_datetime")


def _order(draw: Draw) -> tuple[Any, ...]:
    return draw.row("SELECT id, number, status, total_incl_tax FROM order_order WHERE id < 12")


def _order_status(draw: Draw) -> _Drawn:
    key, number = draw.row("SELECT id, number FROM order_order WHERE status = 'Pending'")
    goal = Changed("order_order", {"id": key}, {"status": "Being processed"})
    kept = ("order_orderstatuschange", "order_ordernote", "order_communicationevent")
    return {"number": number, "status": "Being processed"}, EndState((goal,), free=kept)


def _order_note(draw: Draw) -> _Drawn:
    key, number, *_ = _order(draw)
    words = draw.of("Rang the customer", "Leave it at the door", "Paid by cheque")
    goal = Added("order_ordernote", {"order_id": key, "message": words})
    return {"number": number, "words": words}, EndState((goal,))


def _order_total(draw: Draw) -> _Drawn:
    _, number, _, total = _order(draw)
    return {"number": number}, EndState(answer=f"{total:.2f}")


def _order_state(draw: Draw) -> _Drawn:
    _, number, status, _ = _order(draw)
    return {"number": number}, EndState(answer=status)


def _offer_changed(draw: Draw, column: str, value: Any) -> _Drawn:
    key, name = draw.row(_OFFER)
    goal = Changed("offer_conditionaloffer", {"id": key}, {column: value}, _ALIKE)
    return {"offer": name, "value": value}, EndState((goal,))


def _priority(draw: Draw) -> _Drawn:
    return _offer_changed(draw, "priority", draw.number(4, 40))


def _most_uses(draw: Draw) -> _Drawn:
    return _offer_changed(draw, "max_global_applications", draw.number(50, 500))


def _not_exclusive(draw: Draw) -> _Drawn:
    return _offer_changed(draw, "exclusive", 0)


def _offer_named(draw: Draw) -> _Drawn:
    return _offer_changed(draw, "name", draw.of("Harvest", "Back to school", "Market days"))


def _suspended(draw: Draw) -> _Drawn:
    return _offer_changed(draw, "status", "Suspended")


def _incentive(draw: Draw) -> _Drawn:
    key, name = draw.row(_OFFER)
    value = draw.number(21, 60)
    same = Changed("offer_conditionaloffer", {"id": key}, {"name": name}, _ALIKE)
    goal = Changed("offer_benefit", {"id": key}, {"value": value})
    return {"offer": name, "value": value}, EndState((goal,), besides=(same,))


def _condition(draw: Draw) -> _Drawn:
    key, name = draw.row(_OFFER)
    value = draw.number(4, 9)
    same = Changed("offer_conditionaloffer", {"id": key}, {"name": name}, _ALIKE)
    goal = Changed("offer_condition", {"id": key}, {"value": value})
    return {"offer": name, "value": value}, EndState((goal,), besides=(same,))


def _offer_gone(draw: Draw) -> _Drawn:
    key, name = draw.row(_OFFER)
    kept = ("offer_benefit", "offer_condition", "offer_conditionaloffer_combinations")
    return {"offer": name}, EndState((Gone("offer_conditionaloffer", {"id": key}),), free=kept)


def _voucher(column: str, value: str) -> _Drawn:
    goal = Changed("voucher_voucher", {"id": 1}, {column: value})
    return {"voucher": "Welcome", "code": "WELCOME20", "value": value}, EndState((goal,))


def _voucher_named(draw: Draw) -> _Drawn:
    return _voucher("name", draw.of("Hello", "Newcomers", "First order"))


def _voucher_code(draw: Draw) -> _Drawn:
    return _voucher("code", f"{draw.of('HELLO', 'SPRING', 'MILL')}{draw.number(5, 95)}")


def _voucher_usage(draw: Draw) -> _Drawn:
    shown, kept = draw.row(
        "SELECT 'Can be used multiple times by multiple customers', 'Multi-use' UNION "
        "SELECT 'Can only be used once by one customer', 'Single use'"
    )
    slots, goal = _voucher("usage", kept)
    return {**slots, "value": shown}, goal


def _voucher_gone(draw: Draw) -> _Drawn:
    goal = EndState((Gone("voucher_voucher", {"id": 1}),), free=("voucher_voucher_offers",))
    return {"voucher": "Welcome", "code": "WELCOME20"}, goal


def _vouchers_read(draw: Draw) -> _Drawn:
    return {}, EndState(answer=str(draw.one("SELECT COUNT(*) FROM voucher_voucher")))


def _offers_read(draw: Draw) -> _Drawn:
    return {}, EndState(answer=str(draw.one("SELECT COUNT(*) FROM offer_conditionaloffer")))


def _range_new(draw: Draw) -> _Drawn:
    name = draw.of("Picnic", "Party food", "Bakery")
    return {"name": name}, EndState((Added("offer_range", {"name": name}),))


def _range_changed(draw: Draw, column: str, value: Any) -> _Drawn:
    goal = Changed("offer_range", {"id": 1}, {column: value}, ("description", "slug"))
    return {"range": "Own brand", "value": value}, EndState((goal,))


def _range_named(draw: Draw) -> _Drawn:
    return _range_changed(draw, "name", draw.of("House brand", "Mill Lane own"))


def _range_hidden(draw: Draw) -> _Drawn:
    return _range_changed(draw, "is_public", 0)


def _page_titled(draw: Draw) -> _Drawn:
    title = draw.of("Who we are", "Our story", "About the shop")
    goal = Changed("django_flatpage", {"id": 1}, {"title": title}, ("content",))
    return {"page": "About Mill Lane", "title": title}, EndState((goal,))


def _page_new(draw: Draw) -> _Drawn:
    title, url = draw.row("SELECT 'Delivery', '/delivery/' UNION SELECT 'Jobs', '/jobs/'")
    goal = Added("django_flatpage", {"title": title, "url": url})
    return {"title": title, "url": url}, EndState((goal,), free=("django_flatpage_sites",))


def _page_gone(draw: Draw) -> _Drawn:
    goal = EndState((Gone("django_flatpage", {"id": 1}),), free=("django_flatpage_sites",))
    return {"page": "About Mill Lane"}, goal


def _mail_subject(draw: Draw) -> _Drawn:
    words = draw.of("Thank you for your order", "We have your order", "Your shopping")
    also = ("email_body_template", "email_body_html_template", "sms_template")
    goal = Changed(
        "communication_communicationeventtype", {"id": 1}, {"email_subject_template": words}, also
    )
    return {"mail": "Order placed", "words": words}, EndState((goal,))


def _review(draw: Draw, column: str, value: Any) -> _Drawn:
    key, title = draw.row("SELECT id, title FROM reviews_productreview")
    goal = Changed("reviews_productreview", {"id": key}, {column: value})
    kept = ("catalogue_product",)
    return {"review": title, "value": value}, EndState((goal,), free=kept)


def _review_titled(draw: Draw) -> _Drawn:
    return _review(draw, "title", draw.of("Good value", "Would buy again", "Not for me"))


def _review_rejected(draw: Draw) -> _Drawn:
    slots, goal = _review(draw, "status", 2)
    return {**slots, "value": "Rejected"}, goal


def _review_gone(draw: Draw) -> _Drawn:
    key, title = draw.row("SELECT id, title FROM reviews_productreview")
    goal = EndState((Gone("reviews_productreview", {"id": key}),), free=("catalogue_product",))
    return {"review": title}, goal


SALES: tuple[TaskKind, ...] = (
    TaskKind("order_status", _order_status),
    TaskKind("order_note", _order_note),
    TaskKind("order_total_read", _order_total),
    TaskKind("order_status_read", _order_state),
    TaskKind("offer_priority", _priority),
    TaskKind("offer_most_uses", _most_uses),
    TaskKind("offer_not_exclusive", _not_exclusive, 1),
    TaskKind("offer_named", _offer_named),
    TaskKind("offer_suspended", _suspended, 1),
    TaskKind("offer_incentive", _incentive),
    TaskKind("offer_condition", _condition, 1),
    TaskKind("offer_gone", _offer_gone, 1),
    TaskKind("offers_read", _offers_read, 1),
    TaskKind("voucher_named", _voucher_named, 1),
    TaskKind("voucher_code", _voucher_code),
    TaskKind("voucher_usage", _voucher_usage, 1),
    TaskKind("voucher_gone", _voucher_gone, 1),
    TaskKind("vouchers_read", _vouchers_read, 1),
    TaskKind("range_new", _range_new, 1),
    TaskKind("range_named", _range_named, 1),
    TaskKind("range_hidden", _range_hidden, 1),
    TaskKind("page_titled", _page_titled, 1),
    TaskKind("page_new", _page_new, 1),
    TaskKind("page_gone", _page_gone, 1),
    TaskKind("mail_subject", _mail_subject, 1),
    TaskKind("review_titled", _review_titled, 1),
    TaskKind("review_rejected", _review_rejected, 1),
    TaskKind("review_gone", _review_gone, 1),
)
