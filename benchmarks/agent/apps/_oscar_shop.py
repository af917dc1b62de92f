"""Fills and serves the shop; run with django-oscar on the path.

python _oscar_shop.py fill PRODUCTS.csv       # migrates, and adds the data of the benchmark
python _oscar_shop.py serve DESCRIPTOR        # of a listening socket
"""

from __future__ import annotations

import csv
import os
import socket
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import django

_FIRST_DAY = datetime(2026, 1, 5, 12, tzinfo=UTC)


def _fill(products: Path) -> None:
    from django.core.management import call_command
    from django.db import transaction
    from oscar.core.loading import get_model
    from oscar.test import factories

    call_command("migrate", verbosity=0)
    with transaction.atomic():
        user = get_model("auth", "User")
        user.objects.create_superuser("admin", "admin@example.com", "admin")
        country = get_model("address", "Country")
        country.objects.create(
            iso_3166_1_a2="GB", name="United Kingdom", printable_name="United Kingdom"
        )
        goods = _catalogue(products)
        range_ = get_model("offer", "Range").objects.create(
            name="Own brand", slug="own-brand", is_public=True
        )
        for each in goods[:30]:
            range_.add_product(each)
        whole = get_model("offer", "Range").objects.create(
            name="Whole catalogue", slug="whole-catalogue", includes_all_products=True
        )
        _offers(range_, whole)
        people = [
            user.objects.create_user(
                f"{name}", f"{name}@example.com", name, first_name=name.title()
            )
            for name in ("ann", "bob", "zoe")
        ]
        for number in range(12):
            _order(factories, people[number % 3], goods[number * 7 : number * 7 + 2], number)
        review = get_model("reviews", "ProductReview")
        for number, each in enumerate(goods[:6]):
            review.objects.create(
                product=each,
                user=people[number % 3],
                score=1 + number % 5,
                title=f"Bought it {number + 1} times",
                body="It does what it says.",
            )
        get_model("communication", "CommunicationEventType").objects.create(
            code="ORDER_PLACED",
            name="Order placed",
            email_subject_template="Your order {{ order.number }}",
            email_body_template="Thank you.",
            # The form of the dashboard requires it.
            email_body_html_template="<p>Thank you.</p>",
        )
        get_model("flatpages", "FlatPage").objects.create(
            url="/about/", title="About Mill Lane", content="A small shop."
        ).sites.add(1)


def _catalogue(products: Path) -> list[object]:
    from oscar.core.loading import get_model

    category, product = get_model("catalogue", "Category"), get_model("catalogue", "Product")
    kind = get_model("catalogue", "ProductClass").objects.create(name="Grocery")
    get_model("catalogue", "ProductAttribute").objects.create(
        product_class=kind, name="Package size", code="package_size", type="text"
    )
    partner = get_model("partner", "Partner").objects.create(name="Mill Lane depot")
    shelves: dict[str, object] = {}
    goods = []
    with products.open(newline="", encoding="utf-8") as stream:
        for number, row in enumerate(csv.DictReader(stream)):
            shelf = row["category"]
            if shelf not in shelves:
                shelves[shelf] = category.add_root(name=shelf)
            made = product.objects.create(
                title=row["title"],
                upc=row["upc"],
                product_class=kind,
                description=f"{row['title']} of the shelf {shelf}.",
            )
            made.attr.package_size = row["size"]
            made.attr.save()
            get_model("catalogue", "ProductCategory").objects.create(
                product=made, category=shelves[shelf]
            )
            get_model("partner", "StockRecord").objects.create(
                product=made,
                partner=partner,
                partner_sku=f"sku-{row['upc']}",
                price=Decimal(100 + number * 37 % 900) / 100,
                num_in_stock=5 + number * 13 % 60,
                low_stock_threshold=10,
                price_currency="GBP",
            )
            goods.append(made)
    return goods


def _offers(range_: object, whole: object) -> None:
    from oscar.core.loading import get_model

    condition, benefit = get_model("offer", "Condition"), get_model("offer", "Benefit")
    offer = get_model("offer", "ConditionalOffer")
    made = []
    for name, priority, percent in (
        ("Three for less", 3, 10),
        ("Summer", 2, 15),
        ("Coupon", 1, 20),
    ):
        made.append(
            offer.objects.create(
                name=name,
                description=f"{percent}% off",
                priority=priority,
                offer_type="Voucher" if name == "Coupon" else "Site",
                condition=condition.objects.create(
                    range=range_, type="Count", value=3 if name == "Three for less" else 1
                ),
                benefit=benefit.objects.create(range=whole, type="Percentage", value=percent),
                start_datetime=_FIRST_DAY,
                max_basket_applications=1,
            )
        )
    voucher = get_model("voucher", "Voucher").objects.create(
        name="Welcome",
        code="WELCOME20",
        usage="Once per customer",
        start_datetime=_FIRST_DAY,
        end_datetime=_FIRST_DAY + timedelta(days=3650),
    )
    voucher.offers.add(made[2])


def _order(factories: object, person: object, goods: list[object], number: int) -> None:
    basket = factories.BasketFactory(owner=person)  # type: ignore[attr-defined]
    for each in goods:
        basket.add_product(each, quantity=1 + number % 3)
    order = factories.create_order(  # type: ignore[attr-defined]
        number=str(100001 + number), basket=basket, user=person
    )
    order.date_placed = _FIRST_DAY + timedelta(days=number)
    order.status = ("Pending", "Being processed", "Complete")[number % 3]
    order.save()


def _serve(descriptor: int) -> None:
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
    from django.core.wsgi import get_wsgi_application

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing: the benchmark counts requests by itself."""

    opened = socket.socket(fileno=descriptor)
    server = ThreadedWSGIServer(opened.getsockname(), Quiet, bind_and_activate=False)
    server.socket.close()
    server.socket, server.daemon_threads = opened, True
    server.server_name, server.server_port = opened.getsockname()
    server.setup_environ()
    server.set_app(get_wsgi_application())
    server.serve_forever()


def main() -> None:
    """Fill or serve, as the first argument says."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "_oscar_settings"
    django.setup()
    if sys.argv[1] == "fill":
        _fill(Path(sys.argv[2]))
    else:
        _serve(int(sys.argv[2]))


if __name__ == "__main__":
    main()
