"""The shop of the loop's demonstration: its shelf, its people and its service.

The shelf is made of the items of Complete Journey that sold best lately and whose names on a till
can be read. The people are those of `campaigns.simulation`, who like some ads better than others
(`appeal`). The service is the one that `adwright serve` runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import polars as pl

from adwright.authoring.tasks import Product
from adwright.campaigns.simulation.ab_test import SimulationRunConfig, World, open_world
from adwright.campaigns.simulation.population import PopulationConfig
from adwright.campaigns.simulation.run import HttpClient
from adwright.campaigns.store.store import Store
from adwright.core.config import Count
from adwright.data.schema import Catalogue
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.sources.log import Log, save_log
from adwright.demos.shelf import shelf_products
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.registry.publishing import served_models
from adwright.web.server import on_loopback

#: Weeks before the start in which the shelf sold, and how many of the best sellers are looked at.
_LATELY, _LOOKED_AT = 13, 400
#: What no shop window shows.
_NOT_SHOWN = ("gasoline", "coupon")


@dataclass(frozen=True, eq=False)
class Shop:
    """The people, the products of the shelf, and the log of what was bought of it before."""

    world: World
    products: tuple[Product, ...]
    log: Path

    @property
    def item_ids(self) -> tuple[str, ...]:
        """Of the shelf."""
        return tuple(one.id for one in self.products)


def open_shop(
    out: Path, *, items: Count, people: float, seed: int = 0, offline: bool = False
) -> Shop:
    """Fit the people, choose the shelf, and keep its log in `out`/log and its products in
    `out`/products.csv. items: of the shelf. people: share of them that come.

    Raises as `open_world`, and as `save_log`.
    """
    # As often clicked as taken: what is sure to be clicked leaves an ad nothing to do.
    kind = PopulationConfig(people=people, clicks_per_purchase=1.0, seed=seed)
    config = SimulationRunConfig(population=kind)
    world = open_world(config, offline=offline)
    start = world.people.start
    past = world.events.filter(pl.col("time") < start)
    lately = past.filter(pl.col("time") >= start - timedelta(weeks=_LATELY))
    best = lately.group_by("item_id").len().sort(["len", "item_id"], descending=[True, False])
    known = CompleteJourney.open(offline=offline).products().collect()
    readable = shelf_products(known, best["item_id"].head(_LOOKED_AT).to_list())
    titles: dict[str, Product] = {}
    for one in readable:
        if not any(word in f"{one.title} {one.category}".lower() for word in _NOT_SHOWN):
            titles.setdefault(one.title, one)
    products = tuple(titles.values())[:items]
    ids = [one.id for one in products]
    catalogue = world.log.catalogue.items.filter(pl.col("item_id").is_in(ids))
    of_shelf = past.filter(pl.col("item_id").is_in(ids))
    save_log(out / "log", Log(of_shelf.lazy(), Catalogue.checked(catalogue)), overwrite=True)
    rows = [
        {"id": one.id, "title": one.title, "category": one.category, **dict(one.attributes)}
        for one in products
    ]
    pl.DataFrame(rows, infer_schema_length=None).write_csv(out / "products.csv")
    return Shop(world, products, out / "log")


@contextmanager
def running_shop(store: Store, models: Path, tenant: str) -> Iterator[HttpClient]:
    """Serve the models of the folder from the store, on a free port of this machine; who asks."""
    settings = ServiceConfig()
    app = create_app(settings, store, served_models(models, store, settings.poll_seconds))
    key = store.create_key(tenant)
    with on_loopback(app) as url, HttpClient(url, key) as client:
        yield client
